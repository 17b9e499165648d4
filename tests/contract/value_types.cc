// SPDX-License-Identifier: Apache-2.0
//
// ValueTypes.
#include "contract/value_types.h"

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace lmn {
namespace {

std::uint32_t opaque_struct(BtfBuilder& btf, const char* name, std::uint32_t word,
                            std::uint32_t word_size, std::uint32_t size) {
  std::vector<BtfBuilder::Member> members;
  for (std::uint32_t at = 0; at < size; at += word_size) {
    members.push_back({"__opaque" + std::to_string(at), word, at * 8});
  }
  return btf.composite(BTF_KIND_STRUCT, name, size, members);
}

}  // namespace

FieldTypes::FieldTypes(BtfBuilder& btf) {
  u32 = btf.integer("unsigned int", 4, 0);
  u64 = btf.integer("unsigned long long", 8, 0);
  u8 = btf.integer("unsigned char", 1, 0);
  spin_lock = opaque_struct(btf, "bpf_spin_lock", u32, 4, 4);
  resilient_lock = opaque_struct(btf, "bpf_res_spin_lock", u32, 4, 4);
  timer = opaque_struct(btf, "bpf_timer", u64, 8, 16);
  work = opaque_struct(btf, "bpf_wq", u64, 8, 16);
  task_work = opaque_struct(btf, "bpf_task_work", u64, 8, 8);
  list_head = opaque_struct(btf, "bpf_list_head", u64, 8, 16);
  list_node = opaque_struct(btf, "bpf_list_node", u64, 8, 24);
  tree_root = opaque_struct(btf, "bpf_rb_root", u64, 8, 16);
  tree_node = opaque_struct(btf, "bpf_rb_node", u64, 8, 32);
  refcount = opaque_struct(btf, "bpf_refcount", u32, 4, 4);
  object = btf.composite(BTF_KIND_STRUCT, "lmn_object", 72,
                         {{"key", u64, 0},
                          {"node", list_node, 64},
                          {"tree", tree_node, 256},
                          {"count", refcount, 512}});
  const auto pointer = [&](const char* tag) {
    return btf.reference(BTF_KIND_PTR, btf.reference(BTF_KIND_TYPE_TAG, object, tag));
  };
  kptr = pointer("kptr");
  kptr_untrusted = pointer("kptr_untrusted");
  percpu_kptr = pointer("percpu_kptr");
  user_pointer = pointer("user");
}

std::int32_t StructBuilder::add(std::uint32_t type, std::uint32_t size, std::uint32_t align) {
  const std::uint32_t offset = (end_ + align - 1) / align * align;
  members_.push_back({"m" + std::to_string(members_.size()), type, offset * 8});
  end_ = offset + size;
  align_ = std::max(align_, align);
  return static_cast<std::int32_t>(members_.size() - 1);
}

std::uint32_t StructBuilder::finish() {
  return btf_.composite(BTF_KIND_STRUCT, name_, size(), members_);
}

Result<ValueTypes> ValueTypes::load(const std::vector<std::uint8_t>& bytes) {
  ValueTypes types;
  LMN_TRY(types.btf_, parse_btf(bytes));
  std::string log(65536, '\0');
  union bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.btf = reinterpret_cast<std::uintptr_t>(bytes.data());
  attr.btf_size = static_cast<std::uint32_t>(bytes.size());
  attr.btf_log_buf = reinterpret_cast<std::uintptr_t>(log.data());
  attr.btf_log_size = static_cast<std::uint32_t>(log.size());
  attr.btf_log_level = 1;
  types.fd_.reset(static_cast<int>(::syscall(__NR_bpf, BPF_BTF_LOAD, &attr, sizeof attr)));
  if (!types.fd_.is_open()) {
    return make_errno_error(ErrorCode::kIo, errno, "BPF_BTF_LOAD: " + std::string(log.c_str()));
  }
  return types;
}

void ValueTypes::describe(MapSpec& spec, std::uint32_t key, std::uint32_t value) const {
  spec.btf = btf_;
  spec.btf_key_type_id = key;
  spec.btf_value_type_id = value;
}

}  // namespace lmn
