// SPDX-License-Identifier: Apache-2.0
//
// KfuncProto: what a kernel function (kfunc) promises and demands, as data.
//
// One row of kfuncs/kfuncs.def becomes one KfuncProto. Linux has no such table: its verifier reads
// the function's BTF, the suffixes of its parameters' names (`__sz`, `__k`, `__ign` ...) and the
// KF_* flags of its registration. A row is what comes out of those three, so that the verifier
// judges a call, and the checked interpreter checks one, without the BTF of a kernel.
//
// Two rules hold for every kfunc and are in no row: the program's licence must be GPL-compatible,
// and r1 to r5 are undefined afterwards.
//
// Types only, no behaviour; the rows live in `kfuncs`. The words are those of Linux 6.18:
// include/linux/btf.h (KF_*), kernel/bpf/verifier.c (enum kfunc_ptr_arg_type),
// Documentation/bpf/kfuncs.rst.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lmn {

// What one argument must be. The suffix of the kernel's parameter name stands in parentheses.
enum class KfuncArgKind : std::uint8_t {
  kNone,          // no such argument: the register is not looked at
  kScalar,        // a number
  kConstScalar,   // a number that the verifier knows (__k)
  kLocalTypeId,   // the same: id of a struct in the program's own BTF (local_type_id__k)
  kKernelTypeId,  // the same: id of a struct in the kernel's BTF (btf_id__k)
  kMem,           // memory of fixed_size bytes: a struct or integer of plain numbers
  kMemSized,      // memory; its size is the next argument
  kSize,          // bytes of the argument before it, 0 allowed (__sz)
  kConstSize,     // the same, known to the verifier (__szk)
  kMap,           // a map (__map, or const struct bpf_map *)
  kCtx,           // the program's own context, unmodified
  kIgnored,       // anything; an address is read without trust (__ign)
  kMeta,          // filled in by the verifier, whatever the program passes (meta__ign, aux__prog)
  kNodeOffset,    // filled in by the verifier: where the node lies in its object
  kString,        // zero-terminated string in frozen read-only memory (__str)
  kDynptr,        // struct bpf_dynptr on the stack
  kIterator,      // struct bpf_iter_* on the stack, of KfuncArg::iterator
  kIrqFlag,       // unsigned long on the stack for the saved interrupt state (__irq_flag)
  kKernelObject,  // struct KfuncArg::type_name of the kernel, trusted or referenced
  kAllocObject,   // object of bpf_obj_new, referenced (__alloc)
  kPercpuObject,  // object of bpf_percpu_obj_new, referenced
  kRefcounted,    // object with a struct bpf_refcount (__refcounted_kptr)
  kListHead,      // struct bpf_list_head in a map value or object, its lock held
  kListNode,      // struct bpf_list_node in an object
  kRbRoot,        // struct bpf_rb_root in a map value or object, its lock held
  kRbNode,        // struct bpf_rb_node in an object
  kResSpinLock,   // struct bpf_res_spin_lock in a map value or object
  kTimer,         // struct bpf_timer in a map value
  kWorkqueue,     // struct bpf_wq in a map value
  kTaskWork,      // struct bpf_task_work in a map value
  kCallback,      // a static function of the same program
};

// Flags of an argument.
enum : std::uint16_t {
  kKfuncArgMaybeNull = 1u << 0,  // 0 is allowed (__nullable, __opt)
  kKfuncArgUninit = 1u << 1,  // made by the call: what was there before does not matter (__uninit)
  kKfuncArgReadOnly = 1u << 2,  // not changed by the call (const)
  kKfuncArgWrite = 1u << 3,     // memory that the call writes
  kKfuncArgOwned = 1u << 4,     // the object must be owned; the call takes the ownership
  kKfuncArgInGraph = 1u << 5,   // the node must be in a list or tree (a non-owning reference)
};

// The open-coded iterators, struct bpf_iter_<name> each.
enum class KfuncIterator : std::uint8_t {
  kNone,
  kNum,
  kBits,
  kTask,
  kTaskVma,
  kCss,
  kCssTask,
  kKmemCache,
  kDmabuf,
};

