# `cmake --install`: headers, static libraries, the program, and a CMake package, so that another
# program says
#
#   find_package(Glassnet REQUIRED)
#   target_link_libraries(mine PRIVATE Glassnet::glassnet)
#
# and `#include <glassnet/glassnet.h>`.
include(CMakePackageConfigHelpers)

get_property(rooms GLOBAL PROPERTY GLASSNET_ROOMS)
list(REMOVE_ITEM rooms cli)  # the program's own
list(TRANSFORM rooms PREPEND glassnet_ OUTPUT_VARIABLE room_libraries)

# All rooms at once. The bare name belongs to the program.
add_library(glassnet_umbrella INTERFACE)
add_library(Glassnet::glassnet ALIAS glassnet_umbrella)
set_target_properties(glassnet_umbrella PROPERTIES EXPORT_NAME glassnet)
target_link_libraries(glassnet_umbrella INTERFACE ${room_libraries})

install(TARGETS glassnet RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS glassnet_umbrella ${room_libraries} EXPORT GlassnetTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES glassnet.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/glassnet)
foreach(room ${rooms})
  # A room's own folder is its public face; what lies deeper is for its .cpp files.
  file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${room}/*.h)
  install(FILES ${headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/glassnet/${room})
endforeach()
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Glassnet)
install(EXPORT GlassnetTargets NAMESPACE Glassnet:: DESTINATION ${package_dir})
configure_package_config_file(cmake/GlassnetConfig.cmake.in
  ${PROJECT_BINARY_DIR}/cmake/GlassnetConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cmake/GlassnetConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES cmake/FindExif.cmake cmake/FindMinizip.cmake cmake/FindTurboJpeg.cmake ${PROJECT_BINARY_DIR}/cmake/GlassnetConfig.cmake
  ${PROJECT_BINARY_DIR}/cmake/GlassnetConfigVersion.cmake DESTINATION ${package_dir})
