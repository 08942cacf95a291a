# libexif, whose package brings a file for pkg-config but none for CMake: Exif::Exif.
find_path(EXIF_INCLUDE_DIR libexif/exif-data.h)
find_library(EXIF_LIBRARY exif)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Exif REQUIRED_VARS EXIF_LIBRARY EXIF_INCLUDE_DIR)
if(Exif_FOUND AND NOT TARGET Exif::Exif)
  add_library(Exif::Exif UNKNOWN IMPORTED)
  set_target_properties(Exif::Exif PROPERTIES
    IMPORTED_LOCATION ${EXIF_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${EXIF_INCLUDE_DIR}
    INTERFACE_LINK_LIBRARIES m)
endif()
