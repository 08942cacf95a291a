# Flags that every target of the project is built with.
add_library(glassnet_flags INTERFACE)
target_compile_options(glassnet_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${GLASSNET_WERROR}>>:-Werror>
  # Without -Wshadow: the code that nvcc makes for the host compiler shadows.
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers>"
  "$<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${GLASSNET_WERROR}>>:-Werror=all-warnings>")
if(GLASSNET_SANITIZE)
  # clang does not vectorise what it watches over, and would say so of every loop.
  target_compile_options(glassnet_flags INTERFACE -fsanitize=${GLASSNET_SANITIZE}
    -fno-omit-frame-pointer -fno-sanitize-recover=undefined
    $<$<CXX_COMPILER_ID:Clang>:-Wno-pass-failed>)
  target_link_options(glassnet_flags INTERFACE -fsanitize=${GLASSNET_SANITIZE})
endif()

# glassnet_library(name sources... DEPENDS targets... PRIVATE_DEPENDS targets...): the library of
# one room. A room's name in DEPENDS stands for its library. PRIVATE_DEPENDS are what only its .cpp
# files see.
function(glassnet_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  add_library(glassnet_${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  add_library(Glassnet::${name} ALIAS glassnet_${name})
  set_target_properties(glassnet_${name} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(glassnet_${name} PUBLIC cxx_std_20)
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
  target_link_libraries(glassnet_${name} PRIVATE $<BUILD_INTERFACE:glassnet_flags>)
  foreach(dependency ${ARG_PRIVATE_DEPENDS})
    # A static library hands on what it must be linked with; of headers nothing is left to link,
    # so that those who use an installed Glassnet need not have them.
    if(dependency IN_LIST GLASSNET_HEADER_ONLY)
      target_link_libraries(glassnet_${name} PRIVATE $<BUILD_INTERFACE:${dependency}>)
    else()
      target_link_libraries(glassnet_${name} PRIVATE ${dependency})
    endif()
  endforeach()
  if(GLASSNET_CUDA OR GLASSNET_SIMT)
    target_compile_definitions(glassnet_${name} PUBLIC GLASSNET_CUDA)
  endif()
  if(GLASSNET_SIMT)
    target_compile_definitions(glassnet_${name} PUBLIC GLASSNET_SIMT)
  endif()
  set_property(GLOBAL APPEND PROPERTY GLASSNET_ROOMS ${name})
endfunction()
