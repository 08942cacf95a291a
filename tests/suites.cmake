# Read by ctest: adds a test for each suite that ${tests_binary} lists.
#
# Suites whose names begin with Device get the label ${device_label}: gpu, or simt where the host
# executor stands in for one. There they write which kernels they run into a file each in the folder
# ${simt_logs}, and the suite KernelCoverage, which comes after them, reads those.
if(NOT EXISTS ${tests_binary})
  add_test(glassnet_tests_NOT_BUILT ${tests_binary})
  return()
endif()
execute_process(COMMAND ${tests_binary} --gtest_list_tests
  OUTPUT_VARIABLE listing RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${tests_binary} cannot list its tests: ${status}")
endif()

# A suite's line ends in a dot, a test's is indented; parameters and types follow a '#'.
string(REGEX MATCHALL "(^|\n)[^ \n][^ \n]*[.]" lines "${listing}")
foreach(line IN LISTS lines)
  string(STRIP "${line}" suite)
  string(REGEX REPLACE "[.]$" "" name "${suite}")
  add_test(${name} ${tests_binary} --gtest_filter=${suite}*)
  set_tests_properties(${name} PROPERTIES TIMEOUT 1200)
  # Tests leave no files behind, and several at once would time nothing but each other.
  set(environment GLASSNET_TUNE=0)
  if(name MATCHES "^(.*/)?(Gpu|Device)")
    # A suite skips all of its tests or none, so that a skip never hides a failure.
    set_tests_properties(${name} PROPERTIES LABELS ${device_label}
      SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
    if(simt_logs)
      string(REPLACE "/" "_" log ${name})
      list(APPEND environment GLASSNET_SIMT_LOG=${simt_logs}/${log}.log)
      list(APPEND logging_suites ${name})
    endif()
  elseif(name MATCHES "^(.*/)?Simt")
    set_tests_properties(${name} PROPERTIES LABELS simt)
  elseif(name MATCHES "(Packed|Winograd)Conv2d|WeightGradient")
    # oneDNN's limit is the engine's, too; without oneDNN this repeats the test.
    add_test(${name}_avx2 ${tests_binary} --gtest_filter=${suite}*)
    set_tests_properties(${name}_avx2 PROPERTIES TIMEOUT 1200
      ENVIRONMENT "${environment};ONEDNN_MAX_CPU_ISA=AVX2")
  endif()
  set_tests_properties(${name} PROPERTIES ENVIRONMENT "${environment}")
endforeach()

if(simt_logs)
  file(MAKE_DIRECTORY ${simt_logs})
  set_tests_properties(KernelCoverage PROPERTIES LABELS simt DEPENDS "${logging_suites}"
    ENVIRONMENT GLASSNET_SIMT_LOGS=${simt_logs} SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
endif()
