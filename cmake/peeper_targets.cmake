# SPDX-License-Identifier: Apache-2.0
# What every target of this project shares: language level, warnings, sanitizers.

# Global on purpose: a sanitizer works only when every object of a program is built with it.
if(PEEPER_SANITIZE)
  add_compile_options(-fsanitize=${PEEPER_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${PEEPER_SANITIZE})
  if(PEEPER_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=all)
    add_link_options(-fno-sanitize-recover=all)
  endif()
endif()

# peeper_own_target(<target>): our own code, held to our own warnings.
function(peeper_own_target target)
  target_compile_features(${target} PUBLIC cxx_std_23)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_compile_options(
    ${target}
    PRIVATE -Wall
            -Wextra
            -Wpedantic
            -Wconversion
            -Wshadow
            $<$<BOOL:${PEEPER_WERROR}>:-Werror>)
endfunction()

# peeper_test(<target> <area> <sources>...): one GoogleTest program, each of its tests a CTest test
# named <area>/<suite>.<test>.
function(peeper_test target area)
  add_executable(${target} ${ARGN})
  peeper_own_target(${target})
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/src"
                                               "${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(${target} PRIVATE peeper::core GTest::gmock GTest::gtest_main)
  gtest_discover_tests(
    ${target}
    TEST_PREFIX "${area}/"
    DISCOVERY_MODE PRE_TEST
    DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${PEEPER_TEST_TIMEOUT_S} LABELS ${area})
endfunction()
