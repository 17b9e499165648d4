// SPDX-License-Identifier: Apache-2.0
//
// Helper calls: every argument against the helper's row, and what the call leaves behind. Tested by
// paths_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_helper_call, check_func_arg, check_reg_type).
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "verifier/explorer.h"
#include "verifier/kernel_object.h"

namespace lmn {
namespace {

struct AcceptedKind {
  RegKind kind;
  std::uint16_t flags = 0;
};

constexpr AcceptedKind kMemoryKinds[] = {{RegKind::kStack},
                                         {RegKind::kPacket},
                                         {RegKind::kPacketMeta},
                                         {RegKind::kMapKey},
                                         {RegKind::kMapValue},
                                         {RegKind::kMemory},
                                         {RegKind::kMemory, kRingbufMemory}};
constexpr AcceptedKind kKeyKinds[] = {{RegKind::kStack},      {RegKind::kPacket},
                                      {RegKind::kPacketMeta}, {RegKind::kMapKey},
                                      {RegKind::kMapValue},   {RegKind::kMemory}};
constexpr AcceptedKind kNumberKinds[] = {{RegKind::kNumber}};
constexpr AcceptedKind kContextKinds[] = {{RegKind::kContext}};
constexpr AcceptedKind kMapKinds[] = {{RegKind::kMap}};
constexpr AcceptedKind kValueKinds[] = {{RegKind::kMapValue}};
constexpr AcceptedKind kRingbufKinds[] = {{RegKind::kMemory, kRingbufMemory}};
constexpr AcceptedKind kFunctionKinds[] = {{RegKind::kFunction}};
constexpr AcceptedKind kStackKinds[] = {{RegKind::kStack}};
constexpr AcceptedKind kSocketKinds[] = {{RegKind::kSocket}};
constexpr AcceptedKind kSockCommonKinds[] = {
    {RegKind::kSockCommon}, {RegKind::kSocket}, {RegKind::kTcpSock}, {RegKind::kXdpSock}};
constexpr AcceptedKind kAnySockKinds[] = {{RegKind::kSockCommon}, {RegKind::kSocket},
                                          {RegKind::kTcpSock},    {RegKind::kXdpSock},
                                          {RegKind::kBtfObject},  {RegKind::kBtfObject, kTrusted}};
constexpr AcceptedKind kDynptrKinds[] = {{RegKind::kStack}, {RegKind::kDynptr}};
constexpr AcceptedKind kBtfKinds[] = {
    {RegKind::kBtfObject}, {RegKind::kBtfObject, kTrusted}, {RegKind::kBtfObject, kRcuProtected}};
constexpr AcceptedKind kPercpuKinds[] = {{RegKind::kBtfObject, kPerCpu},
                                         {RegKind::kBtfObject, kPerCpu | kRcuProtected},
                                         {RegKind::kBtfObject, kPerCpu | kTrusted}};
constexpr AcceptedKind kLockKinds[] = {{RegKind::kMapValue}, {RegKind::kBtfObject, kAllocated}};
constexpr AcceptedKind kKptrKinds[] = {
    {RegKind::kMapValue},
    {RegKind::kBtfObject, kAllocated},
    {RegKind::kBtfObject, kAllocated | kNonOwning},
    {RegKind::kBtfObject, kAllocated | kNonOwning | kRcuProtected}};

std::span<const AcceptedKind> accepted_kinds(ArgKind kind) {
  switch (kind) {
    case ArgKind::kNone:
    case ArgKind::kAnything:
      return {};
    case ArgKind::kConstMapPtr:
      return kMapKinds;
    case ArgKind::kPtrToMapKey:
    case ArgKind::kPtrToMapValue:
      return kKeyKinds;
    case ArgKind::kPtrToMem:
      return kMemoryKinds;
    case ArgKind::kConstSize:
    case ArgKind::kConstSizeOrZero:
    case ArgKind::kConstAllocSizeOrZero:
      return kNumberKinds;
    case ArgKind::kPtrToCtx:
      return kContextKinds;
    case ArgKind::kPtrToSpinLock:
      return kLockKinds;
    case ArgKind::kKptrXchgDest:
      return kKptrKinds;
    case ArgKind::kPtrToTimer:
    case ArgKind::kPtrToConstStr:
      return kValueKinds;
    case ArgKind::kPtrToRingbufMem:
      return kRingbufKinds;
    case ArgKind::kPtrToFunc:
      return kFunctionKinds;
    case ArgKind::kPtrToStack:
      return kStackKinds;
    case ArgKind::kPtrToDynptr:
      return kDynptrKinds;
    case ArgKind::kPtrToSocket:
      return kSocketKinds;
    case ArgKind::kPtrToSockCommon:
      return kSockCommonKinds;
    case ArgKind::kPtrToBtfId:
      return kBtfKinds;
    case ArgKind::kPtrToPercpuBtfId:
      return kPercpuKinds;
  }
  return {};
}

bool holds_sockets(const MapSpec& map) {
  return map.type == BPF_MAP_TYPE_SOCKMAP || map.type == BPF_MAP_TYPE_SOCKHASH;
}

// What is stored in a map of sockets is a socket, not bytes.
ArgKind as_for_map(ArgKind kind, const MapSpec* map) {
  const bool is_socket = kind == ArgKind::kPtrToMapValue && map != nullptr && holds_sockets(*map);
  return is_socket ? ArgKind::kPtrToSockCommon : kind;
}

std::uint8_t register_of(std::size_t argument) { return static_cast<std::uint8_t>(argument + 1); }

// Helpers whose result is a length bounded by the size argument, or an error.
bool returns_length(std::uint32_t helper) {
  return helper == BPF_FUNC_probe_read_kernel_str || helper == BPF_FUNC_probe_read_user_str ||
         helper == BPF_FUNC_get_task_stack;
}

bool might_sleep(std::uint32_t helper) {
  return helper == BPF_FUNC_copy_from_user || helper == BPF_FUNC_copy_from_user_task;
}

}  // namespace

bool Explorer::check_helper_call(const Insn& insn) {
  const HelperProto* proto = env_.find_helper(static_cast<std::uint32_t>(insn.imm));
  if (proto == nullptr) {
    return reject(Rule::kCallArgument,
                  fmt::format("program of this type cannot use helper #{}", insn.imm), {}, EINVAL);
  }
  if (might_sleep(proto->id) && !state_->frame().may_sleep) {
    return reject(Rule::kCallArgument, "helper call might sleep in a non-sleepable prog", {},
                  EINVAL);
  }
  if (!check_in_section(*proto)) return false;
  CallFacts facts;
  facts.proto = proto;
  for (std::size_t i = 0; i < proto->args.size(); ++i) {
    if (proto->args[i].kind == ArgKind::kNone) continue;
    if (!check_argument(*proto, i, facts)) return false;
  }
  if (facts.map != nullptr && !check_map_for_helper(*proto, facts)) return false;
  if (facts.raw_register >= 0) {
    // The helper writes all of it, with numbers nobody knows.
    MemoryAccess access;
    access.pointer = static_cast<std::uint8_t>(facts.raw_register);
    access.size = 1;
    access.is_write = true;
    for (std::uint32_t i = 0; i < facts.raw_size; ++i) {
      access.offset = i;
      if (!check_access(access)) return false;
    }
  }
  if (facts.release_register >= 0 && !release_argument(*proto, facts)) return false;
  if (!check_special_helper(*proto, facts, insn)) return false;
  clear_caller_saved(state_->frame());
  if (!set_result(*proto, facts)) return false;
  const bool is_tail_call = proto->id == BPF_FUNC_tail_call;
  if ((proto->flags & kHelperChangesPacket) != 0) forget_packet_pointers();
  return !is_tail_call || return_from_tail_call();
}

bool Explorer::check_argument(const HelperProto& proto, std::size_t argument, CallFacts& facts) {
  const HelperArg& wanted = proto.args[argument];
  const std::uint8_t index = register_of(argument);
  if (!check_readable(index)) return false;
  const RegState& given = reg(index);
  if (wanted.kind == ArgKind::kAnything) {
    if (!is_leak(given)) return true;
    return reject(Rule::kPointerLeak, fmt::format("R{} leaks addr into helper function", index));
  }
  if (given.is_packet() && (proto.flags & kHelperPktAccess) == 0) {
    return reject(Rule::kCallArgument, "helper access to the packet is not allowed");
  }
  const bool is_null = given.is_zero() && (wanted.flags & kArgMaybeNull) != 0;
  if (!is_null) {
    if (!check_argument_kind(proto, argument, facts)) return false;
    if (!check_argument_offset(wanted, index)) return false;
  }
  if ((wanted.flags & kArgRelease) != 0 && wanted.kind != ArgKind::kPtrToDynptr) {
    if (given.reference == 0 && !given.is_zero()) {
      return reject(Rule::kReference,
                    fmt::format("R{} must be referenced when passed to release function", index));
    }
    facts.release_register = index;
  }
  if (given.reference != 0 && wanted.kind != ArgKind::kKptrXchgDest) {
    if (facts.reference != 0) {
      return reject(Rule::kReference,
                    fmt::format("more than one arg with ref_obj_id R{} {} {}", index,
                                given.reference, facts.reference),
                    {}, EACCES);
    }
    facts.reference = given.reference;
  }
  return check_argument_value(proto, argument, facts);
}

bool Explorer::check_argument_kind(const HelperProto& proto, std::size_t argument,
                                   const CallFacts& facts) {
  const HelperArg& wanted = proto.args[argument];
  const std::uint8_t index = register_of(argument);
  const RegState& given = reg(index);
  // Which BTF describes an object is no part of its kind here.
  auto flags = static_cast<std::uint16_t>(given.flags & ~kLocalType);
  const auto ignore = [&](int which) { flags &= static_cast<std::uint16_t>(~which); };
  const bool writes = (wanted.flags & (kArgWrite | kArgUninit)) != 0;
  if ((wanted.flags & kArgMaybeNull) != 0) ignore(kMayBeNull);
  if (wanted.kind == ArgKind::kPtrToMem) ignore(kPacketSlice);
  if (!writes) ignore(kReadOnly);
  const bool is_stored = proto.id == BPF_FUNC_kptr_xchg && wanted.kind == ArgKind::kPtrToBtfId;
  if (is_stored && is_allocated_object(given)) ignore(kAllocated | kPerCpu);
  auto accepted = accepted_kinds(as_for_map(wanted.kind, facts.map));
  const std::string_view wanted_struct = helper_argument_struct(proto.id, index);
  if (wanted.kind == ArgKind::kPtrToSockCommon && !wanted_struct.empty()) accepted = kAnySockKinds;
  for (const AcceptedKind& kind : accepted) {
    if (given.kind != kind.kind || flags != kind.flags) continue;
    return given.kind != RegKind::kBtfObject || check_argument_object(proto, argument, facts);
  }
  const bool takes_memory = wanted.kind == ArgKind::kPtrToMem;
  if (takes_memory && given.kind == RegKind::kBtfObject && flags == kTrusted) {
    if (!writes) return true;
    return reject(Rule::kCallArgument,
                  fmt::format("{}() may write into memory pointed by R{} type={}", proto.name,
                              index, kind_words(given)));
  }
  std::string words = fmt::format("R{} type={} expected=", index, kind_words(given));
  for (std::size_t i = 0; i < accepted.size(); ++i) {
    words += (i == 0 ? "" : ", ") + kind_words(accepted[i].kind, accepted[i].flags);
  }
  if (takes_memory) words += ", buf, trusted_ptr_";
  return reject(given.has(kMayBeNull) ? Rule::kNullCheck : Rule::kCallArgument, std::move(words));
}

// An object of the right kind: of the right struct too?
bool Explorer::check_argument_object(const HelperProto& proto, std::size_t argument,
                                     const CallFacts& facts) {
  const std::uint8_t index = register_of(argument);
  const RegState& given = reg(index);
  const HelperArg& wanted = proto.args[argument];
  const bool is_release = (wanted.flags & kArgRelease) != 0;
  if (wanted.kind == ArgKind::kPtrToSpinLock || wanted.kind == ArgKind::kPtrToPercpuBtfId ||
      wanted.kind == ArgKind::kKptrXchgDest) {
    return true;
  }
  const bool takes_null = (wanted.flags & kArgMaybeNull) != 0 && !is_release;
  if (given.has(kMayBeNull) && !takes_null && !is_allocated_object(given)) {
    return reject(Rule::kNullCheck,
                  fmt::format("Possibly NULL pointer passed to helper arg{}", index));
  }
  if (proto.id == BPF_FUNC_kptr_xchg) return check_kptr_match(*facts.kptr, index);
  const std::string_view name = helper_argument_struct(proto.id, index);
  const bool is_strict = is_release && proto.id != BPF_FUNC_sk_release;
  if (!name.empty() && is_of_struct(given, name, is_strict)) return true;
  return reject(Rule::kCallArgument, fmt::format("R{} is of type {} but {} is expected", index,
                                                 struct_name(given), name));
}

bool Explorer::check_argument_offset(const HelperArg& wanted, std::uint8_t index) {
  const bool is_release = (wanted.flags & kArgRelease) != 0 && wanted.kind != ArgKind::kPtrToDynptr;
  // A record of a ring buffer is named by its beginning.
  if (!is_release && wanted.kind == ArgKind::kPtrToRingbufMem) return check_fixed_offset(index);
  return check_pointer_offset(index, is_release);
}

bool Explorer::check_argument_value(const HelperProto& proto, std::size_t argument,
                                    CallFacts& facts) {
  const HelperArg& wanted = proto.args[argument];
  const std::uint8_t index = register_of(argument);
  const RegState& given = reg(index);
  const bool writes = (wanted.flags & (kArgWrite | kArgUninit)) != 0;
  switch (as_for_map(wanted.kind, facts.map)) {
    case ArgKind::kConstMapPtr:
    case ArgKind::kPtrToMapKey:
    case ArgKind::kPtrToMapValue:
      return check_map_argument(wanted, index, facts);
    case ArgKind::kPtrToMem:
      facts.is_raw = (wanted.flags & kArgUninit) != 0;
      if ((wanted.flags & kArgFixedSize) == 0) return true;
      if (!check_helper_memory(index, wanted.fixed_size, writes, false, &facts)) return false;
      if ((wanted.flags & kArgAligned) == 0) return true;
      return check_alignment(
          given, {.pointer = index, .size = wanted.fixed_size, .is_exact_alignment_needed = true});
    case ArgKind::kConstSize:
    case ArgKind::kConstSizeOrZero: {
      const HelperArg& memory = proto.args[argument - 1];
      const bool is_write = (memory.flags & (kArgWrite | kArgUninit)) != 0;
      return check_size_argument(index, is_write, wanted.kind == ArgKind::kConstSizeOrZero, facts);
    }
    case ArgKind::kConstAllocSizeOrZero:
      if (!given.var.is_constant()) {
        return reject(Rule::kCallArgument, fmt::format("R{} is not a known constant'", index));
      }
      facts.alloc_size = given.var.constant_value();
      return mark_precise(index);
    case ArgKind::kPtrToFunc:
      facts.callback = given.target;
      return true;
    case ArgKind::kPtrToConstStr:
      return check_constant_string(index);
    case ArgKind::kPtrToSpinLock:
      return check_lock(index, {.is_taken = proto.id == BPF_FUNC_spin_lock});
    case ArgKind::kPtrToTimer:
      facts.map = given.map;
      facts.map_uid = given.map_uid;
      return check_timer(index, facts);
    case ArgKind::kPtrToDynptr:
      return check_dynptr_argument(wanted, index, facts);
    case ArgKind::kKptrXchgDest:
      return check_kptr_argument(index, facts);
    case ArgKind::kPtrToPercpuBtfId:
      facts.object = given;
      return true;
    case ArgKind::kNone:
    case ArgKind::kAnything:
    case ArgKind::kPtrToCtx:
    case ArgKind::kPtrToRingbufMem:
    case ArgKind::kPtrToStack:
    case ArgKind::kPtrToSocket:
    case ArgKind::kPtrToSockCommon:
    case ArgKind::kPtrToBtfId:
      return true;
  }
  return true;
}

// A map, and the key and value that belong to it.
bool Explorer::check_map_argument(const HelperArg& wanted, std::uint8_t index, CallFacts& facts) {
  const RegState& given = reg(index);
  if (wanted.kind == ArgKind::kConstMapPtr) {
    if (facts.map != nullptr && (facts.map != given.map || facts.map_uid != given.map_uid)) {
      return reject(Rule::kCallArgument,
                    fmt::format("timer pointer in R1 map_uid={} doesn't match map pointer in R2 "
                                "map_uid={}",
                                facts.map_uid, given.map_uid),
                    {}, EINVAL);
    }
    facts.map = given.map;
    facts.map_uid = given.map_uid;
    return true;
  }
  const bool is_key = wanted.kind == ArgKind::kPtrToMapKey;
  if (!is_key && given.is_zero() && (wanted.flags & kArgMaybeNull) != 0) return true;
  if (facts.map == nullptr) {
    return reject(Rule::kCallArgument,
                  fmt::format("invalid map_ptr to access map->{}", is_key ? "key" : "value"));
  }
  if (is_key) {
    if (!check_helper_memory(index, facts.map->key_size, false, false, nullptr)) return false;
    facts.constant_key = constant_key_of(index, *facts.map);
    return true;
  }
  facts.is_raw = (wanted.flags & kArgUninit) != 0;
  const bool writes = (wanted.flags & (kArgWrite | kArgUninit)) != 0;
  return check_helper_memory(index, facts.map->value_size, writes, false, &facts);
}

bool Explorer::check_map_for_helper(const HelperProto& proto, const CallFacts& facts) {
  InsnFacts& known = facts_.insns[at_];
  if (known.map != nullptr && known.map != facts.map) {
    known.has_several_maps = true;
    if (known.map->type != facts.map->type) known.has_several_map_types = true;
  }
  known.map = facts.map;
  if (!helper_takes_map(proto.id, facts.map->type)) {
    return reject(Rule::kCallArgument,
                  fmt::format("cannot pass map_type {} into func {}#{}", facts.map->type,
                              proto.name, proto.id),
                  {}, EINVAL);
  }
  if ((facts.map->map_flags & BPF_F_RDONLY_PROG) != 0 && helper_writes_map(proto.id)) {
    return reject(Rule::kMapAccess, "write into map forbidden");
  }
  return true;
}

// The key of an array, where the stack shows it: an entry that is known to exist is not null.
std::optional<std::uint64_t> Explorer::constant_key_of(std::uint8_t index, const MapSpec& map) {
  const bool is_array = map.type == BPF_MAP_TYPE_ARRAY || map.type == BPF_MAP_TYPE_PERCPU_ARRAY;
  const RegState& key = reg(index);
  if (!is_array || map.key_size != 4 || key.kind != RegKind::kStack || !key.var.is_constant()) {
    return std::nullopt;
  }
  const std::int64_t offset = key.offset + static_cast<std::int64_t>(key.var.constant_value());
  const auto distance = static_cast<std::uint64_t>(-offset - 1);
  const std::uint64_t slot_index = distance / kSlotSize;
  const std::uint64_t first = distance % kSlotSize;
  const StackSlot& slot = state_->frames[key.target].stack[slot_index];
  std::uint32_t zeros = 0;
  for (std::uint64_t i = first + 1; i-- > 0 && slot.bytes[i] == SlotByte::kZero;) ++zeros;
  if (zeros >= 4) return 0;
  if (first != kSlotSize - 1 || !slot.is_number_spill() || slot.spill_size() != map.key_size) {
    return std::nullopt;
  }
  if (!slot.spilled.var.is_low_constant()) return std::nullopt;
  const std::uint64_t value = slot.spilled.var.bits.value & 0xffffffffu;
  if (!mark_slot_precise(key.target, static_cast<std::uint32_t>(slot_index))) return std::nullopt;
  return value;
}

bool Explorer::release_argument(const HelperProto& proto, const CallFacts& facts) {
  const auto argument = static_cast<std::size_t>(facts.release_register) - 1;
  if (proto.args[argument].kind == ArgKind::kPtrToDynptr) {
    return release_dynptr(static_cast<std::uint8_t>(facts.release_register));
  }
  if (facts.reference != 0) {
    return proto.id == BPF_FUNC_kptr_xchg ? release_into_kptr(facts.reference)
                                          : release(facts.reference);
  }
  if (reg(static_cast<std::uint8_t>(facts.release_register)).is_zero()) return true;
  return reject(Rule::kReference, fmt::format("func {}#{} reference has not been acquired before",
                                              proto.name, proto.id));
}

bool Explorer::check_special_helper(const HelperProto& proto, CallFacts& facts, const Insn&) {
  switch (proto.id) {
    case BPF_FUNC_tail_call:
      return check_nothing_held("tail_call", false);
    case BPF_FUNC_dynptr_from_mem:
      if (reg(1).kind == RegKind::kMapValue) return true;
      return reject(
          Rule::kDynptr,
          fmt::format("Unsupported reg type {} for bpf_dynptr_from_mem data", kind_words(reg(1))));
    case BPF_FUNC_snprintf:
      return check_format(facts);
    case BPF_FUNC_for_each_map_elem:
      if (!is_walkable(facts.map->type)) {
        return reject(Rule::kCallback, "callback function not allowed for map", {}, 524);
      }
      return push_callback(proto, facts);
    case BPF_FUNC_loop:
    case BPF_FUNC_timer_set_callback:
    case BPF_FUNC_user_ringbuf_drain:
    case BPF_FUNC_find_vma:
      return push_callback(proto, facts);
    default:
      return true;
  }
}

void Explorer::clear_caller_saved(FrameState& frame) {
  for (std::size_t r = 0; r <= 5; ++r) frame.regs[r] = {};
}

bool Explorer::set_result(const HelperProto& proto, const CallFacts& facts) {
  RegState& result = reg(0);
  const bool may_be_null = (proto.ret_flags & kArgMaybeNull) != 0;
  const std::uint16_t null = may_be_null ? std::uint16_t{kMayBeNull} : std::uint16_t{0};
  switch (proto.ret) {
    case RetKind::kInteger:
      result = RegState::unknown();
      if (returns_length(proto.id)) {
        result.var.whole =
            Interval<64>::of_signed(-4095, static_cast<std::int64_t>(facts.size_max));
        result.var.sync();
      }
      break;
    case RetKind::kVoid:
      return true;
    case RetKind::kPtrToMapValue:
      set_map_value_result(proto, facts, result);
      break;
    case RetKind::kPtrToMem: {
      const bool is_ringbuf = proto.id == BPF_FUNC_ringbuf_reserve;
      const int flags = null | (is_ringbuf ? kRingbufMemory : 0);
      result = RegState::pointer(RegKind::kMemory, static_cast<std::uint16_t>(flags));
      result.size = static_cast<std::uint32_t>(facts.alloc_size);
      break;
    }
    case RetKind::kPtrToSocket:
      result = RegState::pointer(RegKind::kSocket, null);
      break;
    case RetKind::kPtrToSockCommon:
      result = RegState::pointer(RegKind::kSockCommon, null);
      break;
    case RetKind::kPtrToTcpSock:
      result = RegState::pointer(RegKind::kTcpSock, null);
      break;
    case RetKind::kPtrToDynptrMem:
      result = slice_of(facts.dynptr, facts.alloc_size, false);
      return true;
    case RetKind::kPtrToBtfId:
    case RetKind::kPtrToPercpuObject:
      if (!set_object_result(proto, facts)) return false;
      break;
  }
  if (result.has(kMayBeNull)) result.id = new_id();
  // The same object seen as another type: good for as long as the object is held.
  if (is_cast_helper(proto.id)) result.reference = facts.reference;
  const bool is_socket_lookup =
      facts.map != nullptr && proto.id == BPF_FUNC_map_lookup_elem && holds_sockets(*facts.map);
  const bool is_object = proto.ret != RetKind::kInteger && proto.ret != RetKind::kPtrToMapValue;
  const bool acquires = (proto.ret_flags & kArgAcquire) != 0 || proto.id == BPF_FUNC_kptr_xchg;
  if (is_socket_lookup || (is_object && acquires)) {
    const std::uint32_t id = new_id();
    result.id = result.reference = acquire(id);
  }
  return true;
}

bool Explorer::set_object_result(const HelperProto& proto, const CallFacts& facts) {
  RegState& result = reg(0);
  if (proto.id == BPF_FUNC_kptr_xchg) {
    set_kptr_result(facts);
    return true;
  }
  const bool may_be_null = (proto.ret_flags & kArgMaybeNull) != 0;
  const HelperObject object = helper_result(proto.id);
  if (!object.name.empty()) {
    result = RegState::pointer(RegKind::kBtfObject, object.flags);
    result.target = kernel_type(object.name);
    if (result.target == 0) {
      return reject(Rule::kNotSupported,
                    fmt::format("helper {} gives a struct {}, which this kernel does not have",
                                proto.name, object.name));
    }
    if (may_be_null) result.flags |= kMayBeNull;
    return true;
  }
  if (proto.ret != RetKind::kPtrToPercpuObject) {
    return reject(Rule::kNotSupported,
                  fmt::format("helper {}: what it returns is not supported", proto.name));
  }
  // One CPU's part of a per-CPU object.
  const RegState& all = facts.object;
  result = RegState::pointer(RegKind::kBtfObject);
  result.target = all.target;
  result.flags |= all.flags & kLocalType;
  if (all.has(kRcuProtected)) result.flags |= kAllocated | kRcuProtected;
  if (may_be_null) result.flags |= kMayBeNull;
  return true;
}

void Explorer::set_map_value_result(const HelperProto& proto, const CallFacts& facts,
                                    RegState& result) {
  const bool may_be_null = (proto.ret_flags & kArgMaybeNull) != 0;
  std::uint16_t flags = may_be_null ? std::uint16_t{kMayBeNull} : std::uint16_t{0};
  const bool exists = proto.id == BPF_FUNC_map_lookup_elem && facts.constant_key &&
                      *facts.constant_key < facts.map->max_entries;
  if (exists) flags = 0;
  result = RegState::pointer(RegKind::kMapValue, flags);
  result.map = facts.map;
  result.map_uid = facts.map_uid;
  if (may_hold_lock(result)) result.id = new_id();
}

}  // namespace lmn
