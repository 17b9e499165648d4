// SPDX-License-Identifier: Apache-2.0
//
// The checks of memory_access.h, in the order object, life, rights, bounds, written bytes, so that
// the first broken rule is the one that is told. Tested by exec_test.cc.
#include "exec/interp/memory_access.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "exec/interp/arena_access.h"
#include "exec/interp/guest_context.h"
#include "exec/interp/stack_object.h"
#include "maps/object_heap.h"

namespace lmn::interp {
namespace {

// What a shadow refers to at this moment, or why it may not be followed.
struct Object {
  std::uint64_t base = 0;
  std::uint64_t size_bytes = 0;
  std::uint8_t rights = kMayRead | kMayWrite;
  bool is_usable = false;
  TrapReason problem = TrapReason::kNotAccessible;
  Frame* frame = nullptr;
};

Object packet_object(const Machine& machine, const Shadow& shadow) {
  Object object;
  if (shadow.object != machine.context->packet_generation) {
    object.problem = TrapReason::kStalePacket;
    return object;
  }
  const XdpBuff& buff = *machine.context->buff;
  const bool is_meta = shadow.kind == ValueKind::kPacketMeta;
  const std::uint8_t* from = is_meta ? buff.data_meta : buff.data;
  const std::uint8_t* to = is_meta ? buff.data : buff.data_end;
  object.base = reinterpret_cast<std::uintptr_t>(from);
  object.size_bytes = static_cast<std::uint64_t>(to - from);
  if (shadow.rights != 0) object.rights = shadow.rights;
  object.is_usable = true;
  return object;
}

Object stack_object(const Shadow& shadow) {
  Object object;
  // The address is one of our frames, since shadows are made by us alone; whether that frame is
  // still the one, the serial says.
  auto* frame = reinterpret_cast<Frame*>(shadow.object);
  if (frame->serial != shadow.detail) {
    object.problem = TrapReason::kDeadFrame;
    return object;
  }
  object.base = shadow.object;
  object.size_bytes = limits::kStackBytes;
  object.frame = frame;
  object.is_usable = true;
  return object;
}

Object sized_object(const Machine& machine, const Shadow& shadow) {
  Object object;
  if (shadow.reference != kNoReference && !is_held(machine, shadow.reference)) {
    object.problem = TrapReason::kReleasedMemory;
    return object;
  }
  object.base = shadow.object;
  object.size_bytes = shadow.detail;
  object.rights = shadow.rights;
  object.is_usable = true;
  return object;
}

// An object may be used as long as it is the same one, whoever keeps it.
Object heap_object(const Machine& machine, const Shadow& shadow) {
  Object object;
  const ObjectHeap::Found found = machine.context->objects->find(shadow.object);
  const bool is_kept = !found.is_dropped || (shadow.rights & kMayOutlive) != 0;
  if (found.size_bytes == 0 || found.serial != shadow.detail || !is_kept) {
    object.problem = TrapReason::kReleasedMemory;
    return object;
  }
  object.base = found.base;
  object.size_bytes = found.size_bytes;
  object.is_usable = true;
  return object;
}

// All of an object of the kernel may be read; what may be written, is_writable_part() says. One
// that is made of the packet's state is made anew for each access.
Object kernel_object(const Machine& machine, const Shadow& shadow) {
  Object object;
  if (shadow.reference != kNoReference && !is_held(machine, shadow.reference)) {
    object.problem = TrapReason::kReleasedMemory;
    return object;
  }
  const auto structs = machine.context->kernel_structs;
  object.base = shadow.object;
  object.is_usable = true;
  if (shadow.detail >= structs.size()) return object;
  const KernelStruct& kernel_struct = structs[shadow.detail];
  object.size_bytes = kernel_struct.size_bytes;
  if (kernel_struct.refresh != nullptr) {
    kernel_struct.refresh(*machine.context, reinterpret_cast<void*>(shadow.object));
  }
  return object;
}

bool is_writable_part(const Machine& machine, const Shadow& shadow, std::uint64_t offset,
                      std::uint64_t size_bytes) {
  if (shadow.kind != ValueKind::kKernelObject) return true;
  const auto structs = machine.context->kernel_structs;
  if (shadow.detail >= structs.size()) return false;
  return std::ranges::any_of(structs[shadow.detail].writable,
                             [&](const KernelStruct::Field& field) {
                               return offset == field.offset && size_bytes == field.size_bytes;
                             });
}

Object find_object(const Machine& machine, const Shadow& shadow) {
  Object object;
  switch (shadow.kind) {
    case ValueKind::kPacket:
    case ValueKind::kPacketMeta:
      return packet_object(machine, shadow);
    case ValueKind::kStack:
      return stack_object(shadow);
    case ValueKind::kMapValue:
    case ValueKind::kMemory:
      return sized_object(machine, shadow);
    case ValueKind::kObject:
      return heap_object(machine, shadow);
    case ValueKind::kKernelObject:
      return kernel_object(machine, shadow);
    case ValueKind::kScalar:
      object.problem = TrapReason::kNotAPointer;
      return object;
    case ValueKind::kUninit:
      object.problem = TrapReason::kUninitRegister;
      return object;
    case ValueKind::kContext:
    case ValueKind::kPacketEnd:
    case ValueKind::kMap:
    case ValueKind::kFunction:
    case ValueKind::kStackObject:
    case ValueKind::kArena:  // only loads, stores and atomics go there: arena_place
      return object;
  }
  return object;
}

// Calls `act(word index, mask of bits)` for each word of the written bitmap that [offset, offset +
// size) covers; stops at false.
template <typename Act>
bool for_each_written_word(std::uint32_t offset, std::uint64_t size_bytes, Act act) {
  std::uint32_t at = offset;
  std::uint64_t left = size_bytes;
  while (left > 0) {
    const std::uint32_t bit = at % 64;
    const std::uint64_t here = std::min<std::uint64_t>(left, 64 - bit);
    const std::uint64_t mask = (here == 64 ? ~0ull : (1ull << here) - 1) << bit;
    if (!act(at / 64, mask)) return false;
    at += static_cast<std::uint32_t>(here);
    left -= here;
  }
  return true;
}

bool is_written(const Frame& frame, std::uint32_t offset, std::uint64_t size_bytes) {
  return for_each_written_word(offset, size_bytes,
                               [&frame](std::uint32_t word, std::uint64_t mask) {
                                 return (frame.written[word] & mask) == mask;
                               });
}

// The slots that [offset, offset + size) touches, one bit each. REQUIRES: size > 0.
std::uint64_t slots_of(std::uint32_t offset, std::uint64_t size_bytes) {
  const std::uint32_t first = offset / 8;
  const auto last = static_cast<std::uint32_t>((offset + size_bytes - 1) / 8);
  const std::uint64_t up_to_last = last == 63 ? ~0ull : (1ull << (last + 1)) - 1;
  return up_to_last & ~((1ull << first) - 1);
}

// Bytes of dynptrs and iterators count as unwritten, and stay as they are.
void zero_unwritten(Frame& frame, std::uint32_t offset, std::uint64_t size_bytes) {
  for (std::uint32_t at = offset; at < offset + size_bytes; ++at) {
    if ((frame.object_slots >> (at / 8) & 1) != 0) continue;
    if ((frame.written[at / 64] >> (at % 64) & 1) == 0) frame.stack[at] = 0;
  }
}

void set_written(Frame& frame, std::uint32_t offset, std::uint64_t size_bytes) {
  for_each_written_word(offset, size_bytes, [&frame](std::uint32_t word, std::uint64_t mask) {
    frame.written[word] |= mask;
    return true;
  });
}

// What an access asks of an object.
struct Demand {
  std::uint8_t reg;
  std::uint64_t address;
  std::uint64_t size_bytes;
  bool reads;
  bool writes;
  bool is_output;  // stack bytes that were not written become 0 instead of being refused
};

Place refuse(Machine& machine, const Step* step, TrapReason reason, const Demand& demand,
             const Object& object) {
  machine.fail(step, reason, demand.reg);
  machine.trap.offset = static_cast<std::int64_t>(demand.address - object.base);
  machine.trap.size_bytes = demand.size_bytes;
  machine.trap.bound_bytes = object.size_bytes;
  machine.trap.is_write = demand.writes;
  return {};
}

Place grant(Machine& machine, const Step* step, const Demand& demand) {
  const Object object = find_object(machine, machine.shadow[demand.reg]);
  if (!object.is_usable) return refuse(machine, step, object.problem, demand, object);
  if (demand.writes && (object.rights & kMayWrite) == 0) {
    return refuse(machine, step, TrapReason::kReadOnly, demand, object);
  }
  if (demand.reads && (object.rights & kMayRead) == 0) {
    return refuse(machine, step, TrapReason::kWriteOnly, demand, object);
  }
  const std::uint64_t offset = demand.address - object.base;
  if (offset > object.size_bytes || demand.size_bytes > object.size_bytes - offset) {
    return refuse(machine, step, TrapReason::kOutOfBounds, demand, object);
  }
  if (demand.writes &&
      !is_writable_part(machine, machine.shadow[demand.reg], offset, demand.size_bytes)) {
    return refuse(machine, step, TrapReason::kReadOnly, demand, object);
  }
  if (object.frame != nullptr && (demand.reads || demand.is_output)) {
    const auto at = static_cast<std::uint32_t>(offset);
    if (!is_written(*object.frame, at, demand.size_bytes)) {
      if ((object.frame->object_slots & slots_of(at, demand.size_bytes)) != 0) {
        return refuse(machine, step, TrapReason::kStackObject, demand, object);
      }
      if (!demand.is_output && !machine.image->may_read_uninit_stack()) {
        return refuse(machine, step, TrapReason::kUninitStack, demand, object);
      }
      zero_unwritten(*object.frame, at, demand.size_bytes);
      set_written(*object.frame, at, demand.size_bytes);
    }
  }
  if (machine.trace != nullptr) {
    machine.trace->on_touch({machine.shadow[demand.reg].kind, static_cast<std::int64_t>(offset),
                             static_cast<std::uint32_t>(demand.size_bytes), demand.writes});
  }
  return {reinterpret_cast<std::uint8_t*>(demand.address), object.frame};
}

Demand demand_of(const Machine& machine, const Step* step, std::uint8_t base,
                 std::uint32_t size_bytes, Access access) {
  const std::uint64_t address =
      machine.value[base] + static_cast<std::uint64_t>(std::int64_t{step->off});
  return {base, address, size_bytes, access != Access::kWrite, access != Access::kRead, false};
}

// The part of `object` from `address` on, at most out.size() bytes; 0 when the address lies
// elsewhere or may not be read.
std::size_t copy_from(const Object& object, std::uint64_t address, std::span<std::uint8_t> out) {
  const std::uint64_t offset = address - object.base;
  if (!object.is_usable || (object.rights & kMayRead) == 0 || offset >= object.size_bytes) return 0;
  const std::size_t count = std::min<std::size_t>(out.size(), object.size_bytes - offset);
  if (object.frame != nullptr) {
    zero_unwritten(*object.frame, static_cast<std::uint32_t>(offset), count);
  }
  std::memcpy(out.data(), reinterpret_cast<const void*>(address), count);
  return count;
}

// The same over all objects that the shadows of `held` refer to.
std::size_t copy_from_any(const Machine& machine, std::span<const Shadow> held,
                          std::uint64_t address, std::span<std::uint8_t> out) {
  for (const Shadow& shadow : held) {
    if (!shadow.is_pointer()) continue;
    const std::size_t count = copy_from(find_object(machine, shadow), address, out);
    if (count > 0) return count;
  }
  return 0;
}

std::size_t copy_from_frame(const Machine& machine, const Frame& frame, std::uint64_t address,
                            std::span<std::uint8_t> out) {
  const auto base = reinterpret_cast<std::uintptr_t>(frame.stack.data());
  std::size_t count = copy_from(stack_object(Shadow::stack(base, frame.serial)), address, out);
  for (std::uint64_t slots = frame.pointer_slots; count == 0 && slots != 0; slots &= slots - 1) {
    const Shadow& spilled = frame.spilled[static_cast<std::size_t>(std::countr_zero(slots))];
    count = copy_from_any(machine, {&spilled, 1}, address, out);
  }
  return count;
}

}  // namespace

std::size_t read_guest(void* engine_state, std::uint64_t address,
                       std::span<std::uint8_t> out) noexcept {
  const Machine& machine = *static_cast<Machine*>(engine_state);
  const std::uint64_t generation = machine.context->packet_generation;
  const Shadow packet[] = {Shadow::packet(ValueKind::kPacket, generation),
                           Shadow::packet(ValueKind::kPacketMeta, generation)};
  std::size_t count = copy_from_any(machine, packet, address, out);
  if (count == 0) count = copy_from_any(machine, machine.shadow, address, out);
  for (std::uint32_t depth = 0; count == 0 && depth <= machine.depth; ++depth) {
    count = copy_from_frame(machine, machine.frames[depth], address, out);
  }
  for (const Constant& constant : machine.image->constants()) {
    if (count > 0) break;
    count = copy_from_any(machine, {&constant.shadow, 1}, address, out);
  }
  return count;
}

namespace {

// Where no page is, an access reads zeros and writes nothing that anybody sees.
Place arena_place(Machine& machine, const Step* step, std::uint8_t base, std::uint32_t size_bytes) {
  std::uint8_t* host = arena_bytes(machine, step, base, size_bytes);
  if (host != nullptr) return {host, nullptr};
  machine.no_page.fill(0);
  return {machine.no_page.data(), nullptr};
}

}  // namespace

Place check_access(Machine& machine, const Step* step, std::uint8_t base, std::uint32_t size_bytes,
                   Access access) {
  if (machine.shadow[base].kind == ValueKind::kArena) [[unlikely]] {
    return arena_place(machine, step, base, size_bytes);
  }
  const Demand demand = demand_of(machine, step, base, size_bytes, access);
  if (machine.shadow[base].kind == ValueKind::kContext) {
    Object context;
    context.base = machine.shadow[base].object;
    context.size_bytes = machine.image->context_bytes();
    const bool writes = access != Access::kRead;
    if (writes && machine.limits->guest != nullptr) {
      const auto offset = static_cast<std::int64_t>(demand.address - context.base);
      const Place place = guest_field_place(machine, offset, size_bytes);
      if (place.host != nullptr) return place;
    }
    return refuse(machine, step, writes ? TrapReason::kContextWrite : TrapReason::kContextAccess,
                  demand, context);
  }
  if (machine.shadow[base].kind == ValueKind::kMap && machine.limits->guest != nullptr &&
      access == Access::kRead) {
    const Shadow& shadow = machine.shadow[base];
    const auto offset = static_cast<std::int64_t>(demand.address - shadow.object);
    const auto& map = *reinterpret_cast<const Map*>(shadow.object);
    const Place place = guest_map_place(machine, map, offset, size_bytes);
    if (place.host != nullptr) return place;
  }
  return grant(machine, step, demand);
}

std::uint64_t probe(Machine& machine, std::uint8_t reg, std::uint64_t address,
                    std::uint32_t size_bytes) {
  std::uint8_t bytes[8] = {};
  const std::span<std::uint8_t> out(bytes, size_bytes);
  RunContext& context = *machine.context;
  std::size_t count = copy_from_any(machine, {&machine.shadow[reg], 1}, address, out);
  if (count != size_bytes) count = read_guest(&machine, address, out);
  if (count != size_bytes && context.kernel_objects != nullptr) {
    count = context.kernel_objects->read(context, address, out);
  }
  if (count != size_bytes) return 0;
  std::uint64_t value = 0;
  std::memcpy(&value, bytes, size_bytes);
  return value;
}

Place check_atomic(Machine& machine, const Step* step, std::uint8_t base, std::uint32_t size_bytes,
                   Access access) {
  const Demand demand = demand_of(machine, step, base, size_bytes, access);
  const ValueKind kind = machine.shadow[base].kind;
  // Linux 6.18, kernel/bpf/verifier.c, atomic_ptr_type_ok: neither the context nor the packet.
  if (kind == ValueKind::kContext || kind == ValueKind::kPacket || kind == ValueKind::kPacketMeta) {
    return refuse(machine, step, TrapReason::kAtomicMemory, demand, {});
  }
  const Place place = kind == ValueKind::kArena ? arena_place(machine, step, base, size_bytes)
                                                : grant(machine, step, demand);
  if (place.host == nullptr || demand.address % size_bytes == 0) return place;
  return refuse(machine, step, TrapReason::kMisaligned, demand,
                find_object(machine, machine.shadow[base]));
}

Place check_region(Machine& machine, const Step* step, std::uint8_t reg, const RegionUse& use) {
  const Demand demand = {reg,
                         machine.value[reg],
                         use.size_bytes,
                         !use.is_output,
                         use.is_written || use.is_output,
                         use.is_output};
  const Place place = grant(machine, step, demand);
  if (place.host != nullptr && place.frame != nullptr && demand.writes) {
    mark_written(*place.frame, place.stack_offset(), use.size_bytes);
  }
  return place;
}

const Step* load_context(Machine& machine, const Step* step, std::uint32_t size_bytes,
                         bool extends_sign) {
  const std::uint64_t base = machine.shadow[step->src].object;
  const auto offset = static_cast<std::int64_t>(machine.value[step->src] - base) + step->off;
  const ContextLoad load = machine.image->context_load(offset, size_bytes);
  // A sign-extended half of a pointer was once taken for a pointer (CVE-2024-47702): numbers alone
  // may be read so.
  const bool is_pointer = load.kind == ContextFieldKind::kPacketData ||
                          load.kind == ContextFieldKind::kPacketEnd ||
                          load.kind == ContextFieldKind::kPacketMeta;
  if (!load.is_allowed || (extends_sign && is_pointer)) {
    if (machine.limits->guest != nullptr) {
      const Step* next = load_guest_field(machine, step, offset, size_bytes, extends_sign);
      if (next != nullptr) return next;
    }
    check_access(machine, step, step->src, size_bytes, Access::kRead);
    return nullptr;
  }
  if (machine.trace != nullptr)
    machine.trace->on_touch({ValueKind::kContext, offset, size_bytes, false});
  const XdpBuff& buff = *machine.context->buff;
  const std::uint64_t generation = machine.context->packet_generation;
  auto set_pointer = [&](const std::uint8_t* pointer, ValueKind kind) {
    machine.value[step->dst] = reinterpret_cast<std::uintptr_t>(pointer);
    machine.shadow[step->dst] = Shadow::packet(kind, generation);
  };
  const auto set_number = [&](std::uint32_t number) {
    const std::int64_t extended = static_cast<std::int32_t>(number);
    machine.set_scalar(step->dst, extends_sign ? static_cast<std::uint64_t>(extended) : number);
  };
  switch (load.kind) {
    case ContextFieldKind::kPacketData:
      set_pointer(buff.data, ValueKind::kPacket);
      break;
    case ContextFieldKind::kPacketEnd:
      set_pointer(buff.data_end, ValueKind::kPacketEnd);
      break;
    case ContextFieldKind::kPacketMeta:
      set_pointer(buff.data_meta, ValueKind::kPacketMeta);
      break;
    case ContextFieldKind::kIngressIfindex:
      set_number(buff.rxq != nullptr ? buff.rxq->ifindex : 0);
      break;
    case ContextFieldKind::kRxQueueIndex:
      set_number(buff.rxq != nullptr ? buff.rxq->queue_index : 0);
      break;
    case ContextFieldKind::kEgressIfindex:
      set_number(buff.egress_ifindex);
      break;
  }
  return step + 1;
}

void note_loaded_object(Machine& machine, std::uint8_t reg) {
  const ObjectHeap* heap = machine.context->objects;
  const std::uint64_t address = machine.value[reg];
  if (heap == nullptr || address == 0) return;
  const ObjectHeap::Found found = heap->find(address);
  if (found.size_bytes != 0 && found.base == address) {
    machine.shadow[reg] = Shadow::object_of(address, found.serial, kNoReference);
    machine.shadow[reg].rights = kMayOutlive;
    return;
  }
  const KernelObjects* kernel = machine.context->kernel_objects;
  if (const auto which = kernel != nullptr ? kernel->find(address) : std::nullopt) {
    machine.shadow[reg] = Shadow::kernel_object(address, *which, kNoReference);
    machine.shadow[reg].rights = kMayRead | kMayProbe | kMayOutlive;
  } else if (heap->contains(address)) {
    // Gone since it was stored: a load through it reads nothing, as BPF_PROBE_MEM.
    machine.shadow[reg] = Shadow::untrusted();
  }
}

void mark_written(Frame& frame, std::uint32_t offset, std::uint64_t size_bytes) {
  if (size_bytes == 0) return;
  set_written(frame, offset, size_bytes);
  if ((frame.pointer_slots | frame.object_slots) == 0) return;
  const std::uint64_t slots = slots_of(offset, size_bytes);
  frame.pointer_slots &= ~slots;
  // What is left of an object is no object.
  for (std::uint64_t hit = frame.object_slots & slots; hit != 0; hit &= hit - 1) {
    const Shadow& object = frame.spilled[static_cast<std::size_t>(std::countr_zero(hit))];
    drop_object(frame, object.object);
  }
}

void drop_object(Frame& frame, std::uint64_t address) {
  for (std::uint64_t slots = frame.object_slots; slots != 0; slots &= slots - 1) {
    const int slot = std::countr_zero(slots);
    if (frame.spilled[static_cast<std::size_t>(slot)].object == address) {
      frame.object_slots &= ~(1ull << slot);
    }
  }
}

void mark_object(Frame& frame, std::uint32_t offset, std::size_t slot_count, const Shadow& shadow) {
  mark_written(frame, offset, slot_count * 8);  // ends what was there
  for_each_written_word(offset, slot_count * 8, [&frame](std::uint32_t word, std::uint64_t mask) {
    frame.written[word] &= ~mask;
    return true;
  });
  for (std::size_t i = 0; i < slot_count; ++i) {
    frame.object_slots |= 1ull << (offset / 8 + i);
    frame.spilled[offset / 8 + i] = shadow;
  }
}

void mark_pointer(Frame& frame, std::uint32_t offset, const Shadow& shadow) {
  frame.pointer_slots |= 1ull << (offset / 8);
  frame.spilled[offset / 8] = shadow;
}

Shadow shadow_at(const Frame& frame, std::uint32_t offset) {
  if (offset % 8 != 0 || (frame.pointer_slots >> (offset / 8) & 1) == 0) return Shadow::scalar();
  return frame.spilled[offset / 8];
}

void clear_frame(Frame& frame) {
  frame.written.fill(0);
  frame.pointer_slots = 0;
  frame.object_slots = 0;
}

}  // namespace lmn::interp
