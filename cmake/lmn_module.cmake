# lmn_module(NAME SOURCES ... [DEPS ...] [LIBS ...] [TESTS ...] [TEST_DEPS ...] [TEST_LIBS ...])
#
# Declares one module of the layer graph: static library lmn_NAME from src/NAME, and lmn_NAME_test from its unit tests.
# DEPS are modules and are the dependency graph itself: scripts/check_layers.py compares them with the includes of SOURCES.
# SOURCES * means every .cc below the folder but tests and testing/: for modules where a new file must not need a line here (helpers, maps, ports).
# LIBS are system libraries. TEST_DEPS are further modules that only the tests may include.
find_package(fmt REQUIRED)
if(LMN_BUILD_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()

# lmn_add_test_executable(TARGET SOURCES ... [DEPS modules] [LIBS ...] [LABEL label] [TIMEOUT seconds]): a gtest program, one
# ctest per case. Labels are the rows of docs/GATES.md; a test that skips itself says why (GTEST_SKIP() << "...").
function(lmn_add_test_executable target)
  cmake_parse_arguments(A "" "LABEL;TIMEOUT" "SOURCES;DEPS;LIBS" ${ARGN})
  if(NOT LMN_BUILD_TESTS)
    return()
  endif()
  if(NOT A_LABEL)
    set(A_LABEL unit)
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  add_executable(${target} ${A_SOURCES})
  set(libs "")
  foreach(dep IN LISTS A_DEPS)
    list(APPEND libs lmn_${dep})
  endforeach()
  target_link_libraries(${target} PRIVATE lmn_flags ${libs} ${A_LIBS} fmt::fmt GTest::gtest GTest::gtest_main GTest::gmock)
  target_compile_definitions(${target} PRIVATE LMN_SOURCE_DIR="${CMAKE_SOURCE_DIR}" LMN_BINARY_DIR="${CMAKE_BINARY_DIR}")
  set(exclusion "")
  if(A_LABEL STREQUAL "bench")
    set(exclusion RUN_SERIAL TRUE)  # nothing else may take time from what is measured
  elseif(A_LABEL STREQUAL "system")
    set(exclusion RESOURCE_LOCK system)  # real links: one at a time, beside the other tests
  endif()
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS ${A_LABEL} TIMEOUT ${A_TIMEOUT} ${exclusion} SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
endfunction()

function(lmn_module name)
  cmake_parse_arguments(A "" "" "SOURCES;DEPS;LIBS;TESTS;TEST_DEPS;TEST_LIBS" ${ARGN})
  set(deps "")
  foreach(dep IN LISTS A_DEPS)
    list(APPEND deps lmn_${dep})
  endforeach()
  if(A_SOURCES STREQUAL "*")
    file(GLOB_RECURSE A_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
    list(FILTER A_SOURCES EXCLUDE REGEX "(_test|_for_tests)\\.cc$|/testing/")
  endif()
  if(A_SOURCES)
    add_library(lmn_${name} STATIC ${A_SOURCES})
    target_link_libraries(lmn_${name} PUBLIC lmn_flags ${deps} ${A_LIBS} PRIVATE fmt::fmt)
  else()
    add_library(lmn_${name} INTERFACE)
    target_link_libraries(lmn_${name} INTERFACE lmn_flags ${deps} ${A_LIBS})
  endif()
  if(A_TESTS)
    lmn_add_test_executable(lmn_${name}_test SOURCES ${A_TESTS} DEPS ${name} ${A_TEST_DEPS} LIBS ${A_TEST_LIBS})
  endif()
endfunction()
