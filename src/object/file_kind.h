// SPDX-License-Identifier: Apache-2.0
//
// What a file is, in words, from its first bytes: so that "lmn check" on a picture, a script or the
// wrong ELF says so. Tested by elf_file_test.cc.
#pragma once

#include <string>

#include "base/byte_reader.h"

namespace lmn {

// "a PNG image", "an x86-64 executable", "LLVM bitcode", "an empty file", "a file of unknown kind
// (starts 01 02 03 04)".
std::string describe_file(ByteSpan bytes);

// What helps for that kind of file: "compile with clang -target bpf -g -O2 -c"; empty when nothing
// particular does.
std::string remedy_for_file(ByteSpan bytes);

}  // namespace lmn
