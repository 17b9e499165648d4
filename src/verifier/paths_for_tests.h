// SPDX-License-Identifier: Apache-2.0
//
// Small programs in text, an environment and maps to judge them in, and the cases of the rules of
// the path-sensitive stage.
//
// Only for tests; nothing shipped includes it. Threads: constants and pure functions. Tested by its
// users.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "verifier/structure_for_tests.h"
#include "verifier/verifier.h"

namespace lmn::paths_tests {

using structure_tests::map_spec;
using structure_tests::program_of;

inline constexpr HelperArg kMap{ArgKind::kConstMapPtr};
inline constexpr HelperArg kKey{ArgKind::kPtrToMapKey};
inline constexpr HelperArg kAny{ArgKind::kAnything};
inline constexpr HelperArg kCtx{ArgKind::kPtrToCtx};
inline constexpr HelperArg kLock{ArgKind::kPtrToSpinLock};
inline constexpr HelperArg kFunc{ArgKind::kPtrToFunc};
inline constexpr HelperArg kMem{ArgKind::kPtrToMem, kArgRdonly};
inline constexpr HelperArg kMemUninit{ArgKind::kPtrToMem, kArgUninit | kArgWrite};
inline constexpr HelperArg kSize{ArgKind::kConstSize};
inline constexpr HelperArg kStackOrNull{ArgKind::kPtrToStack, kArgMaybeNull};

// The rows of these helpers as Linux has them.
inline constexpr HelperProto kHelpers[] = {
    {.id = 1,
     .name = "bpf_map_lookup_elem",
     .flags = kHelperPktAccess,
     .ret = RetKind::kPtrToMapValue,
     .ret_flags = kArgMaybeNull,
     .args = {kMap, kKey}},
    {.id = 5, .name = "bpf_ktime_get_ns"},
    {.id = 6, .name = "bpf_trace_printk", .args = {kMem, kSize}},
    {.id = 7, .name = "bpf_get_prandom_u32"},
    {.id = 8, .name = "bpf_get_smp_processor_id"},
    {.id = 12, .name = "bpf_tail_call", .ret = RetKind::kVoid, .args = {kCtx, kMap, kAny}},
    {.id = 16, .name = "bpf_get_current_comm", .args = {kMemUninit, kSize}},
    {.id = 44, .name = "bpf_xdp_adjust_head", .flags = kHelperChangesPacket, .args = {kCtx, kAny}},
    {.id = 93, .name = "bpf_spin_lock", .ret = RetKind::kVoid, .args = {kLock}},
    {.id = 94, .name = "bpf_spin_unlock", .ret = RetKind::kVoid, .args = {kLock}},
    {.id = 131,
     .name = "bpf_ringbuf_reserve",
     .ret = RetKind::kPtrToMem,
     .ret_flags = kArgMaybeNull | kArgAcquire,
     .args = {kMap, HelperArg{ArgKind::kConstAllocSizeOrZero}, kAny}},
    {.id = 133,
     .name = "bpf_ringbuf_discard",
     .ret = RetKind::kVoid,
     .args = {HelperArg{ArgKind::kPtrToRingbufMem, kArgRelease}, kAny}},
    {.id = 164,
     .name = "bpf_for_each_map_elem",
     .flags = kHelperCallsBack,
     .args = {kMap, kFunc, kStackOrNull, kAny}},
    {.id = 181,
     .name = "bpf_loop",
     .flags = kHelperCallsBack,
     .args = {kAny, kFunc, kStackOrNull, kAny}},
};
inline constexpr KfuncArg kIterator{.kind = KfuncArgKind::kIterator,
                                    .iterator = KfuncIterator::kNum};
inline constexpr KfuncArg kScalar{.kind = KfuncArgKind::kScalar};
// Sorted by name.
inline constexpr KfuncProto kKfuncs[] = {
    {.name = "bpf_dynptr_from_xdp",
     .ret = KfuncRet::kScalar,
     .args = {KfuncArg{.kind = KfuncArgKind::kCtx}, kScalar,
              KfuncArg{.kind = KfuncArgKind::kDynptr, .flags = kKfuncArgUninit}}},
    {.name = "bpf_iter_num_destroy", .flags = kKfIterDestroy, .args = {kIterator}},
    {.name = "bpf_iter_num_new",
     .flags = kKfIterNew,
     .ret = KfuncRet::kScalar,
     .args = {kIterator, kScalar, kScalar}},
    {.name = "bpf_iter_num_next",
     .flags = kKfIterNext | kKfRetNull,
     .ret = KfuncRet::kMem,
     .ret_is_read_only = true,
     .ret_size = 4,
     .args = {kIterator}},
    {.name = "bpf_rcu_read_lock", .flags = kKfRcuLock},
    {.name = "bpf_rcu_read_unlock", .flags = kKfRcuUnlock},
    {.name = "crash_kexec", .flags = kKfDestructive},
};
inline constexpr std::string_view kKfuncNames[] = {
    "bpf_iter_num_new",    "bpf_iter_num_next",   "bpf_iter_num_destroy", "bpf_rcu_read_lock",
    "bpf_rcu_read_unlock", "bpf_dynptr_from_xdp", "crash_kexec"};

inline constexpr MapTypeInfo kMapTypes[] = {
    {.type = BPF_MAP_TYPE_HASH, .name = "hash"},
    {.type = BPF_MAP_TYPE_ARRAY, .name = "array", .flags = kMapDirectValue},
    {.type = BPF_MAP_TYPE_PROG_ARRAY, .name = "prog_array", .flags = kMapHoldsPrograms},
    {.type = BPF_MAP_TYPE_LPM_TRIE, .name = "lpm_trie"},
    {.type = BPF_MAP_TYPE_RINGBUF, .name = "ringbuf"},
};

// BTF with one type that matters, number 2: struct value { struct bpf_spin_lock lock; ... }.
inline std::shared_ptr<const Btf> lock_types() {
  constexpr std::string_view kStrings("\0bpf_spin_lock\0value\0lock\0", 26);
  constexpr std::uint32_t kStruct = 4u << 24;
  // name, kind and members, size; then per member: name, type, offset in bits.
  const std::vector<std::uint32_t> types{1, kStruct, 4, 15, kStruct | 1, 16, 21, 1, 0};
  const auto type_bytes = static_cast<std::uint32_t>(types.size() * 4);
  const std::vector<std::uint32_t> header{0x0001eb9f, 24, 0, type_bytes, type_bytes, 26};
  std::vector<std::uint8_t> bytes;
  for (const auto* words : {&header, &types}) {
    for (const std::uint32_t word : *words) {
      for (unsigned shift = 0; shift < 32; shift += 8) {
        bytes.push_back(static_cast<std::uint8_t>(word >> shift));
      }
    }
  }
  bytes.insert(bytes.end(), kStrings.begin(), kStrings.end());
  auto btf = parse_btf(bytes);
  EXPECT_TRUE(btf) << (btf ? "" : btf.error().to_string());
  return btf ? *btf : nullptr;
}

// map[0] hash of 16-byte values, map[1] global data of 16 bytes, map[2] the same, read-only and
// frozen, holding 1, 0, 0 ..., map[3] ring buffer, map[4] program array, map[5] global data that
// begins with a lock.
inline std::vector<MapSpec> test_maps() {
  std::vector<MapSpec> maps{map_spec("flows", BPF_MAP_TYPE_HASH, 16, 4),
                            map_spec(".data", BPF_MAP_TYPE_ARRAY, 16, 1),
                            map_spec(".rodata", BPF_MAP_TYPE_ARRAY, 16, 1),
                            map_spec("events", BPF_MAP_TYPE_RINGBUF, 0, 4096),
                            map_spec("jumps", BPF_MAP_TYPE_PROG_ARRAY, 4, 4),
                            map_spec(".data.A", BPF_MAP_TYPE_ARRAY, 16, 1),
                            map_spec("routes", BPF_MAP_TYPE_LPM_TRIE, 16, 4)};
  maps[5].btf_value_type_id = 2;
  maps[2].map_flags = BPF_F_RDONLY_PROG;
  maps[2].is_frozen_at_load = true;
  maps[2].contents = {1};
  return maps;
}

struct Verdict {
  bool is_accepted = false;
  VerifierReport report;
  std::uint64_t processed = 0;
  std::string structure_error;
};

inline Verdict judge(std::string_view text, Strictness strictness = Strictness::kTrusted,
                     const VerifyOptions& wanted = {}, std::uint32_t prog_flags = 0) {
  const Environment environment{.helpers = kHelpers,
                                .map_types = kMapTypes,
                                .context = kXdpMdFields,
                                .strictness = strictness,
                                .kfuncs = kKfuncs};
  const std::vector<MapSpec> maps = test_maps();
  ProgramSpec program = program_of(text, maps.size());
  program.prog_flags = prog_flags;
  program.kfuncs.clear();
  for (const std::string_view name : kKfuncNames) program.kfuncs.emplace_back().name = name;
  const auto btf = lock_types();
  Verdict out;
  auto structure = check_structure(environment, program, maps, {.defers_operations = true});
  if (!structure) {
    out.structure_error = structure.error().to_string();
    return out;
  }
  VerifyOptions options = wanted;
  options.report = &out.report;
  options.btf = btf.get();
  auto verified = verify(environment, *std::move(structure), options);
  out.is_accepted = verified.has_value();
  if (verified) out.processed = verified->facts().processed;
  return out;
}

inline constexpr std::string_view kLookup = R"(
    *(u32 *)(r10 -4) = 1
    r2 = r10
    r2 += -4
    r1 = map[idx:0]
    call bpf_map_lookup_elem
)";
inline constexpr std::string_view kPacket = R"(
    r2 = *(u32 *)(r1 +0)
    r3 = *(u32 *)(r1 +4)
    r4 = r2
)";
inline constexpr std::string_view kReturn = R"(
    r0 = 2
    exit
)";

