// SPDX-License-Identifier: Apache-2.0
//
// The tables of kfuncs.def: rows for the verifier, bodies for the engines, reasons for refusals.
//
// One constant array holds all of it, sorted by name, and is checked here while compiling. The
// views that callers get are made from it while compiling too.
// Tested by kfuncs_test.cc.
#include "kfuncs/kfuncs.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "kfuncs/bodies.h"

namespace lmn {
namespace {

// The vocabulary of kfuncs.def.
namespace words {

constexpr std::uint32_t kPlain = 0;
constexpr std::uint32_t kAcquire = kKfAcquire;
constexpr std::uint32_t kRelease = kKfRelease;
constexpr std::uint32_t kRetNull = kKfRetNull;
constexpr std::uint32_t kTrusted = kKfTrustedArgs;
constexpr std::uint32_t kSleeps = kKfSleepable;
constexpr std::uint32_t kDestructive = kKfDestructive;
constexpr std::uint32_t kRcu = kKfRcu;
constexpr std::uint32_t kIterNew = kKfIterNew;
constexpr std::uint32_t kIterNext = kKfIterNext;
constexpr std::uint32_t kIterDestroy = kKfIterDestroy;
constexpr std::uint32_t kRcuSection = kKfRcuProtected;
constexpr std::uint32_t kFastcall = kKfFastcall;
constexpr std::uint32_t kDeviceBound = kKfDeviceBound;
constexpr std::uint32_t kMoves = kKfChangesPacket;
constexpr std::uint32_t kRcuLock = kKfRcuLock;
constexpr std::uint32_t kRcuUnlock = kKfRcuUnlock;
constexpr std::uint32_t kPreemptDisable = kKfPreemptDisable;
constexpr std::uint32_t kPreemptEnable = kKfPreemptEnable;
constexpr std::uint32_t kIrqSave = kKfIrqSave;
constexpr std::uint32_t kIrqRestore = kKfIrqRestore;
constexpr std::uint32_t kThrows = kKfThrows;
constexpr std::uint32_t kCallsBack = kKfCallsBack;
constexpr std::uint32_t kCallsLater = kKfCallsLater;
constexpr std::uint32_t kSpinLock = kKfSpinLock;
constexpr std::uint32_t kSpinUnlock = kKfSpinUnlock;
constexpr std::uint32_t kTrap = kKfTrap;

struct Ret {
  KfuncRet kind;
  std::uint32_t size = 0;
  bool is_signed = false;
  std::string_view type_name{};
  bool is_read_only = false;
};
constexpr Ret kVoid{KfuncRet::kVoid};
constexpr Ret kInt{KfuncRet::kScalar, 4, true};
constexpr Ret kUint{KfuncRet::kScalar, 4};
constexpr Ret kLong{KfuncRet::kScalar, 8, true};
constexpr Ret kBool{KfuncRet::kScalar, 1};
constexpr Ret kIntInMemory{KfuncRet::kMem, 4, false, {}, true};
constexpr Ret kMemOfSize{KfuncRet::kMemOfSize};
constexpr Ret kConstMemOfSize{KfuncRet::kMemOfSize, 0, false, {}, true};
constexpr Ret kCtxObject{KfuncRet::kCtxObject};
constexpr Ret kUntrusted{KfuncRet::kUntrusted};
constexpr Ret kAllocated{KfuncRet::kAllocObject};
constexpr Ret kAllocatedPercpu{KfuncRet::kPercpuObject};
constexpr Ret kSameObject{KfuncRet::kSameObject};
constexpr Ret kListNodeResult{KfuncRet::kListNode};
constexpr Ret kRbNodeResult{KfuncRet::kRbNode};
constexpr Ret kArenaPointer{KfuncRet::kArenaPointer};
constexpr Ret returns(std::string_view type) { return {KfuncRet::kKernelObject, 0, false, type}; }

constexpr KfuncArg argument(KfuncArgKind kind, int flags = 0) {
  KfuncArg arg;
  arg.kind = kind;
  arg.flags = static_cast<std::uint16_t>(flags);
  return arg;
}
constexpr KfuncArg kNum = argument(KfuncArgKind::kScalar);
constexpr KfuncArg kLocalTypeId = argument(KfuncArgKind::kLocalTypeId);
constexpr KfuncArg kKernelTypeId = argument(KfuncArgKind::kKernelTypeId);
constexpr KfuncArg kMem = argument(KfuncArgKind::kMemSized, kKfuncArgReadOnly);
constexpr KfuncArg kMemWrite = argument(KfuncArgKind::kMemSized, kKfuncArgWrite);
constexpr KfuncArg kMemOrNull =
    argument(KfuncArgKind::kMemSized, kKfuncArgWrite | kKfuncArgMaybeNull);
constexpr KfuncArg kSize = argument(KfuncArgKind::kSize);
constexpr KfuncArg kConstSize = argument(KfuncArgKind::kConstSize);
constexpr KfuncArg kMap = argument(KfuncArgKind::kMap);
constexpr KfuncArg kCtx = argument(KfuncArgKind::kCtx);
constexpr KfuncArg kIgnored = argument(KfuncArgKind::kIgnored);
constexpr KfuncArg kMeta = argument(KfuncArgKind::kMeta);
constexpr KfuncArg kNodeOffset = argument(KfuncArgKind::kNodeOffset);
constexpr KfuncArg kString = argument(KfuncArgKind::kString, kKfuncArgReadOnly);
constexpr KfuncArg kDynptr = argument(KfuncArgKind::kDynptr);
constexpr KfuncArg kDynptrRead = argument(KfuncArgKind::kDynptr, kKfuncArgReadOnly);
constexpr KfuncArg kDynptrOrNull =
    argument(KfuncArgKind::kDynptr, kKfuncArgReadOnly | kKfuncArgMaybeNull);
constexpr KfuncArg kDynptrUninit = argument(KfuncArgKind::kDynptr, kKfuncArgUninit);
constexpr KfuncArg kIrqFlag = argument(KfuncArgKind::kIrqFlag);
constexpr KfuncArg kNewIrqFlag = argument(KfuncArgKind::kIrqFlag, kKfuncArgUninit);
constexpr KfuncArg kOwnedObject = argument(KfuncArgKind::kAllocObject, kKfuncArgOwned);
constexpr KfuncArg kOwnedPercpuObject = argument(KfuncArgKind::kPercpuObject, kKfuncArgOwned);
constexpr KfuncArg kRefcounted = argument(KfuncArgKind::kRefcounted);
constexpr KfuncArg kListHead = argument(KfuncArgKind::kListHead);
constexpr KfuncArg kOwnedListNode = argument(KfuncArgKind::kListNode, kKfuncArgOwned);
constexpr KfuncArg kRbRoot = argument(KfuncArgKind::kRbRoot);
constexpr KfuncArg kOwnedRbNode = argument(KfuncArgKind::kRbNode, kKfuncArgOwned);
constexpr KfuncArg kRbNodeInTree = argument(KfuncArgKind::kRbNode, kKfuncArgInGraph);
constexpr KfuncArg kResLock = argument(KfuncArgKind::kResSpinLock);
constexpr KfuncArg kTimer = argument(KfuncArgKind::kTimer);
constexpr KfuncArg kWorkqueue = argument(KfuncArgKind::kWorkqueue);
constexpr KfuncArg kTaskWork = argument(KfuncArgKind::kTaskWork);
constexpr KfuncArg kFunc = argument(KfuncArgKind::kCallback);

// Memory of a fixed size that the call reads and writes.
constexpr KfuncArg fixed(std::uint32_t bytes) {
  KfuncArg arg = argument(KfuncArgKind::kMem, kKfuncArgWrite);
  arg.fixed_size = bytes;
  return arg;
}
constexpr KfuncArg kMemFib = fixed(64);  // struct bpf_fib_lookup
constexpr KfuncArg object(std::string_view type) {
  KfuncArg arg = argument(KfuncArgKind::kKernelObject);
  arg.type_name = type;
  return arg;
}
constexpr KfuncArg object_or_null(std::string_view type) {
  KfuncArg arg = object(type);
  arg.flags = kKfuncArgMaybeNull;
  return arg;
}
// The context of another program type: never to be had in an XDP program.
constexpr KfuncArg kSkb = object("__sk_buff");
constexpr KfuncArg iterator(KfuncIterator kind) {
  KfuncArg arg = argument(KfuncArgKind::kIterator);
  arg.iterator = kind;
  return arg;
}
constexpr KfuncArg new_iterator(KfuncIterator kind) {
  KfuncArg arg = iterator(kind);
  arg.flags = kKfuncArgUninit;
  return arg;
}

}  // namespace words

// What a refused kfunc lacks; kNothing for the others.
enum class Lack : std::uint8_t {
  kNothing,
  kNoCgroup,
  kNoCrypto,
  kNoFile,
  kNoKernelMemory,
  kNoKeys,
  kNoSkb,
  kNoStream,
  kNoTask,
  kNoXfrm,
  kSleeping,
  kCrash,
};

constexpr std::string_view lack_words(Lack lack) {
  switch (lack) {
    case Lack::kNothing:
      return {};
    case Lack::kNoCgroup:
      return "needs the cgroups of a kernel, which are not here; pass what the program needs in a "
             "map";
    case Lack::kNoCrypto:
      return "crypto contexts are made by system-call programs of a kernel, which LMN does not run";
    case Lack::kNoFile:
      return "needs an open file, which a packet's program does not have; pass its contents in a "
             "map";
    case Lack::kNoKernelMemory:
      return "gives an object of the kernel's memory, and there is no kernel here; use bpf_obj_new";
    case Lack::kNoKeys:
      return "needs the keyrings of a kernel, which a user-space engine does not have";
    case Lack::kNoSkb:
      return "needs a socket buffer as context, which no XDP program has; use the bpf_xdp_ct_ form";
    case Lack::kNoStream:
      return "LMN has no program streams yet; bpf_trace_printk prints to the engine's log";
    case Lack::kNoTask:
      return "needs a task of a kernel, and a packet has none; pass what the program needs in a "
             "map";
    case Lack::kNoXfrm:
      return "needs the IPsec states of a kernel, which are not here; pass what is needed in a map";
    case Lack::kSleeping:
      return "may sleep, which no XDP program may; bpf_probe_read_user_dynptr and its like do not";
    case Lack::kCrash:
      return "would crash the kernel; LMN stops a program with bpf_throw instead";
  }
  return {};
}

struct Row {
  KfuncProto proto;
  HelperFn body = nullptr;
};

constexpr Row make_row(std::string_view name, std::string_view since, std::uint32_t flags,
                       words::Ret ret, std::array<KfuncArg, 5> args, Lack lack, HelperFn body) {
  KfuncProto proto;
  proto.name = name;
  proto.since = since;
  proto.flags = flags;
  proto.ret = ret.kind;
  proto.ret_is_signed = ret.is_signed;
  proto.ret_is_read_only = ret.is_read_only;
  proto.ret_size = ret.size;
  proto.ret_type_name = ret.type_name;
  proto.args = args;
  proto.refusal = lack_words(lack);
  return {proto, body};
}

using namespace words;  // NOLINT(google-build-using-namespace): the table is written in them

constexpr Row kRows[] = {
#define LMN_KFUNC(name, since, flags, ret, ...) \
  make_row(#name, since, flags, ret, {__VA_ARGS__}, Lack::kNothing, &kfunc_##name),
#define LMN_KFUNC_BY_ENGINE(name, since, flags, ret, ...) \
  make_row(#name, since, flags, ret, {__VA_ARGS__}, Lack::kNothing, nullptr),
#define LMN_KFUNC_REFUSED(name, since, flags, ret, lack, ...) \
  make_row(#name, since, flags, ret, {__VA_ARGS__}, Lack::lack, nullptr),
#include "kfuncs/kfuncs.def"
#undef LMN_KFUNC
#undef LMN_KFUNC_BY_ENGINE
#undef LMN_KFUNC_REFUSED
};

constexpr bool names_strictly_increase() {
  for (std::size_t i = 1; i < std::size(kRows); ++i) {
    if (kRows[i - 1].proto.name >= kRows[i].proto.name) return false;
  }
  return true;
}
static_assert(names_strictly_increase(), "rows are found by binary search, and each kfunc has one");

constexpr bool sizes_follow_memory() {
  for (const Row& row : kRows) {
    for (std::size_t i = 0; i < row.proto.args.size(); ++i) {
      const KfuncArgKind kind = row.proto.args[i].kind;
      const bool is_size = kind == KfuncArgKind::kSize || kind == KfuncArgKind::kConstSize;
      const bool is_after_memory = i > 0 && row.proto.args[i - 1].kind == KfuncArgKind::kMemSized;
      if (is_size != is_after_memory) return false;
    }
  }
  return true;
}
static_assert(sizes_follow_memory(), "memory without a size, or a size without memory");

constexpr auto kKnownProtos = [] {
  std::array<KfuncProto, std::size(kRows)> protos;
  std::ranges::transform(kRows, protos.begin(), &Row::proto);
  return protos;
}();

const Row* find_row(std::string_view name) {
  const Row* row =
      std::ranges::lower_bound(kRows, name, {}, [](const Row& r) { return r.proto.name; });
  return row != std::end(kRows) && row->proto.name == name ? row : nullptr;
}

}  // namespace

std::span<const KfuncProto> kfunc_protos() noexcept { return kKnownProtos; }

HelperFn kfunc_function(std::string_view name) noexcept {
  const Row* row = find_row(name);
  return row != nullptr ? row->body : nullptr;
}

}  // namespace lmn
