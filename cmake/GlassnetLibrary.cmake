# Flags that every target of the project is built with.
add_library(glassnet_flags INTERFACE)
target_compile_options(glassnet_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${GLASSNET_WERROR}>>:-Werror>)
if(GLASSNET_SANITIZE)
  target_compile_options(glassnet_flags INTERFACE -fsanitize=${GLASSNET_SANITIZE}
    -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  target_link_options(glassnet_flags INTERFACE -fsanitize=${GLASSNET_SANITIZE})
endif()

# glassnet_library(name sources... DEPENDS targets...): the library of one room. A room's name in
# DEPENDS stands for its library.
function(glassnet_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  add_library(glassnet_${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  add_library(Glassnet::${name} ALIAS glassnet_${name})
  set_target_properties(glassnet_${name} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(glassnet_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/glassnet>)
  foreach(dependency ${ARG_DEPENDS})
    if(dependency MATCHES "::")
      target_link_libraries(glassnet_${name} PUBLIC ${dependency})
    else()
      target_link_libraries(glassnet_${name} PUBLIC glassnet_${dependency})
    endif()
  endforeach()
  target_link_libraries(glassnet_${name} PRIVATE $<BUILD_INTERFACE:glassnet_flags>
    ${ARG_PRIVATE_DEPENDS})
  if(GLASSNET_CUDA)
    target_compile_definitions(glassnet_${name} PUBLIC GLASSNET_CUDA)
  endif()
  set_property(GLOBAL APPEND PROPERTY GLASSNET_ROOMS glassnet_${name})
endfunction()
