// SPDX-License-Identifier: Apache-2.0
//
// KernelStruct: a struct of the kernel whose objects calls give to programs: how large it is, what
// a program may write in it, how an object is given back.
//
// Which bytes of an object mean what is a matter of the BTF that the program was relocated for, so
// these are values, made by the engine (kfuncs/kernel_types.h) and read by whoever executes. An
// object's memory is the table's that the object lives in, and all of it may be read.
// Threads: values; constant while programs run. Tested by tests/differential/conntrack_test.cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lmn {

struct RunContext;

struct KernelStruct {
  struct Field {
    std::uint32_t offset = 0;
    std::uint32_t size_bytes = 0;
  };
  std::string name;  // "nf_conn"
  std::uint32_t size_bytes = 0;
  std::vector<Field> writable;
  // Takes back an object that a stopped program did not release; null: objects are not counted.
  void (*give_back)(RunContext& context, void* object) noexcept = nullptr;
};

}  // namespace lmn
