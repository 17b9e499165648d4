// SPDX-License-Identifier: Apache-2.0
//
// Slots from bytes and back. The register byte has dst in its low half.
#include "object/raw_insn.h"

namespace lmn {

std::vector<RawInsn> load_slots(ByteSpan bytes) {
  std::vector<RawInsn> out;
  out.reserve(bytes.size() / kSlotBytes);
  ByteReader reader(bytes);
  while (reader.remaining() >= kSlotBytes) {
    RawInsn slot;
    slot.code = *reader.u8();
    const std::uint8_t registers = *reader.u8();
    slot.dst = registers & 15;
    slot.src = registers >> 4;
    slot.off = static_cast<std::int16_t>(*reader.u16());
    slot.imm = static_cast<std::int32_t>(*reader.u32());
    out.push_back(slot);
  }
  return out;
}

std::vector<std::uint8_t> store_slots(std::span<const RawInsn> slots) {
  std::vector<std::uint8_t> out(slots.size() * kSlotBytes);
  std::uint8_t* at = out.data();
  for (const RawInsn& slot : slots) {
    at[0] = slot.code;
    at[1] = static_cast<std::uint8_t>(slot.dst | slot.src << 4);
    store_unaligned(at + 2, static_cast<std::uint16_t>(slot.off), std::endian::little);
    store_unaligned(at + 4, static_cast<std::uint32_t>(slot.imm), std::endian::little);
    at += kSlotBytes;
  }
  return out;
}

}  // namespace lmn
