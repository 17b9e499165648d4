// SPDX-License-Identifier: Apache-2.0
//
// The tables of helpers.def: rows for the verifier, bodies for the engines, reasons for refusals.
//
// One constant array holds all of it, sorted by id, and is checked here while compiling. The views
// that callers get are made from it while compiling too.
// Tested by helpers_test.cc.
#include "helpers/helpers.h"

#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "helpers/bodies.h"

namespace lmn {
namespace {

// The vocabulary of helpers.def. Each word is one type of the kernel (its ARG_ or RET_ name in the
// comment where ours differs).
namespace words {

constexpr std::uint16_t kPlain = 0;
constexpr std::uint16_t kGpl = kHelperGplOnly;
constexpr std::uint16_t kPkt = kHelperPktAccess;
constexpr std::uint16_t kGplPkt = kGpl | kPkt;
constexpr std::uint16_t kMoves = kHelperChangesPacket;
constexpr std::uint16_t kCallsBack = kHelperCallsBack;

struct Ret {
  RetKind kind;
  std::uint16_t flags = 0;
};
constexpr Ret kInt{RetKind::kInteger};
constexpr Ret kVoid{RetKind::kVoid};
constexpr Ret kValueOrNull{RetKind::kPtrToMapValue, kArgMaybeNull};
constexpr Ret kRingbufMemOrNull{RetKind::kPtrToMem, kArgMaybeNull | kArgAcquire};
constexpr Ret kDynptrMemOrNull{RetKind::kPtrToDynptrMem, kArgMaybeNull};
constexpr Ret kSocketOrNull{RetKind::kPtrToSocket, kArgMaybeNull | kArgAcquire};
constexpr Ret kSockCommonOrNull{RetKind::kPtrToSockCommon, kArgMaybeNull | kArgAcquire};
constexpr Ret kBtfResult{RetKind::kPtrToBtfId};
constexpr Ret kBtfOrNull{RetKind::kPtrToBtfId, kArgMaybeNull};
constexpr Ret kPercpuObject{RetKind::kPtrToPercpuObject, kArgRdonly};
constexpr Ret kPercpuObjectOrNull{RetKind::kPtrToPercpuObject, kArgRdonly | kArgMaybeNull};

constexpr HelperArg kAny{ArgKind::kAnything};
constexpr HelperArg kCtx{ArgKind::kPtrToCtx};
constexpr HelperArg kMap{ArgKind::kConstMapPtr};
constexpr HelperArg kKey{ArgKind::kPtrToMapKey};
constexpr HelperArg kValue{ArgKind::kPtrToMapValue};
constexpr HelperArg kValueUninit{ArgKind::kPtrToMapValue, kArgUninit | kArgWrite};
constexpr HelperArg kValueOrNullArg{ArgKind::kPtrToMapValue, kArgMaybeNull};
constexpr HelperArg kMem{ArgKind::kPtrToMem, kArgRdonly};
constexpr HelperArg kMemOrNull{ArgKind::kPtrToMem, kArgRdonly | kArgMaybeNull};
constexpr HelperArg kMemUninit{ArgKind::kPtrToMem, kArgUninit | kArgWrite};
constexpr HelperArg kMemWrite{ArgKind::kPtrToMem, kArgWrite};
constexpr HelperArg kMemWriteOrNull{ArgKind::kPtrToMem, kArgWrite | kArgMaybeNull};
constexpr HelperArg kSize{ArgKind::kConstSize};
constexpr HelperArg kSizeOrZero{ArgKind::kConstSizeOrZero};
constexpr HelperArg kAllocSize{ArgKind::kConstAllocSizeOrZero};
constexpr HelperArg kConstStr{ArgKind::kPtrToConstStr};
constexpr HelperArg kFunc{ArgKind::kPtrToFunc};
constexpr HelperArg kStackOrNull{ArgKind::kPtrToStack, kArgMaybeNull};
constexpr HelperArg kSpinLock{ArgKind::kPtrToSpinLock};
constexpr HelperArg kTimer{ArgKind::kPtrToTimer};
constexpr HelperArg kRingbufMemRelease{ArgKind::kPtrToRingbufMem, kArgRelease};
constexpr HelperArg kDynptr{ArgKind::kPtrToDynptr, kArgRdonly};
constexpr HelperArg kDynptrLocalUninit{ArgKind::kPtrToDynptr,
                                       kArgDynptrLocal | kArgUninit | kArgWrite};
constexpr HelperArg kDynptrRingbufUninit{ArgKind::kPtrToDynptr,
                                         kArgDynptrRingbuf | kArgUninit | kArgWrite};
constexpr HelperArg kDynptrRingbufRelease{ArgKind::kPtrToDynptr, kArgDynptrRingbuf | kArgRelease};
// ARG_PTR_TO_BTF_ID_SOCK_COMMON too: the family of sockets, or their BTF types.
constexpr HelperArg kSockCommon{ArgKind::kPtrToSockCommon};
constexpr HelperArg kSockCommonRelease{ArgKind::kPtrToSockCommon, kArgRelease};
constexpr HelperArg kBtf{ArgKind::kPtrToBtfId};
constexpr HelperArg kBtfOrNullArg{ArgKind::kPtrToBtfId, kArgMaybeNull};
constexpr HelperArg kBtfOrNullRelease{ArgKind::kPtrToBtfId, kArgMaybeNull | kArgRelease};
constexpr HelperArg kPercpuBtf{ArgKind::kPtrToPercpuBtfId};
constexpr HelperArg kKptr{ArgKind::kKptrXchgDest};

// ARG_PTR_TO_FIXED_SIZE_MEM.
constexpr HelperArg read_fixed(std::uint32_t bytes) {
  return {ArgKind::kPtrToMem, kArgFixedSize | kArgRdonly, bytes};
}
constexpr HelperArg write_aligned(std::uint32_t bytes) {
  return {ArgKind::kPtrToMem, kArgFixedSize | kArgAligned | kArgWrite, bytes};
}
constexpr HelperArg uninit_aligned(std::uint32_t bytes) {
  return {ArgKind::kPtrToMem, kArgFixedSize | kArgAligned | kArgUninit | kArgWrite, bytes};
}

}  // namespace words

enum class Support : std::uint8_t { kBody, kEngine, kMissing, kNoKernelObject, kSleeps };

struct Row {
  HelperProto proto;
  HelperFn body = nullptr;
  Support support = Support::kBody;
};

constexpr Row make_row(std::uint32_t id, std::string_view name, std::string_view since,
                       std::uint16_t flags, words::Ret ret, std::array<HelperArg, 5> args,
                       Support support, HelperFn body) {
  // Linux refuses every helper but this one while a spin lock is held.
  if (id != BPF_FUNC_spin_unlock) flags |= kHelperNoSpinLock;
  return {HelperProto{id, name, flags, ret.kind, ret.flags, args, since}, body, support};
}

using namespace words;  // NOLINT(google-build-using-namespace): the table is written in them

constexpr Row kRows[] = {
#define LMN_HELPER_ROW(id, name, since, flags, ret, support, body, ...) \
  make_row(id, "bpf_" #name, since, flags, ret, {__VA_ARGS__}, support, body),
#define LMN_HELPER(id, name, since, flags, ret, ...) \
  LMN_HELPER_ROW(id, name, since, flags, ret, Support::kBody, &helper_##name, __VA_ARGS__)
#define LMN_HELPER_BY_ENGINE(id, name, since, flags, ret, ...) \
  LMN_HELPER_ROW(id, name, since, flags, ret, Support::kEngine, nullptr, __VA_ARGS__)
#define LMN_HELPER_MISSING(id, name, since, flags, ret, ...) \
  LMN_HELPER_ROW(id, name, since, flags, ret, Support::kMissing, nullptr, __VA_ARGS__)
#define LMN_HELPER_REFUSED(id, name, since, flags, ret, ...) \
  LMN_HELPER_ROW(id, name, since, flags, ret, Support::kNoKernelObject, nullptr, __VA_ARGS__)
#define LMN_HELPER_SLEEPS(id, name, since, flags, ret, ...) \
  LMN_HELPER_ROW(id, name, since, flags, ret, Support::kSleeps, nullptr, __VA_ARGS__)
#include "helpers/helpers.def"
#undef LMN_HELPER
#undef LMN_HELPER_BY_ENGINE
#undef LMN_HELPER_MISSING
#undef LMN_HELPER_REFUSED
#undef LMN_HELPER_SLEEPS
#undef LMN_HELPER_ROW
};

#define LMN_HELPER(id, name, ...) \
  static_assert((id) == BPF_FUNC_##name, "a helper's number is part of the bytecode");
#define LMN_HELPER_BY_ENGINE LMN_HELPER
#define LMN_HELPER_MISSING LMN_HELPER
#define LMN_HELPER_REFUSED LMN_HELPER
#define LMN_HELPER_SLEEPS LMN_HELPER
#include "helpers/helpers.def"
#undef LMN_HELPER
#undef LMN_HELPER_BY_ENGINE
#undef LMN_HELPER_MISSING
#undef LMN_HELPER_REFUSED
#undef LMN_HELPER_SLEEPS

constexpr bool ids_strictly_increase() {
  for (std::size_t i = 1; i < std::size(kRows); ++i) {
    if (kRows[i - 1].proto.id >= kRows[i].proto.id) return false;
  }
  return true;
}
static_assert(ids_strictly_increase(), "rows are found by binary search, and each helper has one");

constexpr bool is_callable(const Row& row) {
  return row.support == Support::kBody || row.support == Support::kEngine;
}

constexpr auto kKnownProtos = [] {
  std::array<HelperProto, std::size(kRows)> protos;
  std::ranges::transform(kRows, protos.begin(), &Row::proto);
  return protos;
}();

constexpr auto kCallableProtos = [] {
  std::array<HelperProto, std::ranges::count_if(kRows, is_callable)> protos;
  auto out = protos.begin();
  for (const Row& row : kRows) {
    if (is_callable(row)) *out++ = row.proto;
  }
  return protos;
}();

const Row* find_row(std::uint32_t id) {
  const Row* row = std::ranges::lower_bound(kRows, id, {}, [](const Row& r) { return r.proto.id; });
  return row != std::end(kRows) && row->proto.id == id ? row : nullptr;
}

}  // namespace

std::span<const HelperProto> helper_protos() noexcept { return kCallableProtos; }

std::span<const HelperProto> known_helper_protos() noexcept { return kKnownProtos; }

HelperFn helper_function(std::uint32_t id) noexcept {
  const Row* row = find_row(id);
  return row != nullptr ? row->body : nullptr;
}

std::string_view helper_refusal(std::uint32_t id) noexcept {
  const Row* row = find_row(id);
  if (row == nullptr) return {};
  switch (row->support) {
    case Support::kBody:
    case Support::kEngine:
      return {};
    case Support::kMissing:
      return "not implemented by this version of LMN; docs/FEATURES.md lists what is";
    case Support::kNoKernelObject:
      return "needs a task, cgroup, perf event, struct of a socket or per-CPU variable of a "
             "kernel, which a user-space engine does not have; pass what the program needs in a "
             "map";
    case Support::kSleeps:
      return "may sleep, which no XDP program may";
  }
  return {};
}

}  // namespace lmn
