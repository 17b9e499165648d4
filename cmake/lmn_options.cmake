# Language level, warnings, sanitizers and build options, for all targets.
set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

option(LMN_BUILD_TESTS "Build unit, file, differential and system tests" ON)
option(LMN_BUILD_FUZZERS "Build the libFuzzer targets (clang only)" OFF)
option(LMN_WERROR "Warnings are errors" ON)
set(LMN_SANITIZE "" CACHE STRING "Sanitizers, comma separated: address,undefined or thread")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

# What every target of ours is compiled with; system headers (third_party, Debian's) are exempt.
add_library(lmn_flags INTERFACE)
target_compile_options(lmn_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror=switch
  -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(lmn_flags INTERFACE -Wthread-safety)
else()
  # g++ 12 reports false positives of these two from std::expected and std::variant at -O2.
  target_compile_options(lmn_flags INTERFACE -Wno-maybe-uninitialized -Wno-restrict)
  # And it takes the names within an enum class for names of the scope around it.
  target_compile_options(lmn_flags INTERFACE -Wno-shadow -Wshadow=local)
endif()
if(LMN_WERROR)
  target_compile_options(lmn_flags INTERFACE -Werror)
endif()
target_include_directories(lmn_flags INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_include_directories(lmn_flags SYSTEM INTERFACE ${CMAKE_SOURCE_DIR}/third_party/linux-uapi)

if(LMN_SANITIZE)
  add_compile_options(-fsanitize=${LMN_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${LMN_SANITIZE})
  if(LMN_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()
if(LMN_BUILD_FUZZERS)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