struct Case {
  Rule rule{};
  bool is_accepted = false;
  std::string name;
  std::string text;
  std::string message;  // part of the kernel's wording
  Strictness strictness = Strictness::kTrusted;
};

inline Case accept(Rule rule, std::string name, std::string text,
                   Strictness strictness = Strictness::kTrusted) {
  return {rule, true, std::move(name), std::move(text), "", strictness};
}
inline Case reject(Rule rule, std::string name, std::string text, std::string message,
                   Strictness strictness = Strictness::kTrusted) {
  return {rule, false, std::move(name), std::move(text), std::move(message), strictness};
}

inline void PrintTo(const Case& wanted, std::ostream* out) { *out << wanted.name; }

inline std::string join(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const std::string_view part : parts) out += part;
  return out;
}

inline void expect_verdict(const Case& wanted) {
  const Verdict verdict = judge(wanted.text, wanted.strictness);
  ASSERT_EQ(verdict.structure_error, "");
  if (wanted.is_accepted) {
    EXPECT_TRUE(verdict.is_accepted) << verdict.report.kernel_message;
    return;
  }
  ASSERT_FALSE(verdict.is_accepted);
  EXPECT_EQ(rule_info(verdict.report.rule).id, rule_info(wanted.rule).id)
      << verdict.report.kernel_message;
  EXPECT_NE(verdict.report.kernel_message.find(wanted.message), std::string::npos)
      << verdict.report.kernel_message;
}

inline std::string case_name(const testing::TestParamInfo<Case>& info) { return info.param.name; }

}  // namespace lmn::paths_tests
