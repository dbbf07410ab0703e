# SPDX-License-Identifier: Apache-2.0
# Programs that load server classes at run time, and the libraries that bring them.
#
# A plugin uses the program's own peeper, so the program has all of it in it, visible.

# peeper_plugin_host(<target>): links peeper::core into the program, for plugins too.
function(peeper_plugin_host target)
  set_target_properties(${target} PROPERTIES ENABLE_EXPORTS ON)
  target_link_libraries(${target} PRIVATE "$<LINK_LIBRARY:WHOLE_ARCHIVE,peeper::core>")
endfunction()

# peeper_plugin(<target> <sources>...): a library <target>.so with one PEEPER_PLUGIN in it.
function(peeper_plugin target)
  add_library(${target} MODULE ${ARGN})
  set_target_properties(${target} PROPERTIES PREFIX "" CXX_EXTENSIONS OFF)
  target_compile_features(${target} PRIVATE cxx_std_23)
  target_include_directories(
    ${target} SYSTEM PRIVATE "$<TARGET_PROPERTY:peeper::core,INTERFACE_INCLUDE_DIRECTORIES>")
  target_compile_definitions(
    ${target} PRIVATE "$<TARGET_PROPERTY:peeper::core,INTERFACE_COMPILE_DEFINITIONS>")
  # Else g++ makes one object of those with the same name in all libraries.
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>)
endfunction()
