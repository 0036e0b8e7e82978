# What `cmake --install` puts where. The package files find the prefix from their own place, so that an installed tree
# may be moved; the library and the program find share/cellar the same way (base/datadir.h).
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/cellar)
install(TARGETS cellar_shared cellar_static LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/cellar DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

file(RELATIVE_PATH CELLAR_UP_FROM_PKGCONFIG /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
file(RELATIVE_PATH CELLAR_UP_FROM_PACKAGE /p/${package_dir} /p)
configure_file(cmake/cellar.pc.in cellar.pc @ONLY)
configure_file(cmake/cellar-config.cmake.in cellar-config.cmake @ONLY)
include(CMakePackageConfigHelpers)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/cellar-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/cellar.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${CMAKE_BINARY_DIR}/cellar-config.cmake ${CMAKE_BINARY_DIR}/cellar-config-version.cmake
  DESTINATION ${package_dir})

install(DIRECTORY data/cifar10-mini data/splits recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/cellar)
install(FILES README.md LICENSE CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

if(TARGET cellar)
  install(TARGETS cellar RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES scripts/completion.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME cellar)
  add_custom_command(OUTPUT man.stamp
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/scripts/man.sh $<TARGET_FILE:cellar> ${CMAKE_BINARY_DIR}/man
    COMMAND ${CMAKE_COMMAND} -E touch man.stamp
    DEPENDS cellar scripts/man.sh COMMENT "Writing the man pages" VERBATIM)
  add_custom_target(man ALL DEPENDS man.stamp)
  install(DIRECTORY ${CMAKE_BINARY_DIR}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()

if(CELLAR_TESTS AND TARGET cellar)
  add_test(NAME install/consumers COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tests/install/run.sh ${CMAKE_BINARY_DIR}
    ${CMAKE_CURRENT_SOURCE_DIR}/tests/install ${CMAKE_C_COMPILER} "${CELLAR_SANITIZE}")
  set_tests_properties(install/consumers PROPERTIES LABELS native)
endif()
