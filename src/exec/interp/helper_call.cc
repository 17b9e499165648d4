// SPDX-License-Identifier: Apache-2.0
//
// One function per kind of argument and of result, in the order of HelperProto. Tested by
// exec_test.cc.
#include "exec/interp/helper_call.h"

#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "exec/interp/call.h"
#include "exec/interp/kfunc_call.h"
#include "exec/interp/memory_access.h"
#include "exec/interp/stack_object.h"
#include "maps/map.h"
#include "maps/object_heap.h"

namespace lmn::interp {
namespace {

// The largest size a helper may be given (Linux: BPF_MAX_VAR_SIZ).
constexpr std::uint64_t kSizeMax = 1u << 29;
// sizeof(struct bpf_spin_lock) and of bpf_timer, linux/bpf.h.
constexpr std::uint64_t kSpinLockBytes = 4;
constexpr std::uint64_t kTimerBytes = 16;

// One call being prepared.
struct Call {
  Machine& machine;
  const Step* step;
  const HelperProto& proto;
  PendingHelper pending;
  std::uint64_t alloc_size_bytes = 0;  // of a kConstAllocSizeOrZero argument
  std::uint16_t released = kNoReference;
  Shadow dynptr = Shadow::uninit();  // of the dynptr argument that is used
  std::uint8_t new_dynptr_reg = 0;   // of the dynptr argument that is made
};

bool fail(Call& call, TrapReason reason, std::uint8_t reg) {
  call.machine.fail(call.step, reason, reg);
  call.machine.trap.helper_id = call.proto.id;
  return false;
}

const Shadow& shadow_of(const Call& call, std::uint8_t reg) { return call.machine.shadow[reg]; }
std::uint64_t value_of(const Call& call, std::uint8_t reg) { return call.machine.value[reg]; }

bool is_null(const Call& call, std::uint8_t reg) {
  return shadow_of(call, reg).is_scalar() && value_of(call, reg) == 0;
}

// The kernel refuses to change a map that programs may only read, before it looks at the arguments
// (Linux 6.18, record_func_map).
bool changes_map(std::uint32_t helper_id) {
  return helper_id == BPF_FUNC_map_update_elem || helper_id == BPF_FUNC_map_delete_elem ||
         helper_id == BPF_FUNC_map_push_elem || helper_id == BPF_FUNC_map_pop_elem;
}

bool check_map(Call& call, std::uint8_t reg) {
  const Shadow& shadow = shadow_of(call, reg);
  if (shadow.kind != ValueKind::kMap) return fail(call, TrapReason::kArgument, reg);
  if (shadow.object != value_of(call, reg)) return fail(call, TrapReason::kArgumentModified, reg);
  call.pending.map = reinterpret_cast<Map*>(shadow.object);
  const MapSpec& spec = call.pending.map->spec();
  const MapTypeInfo* type = call.machine.image->environment().find_map_type(spec.type);
  const bool no_lookup = type != nullptr && (type->flags & kMapNoProgramLookup) != 0;
  if (no_lookup && call.proto.ret == RetKind::kPtrToMapValue)
    return fail(call, TrapReason::kMapForHelper, reg);
  if ((spec.map_flags & BPF_F_RDONLY_PROG) != 0 && changes_map(call.proto.id)) {
    return fail(call, TrapReason::kReadOnly, reg);
  }
  return true;
}

// Memory of `size_bytes` behind `reg`, as the flags of its argument use it.
bool check_memory(Call& call, std::uint8_t reg, const HelperArg& arg, std::uint64_t size_bytes) {
  const ValueKind kind = shadow_of(call, reg).kind;
  const bool is_packet = kind == ValueKind::kPacket || kind == ValueKind::kPacketMeta;
  if (is_packet && (call.proto.flags & kHelperPktAccess) == 0)
    return fail(call, TrapReason::kArgument, reg);
  RegionUse use;
  use.size_bytes = size_bytes;
  use.is_output = (arg.flags & kArgUninit) != 0;
  use.is_written = use.is_output || (arg.flags & kArgWrite) != 0;
  if (check_region(call.machine, call.step, reg, use).host != nullptr) return true;
  call.machine.trap.helper_id = call.proto.id;
  return false;
}

bool is_size(ArgKind kind) {
  return kind == ArgKind::kConstSize || kind == ArgKind::kConstSizeOrZero;
}

// A memory argument whose size is the next argument, or fixed.
bool check_sized_memory(Call& call, std::uint8_t reg, const HelperArg& arg) {
  if ((arg.flags & kArgFixedSize) != 0) return check_memory(call, reg, arg, arg.fixed_size);
  const HelperArg& next = call.proto.args[reg];  // r1 is args[0]
  if (!is_size(next.kind)) return fail(call, TrapReason::kArgument, reg);
  const auto size_reg = static_cast<std::uint8_t>(reg + 1);
  if (!shadow_of(call, size_reg).is_initialised())
    return fail(call, TrapReason::kUninitRegister, size_reg);
  if (!shadow_of(call, size_reg).is_scalar()) return fail(call, TrapReason::kArgument, size_reg);
  const std::uint64_t size_bytes = value_of(call, size_reg);
  if (size_bytes == 0 && next.kind == ArgKind::kConstSize)
    return fail(call, TrapReason::kArgumentSize, size_reg);
  if (size_bytes > kSizeMax) return fail(call, TrapReason::kArgumentSize, size_reg);
  if (size_bytes == 0 && is_null(call, reg)) return true;
  return check_memory(call, reg, arg, size_bytes);
}

bool check_size(Call& call, std::uint8_t reg) {
  if (!shadow_of(call, reg).is_scalar()) return fail(call, TrapReason::kArgument, reg);
  // The memory before it was judged with it, unless it was null: then there is nothing of any size.
  const auto memory_reg = static_cast<std::uint8_t>(reg - 1);
  if (is_null(call, memory_reg) && value_of(call, reg) != 0)
    return fail(call, TrapReason::kArgumentSize, reg);
  return true;
}

bool check_context(Call& call, std::uint8_t reg) {
  const Shadow& shadow = shadow_of(call, reg);
  if (shadow.kind != ValueKind::kContext) return fail(call, TrapReason::kArgument, reg);
  if (shadow.object != value_of(call, reg)) return fail(call, TrapReason::kArgumentModified, reg);
  return true;
}

bool check_map_field(Call& call, std::uint8_t reg, std::uint64_t size_bytes) {
  if (shadow_of(call, reg).kind != ValueKind::kMapValue)
    return fail(call, TrapReason::kArgument, reg);
  return check_memory(call, reg, {ArgKind::kPtrToMem, kArgWrite, 0}, size_bytes);
}

// A pointer to an object, in a map's value or in another object. Only the verifier knows that it is
// one: what is found in it is looked up before it is followed.
bool check_pointer_field(Call& call, std::uint8_t reg) {
  constexpr std::uint64_t kPointerBytes = 8;
  const ValueKind kind = shadow_of(call, reg).kind;
  const bool is_place = kind == ValueKind::kMapValue || kind == ValueKind::kObject;
  if (!is_place || value_of(call, reg) % kPointerBytes != 0) {
    return fail(call, TrapReason::kArgument, reg);
  }
  return check_memory(call, reg, {ArgKind::kPtrToMem, kArgWrite, 0}, kPointerBytes);
}

// An object that the program owns and gives away.
bool check_given_object(Call& call, std::uint8_t reg) {
  const Shadow& shadow = shadow_of(call, reg);
  if (shadow.kind != ValueKind::kObject) return fail(call, TrapReason::kArgument, reg);
  if (shadow.object != value_of(call, reg)) return fail(call, TrapReason::kArgumentModified, reg);
  if (shadow.reference == kNoReference || !is_held(call.machine, shadow.reference)) {
    return fail(call, TrapReason::kReleasedMemory, reg);
  }
  call.released = shadow.reference;
  return true;
}

// An object with a part for each CPU. Whoever dropped it meanwhile: it stays until the run is over,
// as in Linux until the RCU section is.
bool check_percpu_object(Call& call, std::uint8_t reg) {
  const Shadow& shadow = shadow_of(call, reg);
  ObjectHeap* heap = call.machine.context->objects;
  if (shadow.kind != ValueKind::kObject || heap == nullptr) {
    return fail(call, TrapReason::kArgument, reg);
  }
  if (shadow.object != value_of(call, reg)) return fail(call, TrapReason::kArgumentModified, reg);
  const ObjectHeap::Found found = heap->find(shadow.object);
  if (found.part_bytes == 0) return fail(call, TrapReason::kArgument, reg);
  if (found.serial != shadow.detail) return fail(call, TrapReason::kReleasedMemory, reg);
  call.alloc_size_bytes = found.part_bytes;
  return true;
}

// Locks are opened in the order of the program: one at a time, and only the one that is held.
bool check_spin_lock(Call& call, std::uint8_t reg) {
  if (!check_map_field(call, reg, kSpinLockBytes)) return false;
  if (value_of(call, reg) % kSpinLockBytes != 0) return fail(call, TrapReason::kArgument, reg);
  if (call.proto.id != BPF_FUNC_spin_unlock) return true;
  const auto* word = reinterpret_cast<const void*>(value_of(call, reg));
  return call.machine.context->held_lock.is(word) || fail(call, TrapReason::kSpinLock, reg);
}

bool check_owned_memory(Call& call, std::uint8_t reg, const HelperArg& arg) {
  const Shadow& shadow = shadow_of(call, reg);
  if (shadow.kind != ValueKind::kMemory) return fail(call, TrapReason::kArgument, reg);
  if (shadow.object != value_of(call, reg)) return fail(call, TrapReason::kArgumentModified, reg);
  if (!check_memory(call, reg, {ArgKind::kPtrToMem, 0, 0}, shadow.detail)) return false;
  if ((arg.flags & kArgRelease) != 0) call.released = shadow.reference;
  return true;
}

// A socket that a look-up gave: its struct bpf_sock, which programs only read.
bool check_socket(Call& call, std::uint8_t reg, const HelperArg& arg) {
  const Shadow& shadow = shadow_of(call, reg);
  const bool is_socket = shadow.kind == ValueKind::kMemory && shadow.rights == kMayRead &&
                         shadow.detail == sizeof(struct bpf_sock);
  if (!is_socket) return fail(call, TrapReason::kArgument, reg);
  return check_owned_memory(call, reg, arg);
}

// A dynptr on the stack, or room for one.
bool check_dynptr(Call& call, std::uint8_t reg, const HelperArg& arg) {
  if ((arg.flags & kArgUninit) != 0) {
    const StackPlace place = stack_place(call.machine, reg, kDynptrSlots);
    if (place.frame == nullptr) return fail(call, TrapReason::kArgument, reg);
    // What it is a slice of: memory whose life does not end with a frame.
    const bool is_local = (arg.flags & kArgDynptrLocal) != 0;
    if (is_local && shadow_of(call, 1).kind != ValueKind::kMapValue) {
      return fail(call, TrapReason::kArgument, 1);
    }
    call.new_dynptr_reg = reg;
    return true;
  }
  const Shadow* dynptr = find_stack_object(call.machine, reg, kDynptrSlots);
  if (dynptr == nullptr) return fail(call, TrapReason::kArgument, reg);
  const StackObjectKind kind = stack_object_kind(*dynptr);
  if (kind != StackObjectKind::kDynptr && kind != StackObjectKind::kPacketDynptr) {
    return fail(call, TrapReason::kArgument, reg);
  }
  const bool is_release = (arg.flags & kArgRelease) != 0;
  const bool is_lent = shadow_of(call, reg).kind != ValueKind::kStack;
  if (is_release && (is_lent || dynptr->reference == kNoReference)) {
    return fail(call, TrapReason::kArgument, reg);
  }
  call.dynptr = *dynptr;
  if (is_release) call.released = dynptr->reference;
  return true;
}

// The dynptr that the helper has made belongs to the program from now on.
bool set_dynptr(Call& call) {
  const std::uint8_t reg = call.new_dynptr_reg;
  if (reg == 0) return true;
  Machine& machine = call.machine;
  const HelperArg& arg = call.proto.args[reg - 1u];
  std::uint8_t rights = kMayRead | kMayWrite;
  std::uint16_t reference = kNoReference;
  if ((arg.flags & kArgDynptrLocal) != 0) rights = call.pending.shadows[0].rights;
  // Also one that could not be made must be given back.
  if ((arg.flags & kArgDynptrRingbuf) != 0) {
    reference = acquire(machine, call.proto.id);
    if (reference == kNoReference) {
      machine.fail_at_limit(call.step, TrapReason::kTooManyReferences, kReferencesMax);
      return false;
    }
  }
  const StackPlace place = stack_place(machine, reg, kDynptrSlots);
  mark_object(
      *place.frame, place.offset, kDynptrSlots,
      Shadow::stack_object(machine.value[reg], stack_object_detail(StackObjectKind::kDynptr),
                           rights, reference));
  return true;
}

// A zero-terminated string in memory that programs cannot change.
bool check_constant_string(Call& call, std::uint8_t reg) {
  const Shadow& shadow = shadow_of(call, reg);
  if (shadow.kind != ValueKind::kMapValue || (shadow.rights & kMayWrite) != 0) {
    return fail(call, TrapReason::kArgument, reg);
  }
  const std::uint64_t end = shadow.object + shadow.detail;
  const std::uint64_t at = value_of(call, reg);
  if (at < shadow.object || at >= end) return fail(call, TrapReason::kOutOfBounds, reg);
  if (std::memchr(reinterpret_cast<const void*>(at), 0, end - at) == nullptr) {
    return fail(call, TrapReason::kArgument, reg);
  }
  return true;
}

bool check_kind(Call& call, std::uint8_t reg, ValueKind kind) {
  return shadow_of(call, reg).kind == kind || fail(call, TrapReason::kArgument, reg);
}

bool check_argument(Call& call, std::uint8_t reg) {
  const HelperArg& arg = call.proto.args[reg - 1u];
  if (arg.kind == ArgKind::kNone) return true;
  if (!shadow_of(call, reg).is_initialised()) return fail(call, TrapReason::kUninitRegister, reg);
  if ((arg.flags & kArgMaybeNull) != 0 && is_null(call, reg)) return true;
  switch (arg.kind) {
    case ArgKind::kConstMapPtr:
      return check_map(call, reg);
    case ArgKind::kPtrToMapKey:
      return check_memory(call, reg, arg, call.pending.map->spec().key_size);
    case ArgKind::kPtrToMapValue:
      return check_memory(call, reg, arg, call.pending.map->spec().value_size);
    case ArgKind::kPtrToMem:
      return check_sized_memory(call, reg, arg);
    case ArgKind::kConstSize:
    case ArgKind::kConstSizeOrZero:
      return check_size(call, reg);
    case ArgKind::kConstAllocSizeOrZero:
      call.alloc_size_bytes = value_of(call, reg);
      if (call.alloc_size_bytes > kSizeMax) return fail(call, TrapReason::kArgumentSize, reg);
      return check_kind(call, reg, ValueKind::kScalar);
    case ArgKind::kPtrToCtx:
      return check_context(call, reg);
    case ArgKind::kPtrToSpinLock:
      return check_spin_lock(call, reg);
    case ArgKind::kPtrToTimer:
      return check_map_field(call, reg, kTimerBytes);
    case ArgKind::kPtrToRingbufMem:
      return check_owned_memory(call, reg, arg);
    case ArgKind::kPtrToFunc:
      return check_kind(call, reg, ValueKind::kFunction);
    case ArgKind::kPtrToStack:
      return check_kind(call, reg, ValueKind::kStack);
    case ArgKind::kPtrToConstStr:
      return check_constant_string(call, reg);
    case ArgKind::kNone:
    case ArgKind::kAnything:
      return true;
    case ArgKind::kPtrToDynptr:
      return check_dynptr(call, reg, arg);
    case ArgKind::kPtrToSocket:
    case ArgKind::kPtrToSockCommon:
      return check_socket(call, reg, arg);
    case ArgKind::kPtrToBtfId:
      return check_given_object(call, reg);
    case ArgKind::kKptrXchgDest:
      return check_pointer_field(call, reg);
    case ArgKind::kPtrToPercpuBtfId:
      return check_percpu_object(call, reg);
  }
  return fail(call, TrapReason::kArgument, reg);
}

// r0 as memory of its own, which the program has to give back when the prototype says so. False:
// trapped.
bool set_owned_memory(Call& call, std::uint64_t result, std::uint64_t size_bytes,
                      std::uint8_t rights) {
  Machine& machine = call.machine;
  if (result == 0) return true;
  std::uint16_t reference = kNoReference;
  if ((call.proto.ret_flags & kArgAcquire) != 0) {
    reference = acquire(machine, call.proto.id);
    if (reference == kNoReference) {
      machine.fail_at_limit(call.step, TrapReason::kTooManyReferences, kReferencesMax);
      return false;
    }
  }
  machine.shadow[0] =
      Shadow::memory(result, static_cast<std::uint32_t>(size_bytes), rights, reference);
  return true;
}

// r0 is the object that was taken out of a pointer, now the program's. What is no object stays a
// number.
bool set_taken_object(Call& call, std::uint64_t result) {
  Machine& machine = call.machine;
  ObjectHeap* heap = machine.context->objects;
  if (result == 0 || heap == nullptr) return true;
  const ObjectHeap::Found found = heap->find(result);
  if (found.size_bytes == 0 || found.base != result) return true;
  const std::uint16_t reference = acquire(machine, call.proto.id);
  if (reference == kNoReference) {
    heap->release(result);
    machine.fail_at_limit(call.step, TrapReason::kTooManyReferences, kReferencesMax);
    return false;
  }
  machine.references[machine.reference_count - 1u].object = result;
  machine.shadow[0] = Shadow::object_of(result, found.serial, reference);
  return true;
}

// r0 as the prototype says. False: trapped.
bool set_result(Call& call, std::uint64_t result) {
  Machine& machine = call.machine;
  machine.value[0] = result;
  machine.shadow[0] = Shadow::scalar();
  switch (call.proto.ret) {
    case RetKind::kVoid:
      machine.shadow[0] = Shadow::uninit();
      return true;
    case RetKind::kPtrToMapValue: {
      if (result == 0) return true;
      const Map& map = *call.pending.map;
      const Environment& environment = machine.image->environment();
      const MapTypeInfo* type = environment.find_map_type(map.spec().type);
      const bool is_map = type != nullptr && (type->flags & kMapHoldsMaps) != 0;
      machine.shadow[0] = is_map ? Shadow::map(result)
                                 : Shadow::map_value(result, map.spec().value_size,
                                                     program_rights(map, environment));
      return true;
    }
    case RetKind::kPtrToMem:
      return set_owned_memory(call, result, call.alloc_size_bytes, kMayRead | kMayWrite);
    case RetKind::kPtrToSocket:
    case RetKind::kPtrToSockCommon:
      return set_owned_memory(call, result, sizeof(struct bpf_sock), kMayRead);
    case RetKind::kPtrToTcpSock:
      return set_owned_memory(call, result, sizeof(struct bpf_tcp_sock), kMayRead);
    case RetKind::kPtrToDynptrMem:
      if (result == 0) return true;
      machine.shadow[0] = Shadow::memory(result, static_cast<std::uint32_t>(call.alloc_size_bytes),
                                         call.dynptr.rights, call.dynptr.reference);
      return true;
    case RetKind::kPtrToBtfId:
      return set_taken_object(call, result);
    case RetKind::kPtrToPercpuObject:
      return set_owned_memory(call, result, call.alloc_size_bytes, kMayRead | kMayWrite);
    case RetKind::kInteger:
      return true;
  }
  return true;
}

// What a helper hands to its callback, argument by argument.
enum class CallbackArg : std::uint8_t {
  kNone,
  kNumber,
  kMap,
  kMapKey,
  kMapValue,
  kDynptr,  // lent: gone when the callback returns
  kUserContext,
};

struct CallbackShape {
  std::uint32_t helper_id;
  std::uint8_t context_arg;  // which argument of the helper is the callback's kUserContext, 0-based
  std::array<CallbackArg, 5> args;
};

// Linux 6.18, kernel/bpf/verifier.c, set_*_callback_state.
constexpr CallbackShape kCallbackShapes[] = {
    {BPF_FUNC_for_each_map_elem,
     2,
     {CallbackArg::kMap, CallbackArg::kMapKey, CallbackArg::kMapValue, CallbackArg::kUserContext,
      CallbackArg::kNone}},
    {BPF_FUNC_loop,
     2,
     {CallbackArg::kNumber, CallbackArg::kUserContext, CallbackArg::kNone, CallbackArg::kNone,
      CallbackArg::kNone}},
    {BPF_FUNC_user_ringbuf_drain,
     2,
     {CallbackArg::kDynptr, CallbackArg::kUserContext, CallbackArg::kNone, CallbackArg::kNone,
      CallbackArg::kNone}},
};

Shadow callback_shadow(const Machine& machine, const PendingHelper& helper,
                       const CallbackShape& shape, CallbackArg arg, std::uint64_t value) {
  switch (arg) {
    case CallbackArg::kNone:
      return Shadow::uninit();
    case CallbackArg::kNumber:
      return Shadow::scalar();
    case CallbackArg::kMap:
      return Shadow::map(value);
    case CallbackArg::kMapKey:
      return Shadow::memory(value, helper.map->spec().key_size, kMayRead, kNoReference);
    case CallbackArg::kMapValue:
      return Shadow::map_value(value, helper.map->spec().value_size,
                               program_rights(*helper.map, machine.image->environment()));
    case CallbackArg::kDynptr:
      return Shadow::stack_object(value, stack_object_detail(StackObjectKind::kDynptr),
                                  kMayRead | kMayWrite, helper.lent);
    case CallbackArg::kUserContext:
      return helper.shadows[shape.context_arg];
  }
  return Shadow::uninit();
}

}  // namespace

void set_callback_arguments(Machine& machine, PendingHelper& helper,
                            std::span<const std::uint64_t> args) {
  machine.set_uninit(1, 5);
  if (helper.kfunc != nullptr) return set_kfunc_callback_arguments(machine, args);
  const auto* shape =
      std::ranges::find(kCallbackShapes, helper.proto->id, &CallbackShape::helper_id);
  if (shape == std::end(kCallbackShapes)) return;
  if (std::ranges::find(shape->args, CallbackArg::kDynptr) != shape->args.end()) {
    helper.lent = acquire(machine, helper.proto->id);
    if (helper.lent == kNoReference) {
      machine.fail_at_limit(machine.call_site, TrapReason::kTooManyReferences, kReferencesMax);
      return;
    }
  }
  const std::size_t count = std::min(args.size(), shape->args.size());
  for (std::size_t i = 0; i < count; ++i) {
    machine.value[i + 1] = args[i];
    machine.shadow[i + 1] = callback_shadow(machine, helper, *shape, shape->args[i], args[i]);
  }
}

const Step* call_helper(Machine& machine, const Step* step) {
  const HelperCall& helper = machine.image->helper(step->index);
  const HelperProto& proto = *helper.proto;
  Call call{machine, step, proto, {}};
  call.pending.proto = &proto;
  call.pending.map = nullptr;
  if ((proto.flags & kHelperNoSpinLock) != 0 && machine.context->held_lock.is_held()) {
    fail(call, TrapReason::kSpinLock, Trap::kNoRegister);
    return nullptr;
  }
  for (std::uint8_t reg = 1; reg <= 5; ++reg) {
    if (!check_argument(call, reg)) return nullptr;
  }
  if (helper.body == nullptr) return tail_call(machine, step);

  for (std::uint8_t reg = 1; reg <= 5; ++reg) {
    // Helpers may take registers that their prototype does not name (bpf_trace_printk): an
    // undefined one is 0, not what the last packet left in it.
    const bool is_defined = machine.shadow[reg].is_initialised();
    call.pending.values[reg - 1u] = is_defined ? machine.value[reg] : 0;
    call.pending.shadows[reg - 1u] = machine.shadow[reg];
  }
  PendingHelper* outer = machine.pending;
  machine.pending = &call.pending;
  machine.call_site = step;
  const auto& args = call.pending.values;
  const std::uint64_t result =
      helper.body(args[0], args[1], args[2], args[3], args[4], machine.context);
  machine.pending = outer;
  if (machine.is_trapped) return nullptr;

  if ((proto.flags & kHelperChangesPacket) != 0) ++machine.context->packet_generation;
  if (!set_dynptr(call)) return nullptr;
  if (call.released != kNoReference) release(machine, call.released);
  if (call.released != kNoReference && call.dynptr.is_initialised()) {
    drop_object(*reinterpret_cast<Frame*>(call.pending.shadows[0].object), call.dynptr.object);
  }
  machine.set_uninit(1, 5);
  return set_result(call, result) ? step + 1 : nullptr;
}

}  // namespace lmn::interp
