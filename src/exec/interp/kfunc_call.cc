// SPDX-License-Identifier: Apache-2.0
//
// One function per kind of argument, of result and of effect, in the order of KfuncProto. Tested by
// kfunc_call_test.cc.
#include "exec/interp/kfunc_call.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "exec/interp/call.h"
#include "exec/interp/memory_access.h"
#include "exec/interp/stack_object.h"
#include "maps/map.h"
#include "maps/object_heap.h"

namespace lmn::interp {
namespace {

// The largest size a call may be given (Linux: BPF_MAX_VAR_SIZ).
constexpr std::uint64_t kSizeMax = 1u << 29;

// sizeof(struct bpf_timer) and of bpf_wq.
constexpr std::uint64_t kDeferredBytes = 16;

// What the kernel has behind the context.
constexpr std::string_view kContextStruct = "xdp_buff";

constexpr std::uint32_t kSectionFlags =
    kKfRcuLock | kKfRcuUnlock | kKfPreemptDisable | kKfPreemptEnable | kKfIrqSave | kKfIrqRestore;

// One call being made.
struct Call {
  Machine& machine;
  const Step* step;
  const KfuncProto& proto;
  std::array<std::uint64_t, 5> values{};
  std::array<Shadow, 5> shadows{};
  std::uint64_t size_bytes = 0;           // of a sized memory argument
  Shadow used_object = Shadow::uninit();  // the dynptr or iterator that is used
  Frame* used_frame = nullptr;            // where that lies
  std::uint8_t new_object_reg = 0;        // where one is made
  std::uint16_t released = kNoReference;  // of an object that the call takes over
};

bool fail(Call& call, TrapReason reason, std::uint8_t reg = Trap::kNoRegister) {
  call.machine.fail(call.step, reason, reg);
  call.machine.trap.kfunc = call.proto.name;
  return false;
}

const Shadow& shadow_of(const Call& call, std::uint8_t reg) { return call.machine.shadow[reg]; }
std::uint64_t value_of(const Call& call, std::uint8_t reg) { return call.machine.value[reg]; }

bool is_null(const Call& call, std::uint8_t reg) {
  return shadow_of(call, reg).is_scalar() && value_of(call, reg) == 0;
}

bool check_kind(Call& call, std::uint8_t reg, ValueKind kind) {
  return shadow_of(call, reg).kind == kind || fail(call, TrapReason::kArgument, reg);
}

// A pointer exactly as it was given.
bool check_unmodified(Call& call, std::uint8_t reg, ValueKind kind) {
  if (!check_kind(call, reg, kind)) return false;
  return shadow_of(call, reg).object == value_of(call, reg) ||
         fail(call, TrapReason::kArgumentModified, reg);
}

bool check_memory(Call& call, std::uint8_t reg, const KfuncArg& arg, std::uint64_t size_bytes) {
  RegionUse use;
  use.size_bytes = size_bytes;
  use.is_written = (arg.flags & kKfuncArgWrite) != 0;
  if (check_region(call.machine, call.step, reg, use).host != nullptr) return true;
  call.machine.trap.kfunc = call.proto.name;
  return false;
}

bool check_sized_memory(Call& call, std::uint8_t reg, const KfuncArg& arg) {
  const auto size_reg = static_cast<std::uint8_t>(reg + 1);
  if (!shadow_of(call, size_reg).is_initialised()) {
    return fail(call, TrapReason::kUninitRegister, size_reg);
  }
  if (!shadow_of(call, size_reg).is_scalar()) return fail(call, TrapReason::kArgument, size_reg);
  call.size_bytes = static_cast<std::uint32_t>(value_of(call, size_reg));
  if (call.size_bytes > kSizeMax) return fail(call, TrapReason::kArgumentSize, size_reg);
  if (is_null(call, reg)) {
    const bool may_be_null = (arg.flags & kKfuncArgMaybeNull) != 0 || call.size_bytes == 0;
    return may_be_null || fail(call, TrapReason::kArgument, reg);
  }
  return check_memory(call, reg, arg, call.size_bytes);
}

// A zero-terminated string in memory that programs cannot change.
bool check_string(Call& call, std::uint8_t reg) {
  const Shadow& shadow = shadow_of(call, reg);
  if (!check_kind(call, reg, ValueKind::kMapValue)) return false;
  if ((shadow.rights & kMayWrite) != 0) return fail(call, TrapReason::kArgument, reg);
  const std::uint64_t end = shadow.object + shadow.detail;
  const std::uint64_t at = value_of(call, reg);
  if (at < shadow.object || at >= end) return fail(call, TrapReason::kOutOfBounds, reg);
  if (std::memchr(reinterpret_cast<const void*>(at), 0, end - at) != nullptr) return true;
  return fail(call, TrapReason::kArgument, reg);
}

std::size_t slots_of(const KfuncArg& arg) {
  switch (arg.kind) {
    case KfuncArgKind::kDynptr:
      return kDynptrSlots;
    case KfuncArgKind::kIterator:
      return kfunc_iterator_slots(arg.iterator);
    default:
      return 1;
  }
}

bool is_object_of(const Shadow& object, const KfuncArg& arg) {
  const StackObjectKind kind = stack_object_kind(object);
  switch (arg.kind) {
    case KfuncArgKind::kDynptr:
      return kind == StackObjectKind::kDynptr || kind == StackObjectKind::kPacketDynptr;
    case KfuncArgKind::kIterator:
      return object.detail == stack_object_detail(StackObjectKind::kIterator, arg.iterator);
    default:
      return kind == StackObjectKind::kIrqFlag;
  }
}

// A dynptr, iterator or saved interrupt state, or room for a new one.
bool check_stack_object(Call& call, std::uint8_t reg, const KfuncArg& arg) {
  if ((arg.flags & kKfuncArgUninit) != 0) {
    const StackPlace place = stack_place(call.machine, reg, slots_of(arg));
    if (place.frame == nullptr) return fail(call, TrapReason::kArgument, reg);
    call.new_object_reg = reg;
    return true;
  }
  const Shadow* object = find_stack_object(call.machine, reg, slots_of(arg));
  if (object == nullptr || !is_object_of(*object, arg)) {
    return fail(call, TrapReason::kArgument, reg);
  }
  // Of two dynptrs the read one comes last and is not what the result is made of.
  if (!call.used_object.is_initialised()) {
    call.used_object = *object;
    call.used_frame = stack_place(call.machine, reg, slots_of(arg)).frame;
  }
  return true;
}

ObjectHeap& heap_of(const Call& call) { return *call.machine.context->objects; }

// What an owned argument gives away.
bool take_ownership(Call& call, std::uint8_t reg, const KfuncArg& arg) {
  if ((arg.flags & kKfuncArgOwned) == 0) return true;
  const std::uint16_t reference = shadow_of(call, reg).reference;
  if (reference == kNoReference || !is_held(call.machine, reference)) {
    return fail(call, TrapReason::kArgument, reg);
  }
  call.released = reference;
  return true;
}

// An allocated object that is still there; at its beginning.
bool check_object(Call& call, std::uint8_t reg, const KfuncArg& arg) {
  if (!check_unmodified(call, reg, ValueKind::kObject)) return false;
  const ObjectHeap::Found found = heap_of(call).find(value_of(call, reg));
  const Shadow& shadow = shadow_of(call, reg);
  const bool is_kept = !found.is_dropped || (shadow.rights & kMayOutlive) != 0;
  if (found.size_bytes == 0 || found.serial != shadow.detail || !is_kept) {
    return fail(call, TrapReason::kReleasedMemory, reg);
  }
  return take_ownership(call, reg, arg);
}

// A node of such an object.
bool check_node(Call& call, std::uint8_t reg, const KfuncArg& arg) {
  if (!check_kind(call, reg, ValueKind::kObject)) return false;
  const ObjectHeap::Found found = heap_of(call).find(value_of(call, reg));
  const Shadow& shadow = shadow_of(call, reg);
  if (found.base != shadow.object || found.serial != shadow.detail || found.is_dropped) {
    return fail(call, TrapReason::kReleasedMemory, reg);
  }
  if (heap_of(call).node_at(value_of(call, reg)) == nullptr) {
    return fail(call, TrapReason::kArgument, reg);
  }
  return take_ownership(call, reg, arg);
}

// An object of one of the engine's tables, as it was given.
bool check_kernel_object(Call& call, std::uint8_t reg, const KfuncArg& arg) {
  if (!check_unmodified(call, reg, ValueKind::kKernelObject)) return false;
  const Shadow& shadow = shadow_of(call, reg);
  const auto structs = call.machine.context->kernel_structs;
  if (shadow.detail >= structs.size() || structs[shadow.detail].name != arg.type_name) {
    return fail(call, TrapReason::kArgument, reg);
  }
  // What was loaded from a map's value may only be looked at.
  if ((shadow.rights & kMayOutlive) != 0) return fail(call, TrapReason::kArgument, reg);
  const bool is_counted = shadow.reference != kNoReference;
  if (is_counted && !is_held(call.machine, shadow.reference)) {
    return fail(call, TrapReason::kReleasedMemory, reg);
  }
  if ((call.proto.flags & kKfRelease) == 0) return true;
  if (!is_counted) return fail(call, TrapReason::kArgument, reg);
  call.released = shadow.reference;
  return true;
}

// A list or tree in a map's value or in an object.
bool check_head(Call& call, std::uint8_t reg) {
  constexpr std::uint64_t kHeadBytes = 16;
  constexpr KfuncArg kWritten{.kind = KfuncArgKind::kMem, .flags = kKfuncArgWrite};
  const ValueKind kind = shadow_of(call, reg).kind;
  const std::uint64_t address = value_of(call, reg);
  if (kind != ValueKind::kMapValue && kind != ValueKind::kObject) {
    return fail(call, TrapReason::kArgument, reg);
  }
  if (address % 8 != 0) return fail(call, TrapReason::kArgument, reg);
  if (!check_memory(call, reg, kWritten, kHeadBytes)) return false;
  if (kind == ValueKind::kMapValue || heap_of(call).has_head_at(address)) return true;
  return fail(call, TrapReason::kArgument, reg);
}

// A timer, work or lock: so many bytes of a map's value, or for locks of an object.
bool check_field(Call& call, std::uint8_t reg, std::uint64_t size_bytes, bool may_be_in_object) {
  constexpr KfuncArg kWritten{.kind = KfuncArgKind::kMem, .flags = kKfuncArgWrite};
  const ValueKind kind = shadow_of(call, reg).kind;
  if (kind != ValueKind::kMapValue && !(may_be_in_object && kind == ValueKind::kObject)) {
    return fail(call, TrapReason::kArgument, reg);
  }
  const std::uint64_t align = std::min<std::uint64_t>(size_bytes, 8);
  if (value_of(call, reg) % align != 0) return fail(call, TrapReason::kArgument, reg);
  return check_memory(call, reg, kWritten, size_bytes);
}

bool check_resilient_lock(Call& call, std::uint8_t reg) {
  constexpr std::uint64_t kLockBytes = 4;
  if (!check_field(call, reg, kLockBytes, true)) return false;
  if ((call.proto.flags & kKfSpinUnlock) == 0) return true;
  const auto* word = reinterpret_cast<const void*>(value_of(call, reg));
  return call.machine.context->held_resilient.holds(word) || fail(call, TrapReason::kSpinLock, reg);
}

// The id of a struct of the program becomes its layout.
bool check_type_id(Call& call, std::uint8_t reg) {
  if (!check_kind(call, reg, ValueKind::kScalar)) return false;
  const ObjectLayout* layout = call.machine.image->layout(value_of(call, reg));
  if (layout == nullptr) return fail(call, TrapReason::kArgument, reg);
  call.values[reg - 1u] = reinterpret_cast<std::uintptr_t>(layout);
  return true;
}

bool check_argument(Call& call, std::uint8_t reg) {
  const KfuncArg& arg = call.proto.args[reg - 1u];
  const bool is_looked_at = arg.kind != KfuncArgKind::kNone && arg.kind != KfuncArgKind::kIgnored &&
                            arg.kind != KfuncArgKind::kMeta;
  if (!is_looked_at) return true;
  if (!shadow_of(call, reg).is_initialised()) return fail(call, TrapReason::kUninitRegister, reg);
  const bool may_be_null =
      (arg.flags & kKfuncArgMaybeNull) != 0 && arg.kind != KfuncArgKind::kMemSized;
  if (may_be_null && is_null(call, reg)) return true;
  switch (arg.kind) {
    case KfuncArgKind::kScalar:
    case KfuncArgKind::kConstScalar:
    case KfuncArgKind::kKernelTypeId:
    case KfuncArgKind::kSize:
    case KfuncArgKind::kConstSize:
      return check_kind(call, reg, ValueKind::kScalar);
    case KfuncArgKind::kMem:
      return check_memory(call, reg, arg, arg.fixed_size);
    case KfuncArgKind::kMemSized:
      return check_sized_memory(call, reg, arg);
    case KfuncArgKind::kMap:
      return check_unmodified(call, reg, ValueKind::kMap);
    case KfuncArgKind::kCtx:
      return check_unmodified(call, reg, ValueKind::kContext);
    case KfuncArgKind::kString:
      return check_string(call, reg);
    case KfuncArgKind::kDynptr:
    case KfuncArgKind::kIterator:
    case KfuncArgKind::kIrqFlag:
      return check_stack_object(call, reg, arg);
    case KfuncArgKind::kCallback:
      return check_kind(call, reg, ValueKind::kFunction);
    case KfuncArgKind::kLocalTypeId:
      return check_type_id(call, reg);
    case KfuncArgKind::kAllocObject:
    case KfuncArgKind::kRefcounted:
    case KfuncArgKind::kPercpuObject:
      return check_object(call, reg, arg);
    case KfuncArgKind::kListNode:
    case KfuncArgKind::kRbNode:
      return check_node(call, reg, arg);
    case KfuncArgKind::kListHead:
    case KfuncArgKind::kRbRoot:
      return check_head(call, reg);
    case KfuncArgKind::kKernelObject:
      return check_kernel_object(call, reg, arg);
    case KfuncArgKind::kNone:
    case KfuncArgKind::kIgnored:
    case KfuncArgKind::kMeta:
    case KfuncArgKind::kNodeOffset:
      return true;
    case KfuncArgKind::kResSpinLock:
      return check_resilient_lock(call, reg);
    case KfuncArgKind::kTimer:
    case KfuncArgKind::kWorkqueue:
      return check_field(call, reg, kDeferredBytes, false);
    case KfuncArgKind::kTaskWork:
      return fail(call, TrapReason::kArgument, reg);  // refused when the image was built
  }
  return fail(call, TrapReason::kArgument, reg);
}

// What the program is told of an object that the call has made.
bool new_object_shadow(Call& call, const KfuncArg& arg, Shadow& shadow) {
  const std::uint64_t address = value_of(call, call.new_object_reg);
  constexpr std::uint8_t kAll = kMayRead | kMayWrite;
  if (arg.kind == KfuncArgKind::kDynptr) {
    // A clone shares memory and life with what it is a clone of.
    const bool is_clone = call.used_object.is_initialised();
    shadow = is_clone ? call.used_object
                      : Shadow::stack_object(address,
                                             stack_object_detail(StackObjectKind::kPacketDynptr),
                                             kAll, kNoReference);
    shadow.object = address;
    return true;
  }
  const std::uint16_t reference = acquire(call.machine, 0);
  if (reference == kNoReference) {
    call.machine.fail_at_limit(call.step, TrapReason::kTooManyReferences, kReferencesMax);
    return false;
  }
  const bool is_irq = arg.kind == KfuncArgKind::kIrqFlag;
  call.machine.references[call.machine.reference_count - 1u].is_irq = is_irq;
  const std::uint32_t detail = is_irq
                                   ? stack_object_detail(StackObjectKind::kIrqFlag)
                                   : stack_object_detail(StackObjectKind::kIterator, arg.iterator);
  shadow = Shadow::stack_object(address, detail, kAll, reference);
  return true;
}

bool make_object(Call& call) {
  if (call.new_object_reg == 0) return true;
  const KfuncArg& arg = call.proto.args[call.new_object_reg - 1u];
  Shadow shadow = Shadow::uninit();
  if (!new_object_shadow(call, arg, shadow)) return false;
  const StackPlace place = stack_place(call.machine, call.new_object_reg, slots_of(arg));
  mark_object(*place.frame, place.offset, slots_of(arg), shadow);
  return true;
}

// Ends the object that is used.
void end_object(Call& call) {
  release(call.machine, call.used_object.reference);
  drop_object(*call.used_frame, call.used_object.object);
}

// Interrupt states are restored in the reverse order of saving.
bool is_last_irq(const Machine& machine, std::uint16_t number) {
  for (std::size_t i = machine.reference_count; i > 0; --i) {
    if (machine.references[i - 1].is_irq) return machine.references[i - 1].number == number;
  }
  return false;
}

bool leave(Call& call, std::uint32_t& depth) {
  if (depth == 0) return fail(call, TrapReason::kSection);
  --depth;
  return true;
}

// The sections that a call opens or closes. The engine runs a program to its end on one thread and
// keeps what it sees alive for so long; all that is left to do is to see that they are in order.
bool change_sections(Call& call) {
  Machine& machine = call.machine;
  const std::uint32_t flags = call.proto.flags;
  if ((flags & kKfRcuLock) != 0) ++machine.rcu_depth;
  if ((flags & kKfPreemptDisable) != 0) ++machine.preempt_depth;
  if ((flags & kKfRcuUnlock) != 0) return leave(call, machine.rcu_depth);
  if ((flags & kKfPreemptEnable) != 0) return leave(call, machine.preempt_depth);
  if ((flags & kKfIrqRestore) != 0) {
    if (!is_last_irq(machine, call.used_object.reference)) return fail(call, TrapReason::kSection);
    end_object(call);
  }
  return true;
}

void set_memory_result(Call& call, std::uint64_t result) {
  const bool is_read_only = call.proto.ret_is_read_only;
  const Shadow& object = call.used_object;
  auto rights = static_cast<std::uint8_t>(object.rights & ~(is_read_only ? kMayWrite : 0));
  Shadow& shadow = call.machine.shadow[0];
  if (call.proto.ret == KfuncRet::kMem) {
    shadow = Shadow::memory(result, call.proto.ret_size, rights, object.reference);
  } else if (stack_object_kind(object) == StackObjectKind::kPacketDynptr) {
    shadow = Shadow::packet(ValueKind::kPacket, call.machine.context->packet_generation);
    shadow.rights = rights;
  } else {
    shadow = Shadow::memory(result, static_cast<std::uint32_t>(call.size_bytes), rights,
                            object.reference);
  }
}

// r0 is the object, or a node in it, that the program owns if the call says so.
bool set_object_result(Call& call, std::uint64_t result) {
  Machine& machine = call.machine;
  machine.set_scalar(0, result);
  if (result == 0) return true;
  const ObjectHeap::Found found = heap_of(call).find(result);
  std::uint16_t reference = kNoReference;
  if ((call.proto.flags & kKfAcquire) != 0) {
    reference = acquire(machine, 0);
    if (reference == kNoReference) {
      heap_of(call).release(found.base);
      machine.fail_at_limit(call.step, TrapReason::kTooManyReferences, kReferencesMax);
      return false;
    }
    machine.references[machine.reference_count - 1u].object = found.base;
  }
  machine.shadow[0] = Shadow::object_of(found.base, found.serial, reference);
  return true;
}

// r0 is an object of one of the engine's tables.
bool set_kernel_object_result(Call& call, std::uint64_t result) {
  Machine& machine = call.machine;
  machine.set_scalar(0, result);
  if (result == 0) return true;
  const auto structs = machine.context->kernel_structs;
  const bool is_context = call.proto.ret == KfuncRet::kCtxObject;
  const std::string_view name = is_context ? kContextStruct : call.proto.ret_type_name;
  const auto found = std::ranges::find(structs, name, &KernelStruct::name);
  const bool is_known = found != structs.end();
  std::uint16_t reference = kNoReference;
  if ((call.proto.flags & kKfAcquire) != 0) {
    reference = acquire(machine, 0);
    if (reference == kNoReference) {
      if (is_known && found->give_back != nullptr) {
        found->give_back(*machine.context, reinterpret_cast<void*>(result));
      }
      machine.fail_at_limit(call.step, TrapReason::kTooManyReferences, kReferencesMax);
      return false;
    }
    HeldReference& held = machine.references[machine.reference_count - 1u];
    held.object = result;
    if (is_known) held.give_back = found->give_back;
  }
  const auto which = static_cast<std::uint32_t>(found - structs.begin());
  machine.shadow[0] = Shadow::kernel_object(result, which, reference);
  return true;
}

// r0 is the address that was given, for reading whatever lies there. What it is known to lead to
// stays known; where there is nothing to read, loads give zeros.
void set_cast_result(Call& call, std::uint64_t result) {
  Machine& machine = call.machine;
  machine.value[0] = result;
  machine.shadow[0] = Shadow::untrusted();
  const Shadow& given = call.shadows[0];
  if (given.kind == ValueKind::kContext) {
    // The kernel has its own struct there, not what the program sees of it.
    KernelObjects* kernel = machine.context->kernel_objects;
    if (kernel != nullptr) machine.value[0] = kernel->context_object(*machine.context);
    return;
  }
  if (!given.is_pointer()) return;
  machine.shadow[0] = given;
  machine.shadow[0].rights = kMayRead | kMayProbe;
}

// False: trapped.
bool set_result(Call& call, std::uint64_t result) {
  Machine& machine = call.machine;
  machine.set_uninit(0, 5);
  switch (call.proto.ret) {
    case KfuncRet::kVoid:
      return true;
    case KfuncRet::kScalar: {
      // Compiled kernel code on x86-64 leaves zeros above a result.
      const std::uint32_t bits = call.proto.ret_size * 8;
      machine.set_scalar(0, bits == 64 ? result : result & ((1ull << bits) - 1));
      return true;
    }
    case KfuncRet::kMem:
    case KfuncRet::kMemOfSize:
      machine.set_scalar(0, result);
      if (result != 0) set_memory_result(call, result);
      return true;
    case KfuncRet::kAllocObject:
    case KfuncRet::kPercpuObject:
    case KfuncRet::kSameObject:
    case KfuncRet::kListNode:
    case KfuncRet::kRbNode:
      return set_object_result(call, result);
    case KfuncRet::kKernelObject:
      return set_kernel_object_result(call, result);
    case KfuncRet::kArenaPointer:
      // To Linux a `void *` of a call is a number: arithmetic on it has 64 bits until it is cast.
      machine.set_scalar(0, result);
      return true;
    case KfuncRet::kCtxObject:
      return set_kernel_object_result(call, result);
    case KfuncRet::kUntrusted:
      set_cast_result(call, result);
      return true;
  }
  return true;
}

const Step* throw_exception(Call& call) {
  Machine& machine = call.machine;
  if (!is_balanced(machine, call.step)) return nullptr;
  machine.thrown = call.values[0];
  machine.is_thrown = true;
  machine.is_trapped = true;  // so that everything that is running ends
  return nullptr;
}

std::uint64_t call_body(Call& call, HelperFn body) {
  Machine& machine = call.machine;
  PendingHelper pending{};
  pending.kfunc = &call.proto;
  PendingHelper* outer = machine.pending;
  machine.pending = &pending;
  machine.call_site = call.step;
  const auto& args = call.values;
  const std::uint64_t result = body(args[0], args[1], args[2], args[3], args[4], machine.context);
  machine.pending = outer;
  return result;
}

}  // namespace

bool is_engine_kfunc(const KfuncProto& proto) {
  return (proto.flags & (kSectionFlags | kKfThrows | kKfTrap)) != 0;
}

void set_kfunc_callback_arguments(Machine& machine, std::span<const std::uint64_t> args) {
  for (std::size_t i = 0; i < std::min<std::size_t>(args.size(), 2); ++i) {
    const ObjectHeap::Found found = machine.context->objects->find(args[i]);
    machine.value[i + 1] = args[i];
    machine.shadow[i + 1] = Shadow::object_of(found.base, found.serial, kNoReference);
  }
}

void release_held_objects(Machine& machine) {
  for (std::size_t i = 0; i < machine.reference_count; ++i) {
    const HeldReference& held = machine.references[i];
    if (held.object == 0) continue;
    if (held.give_back != nullptr) {
      held.give_back(*machine.context, reinterpret_cast<void*>(held.object));
    } else {
      machine.context->objects->release(held.object);
    }
  }
  machine.reference_count = 0;
}

const Step* call_kfunc(Machine& machine, const Step* step) {
  const KfuncCall& kfunc = machine.image->kfunc(step->index);
  Call call{machine, step, *kfunc.proto};
  for (std::uint8_t reg = 1; reg <= 5; ++reg) {
    // An undefined register is 0, not what the last packet left in it.
    call.values[reg - 1u] = machine.shadow[reg].is_initialised() ? machine.value[reg] : 0;
    call.shadows[reg - 1u] = machine.shadow[reg];
    if (!check_argument(call, reg)) return nullptr;
  }
  const std::uint32_t flags = call.proto.flags;
  if ((flags & kKfTrap) != 0) return machine.fail(step, TrapReason::kUnreachable);
  if ((flags & kKfThrows) != 0) return throw_exception(call);
  if (!change_sections(call)) return nullptr;
  // Before the body, for it may free the object, or a callback of it stop the program.
  if (call.released != kNoReference) release(machine, call.released);

  const std::uint64_t result = kfunc.body != nullptr ? call_body(call, kfunc.body) : 0;
  if (machine.is_trapped) return nullptr;
  // A lock that was not taken has saved no interrupt state either.
  const bool is_not_locked = (flags & kKfSpinLock) != 0 && result != 0;
  if (!is_not_locked && !make_object(call)) return nullptr;
  if ((flags & kKfIterDestroy) != 0) end_object(call);
  if ((flags & kKfChangesPacket) != 0) ++machine.context->packet_generation;
  return set_result(call, result) ? step + 1 : nullptr;
}

}  // namespace lmn::interp
