// SPDX-License-Identifier: Apache-2.0
//
// Goal: kfuncs.def says of each kernel function what the kernel's verifier reads from its type:
// number and kinds of arguments, result.
// Method: the function is looked up in the BTF of this machine's kernel; the kind of each parameter
// follows from its type and from the suffix of its name, as kernel/bpf/verifier.c derives it, and
// is compared with the row. Functions that this kernel does not have (newer ones, and those of
// options it was built without) are named. KF_* flags are in no BTF and not compared.
// Source: Linux 6.18, kernel/bpf/verifier.c (get_kfunc_ptr_arg_type, is_kfunc_arg_*).
#include <gtest/gtest.h>
#include <linux/btf.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/file.h"
#include "btf/btf.h"
#include "differential/compared_rows.h"
#include "kfuncs/kfuncs.h"

namespace lmn {
namespace {

std::shared_ptr<const Btf> kernel_btf() {
  constexpr std::size_t kBytesMax = 64u << 20;
  auto bytes = read_file("/sys/kernel/btf/vmlinux", kBytesMax);
  if (!bytes) return nullptr;
  auto btf = parse_btf(*bytes);
  return btf ? *btf : nullptr;
}

using Kind = KfuncArgKind;

struct Suffix {
  std::string_view text;
  Kind kind;
};
constexpr Suffix kSuffixes[] = {
    {"__szk", Kind::kConstSize},
    {"__sz", Kind::kSize},
    {"local_type_id__k", Kind::kLocalTypeId},
    {"btf_id__k", Kind::kKernelTypeId},
    {"__k", Kind::kConstScalar},
    {"meta__ign", Kind::kMeta},
    {"aux__prog", Kind::kMeta},
    {"aux__ign", Kind::kMeta},
    {"__ign", Kind::kIgnored},
    {"__map", Kind::kMap},
    {"__refcounted_kptr", Kind::kRefcounted},
    {"__irq_flag", Kind::kIrqFlag},
    {"__str", Kind::kString},
    {"__alloc", Kind::kAllocObject},
};

struct StructKind {
  std::string_view name;
  Kind kind;
};
constexpr StructKind kStructs[] = {
    {"bpf_dynptr", Kind::kDynptr},
    {"xdp_md", Kind::kCtx},
    {"bpf_map", Kind::kMap},
    {"bpf_list_head", Kind::kListHead},
    {"bpf_list_node", Kind::kListNode},
    {"bpf_rb_root", Kind::kRbRoot},
    {"bpf_rb_node", Kind::kRbNode},
    {"bpf_res_spin_lock", Kind::kResSpinLock},
    {"bpf_timer", Kind::kTimer},
    {"bpf_wq", Kind::kWorkqueue},
    {"bpf_task_work", Kind::kTaskWork},
};

class Prototype {
 public:
  Prototype(const Btf& btf, const BtfType& function)
      : btf_(btf), proto_(btf.type(function.type)), params_(btf.params(proto_)) {}

  std::size_t count() const { return params_.size(); }
  const BtfParam& param(std::size_t i) const { return params_[i]; }

  bool is_pointer(std::uint32_t type) const { return plain(type).kind == BtfKind::kPtr; }
  // What a pointer points to, without modifiers and typedefs.
  const BtfType& target(std::uint32_t type) const { return plain(plain(type).type); }
  bool is_target_const(std::uint32_t type) const {
    for (std::uint32_t id = plain(type).type;; id = btf_.type(id).type) {
      if (btf_.type(id).kind == BtfKind::kConst) return true;
      if (!btf_.type(id).is_modifier()) return false;
    }
  }

  // Kinds that may stand in the row for parameter `i`: the first is the derived one.
  std::vector<Kind> kinds(std::size_t i) const {
    const BtfParam& param = params_[i];
    for (const Suffix& suffix : kSuffixes) {
      if (!param.name.ends_with(suffix.text)) continue;
      if (suffix.kind == Kind::kAllocObject) return {suffix.kind, Kind::kPercpuObject};
      return {suffix.kind};
    }
    if (!is_pointer(param.type)) return {Kind::kScalar, Kind::kNodeOffset};
    const BtfType& to = target(param.type);
    if (to.kind == BtfKind::kFuncProto) return {Kind::kCallback};
    if (i + 1 < params_.size() && is_size(params_[i + 1])) return {Kind::kMemSized};
    for (const StructKind& known : kStructs) {
      if (to.name == known.name) return {known.kind};
    }
    if (to.name.starts_with("bpf_iter_")) return {Kind::kIterator};
    if (to.kind == BtfKind::kVoid) return {Kind::kCtx};  // bpf_cast_to_kern_ctx
    if (to.is_composite()) return {Kind::kKernelObject, Kind::kMem};
    return {Kind::kMem};
  }

  const BtfType& result_target() const { return plain(result().type); }
  const BtfType& result() const { return plain(proto_.type); }

  std::uint32_t size_of(const BtfType& type) const {
    for (std::uint32_t id = 1; id < btf_.type_count(); ++id) {
      if (&btf_.type(id) != &type) continue;
      const auto size = btf_.resolve_size(id);
      return size ? *size : 0;
    }
    return 0;
  }

 private:
  static bool is_size(const BtfParam& param) {
    return param.name.ends_with("__sz") || param.name.ends_with("__szk");
  }
  const BtfType& plain(std::uint32_t type) const {
    return btf_.type(btf_.skip_modifiers_and_typedefs(type));
  }

