// SPDX-License-Identifier: Apache-2.0
//
// read_object: the bytes of a BPF object file to an ObjectSpec; the door of this module.
//
// The way through: ELF (elf_file) -> BTF (btf/) -> functions, externs and maps -> relocations,
// taken together as references from an instruction to a thing -> CO-RE -> one program per entry
// function with the subprograms it reaches, in the order in which libbpf appends them, so that
// instruction numbers, line records and tags are the kernel's.
//
//   ReadOptions options;
//   options.object_name = object_name_of("build/xdp_fw.bpf.o");   // "xdp_fw": global data maps are
//   named by it LMN_TRY(ObjectSpec spec, read_object(bytes, options));
//
// What makes the whole object unreadable is the Error returned: not an object, damaged, maps that
// cannot be understood. What spoils one program only is ProgramSpec::defect, and the others stay
// usable (libbpf would refuse them all).
//
// Invariants: (1) the same bytes and options give the same ObjectSpec on any machine; (2)
// references in a program without defect are valid indices (spec/program_spec.h); (3) time and
// memory are bounded by abi/limits.h, whatever the bytes say. Threads: a pure function. Tested by
// object_reader_test.cc, tests of each part, and fuzz/object_fuzz.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_reader.h"
#include "base/result.h"
#include "btf/btf.h"
#include "spec/object_spec.h"

namespace lmn {

struct ReadOptions {
  std::string object_name;  // libbpf's name for the object, see object_name_of()
  // What CO-RE relocations are resolved against: the kernel's BTF, then those of its modules. Null:
  // programs that need it get a defect.
  std::shared_ptr<const Btf> target_btf;
  std::vector<std::shared_ptr<const Btf>> target_modules;
  // Facts for .kconfig: the text of a kernel's .config, and LINUX_KERNEL_VERSION (0: unknown).
  std::string kconfig;
  std::uint32_t kernel_version = 0;
  // Global functions of .text count as programs (for objects compiled without section names).
  bool text_programs = false;
};

Result<ObjectSpec> read_object(ByteSpan bytes, const ReadOptions& options = {});

// libbpf's name for the object of a path: the file name up to its first dot, 15 bytes at most.
std::string object_name_of(std::string_view path);

}  // namespace lmn
