# SPDX-License-Identifier: Apache-2.0
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output
                  ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    string(REPLACE ";" " " command "${ARGN}")
    message(FATAL_ERROR "${command}\nended with ${result}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# A file left by an earlier run could hide one that is no longer installed.
file(REMOVE_RECURSE "${scratch}")
run("${CMAKE_COMMAND}" --install "${build}" --config "${config}" --prefix "${scratch}/prefix")
run("${CMAKE_COMMAND}" -S "${consumer}" -B "${scratch}/build" -G "${generator}"
    "-DCMAKE_CXX_COMPILER=${compiler}" "-DCMAKE_CXX_COMPILER_LAUNCHER=${launcher}"
    "-DCMAKE_BUILD_TYPE=${config}" "-DCMAKE_PREFIX_PATH=${scratch}/prefix"
    "-Dpeeper_wanted_version=${version}")
run("${CMAKE_COMMAND}" --build "${scratch}/build")
run("${scratch}/build/consumer")
# The log of the crash is around it.
if(NOT output MATCHES "(^|\n)kept 12\n")
  message(FATAL_ERROR "the consumer printed:\n${output}\ninstead of: kept 12")
endif()
