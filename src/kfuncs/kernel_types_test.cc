// SPDX-License-Identifier: Apache-2.0
//
// Goal: the types that programs are judged by are those they were relocated for, and LMN's own BTF
// says what its tables and its header for programs say. Method: against made graphs, against the
// BTF of the machine's kernel, and against rows of kfuncs.def.
#include "kfuncs/kernel_types.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "btf/btf_writer.h"
#include "kfuncs/kfuncs.h"
#include "kfuncs/own_types.h"

namespace lmn {
namespace {

std::shared_ptr<const Btf> types_for(const Btf* target) {
  auto types = make_kernel_types(target);
  EXPECT_TRUE(types.has_value()) << types.error().to_string();
  return types ? *types : nullptr;
}

TEST(KernelTypesTest, WithoutATargetConnectionsHaveTheDefaultLayout) {
  const auto types = types_for(nullptr);
  EXPECT_EQ(nf_conn_layout(*types), NfConnLayout{});
  EXPECT_EQ(flow_layout(*types), FlowLayout{});
}

TEST(KernelTypesTest, EveryOwnStructHasItsSizeAndMembersInside) {
  const auto types = types_for(nullptr);
  for (const OwnStruct& own : own_structs()) {
    const auto id =
        types->find_by_name(own.name, own.is_union ? BtfKind::kUnion : BtfKind::kStruct);
    ASSERT_TRUE(id.has_value()) << own.name;
    EXPECT_EQ(types->type(*id).size, own.size_bytes);
    for (const BtfMember& member : types->members(types->type(*id))) {
      const auto size = types->resolve_size(member.type);
      ASSERT_TRUE(size.has_value()) << own.name << "." << member.name;
      EXPECT_LE(member.bit_offset / 8 + *size, own.size_bytes) << own.name << "." << member.name;
    }
  }
}

TEST(KernelTypesTest, ConnectionsHaveTheLayoutOfTheMachinesKernel) {
  const auto bytes = read_file("/sys/kernel/btf/vmlinux", 64u << 20);
  if (!bytes) GTEST_SKIP() << "the kernel shows no BTF";
  const auto host = parse_btf(*bytes);
  ASSERT_TRUE(host.has_value());
  const auto theirs = (*host)->find_by_name("nf_conn", BtfKind::kStruct);
  if (!theirs) GTEST_SKIP() << "the kernel has no connection tracking";
  const auto types = types_for(host->get());
  const NfConnLayout layout = nf_conn_layout(*types);
  const BtfType& connection = (*host)->type(*theirs);
  EXPECT_EQ(layout.size_bytes, connection.size);
  EXPECT_EQ(layout.timeout, (*host)->find_member(connection, "timeout")->bit_offset / 8);
  EXPECT_EQ(layout.status, (*host)->find_member(connection, "status")->bit_offset / 8);
  const auto mark = (*host)->find_member(connection, "mark");
  EXPECT_EQ(layout.mark.has_value(), mark.has_value());
  if (mark) {
    EXPECT_EQ(*layout.mark, mark->bit_offset / 8);
  }
  EXPECT_TRUE(ConntrackTable::create({4, 1, layout}).has_value());
}

TEST(KernelTypesTest, ATargetWithoutATimeIsRefused) {
  BtfWriter writer;
  const auto u32 = writer.add_int("unsigned int", 4, 0);
  writer.add_composite(BtfKind::kStruct, "nf_conn", 8, {{"mark", u32, 0}});
  const auto target = parse_btf(writer.finish());
  ASSERT_TRUE(target.has_value());
  const auto types = make_kernel_types(target->get());
  ASSERT_FALSE(types.has_value());
  EXPECT_EQ(types.error().message, "the target's struct nf_conn has no field ct_general.use");
}

TEST(KernelTypesTest, OnlyTheMarkOfAConnectionMayBeWritten) {
  const auto structs = kernel_structs(*types_for(nullptr));
  for (const std::string_view name : {"nf_conn", "nf_conn___init"}) {
    const auto found = std::ranges::find(structs, name, &KernelStruct::name);
    ASSERT_NE(found, structs.end()) << name;
    ASSERT_EQ(found->writable.size(), 1u);
    EXPECT_EQ(found->writable[0].offset, 168u);
    EXPECT_NE(found->give_back, nullptr);
  }
}

// What the suffix and type of a parameter make of it, in the words of a row.
KfuncArgKind kind_of(const OwnParam& param, const OwnParam* next) {
  if (param.type.ends_with("struct xdp_md *")) return KfuncArgKind::kCtx;
  if (param.name.ends_with("__sz")) return KfuncArgKind::kSize;
  if (next != nullptr && next->name.ends_with("__sz")) return KfuncArgKind::kMemSized;
  return param.type.ends_with(" *") ? KfuncArgKind::kMem : KfuncArgKind::kScalar;
}

TEST(KernelTypesTest, OwnFunctionsAreTheRowsThatNoKernelHas) {
  std::size_t rows = 0;
  for (const KfuncProto& proto : kfunc_protos()) rows += proto.name.starts_with("bpf_lmn_") ? 1 : 0;
  EXPECT_EQ(rows, own_functions().size());
  for (const OwnFunction& function : own_functions()) {
    const auto protos = kfunc_protos();
    const auto found = std::ranges::find(protos, function.name, &KfuncProto::name);
    ASSERT_NE(found, protos.end()) << function.name;
    EXPECT_EQ(found->since, "LMN") << function.name;
    for (std::size_t i = 0; i < found->args.size(); ++i) {
      const bool is_there = i < function.params.size();
      const OwnParam* next = i + 1 < function.params.size() ? &function.params[i + 1] : nullptr;
      const KfuncArgKind kind = is_there ? kind_of(function.params[i], next) : KfuncArgKind::kNone;
      EXPECT_EQ(found->args[i].kind, kind) << function.name << " argument " << i + 1;
    }
  }
}

}  // namespace
}  // namespace lmn