  const Btf& btf_;
  const BtfType& proto_;
  std::span<const BtfParam> params_;
};

void compare_argument(const Prototype& kernel, std::size_t i, const KfuncArg& arg) {
  const BtfParam& param = kernel.param(i);
  const auto kinds = kernel.kinds(i);
  EXPECT_NE(std::ranges::find(kinds, arg.kind), kinds.end())
      << static_cast<int>(arg.kind) << ", not " << static_cast<int>(kinds[0]);
  const bool may_be_null = param.name.ends_with("__opt") || param.name.ends_with("__nullable");
  EXPECT_EQ((arg.flags & kKfuncArgMaybeNull) != 0, may_be_null);
  if (arg.kind == Kind::kDynptr) {
    EXPECT_EQ((arg.flags & kKfuncArgUninit) != 0, param.name.ends_with("__uninit"));
  }
  if (arg.kind == Kind::kKernelObject) {
    EXPECT_EQ(kernel.target(param.type).name, arg.type_name);
  }
  if (arg.kind == Kind::kMem) {
    EXPECT_EQ(kernel.size_of(kernel.target(param.type)), arg.fixed_size);
  }
  if (arg.kind == Kind::kMemSized && (arg.flags & kKfuncArgReadOnly) != 0) {
    // Memory that the kernel's type lets the function write is written, except for tuples.
    const bool is_tuple = kernel.target(param.type).name == "bpf_sock_tuple";
    EXPECT_TRUE(kernel.is_target_const(param.type) || is_tuple);
  }
}

void compare_result(const Prototype& kernel, const KfuncProto& row) {
  const BtfType& result = kernel.result();
  switch (row.ret) {
    case KfuncRet::kVoid:
      EXPECT_EQ(result.kind, BtfKind::kVoid);
      return;
    case KfuncRet::kScalar:
      ASSERT_EQ(result.kind, BtfKind::kInt);
      EXPECT_EQ(result.size, row.ret_size);
      EXPECT_EQ(((result.int_info().encoding & BTF_INT_SIGNED) != 0), row.ret_is_signed);
      return;
    case KfuncRet::kKernelObject:
      ASSERT_EQ(result.kind, BtfKind::kPtr);
      EXPECT_EQ(kernel.result_target().name, row.ret_type_name);
      return;
    case KfuncRet::kMem:
    case KfuncRet::kMemOfSize:
    case KfuncRet::kCtxObject:
    case KfuncRet::kUntrusted:
    case KfuncRet::kAllocObject:
    case KfuncRet::kPercpuObject:
    case KfuncRet::kSameObject:
    case KfuncRet::kListNode:
    case KfuncRet::kRbNode:
    case KfuncRet::kArenaPointer:
      EXPECT_EQ(result.kind, BtfKind::kPtr);
      return;
  }
}

TEST(KfuncRows, SayWhatTheKernelsTypesSay) {
  const auto btf = kernel_btf();
  if (btf == nullptr) GTEST_SKIP() << "no BTF of this kernel in /sys/kernel/btf/vmlinux";
  std::size_t compared = 0;
  std::string absent;
  for (const KfuncProto& row : kfunc_protos()) {
    SCOPED_TRACE(row.name);
    const auto id = btf->find_by_name(row.name, BtfKind::kFunc);
    if (!id) {
      absent += " " + std::string(row.name);
      continue;
    }
    ++compared;
    const Prototype kernel(*btf, btf->type(*id));
    std::size_t count = 0;
    while (count < row.args.size() && row.args[count].kind != Kind::kNone) ++count;
    ASSERT_EQ(count, kernel.count());
    for (std::size_t i = 0; i < count; ++i) {
      SCOPED_TRACE(kernel.param(i).name);
      compare_argument(kernel, i, row.args[i]);
    }
    compare_result(kernel, row);
  }
  std::printf("%zu functions compared; not in this kernel:%s\n", compared, absent.c_str());
  EXPECT_GT(compared, 0u);
}

// Functions of the kernel that no program here can compare, and why.
struct NotCompared {
  std::string_view name;
  std::string_view reason;
};
constexpr NotCompared kNotCompared[] = {
    {"__bpf_trap", "a call that could be reached is refused by both"},
};

// Why nothing compares the row with this kernel; empty: something must.
std::string_view reason_of(const KfuncProto& row, const Btf& kernel) {
  if (!row.refusal.empty()) return row.refusal;
  if (row.since == "LMN") return "LMN's own; tests/differential/own_kfuncs_test.cc calls it";
  // Programs of XDP may not call what sleeps.
  if ((row.flags & kKfSleepable) != 0) return "sleeps: neither lets a program of XDP call it";
  if (!kernel.find_by_name(row.name, BtfKind::kFunc)) return "this kernel does not have it";
  const auto found = std::ranges::find(kNotCompared, row.name, &NotCompared::name);
  return found != std::end(kNotCompared) ? found->reason : std::string_view();
}

TEST(KfuncRows, EachOneOfferedIsComparedWithTheKernelsOrSaysWhyNot) {
  const auto btf = kernel_btf();
  if (btf == nullptr) GTEST_SKIP() << "no BTF of this kernel in /sys/kernel/btf/vmlinux";
  const std::string sources = comparison_sources();
  for (const KfuncProto& row : kfunc_protos()) {
    const std::string_view reason = reason_of(row, *btf);
    print_row(row.name, reason);
    if (!reason.empty()) continue;
    EXPECT_TRUE(names_word(sources, row.name)) << row.name;
  }
}

}  // namespace
}  // namespace lmn
