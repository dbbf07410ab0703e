# SPDX-License-Identifier: Apache-2.0
# `cmake --install` gives a package for find_package(peeper) with the target peeper::core.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(peeper_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/peeper")
install(TARGETS peeper_core peeper_sandbox EXPORT peeperTargets
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
if(EXISTS "${PROJECT_SOURCE_DIR}/include/peeper")
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/peeper"
          DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
endif()
install(EXPORT peeperTargets NAMESPACE peeper:: DESTINATION "${peeper_package_dir}")

configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/peeperConfig.cmake.in"
  "${CMAKE_CURRENT_BINARY_DIR}/peeperConfig.cmake" INSTALL_DESTINATION "${peeper_package_dir}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/peeperConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/peeperConfig.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/peeperConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/Findlibcbor.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/Findlibseccomp.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/peeper_plugins.cmake"
        DESTINATION "${peeper_package_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
