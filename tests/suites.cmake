# Read by ctest: adds a test for each suite that ${tests_binary} lists.
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
  if(name MATCHES "^(.*/)?Gpu")
    # A suite skips all of its tests or none, so that a skip never hides a failure.
    set_tests_properties(${name} PROPERTIES LABELS gpu SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
  endif()
endforeach()