// Slots of 8 bytes that an iterator takes on the stack.
constexpr std::size_t kfunc_iterator_slots(KfuncIterator iterator) {
  switch (iterator) {
    case KfuncIterator::kNone:
      return 0;
    case KfuncIterator::kNum:
    case KfuncIterator::kTaskVma:
    case KfuncIterator::kKmemCache:
    case KfuncIterator::kDmabuf:
      return 1;
    case KfuncIterator::kBits:
      return 2;
    case KfuncIterator::kTask:
    case KfuncIterator::kCss:
    case KfuncIterator::kCssTask:
      return 3;
  }
  return 0;
}

// What is in r0 afterwards.
enum class KfuncRet : std::uint8_t {
  kVoid,          // undefined
  kScalar,        // a number of ret_size bytes, sign-extended when ret_is_signed
  kMem,           // memory of ret_size bytes, read-only
  kMemOfSize,     // memory of as many bytes as the kConstSize argument says
  kKernelObject,  // struct ret_type of the kernel
  kCtxObject,     // the kernel's own struct behind the context (bpf_cast_to_kern_ctx)
  kUntrusted,     // untrusted read-only object of the kKernelTypeId argument
  kAllocObject,   // new object of the kLocalTypeId argument
  kPercpuObject,  // the same, one per CPU
  kSameObject,    // another reference to the object of the kRefcounted argument
  kListNode,      // node of the list, in an object of the type that the list holds
  kRbNode,        // node of the tree, likewise
  kArenaPointer,  // address in the map argument, an arena
};

// Flags of a kfunc: the kernel's KF_*, and what its verifier knows by name.
enum : std::uint32_t {
  kKfAcquire = 1u << 0,         // r0 is a new reference
  kKfRelease = 1u << 1,         // the reference of the object argument ends
  kKfRetNull = 1u << 2,         // r0 may be 0 and must be checked
  kKfTrustedArgs = 1u << 3,     // pointers must be as they were given, not 0
  kKfSleepable = 1u << 4,       // for sleepable programs only
  kKfDestructive = 1u << 5,     // needs CAP_SYS_BOOT
  kKfRcu = 1u << 6,             // pointers protected by RCU will do
  kKfIterNew = 1u << 7,         // makes its iterator argument
  kKfIterNext = 1u << 8,        // r0 is 0 at the end, and then the loop must end
  kKfIterDestroy = 1u << 9,     // ends its iterator argument
  kKfRcuProtected = 1u << 10,   // only in an RCU section; the iterator ends with it
  kKfFastcall = 1u << 11,       // leaves the registers alone that the compiler says
  kKfDeviceBound = 1u << 12,    // only for programs loaded for one device
  kKfChangesPacket = 1u << 13,  // packet pointers are invalid afterwards
  kKfRcuLock = 1u << 14,        // enters an RCU section
  kKfRcuUnlock = 1u << 15,
  kKfPreemptDisable = 1u << 16,
  kKfPreemptEnable = 1u << 17,
  kKfIrqSave = 1u << 18,
  kKfIrqRestore = 1u << 19,
  kKfThrows = 1u << 20,      // does not return: ends the program
  kKfCallsBack = 1u << 21,   // runs its callback before it returns
  kKfCallsLater = 1u << 22,  // its callback runs after the program
  kKfSpinLock = 1u << 23,    // takes its lock argument; 0 in r0 means held
  kKfSpinUnlock = 1u << 24,
  kKfTrap = 1u << 25,  // a call that could be reached is refused
};

// In the types of the kernel that an engine offers: the typedef that stands for the type of a
// member which the kernel has and the engine does not keep up. Programs that read it are refused.
inline constexpr std::string_view kUnkeptTypeName = "lmn_unkept";

struct KfuncArg {
  KfuncArgKind kind = KfuncArgKind::kNone;
  std::uint16_t flags = 0;
  KfuncIterator iterator = KfuncIterator::kNone;
  std::uint32_t fixed_size = 0;  // bytes, of kMem
  std::string_view type_name;    // of kKernelObject
};

struct KfuncProto {
  std::string_view name;   // kernel spelling: "bpf_dynptr_from_xdp"
  std::string_view since;  // first kernel with it: "6.4"
  std::uint32_t flags = 0;
  KfuncRet ret = KfuncRet::kVoid;
  bool ret_is_signed = false;
  bool ret_is_read_only = false;   // of kMem and kMemOfSize
  std::uint32_t ret_size = 0;      // bytes, of kScalar and kMem
  std::string_view ret_type_name;  // of kKernelObject
  std::array<KfuncArg, 5> args{};
  // Why a program that calls it is refused, in words; empty: it may be called.
  std::string_view refusal;
};

}  // namespace lmn
