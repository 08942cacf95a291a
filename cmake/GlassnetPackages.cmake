# What Glassnet builds with. Debian's package names stand in scripts/install-packages.
list(PREPEND CMAKE_MODULE_PATH ${PROJECT_SOURCE_DIR}/cmake)
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
if(GLASSNET_BUNDLE)
  include(cmake/GlassnetBundle.cmake)
else()
  find_package(Eigen3 3.4 REQUIRED NO_MODULE)
  find_package(fmt REQUIRED)
  find_package(nlohmann_json REQUIRED)
  find_package(CLI11 REQUIRED)
  find_package(Exif REQUIRED)
  find_package(ZLIB REQUIRED)
  find_package(Minizip REQUIRED)
  find_path(STB_INCLUDE_DIR stb_image.h PATH_SUFFIXES stb REQUIRED)
  find_file(GLASSNET_FONT DejaVuSans.ttf PATHS /usr/share/fonts/truetype/dejavu
    /usr/share/fonts/dejavu /usr/share/fonts/TTF NO_DEFAULT_PATH REQUIRED)
  if(GLASSNET_TESTS)
    find_package(GTest REQUIRED)
  endif()
  if(GLASSNET_BENCH)
    find_package(benchmark REQUIRED)
  endif()
endif()

# For the Confusion Evolution page, which the program does without where they are missing.
find_program(GLASSNET_ESBUILD esbuild)
find_path(GLASSNET_D3 d3-selection/package.json PATHS /usr/share/nodejs /usr/lib/node_modules NO_DEFAULT_PATH)

# For `glassnet watch`, likewise.
find_package(Httplib QUIET)
if(NOT Httplib_FOUND)
  message(STATUS "Without cpp-httplib (Debian's libcpp-httplib-dev): runs cannot be watched")
endif()

# For `--decoder turbo`, likewise.
if(GLASSNET_TURBOJPEG)
  find_package(TurboJpeg QUIET)
  if(NOT TurboJpeg_FOUND)
    set(GLASSNET_TURBOJPEG OFF)
    message(STATUS "Without libjpeg-turbo (Debian's libturbojpeg0-dev): stb_image decodes JPEGs, more slowly")
  endif()
endif()

if(GLASSNET_ONEDNN)
  find_package(dnnl CONFIG)  # whose CMake file asks for OpenCL; nothing here uses it
  if(NOT dnnl_FOUND)
    message(FATAL_ERROR "oneDNN was not found: install it (Debian's libdnnl-dev and ocl-icd-opencl-dev), "
      "or build with -DGLASSNET_ONEDNN=OFF, which convolves more slowly on the CPU")
  endif()
  if(dnnl_VERSION VERSION_GREATER_EQUAL 3)
    message(FATAL_ERROR "Glassnet is written for oneDNN 2, as Debian 12 has it, and found ${dnnl_VERSION}; "
      "point dnnl_DIR at a oneDNN 2, or build with -DGLASSNET_ONEDNN=OFF")
  endif()
  set(GLASSNET_ONEDNN_VERSION ${dnnl_VERSION})
else()
  set(GLASSNET_ONEDNN_VERSION "none")
  message(STATUS "Without oneDNN: convolutions on the CPU are products by Eigen, and slower")
endif()

if(GLASSNET_CUDA)
  enable_language(CUDA)
  # CMake 3.25 does not know yet that nvcc speaks C++20.
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  find_package(CUDAToolkit REQUIRED)
  # NVIDIA's Python packages hold cuDNN and cuBLAS without the plain names that linkers look for.
  find_path(GLASSNET_CUBLAS_INCLUDE cublasLt.h HINTS ${CUDAToolkit_INCLUDE_DIRS} REQUIRED)
  find_library(GLASSNET_CUBLASLT NAMES cublasLt libcublasLt.so.13 HINTS ${CUDAToolkit_LIBRARY_DIR} REQUIRED)
  find_path(GLASSNET_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS} REQUIRED)
  find_library(GLASSNET_CUDNN NAMES cudnn libcudnn.so.9 HINTS ${CUDAToolkit_LIBRARY_DIR} REQUIRED)
endif()

# Those that leave nothing to link.
set(GLASSNET_HEADER_ONLY Eigen3::Eigen nlohmann_json::nlohmann_json CLI11::CLI11)
