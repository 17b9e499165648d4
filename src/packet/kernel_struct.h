// SPDX-License-Identifier: Apache-2.0
//
// KernelStruct: a struct of the kernel whose objects calls give to programs: how large it is, what
// a program may write in it, how an object is given back.
//
// Which bytes of an object mean what is a matter of the BTF that the program was relocated for, so
// these are values, made by the engine (kfuncs/kernel_types.h) and read by whoever executes. An
// object's memory is the table's that the object lives in, and all of it may be read.
//
// KernelObjects: what an address means that a program did not get from a call: one that it kept in
// an untrusted pointer of a map's value, or found in another object. It is looked up before it is
// followed, and read only.
// Threads: values; constant while programs run. KernelObjects: whoever runs programs.
// Tested by tests/differential/conntrack_test.cc and kernel_objects_test.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
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
  // Makes the object's bytes say what is now, before they are read; null: they always do.
  void (*refresh)(RunContext& context, void* object) noexcept = nullptr;
};

class KernelObjects {
 public:
  virtual ~KernelObjects() = default;
  // Which of RunContext::kernel_structs begins at `address`; none: no object that calls give does.
  virtual std::optional<std::uint32_t> find(std::uint64_t address) const noexcept = 0;
  // The kernel's struct behind the context of the program that runs now, as it is now; 0: there is
  // none.
  virtual std::uint64_t context_object(RunContext& context) noexcept = 0;
  // Copies what may be read from `address` on of memory that only pointers in objects lead to; how
  // many bytes.
  virtual std::size_t read(RunContext& context, std::uint64_t address,
                           std::span<std::uint8_t> out) noexcept = 0;
};

}  // namespace lmn
