# SPDX-License-Identifier: Apache-2.0
# Compiles `source` twice: as it is (must fail, with a message that matches `expected`) and with
# PEEPER_EXPECT_OK (must compile).
file(STRINGS "${flags_file}" flags)
set(compile "${compiler}" -std=c++23 -fsyntax-only ${flags} "${source}")

execute_process(COMMAND ${compile} -DPEEPER_EXPECT_OK RESULT_VARIABLE result
                ERROR_VARIABLE output OUTPUT_QUIET)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${source} does not compile even with PEEPER_EXPECT_OK:\n${output}")
endif()

execute_process(COMMAND ${compile} RESULT_VARIABLE result ERROR_VARIABLE output OUTPUT_QUIET)
if(result EQUAL 0)
  message(FATAL_ERROR "${source} compiles, and should not.\nexpected message: ${expected}")
endif()
if(NOT output MATCHES "${expected}")
  message(FATAL_ERROR "${source} is refused, but with the wrong message.\n"
                      "expected: ${expected}\n${output}")
endif()
