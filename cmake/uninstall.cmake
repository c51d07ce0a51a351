# Removes what the last `cmake --install` of this build folder put in place, and nothing else: `cmake --build build --target softmix_uninstall`.
if(NOT EXISTS "${MANIFEST}")
    message(FATAL_ERROR "nothing was installed from here: ${MANIFEST} does not exist")
endif()
file(STRINGS "${MANIFEST}" files)
foreach(file IN LISTS files)
    file(REMOVE "${file}")
    message(STATUS "Removed ${file}")
endforeach()
