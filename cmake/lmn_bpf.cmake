# lmn_bpf_object(TARGET SOURCE [NAME name]): compiles SOURCE with clang for BPF into the build tree, as a user would
# (clang -O2 -g -target bpf). The object is ${CMAKE_BINARY_DIR}/bpf/<name>.bpf.o and a dependency of TARGET.
find_program(LMN_BPF_CLANG NAMES clang-19 clang REQUIRED)

function(lmn_bpf_object target source)
  cmake_parse_arguments(A "" "NAME" "FLAGS" ${ARGN})
  if(NOT A_NAME)
    get_filename_component(A_NAME ${source} NAME_WE)
  endif()
  set(object ${CMAKE_BINARY_DIR}/bpf/${A_NAME}.bpf.o)
  get_filename_component(source ${source} ABSOLUTE)
  add_custom_command(OUTPUT ${object}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/bpf
    COMMAND ${LMN_BPF_CLANG} -O2 -g -Wall -target bpf -mcpu=v3 ${A_FLAGS}
      -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE} -c ${source} -o ${object}
    DEPENDS ${source}
    COMMENT "BPF ${A_NAME}"
    VERBATIM)
  add_custom_target(bpf_${A_NAME} DEPENDS ${object})
  add_dependencies(${target} bpf_${A_NAME})
endfunction()
