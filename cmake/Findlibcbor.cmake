# SPDX-License-Identifier: Apache-2.0
# Debian's libcbor-dev ships no CMake package. This module finds the library by its header and is
# installed with peeper, so that a consumer of the installed package needs nothing more.
#
# Defines the target libcbor::libcbor and libcbor_VERSION.
find_path(libcbor_INCLUDE_DIR NAMES cbor.h)
find_library(libcbor_LIBRARY NAMES cbor)

if(libcbor_INCLUDE_DIR AND EXISTS "${libcbor_INCLUDE_DIR}/cbor/configuration.h")
  file(STRINGS "${libcbor_INCLUDE_DIR}/cbor/configuration.h" libcbor_configuration
       REGEX "#define CBOR_(MAJOR|MINOR|PATCH)_VERSION [0-9]+")
  foreach(part IN ITEMS MAJOR MINOR PATCH)
    string(REGEX MATCH "CBOR_${part}_VERSION ([0-9]+)" matched "${libcbor_configuration}")
    set(libcbor_${part} "${CMAKE_MATCH_1}")
  endforeach()
  set(libcbor_VERSION "${libcbor_MAJOR}.${libcbor_MINOR}.${libcbor_PATCH}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  libcbor
  REQUIRED_VARS libcbor_LIBRARY libcbor_INCLUDE_DIR
  VERSION_VAR libcbor_VERSION)

if(libcbor_FOUND AND NOT TARGET libcbor::libcbor)
  add_library(libcbor::libcbor UNKNOWN IMPORTED)
  set_target_properties(
    libcbor::libcbor PROPERTIES IMPORTED_LOCATION "${libcbor_LIBRARY}"
                                INTERFACE_INCLUDE_DIRECTORIES "${libcbor_INCLUDE_DIR}")
endif()
mark_as_advanced(libcbor_INCLUDE_DIR libcbor_LIBRARY)
