// SPDX-License-Identifier: Apache-2.0
//
// The context of a guest type, field by field. Tested by exec_test.cc.
// Source: Linux 6.18, net/core/filter.c (bpf_gen_ld_abs, bpf_skb_load_helper_32).
#include "exec/interp/guest_context.h"

#include <cstring>

#include "exec/interp/call.h"
#include "exec/interp/guest_type.h"

namespace lmn {

const GuestField* GuestType::find(std::int64_t offset, std::uint32_t size_bytes,
                                  bool is_write) const {
  for (const GuestField& field : fields) {
    const std::int64_t start = field.offset;
    if (offset < start || offset + size_bytes > start + field.size_bytes) continue;
    if (is_write && !field.is_writable) return nullptr;
    if (size_bytes == field.size_bytes) return &field;
    const bool may = is_write ? field.parts == GuestField::Parts::kLoadedAndStored
                              : field.parts != GuestField::Parts::kNone;
    return may && offset % size_bytes == 0 ? &field : nullptr;
  }
  return nullptr;
}

namespace interp {
namespace {

std::uint64_t extended(std::uint64_t value, std::uint32_t size_bytes) {
  const std::uint32_t unused = 64 - size_bytes * 8;
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << unused) >> unused);
}

void set_packet_pointer(Machine& machine, std::uint8_t reg, const std::uint8_t* at,
                        ValueKind kind) {
  machine.value[reg] = reinterpret_cast<std::uintptr_t>(at);
  machine.shadow[reg] = Shadow::packet(kind, machine.context->packet_generation);
}

// The address in `from`, of memory that programs may read; 0 is a number.
void set_memory_pointer(Machine& machine, std::uint8_t reg, const std::uint8_t* from,
                        std::uint32_t target_bytes) {
  std::uint64_t address = 0;
  std::memcpy(&address, from, sizeof address);
  machine.set_scalar(reg, address);
  if (address != 0) {
    machine.shadow[reg] = Shadow::memory(address, target_bytes, kMayRead, kNoReference);
  }
}

void set_number(Machine& machine, std::uint8_t reg, const std::uint8_t* from,
                std::uint32_t size_bytes, bool extends_sign) {
  std::uint64_t value = 0;
  std::memcpy(&value, from, size_bytes);
  machine.set_scalar(reg, extends_sign ? extended(value, size_bytes) : value);
}

}  // namespace

const Step* load_guest_field(Machine& machine, const Step* step, std::int64_t offset,
                             std::uint32_t size_bytes, bool extends_sign) {
  const GuestType& guest = *machine.limits->guest;
  const GuestField* field = guest.find(offset, size_bytes, false);
  const bool is_number = field != nullptr && (field->kind == GuestField::Kind::kNumber ||
                                              field->kind == GuestField::Kind::kLength);
  if (field == nullptr || (extends_sign && !is_number)) return nullptr;
  XdpBuff& buff = *machine.context->buff;
  const std::uint8_t* bytes = guest.context(buff);
  const bool is_all = field->stored_bytes != 0 && size_bytes >= field->stored_bytes;
  const std::uint8_t* from = bytes + (is_all ? field->offset : offset);
  switch (field->kind) {
    case GuestField::Kind::kNumber:
      set_number(machine, step->dst, from, size_bytes, extends_sign);
      break;
    case GuestField::Kind::kLength: {
      const std::uint32_t length = buff.length();
      const auto* first = reinterpret_cast<const std::uint8_t*>(&length);
      set_number(machine, step->dst, first + (offset - field->offset), size_bytes, extends_sign);
      break;
    }
    case GuestField::Kind::kPacketData:
      set_packet_pointer(machine, step->dst, buff.data, ValueKind::kPacket);
      break;
    case GuestField::Kind::kPacketEnd:
      set_packet_pointer(machine, step->dst, buff.data_end, ValueKind::kPacketEnd);
      break;
    case GuestField::Kind::kPacketMeta:
      set_packet_pointer(machine, step->dst, buff.data_meta, ValueKind::kPacketMeta);
      break;
    case GuestField::Kind::kMemory:
      set_memory_pointer(machine, step->dst, from, field->target_bytes);
      break;
  }
  return step + 1;
}

Place guest_field_place(Machine& machine, std::int64_t offset, std::uint32_t size_bytes) {
  const GuestType& guest = *machine.limits->guest;
  if (guest.find(offset, size_bytes, true) == nullptr) return {};
  return {guest.context(*machine.context->buff) + offset, nullptr};
}

Place guest_map_place(const Machine& machine, const Map& map, std::int64_t offset,
                      std::uint32_t size_bytes) {
  const GuestType& guest = *machine.limits->guest;
  if (guest.map_bytes == nullptr) return {};
  const std::span<const std::uint8_t> bytes = guest.map_bytes(*machine.context->buff, map);
  if (offset < 0 || offset + std::int64_t{size_bytes} > std::ssize(bytes)) return {};
  // Only loads come here.
  return {const_cast<std::uint8_t*>(bytes.data() + offset), nullptr};
}

const Step* classic_load(Machine& machine, const Step* step, std::int32_t offset,
                         std::uint32_t size_bytes) {
  constexpr std::uint8_t kContextRegister = 6;
  const GuestType* guest = machine.limits->guest;
  if (guest == nullptr || guest->read_packet == nullptr) {
    return machine.fail(step, TrapReason::kNotExecutable);
  }
  const Shadow& context = machine.shadow[kContextRegister];
  if (context.kind != ValueKind::kContext || context.object != machine.value[kContextRegister]) {
    return machine.fail(step, TrapReason::kArgument, kContextRegister);
  }
  std::uint8_t bytes[4] = {};
  const bool is_there = guest->read_packet(*machine.context->buff, offset, {bytes, size_bytes});
  machine.set_uninit(1, 5);
  std::uint64_t value = 0;
  for (std::uint32_t i = 0; i < size_bytes; ++i) value = value << 8 | bytes[i];
  machine.set_scalar(0, is_there ? value : 0);
  return is_there ? step + 1 : exit_function(machine, step);
}

}  // namespace interp
}  // namespace lmn
