# SPDX-License-Identifier: Apache-2.0
# Debian's libseccomp-dev ships no CMake package. This module finds the library by its header and is
# installed with peeper, so that a consumer of the installed package needs nothing more.
#
# Defines the target libseccomp::libseccomp and libseccomp_VERSION.
find_path(libseccomp_INCLUDE_DIR NAMES seccomp.h)
find_library(libseccomp_LIBRARY NAMES seccomp)

if(libseccomp_INCLUDE_DIR AND EXISTS "${libseccomp_INCLUDE_DIR}/seccomp.h")
  file(STRINGS "${libseccomp_INCLUDE_DIR}/seccomp.h" libseccomp_configuration
       REGEX "#define SCMP_VER_(MAJOR|MINOR|MICRO)[ \t]+[0-9]+")
  foreach(part IN ITEMS MAJOR MINOR MICRO)
    string(REGEX MATCH "SCMP_VER_${part}[ \t]+([0-9]+)" matched "${libseccomp_configuration}")
    set(libseccomp_${part} "${CMAKE_MATCH_1}")
  endforeach()
  set(libseccomp_VERSION "${libseccomp_MAJOR}.${libseccomp_MINOR}.${libseccomp_MICRO}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  libseccomp
  REQUIRED_VARS libseccomp_LIBRARY libseccomp_INCLUDE_DIR
  VERSION_VAR libseccomp_VERSION)

if(libseccomp_FOUND AND NOT TARGET libseccomp::libseccomp)
  add_library(libseccomp::libseccomp UNKNOWN IMPORTED)
  set_target_properties(
    libseccomp::libseccomp PROPERTIES IMPORTED_LOCATION "${libseccomp_LIBRARY}"
                                      INTERFACE_INCLUDE_DIRECTORIES "${libseccomp_INCLUDE_DIR}")
endif()
mark_as_advanced(libseccomp_INCLUDE_DIR libseccomp_LIBRARY)
