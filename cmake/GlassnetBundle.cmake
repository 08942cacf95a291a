# The third-party headers and libraries of a folder that scripts/gpu-bundle has prepared, in place of
# what find_package finds. Of oneDNN there is none in it.
foreach(package fmt Eigen3 nlohmann_json CLI11 stb)
  if(NOT EXISTS ${GLASSNET_BUNDLE}/include/${package})
    message(FATAL_ERROR "GLASSNET_BUNDLE: there is no include/${package} in '${GLASSNET_BUNDLE}'; "
      "scripts/gpu-bundle makes such a folder, and scripts/gpu-check unpacks it")
  endif()
endforeach()

function(bundled_headers target folder)
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} SYSTEM INTERFACE ${GLASSNET_BUNDLE}/include/${folder})
endfunction()
# bundled_library(target file folder [depends...])
function(bundled_library target file folder)
  add_library(${target} UNKNOWN IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION ${GLASSNET_BUNDLE}/lib/${file})
  target_include_directories(${target} SYSTEM INTERFACE ${GLASSNET_BUNDLE}/include/${folder})
  target_link_libraries(${target} INTERFACE ${ARGN})
endfunction()

bundled_headers(fmt::fmt fmt)
target_compile_definitions(fmt::fmt INTERFACE FMT_HEADER_ONLY)  # Debian has no static libfmt
bundled_headers(Eigen3::Eigen Eigen3)
bundled_headers(nlohmann_json::nlohmann_json nlohmann_json)
bundled_headers(CLI11::CLI11 CLI11)
bundled_library(Exif::Exif libexif.a exif m)
bundled_library(GTest::gtest libgtest.a gtest Threads::Threads)
bundled_library(GTest::gmock libgmock.a gtest GTest::gtest)
bundled_library(GTest::gtest_main libgtest_main.a gtest GTest::gtest)
bundled_library(benchmark::benchmark libbenchmark.so.1debian benchmark Threads::Threads)
set(STB_INCLUDE_DIR ${GLASSNET_BUNDLE}/include/stb/stb)
set(GLASSNET_FONT ${GLASSNET_BUNDLE}/share/DejaVuSans.ttf)
