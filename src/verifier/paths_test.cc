// SPDX-License-Identifier: Apache-2.0
//
// Goal: each rule of the path-sensitive stage accepts what keeps it and refuses what breaks it,
// with the rule's id and the kernel's words. Method: a table of small programs in text; loops,
// callbacks and pruning by programs whose cost shows whether they converge.
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "verifier/structure_for_tests.h"
#include "verifier/verifier.h"

namespace lmn {
namespace {

using structure_tests::map_spec;
using structure_tests::program_of;

constexpr HelperArg kMap{ArgKind::kConstMapPtr};
constexpr HelperArg kKey{ArgKind::kPtrToMapKey};
constexpr HelperArg kAny{ArgKind::kAnything};
constexpr HelperArg kCtx{ArgKind::kPtrToCtx};
constexpr HelperArg kLock{ArgKind::kPtrToSpinLock};
constexpr HelperArg kFunc{ArgKind::kPtrToFunc};
constexpr HelperArg kMem{ArgKind::kPtrToMem, kArgRdonly};
constexpr HelperArg kMemUninit{ArgKind::kPtrToMem, kArgUninit | kArgWrite};
constexpr HelperArg kSize{ArgKind::kConstSize};
constexpr HelperArg kStackOrNull{ArgKind::kPtrToStack, kArgMaybeNull};

// The rows of these helpers as Linux has them.
constexpr HelperProto kHelpers[] = {
    {.id = 1,
     .name = "bpf_map_lookup_elem",
     .flags = kHelperPktAccess,
     .ret = RetKind::kPtrToMapValue,
     .ret_flags = kArgMaybeNull,
     .args = {kMap, kKey}},
    {.id = 5, .name = "bpf_ktime_get_ns"},
    {.id = 6, .name = "bpf_trace_printk", .args = {kMem, kSize}},
    {.id = 7, .name = "bpf_get_prandom_u32"},
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
constexpr KfuncArg kIterator{.kind = KfuncArgKind::kIterator, .iterator = KfuncIterator::kNum};
constexpr KfuncArg kScalar{.kind = KfuncArgKind::kScalar};
// Sorted by name.
constexpr KfuncProto kKfuncs[] = {
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
    {.name = "bpf_obj_new_impl", .flags = kKfAcquire | kKfRetNull, .ret = KfuncRet::kAllocObject},
    {.name = "bpf_rcu_read_lock", .flags = kKfRcuLock},
    {.name = "bpf_rcu_read_unlock", .flags = kKfRcuUnlock},
};
constexpr std::string_view kKfuncNames[] = {
    "bpf_iter_num_new",    "bpf_iter_num_next",   "bpf_iter_num_destroy", "bpf_rcu_read_lock",
    "bpf_rcu_read_unlock", "bpf_dynptr_from_xdp", "bpf_obj_new_impl"};

constexpr MapTypeInfo kMapTypes[] = {
    {.type = BPF_MAP_TYPE_HASH, .name = "hash"},
    {.type = BPF_MAP_TYPE_ARRAY, .name = "array", .flags = kMapDirectValue},
    {.type = BPF_MAP_TYPE_PROG_ARRAY, .name = "prog_array", .flags = kMapHoldsPrograms},
    {.type = BPF_MAP_TYPE_LPM_TRIE, .name = "lpm_trie"},
    {.type = BPF_MAP_TYPE_RINGBUF, .name = "ringbuf"},
};

// BTF with one type that matters, number 2: struct value { struct bpf_spin_lock lock; ... }.
std::shared_ptr<const Btf> lock_types() {
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
std::vector<MapSpec> test_maps() {
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

Verdict judge(std::string_view text, Strictness strictness = Strictness::kTrusted,
              const VerifyOptions& wanted = {}) {
  const Environment environment{.helpers = kHelpers,
                                .map_types = kMapTypes,
                                .context = kXdpMdFields,
                                .strictness = strictness,
                                .kfuncs = kKfuncs};
  const std::vector<MapSpec> maps = test_maps();
  ProgramSpec program = program_of(text, maps.size());
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

constexpr std::string_view kLookup = R"(
    *(u32 *)(r10 -4) = 1
    r2 = r10
    r2 += -4
    r1 = map[idx:0]
    call bpf_map_lookup_elem
)";
constexpr std::string_view kPacket = R"(
    r2 = *(u32 *)(r1 +0)
    r3 = *(u32 *)(r1 +4)
    r4 = r2
)";
constexpr std::string_view kReturn = R"(
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

Case accept(Rule rule, std::string name, std::string text,
            Strictness strictness = Strictness::kTrusted) {
  return {rule, true, std::move(name), std::move(text), "", strictness};
}
Case reject(Rule rule, std::string name, std::string text, std::string message,
            Strictness strictness = Strictness::kTrusted) {
  return {rule, false, std::move(name), std::move(text), std::move(message), strictness};
}

void PrintTo(const Case& wanted, std::ostream* out) { *out << wanted.name; }

std::string join(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const std::string_view part : parts) out += part;
  return out;
}

std::vector<Case> value_and_pointer_cases() {
  return {
      reject(Rule::kUninitialised, "UninitialisedRead", "r0 = r3\nexit", "R3 !read_ok"),
      accept(Rule::kUninitialised, "InitialisedRead", "r3 = 1\nr0 = r3\nexit"),
      reject(Rule::kUninitialised, "ClobberedByCall",
             "r3 = 1\ncall bpf_ktime_get_ns\nr0 = r3\nexit", "R3 !read_ok"),
      accept(Rule::kUninitialised, "SavedOverCall", "r6 = 1\ncall bpf_ktime_get_ns\nr0 = r6\nexit"),
      reject(Rule::kPointerArithmetic, "UnboundedAdd",
             join({"r6 = r1\ncall bpf_get_prandom_u32\nr0 <<= 33\nr6 += r0\n", kReturn}),
             "math between ctx pointer and register with unbounded min value"),
      accept(Rule::kPointerArithmetic, "BoundedAdd",
             join({"r6 = r10\ncall bpf_get_prandom_u32\nr0 &= 7\nr6 += r0\n", kReturn})),
      reject(Rule::kPointerArithmetic, "PointerTimesNumber", "r1 *= 2\nr0 = 0\nexit",
             "R1 pointer arithmetic with *= operator prohibited"),
      accept(Rule::kPointerArithmetic, "PointerPlusConstant",
             join({"r2 = r10\nr2 += -8\n*(u64 *)(r2 +0) = 1\n", kReturn})),
      reject(Rule::kPointerArithmetic, "MapPlusOne", join({"r1 = map[idx:0]\nr1 += 1\n", kReturn}),
             "pointer arithmetic on map_ptr prohibited"),
      reject(Rule::kNotAPointer, "NumberAsPointer", "r2 = 5\nr0 = *(u32 *)(r2 +0)\nexit",
             "R2 invalid mem access 'scalar'"),
      accept(Rule::kNotAPointer, "PointerAsPointer",
             join({"r2 = r10\n*(u64 *)(r2 -8) = 1\n", kReturn})),
      accept(Rule::kPointerLeak, "ReturnsPointerTrusted", "r0 = r10\nexit"),
      reject(Rule::kPointerLeak, "ReturnsPointerUntrusted", "r0 = r10\nexit", "R0 leaks addr",
             Strictness::kUntrusted),
      accept(Rule::kPointerLeak, "ReturnsNumberUntrusted", "r0 = 1\nexit", Strictness::kUntrusted),
  };
}

std::vector<Case> memory_cases() {
  return {
      reject(Rule::kPacketBounds, "PacketUnchecked", join({kPacket, "r0 = *(u8 *)(r2 +0)\nexit"}),
             "invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)"),
      accept(
          Rule::kPacketBounds, "PacketChecked",
          join({kPacket, "r4 += 14\nif r4 > r3 goto out\nr0 = *(u8 *)(r2 +13)\nout:\n", kReturn})),
      reject(
          Rule::kPacketBounds, "PacketOneTooFar",
          join({kPacket, "r4 += 14\nif r4 > r3 goto out\nr0 = *(u8 *)(r2 +14)\nout:\n", kReturn}),
          "off=14 size=1"),
      reject(Rule::kPacketBounds, "PacketWrongBranch",
             join({kPacket,
                   "r4 += 14\nif r4 > r3 goto bad\nr0 = 2\nexit\nbad:\nr0 = *(u8 *)(r2 +0)\n"
                   "exit"}),
             "outside of the packet"),
      reject(Rule::kNotAPointer, "PacketAfterMove",
             join({"r6 = r1\n", kPacket,
                   "r4 += 14\nif r4 > r3 goto out\nr7 = r2\nr1 = r6\nr2 = 0\n"
                   "call bpf_xdp_adjust_head\nr0 = *(u8 *)(r7 +0)\nout:\n",
                   kReturn}),
             "invalid mem access 'scalar'"),
      accept(Rule::kContextAccess, "ContextField", "r0 = *(u32 *)(r1 +12)\nexit"),
      reject(Rule::kContextAccess, "ContextHalfField", "r0 = *(u16 *)(r1 +12)\nexit",
             "invalid bpf_context access off=12 size=2"),
      reject(Rule::kContextAccess, "ContextWrite", join({"*(u32 *)(r1 +12) = 1\n", kReturn}),
             "invalid bpf_context access"),
      reject(Rule::kNullCheck, "MapValueUnchecked", join({kLookup, "r0 = *(u32 *)(r0 +0)\nexit"}),
             "R0 invalid mem access 'map_value_or_null'"),
      accept(Rule::kNullCheck, "MapValueChecked",
             join({kLookup, "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +12)\nout:\n", kReturn})),
      reject(Rule::kMapAccess, "MapValueTooFar",
             join({kLookup, "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +13)\nout:\n", kReturn}),
             "invalid access to map value, value_size=16 off=13 size=4"),
      accept(Rule::kMapAccess, "MapValueBoundedIndex",
             join({kLookup,
                   "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +0)\nif r1 > 12 goto out\n"
                   "r0 += r1\nr1 = *(u32 *)(r0 +0)\nout:\n",
                   kReturn})),
      reject(Rule::kMapAccess, "MapValueUnboundedIndex",
             join({kLookup,
                   "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +0)\nr0 += r1\nr1 = *(u8 *)(r0 +0)\n"
                   "out:\n",
                   kReturn}),
             "R0 unbounded memory access"),
      reject(Rule::kMapAccess, "ReadOnlyMapWrite",
             join({"r1 = map[idx:2]+0\n*(u32 *)(r1 +0) = 1\n", kReturn}),
             "write into map forbidden"),
      accept(Rule::kMapAccess, "FrozenMapDecides",
             "r1 = map[idx:2]+0\nr1 = *(u32 *)(r1 +0)\nif r1 == 1 goto good\nr0 = r9\nexit\ngood:\n"
             "r0 = 2\nexit"),
      accept(
          Rule::kHelperUnknown, "FrozenMapKeepsAway",
          "r1 = map[idx:2]+0\nr1 = *(u32 *)(r1 +0)\nif r1 == 1 goto good\ncall 999\ngood:\nr0 = 2\n"
          "exit"),
      reject(
          Rule::kHelperUnknown, "FrozenMapLeadsTo",
          "r1 = map[idx:2]+0\nr1 = *(u32 *)(r1 +0)\nif r1 != 1 goto good\ncall 999\ngood:\nr0 = 2\n"
          "exit",
          "unknown func"),
  };
}

std::vector<Case> stack_cases() {
  return {
      reject(Rule::kStackAccess, "StackBelow", join({"*(u64 *)(r10 -520) = 1\n", kReturn}),
             "invalid write to stack R10 off=-520 size=8"),
      accept(Rule::kStackAccess, "StackAtTheEnd", join({"*(u64 *)(r10 -512) = 1\n", kReturn})),
      reject(Rule::kStackAccess, "StackAbove", join({"*(u64 *)(r10 +0) = 1\n", kReturn}),
             "invalid write to"),
      accept(Rule::kStackAccess, "StackUninitialisedTrusted", "r0 = *(u64 *)(r10 -8)\nexit"),
      reject(Rule::kStackAccess, "StackUninitialisedUntrusted", "r0 = *(u64 *)(r10 -8)\nexit",
             "invalid read from stack", Strictness::kUntrusted),
      accept(
          Rule::kStackAccess, "StackSpillIsPointer",
          join({"*(u64 *)(r10 -8) = r1\nr2 = *(u64 *)(r10 -8)\nr3 = *(u32 *)(r2 +12)\n", kReturn})),
      reject(Rule::kNotAPointer, "StackHalfOverwrittenPointer",
             join({"*(u64 *)(r10 -8) = r1\n*(u32 *)(r10 -8) = 0\nr2 = *(u64 *)(r10 -8)\n"
                   "r3 = *(u32 *)(r2 +12)\n",
                   kReturn}),
             "invalid mem access 'scalar'"),
      reject(Rule::kMemoryAccess, "RingbufMemoryTooFar",
             "r1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\n"
             "*(u64 *)(r0 +8) = 1\nout:\nr0 = 0\nexit",
             "invalid access to memory, mem_size=8 off=8 size=8"),
      accept(Rule::kMemoryAccess, "RingbufMemory",
             "r1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\n"
             "*(u64 *)(r0 +0) = 1\nr1 = r0\nr2 = 0\ncall bpf_ringbuf_discard\nout:\nr0 = 0\nexit"),
  };
}

std::vector<Case> call_and_end_cases() {
  return {
      reject(Rule::kCallArgument, "HelperWantsMap",
             join({"r1 = 0\nr2 = r10\ncall bpf_map_lookup_elem\n", kReturn}),
             "R1 type=scalar expected=map_ptr"),
      accept(Rule::kCallArgument, "HelperGetsMap", join({kLookup, kReturn})),
      reject(Rule::kCallArgument, "SizeNegative",
             join({"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = -1\ncall bpf_trace_printk\n",
                   kReturn}),
             "R2 min value is negative"),
      reject(Rule::kCallArgument, "SizeZero",
             join({"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = 0\ncall bpf_trace_printk\n",
                   kReturn}),
             "R2 invalid zero-sized read"),
      accept(Rule::kCallArgument, "SizeRight",
             join({"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = 8\ncall bpf_trace_printk\n",
                   kReturn})),
      reject(Rule::kStackAccess, "SizeTooFar",
             join({"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = 9\ncall bpf_trace_printk\n",
                   kReturn}),
             "invalid"),
      accept(
          Rule::kStackAccess, "UninitialisedOut",
          join({"r1 = r10\nr1 += -16\nr2 = 16\ncall bpf_get_current_comm\nr1 = *(u64 *)(r10 -16)\n",
                kReturn}),
          Strictness::kUntrusted),
      reject(Rule::kReference, "ReferenceLeaked",
             "r1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nr0 = 0\nexit",
             "Unreleased reference id="),
      reject(Rule::kCallArgument, "ReferenceReleasedTwice",
             "r1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\nr6 = "
             "r0\n"
             "r1 = r0\nr2 = 0\ncall bpf_ringbuf_discard\nr1 = r6\nr2 = 0\ncall "
             "bpf_ringbuf_discard\nout:\n"
             "r0 = 0\nexit",
             "R1 type=scalar expected=ringbuf_mem"),
      reject(Rule::kReference, "TailCallHoldingReference",
             "r6 = r1\nr1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nr1 = r6\n"
             "r2 = map[idx:4]\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit",
             "tail_call would lead to reference leak"),
      reject(Rule::kLock, "LockWithoutType",
             join({kLookup, "if r0 == 0 goto out\nr1 = r0\ncall bpf_spin_lock\nout:\n", kReturn}),
             "has no valid bpf_spin_lock"),
      reject(Rule::kReturnValue, "CallbackReturnsTwo",
             "r1 = 10\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nbody:\nr0 = "
             "2\nexit",
             "At callback return the register R0"),
      accept(Rule::kReturnValue, "CallbackReturnsOne",
             "r1 = 10\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nbody:\nr0 = "
             "1\nexit"),
      reject(
          Rule::kCallArgument, "CallbackCountIsPointer",
          "r1 = r10\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nbody:\nr0 = r9\n"
          "exit",
          "R1 is not a scalar"),
      reject(Rule::kInfiniteLoop, "InfiniteLoop", "r0 = 0\nagain:\nif r0 == 0 goto again\nexit",
             "infinite loop detected"),
      accept(Rule::kInfiniteLoop, "BoundedLoop",
             "r0 = 0\nagain:\nr0 += 1\nif r0 < 100 goto again\nexit"),
      reject(Rule::kComplexity, "TooLongLoop",
             "r0 = 0\nagain:\nr0 += 1\nif r0 < 1000000 goto again\nexit",
             "BPF program is too large"),
      reject(Rule::kStackAccess, "StackTooDeep",
             "*(u64 *)(r10 -300) = 0\ncall deeper\nexit\ndeeper:\n*(u64 *)(r10 -304) = 0\nr0 = "
             "0\nexit",
             "misaligned stack access"),
      reject(Rule::kStackDepth, "CombinedStackTooDeep",
             "*(u64 *)(r10 -304) = 0\ncall deeper\nexit\ndeeper:\n*(u64 *)(r10 -304) = 0\nr0 = "
             "0\nexit",
             "combined stack size of 2 calls is 608. Too large"),
      accept(Rule::kStackDepth, "CombinedStack",
             "*(u64 *)(r10 -256) = 0\ncall deeper\nexit\ndeeper:\n*(u64 *)(r10 -256) = 0\nr0 = "
             "0\nexit"),
      reject(Rule::kReturnValue, "ReturnsStackOfCallee",
             "call callee\nr0 = 0\nexit\ncallee:\nr0 = r10\nexit",
             "cannot return stack pointer to the caller"),
  };
}

// A chain of `count` frames, the last of which calls bpf_loop.
std::string frames_and_callback(int count) {
  std::string text = "call f1\nexit\n";
  for (int i = 1; i < count - 1; ++i) {
    text += "f" + std::to_string(i) + ":\ncall f" + std::to_string(i + 1) + "\nexit\n";
  }
  return text + "f" + std::to_string(count - 1) +
         ":\nr1 = 2\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nbody:\nr0 = 0\n"
         "exit\n";
}

// kfunc#0 to 5: bpf_iter_num_new, next, destroy, bpf_rcu_read_lock, unlock, bpf_dynptr_from_xdp.
constexpr std::string_view kNewIterator = R"(
    r1 = r10
    r1 += -8
    r2 = 0
    r3 = 10
    call kfunc#0
)";
constexpr std::string_view kDestroyIterator = R"(
    r1 = r10
    r1 += -8
    call kfunc#2
)";

std::vector<Case> family_cases() {
  return {
      accept(
          Rule::kIterator, "IteratorLoop",
          join({kNewIterator, "again:\nr1 = r10\nr1 += -8\ncall kfunc#1\nif r0 != 0 goto again\n",
                kDestroyIterator, kReturn})),
      reject(Rule::kIterator, "IteratorNotMade",
             join({"r1 = r10\nr1 += -8\ncall kfunc#1\n", kReturn}),
             "expected an initialized iter_num as arg #0"),
      reject(Rule::kReference, "IteratorNotDestroyed", join({kNewIterator, kReturn}),
             "Unreleased reference"),
      reject(Rule::kStackAccess, "IteratorIsNoData",
             join({kNewIterator, "r0 = *(u64 *)(r10 -8)\n", kDestroyIterator, kReturn}),
             "invalid read from stack"),
      accept(Rule::kLock, "RcuSection", join({"call kfunc#3\ncall kfunc#4\n", kReturn})),
      reject(Rule::kLock, "RcuSectionLeftOpen", join({"call kfunc#3\n", kReturn}),
             "bpf_rcu_read_lock-ed region"),
      accept(Rule::kDynptr, "DynptrOfPacket",
             join({"r2 = 0\nr3 = r10\nr3 += -16\ncall kfunc#5\nr0 = 1\n", kReturn})),
      reject(Rule::kDynptr, "DynptrAtOddPlace",
             join({"r2 = 0\nr3 = r10\nr3 += -12\ncall kfunc#5\n", kReturn}),
             "cannot pass in dynptr at an offset=-12"),
      reject(Rule::kStackAccess, "DynptrIsNoData",
             join({"r2 = 0\nr3 = r10\nr3 += -16\ncall kfunc#5\nr0 = *(u64 *)(r10 -16)\n", kReturn}),
             "invalid read from stack"),
      accept(Rule::kMapField, "BesideALock",
             join({"r1 = map[idx:5]+0\n*(u32 *)(r1 +4) = 1\n", kReturn})),
      reject(Rule::kMapField, "OverALock",
             join({"r1 = map[idx:5]+0\n*(u32 *)(r1 +0) = 1\n", kReturn}),
             "bpf_spin_lock cannot be accessed directly by load/store"),
      accept(
          Rule::kLock, "LockAndUnlock",
          join({"r1 = map[idx:5]+0\nr6 = r1\ncall bpf_spin_lock\nr1 = r6\ncall bpf_spin_unlock\n",
                kReturn})),
      reject(Rule::kLock, "LockLeftHeld",
             join({"r1 = map[idx:5]+0\ncall bpf_spin_lock\n", kReturn}),
             "BPF_EXIT instruction cannot be used inside bpf_spin_lock-ed region"),
      reject(Rule::kLock, "CallWhileLocked",
             join({"r1 = map[idx:5]+0\ncall bpf_spin_lock\ncall bpf_ktime_get_ns\n", kReturn}),
             "function calls are not allowed while holding a lock"),
      accept(Rule::kNotSupported, "KfuncThatIs", join({"call kfunc#3\ncall kfunc#4\n", kReturn})),
      reject(Rule::kNotSupported, "KfuncThatIsNot", join({"call kfunc#6\n", kReturn}),
             "is not supported"),
      accept(Rule::kCallback, "WalksHash",
             "r1 = map[idx:0]\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_for_each_map_elem\nr0 = 0\n"
             "exit\nbody:\nr0 = *(u32 *)(r3 +12)\nr0 = 0\nexit"),
      reject(Rule::kCallback, "WalksTrie",
             "r1 = map[idx:6]\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_for_each_map_elem\nr0 = 0\n"
             "exit\nbody:\nr0 = 0\nexit",
             "callback function not allowed for map"),
      accept(Rule::kCallFrames, "SevenFramesAndCallback", frames_and_callback(7)),
      reject(Rule::kCallFrames, "EightFramesAndCallback", frames_and_callback(8),
             "the call stack of 8 frames is too deep"),
      accept(Rule::kComplexity, "LongLoop",
             "r0 = 0\nagain:\nr0 += 1\nif r0 < 300000 goto again\nexit"),
      accept(Rule::kMemoryLimit, "FewStates", "r0 = 0\nexit"),
  };
}

class VerifierRules : public testing::TestWithParam<Case> {};

TEST_P(VerifierRules, JudgeSmallPrograms) {
  const Case& wanted = GetParam();
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

std::string case_name(const testing::TestParamInfo<Case>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Pointers, VerifierRules, testing::ValuesIn(value_and_pointer_cases()),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Memory, VerifierRules, testing::ValuesIn(memory_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Stack, VerifierRules, testing::ValuesIn(stack_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Families, VerifierRules, testing::ValuesIn(family_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Ends, VerifierRules, testing::ValuesIn(call_and_end_cases()), case_name);

// 2^20 paths, all alike: only pruning makes it end.
TEST(VerifierPruning, BranchesThatMeetAreWalkedOnce) {
  std::string text = "r6 = r1\nr7 = 0\n";
  for (int i = 0; i < 20; ++i) {
    const std::string label = "l" + std::to_string(i);
    text += "call bpf_get_prandom_u32\nif r0 == 0 goto " + label + "\nr7 = 1\nr8 = 2\nr9 = 3\n";
    text += label + ":\n";
  }
  const Verdict verdict = judge(text + "r0 = 2\nexit");
  ASSERT_TRUE(verdict.is_accepted) << verdict.report.kernel_message;
  EXPECT_LT(verdict.processed, 2000u);
}

// What decides an access must not be pruned away: r7 is 0 or 100 where the paths meet.
TEST(VerifierPruning, NumbersThatDecideAreKeptApart) {
  const std::string text = join({kLookup, R"(
    if r0 == 0 goto out
    r6 = r0
    call bpf_get_prandom_u32
    r7 = 0
    if r0 == 0 goto meet
    r7 = 100
  meet:
    r1 = 1
    r1 = 1
    r1 = 1
    r1 = 1
    r1 = 1
    r1 = 1
    r6 += r7
    r0 = *(u8 *)(r6 +0)
  out:
)",
                                 kReturn});
  const Verdict verdict = judge(text);
  EXPECT_FALSE(verdict.is_accepted);
  EXPECT_EQ(rule_info(verdict.report.rule).id, "map-access");
}

// What a callback of bpf_loop did may have happened any number of times.
TEST(VerifierCallbacks, EffectOfRepetitionIsSeen) {
  const Verdict verdict = judge(R"(
    *(u64 *)(r10 -8) = 0
    r1 = 100
    r2 = func body
    r3 = r10
    r3 += -8
    r4 = 0
    call bpf_loop
    r1 = *(u64 *)(r10 -8)
    if r1 > 3 goto bad
    r0 = 0
    exit
  bad:
    r0 = r9
    exit
  body:
    r1 = *(u64 *)(r2 +0)
    r1 += 1
    *(u64 *)(r2 +0) = r1
    r0 = 0
    exit
)");
  EXPECT_FALSE(verdict.is_accepted);
  EXPECT_EQ(verdict.report.kernel_message, "R9 !read_ok");
}

TEST(VerifierLimits, MemoryIsBounded) {
  VerifyOptions options;
  options.memory_max = 1;
  const Verdict verdict =
      judge("r0 = 0\nagain:\nr0 += 1\nif r0 < 100 goto again\nexit", Strictness::kTrusted, options);
  EXPECT_FALSE(verdict.is_accepted);
  EXPECT_EQ(verdict.report.rule, Rule::kMemoryLimit) << "did not reject";
}

}  // namespace
}  // namespace lmn
