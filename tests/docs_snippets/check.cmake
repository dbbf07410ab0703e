# SPDX-License-Identifier: Apache-2.0
# Runs a program of the docs: it must exit 0 and print what the docs say it prints, if they do.
execute_process(COMMAND "${program}" RESULT_VARIABLE result OUTPUT_VARIABLE output
                ERROR_VARIABLE errors)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "ended with ${result}\n${output}${errors}")
endif()
if(EXISTS "${expected_file}")
  file(READ "${expected_file}" expected)
  string(STRIP "${expected}" expected)
  string(STRIP "${output}" output)
  if(NOT output STREQUAL expected)
    message(FATAL_ERROR "printed:\n${output}\nbut the docs say:\n${expected}")
  endif()
endif()
