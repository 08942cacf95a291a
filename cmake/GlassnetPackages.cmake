# What Glassnet builds with. Debian's package names stand in scripts/install-packages.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(dnnl CONFIG REQUIRED)  # whose CMake file asks for OpenCL; nothing here uses it
if(dnnl_VERSION VERSION_GREATER_EQUAL 3)
  message(FATAL_ERROR "Glassnet is written for oneDNN 2, as Debian 12 has it, and found ${dnnl_VERSION}; "
    "point dnnl_DIR at a oneDNN 2")
endif()
find_package(PkgConfig REQUIRED)
pkg_check_modules(exif REQUIRED IMPORTED_TARGET libexif)
find_path(STB_INCLUDE_DIR stb_image.h PATH_SUFFIXES stb REQUIRED)
find_file(GLASSNET_FONT DejaVuSans.ttf PATHS /usr/share/fonts/truetype/dejavu
  /usr/share/fonts/dejavu /usr/share/fonts/TTF NO_DEFAULT_PATH REQUIRED)
if(GLASSNET_CUDA)
  enable_language(CUDA)
  # CMake 3.25 does not know yet that nvcc speaks C++20.
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  find_package(CUDAToolkit REQUIRED)
endif()

# Those that leave nothing to link.
set(GLASSNET_HEADER_ONLY Eigen3::Eigen nlohmann_json::nlohmann_json CLI11::CLI11)
