// SPDX-License-Identifier: Apache-2.0
//
// ValueTypes: one BTF with types of keys and values, loaded on both sides, and maps made of them.
//
// The types that give a value its fields: locks, timers, works, pointers, lists, trees, counts,
// each with plain bytes around it.
//
//   LMN_TRY(ValueTypes types, ValueTypes::load(builder.bytes()));
//   types.describe(spec, key_id, value_id);
//   make_kernel_map(spec, 0, types.fd());
//
// Test code only. Threads: one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "btf/btf.h"
#include "contract/btf_builder.h"
#include "spec/map_spec.h"

namespace lmn {

// The kernel's structs that fields are recognised by, as types of a BTF.
struct FieldTypes {
  explicit FieldTypes(BtfBuilder& btf);

  std::uint32_t u32 = 0;
  std::uint32_t u64 = 0;
  std::uint32_t u8 = 0;
  std::uint32_t spin_lock = 0;
  std::uint32_t resilient_lock = 0;
  std::uint32_t timer = 0;
  std::uint32_t work = 0;
  std::uint32_t task_work = 0;
  std::uint32_t list_head = 0;
  std::uint32_t list_node = 0;
  std::uint32_t tree_root = 0;
  std::uint32_t tree_node = 0;
  std::uint32_t refcount = 0;
  std::uint32_t object = 0;  // struct with a node of each kind
  std::uint32_t kptr = 0;    // pointers to it
  std::uint32_t kptr_untrusted = 0;
  std::uint32_t percpu_kptr = 0;
  std::uint32_t user_pointer = 0;  // of a process, which only task storage keeps
};

// A struct being built, member by member, each at its natural place.
class StructBuilder {
 public:
  StructBuilder(BtfBuilder& btf, std::string name) : btf_(btf), name_(std::move(name)) {}
  // Returns the member's number.
  std::int32_t add(std::uint32_t type, std::uint32_t size, std::uint32_t align);
  std::uint32_t finish();
  std::uint32_t size() const { return (end_ + align_ - 1) / align_ * align_; }

 private:
  BtfBuilder& btf_;
  std::string name_;
  std::vector<BtfBuilder::Member> members_;
  std::uint32_t end_ = 0;
  std::uint32_t align_ = 1;
};

class ValueTypes {
 public:
  // Errors: kIo with the kernel's errno when it refuses the BTF, ours when we do.
  static Result<ValueTypes> load(const std::vector<std::uint8_t>& bytes);

  void describe(MapSpec& spec, std::uint32_t key, std::uint32_t value) const;
  int fd() const { return fd_.get(); }
  const Btf& btf() const { return *btf_; }

 private:
  std::shared_ptr<const Btf> btf_;
  UniqueFd fd_;
};

}  // namespace lmn
