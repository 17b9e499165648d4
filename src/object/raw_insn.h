// SPDX-License-Identifier: Apache-2.0
//
// RawInsn: one 8-byte instruction slot taken apart, not judged. Relocation and CO-RE work on these,
// because they must see an object's code as it is; only a finished program is decoded
// (insn/codec.h), strictly. Little-endian only: elf_file refuses the rest. Tested through
// object_reader_test.cc.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/byte_reader.h"

namespace lmn {

inline constexpr std::size_t kSlotBytes = 8;

struct RawInsn {
  std::uint8_t code = 0;
  std::uint8_t dst = 0;
  std::uint8_t src = 0;
  std::int16_t off = 0;
  std::int32_t imm = 0;

  bool is_lddw() const { return code == (BPF_LD | BPF_IMM | BPF_DW); }
  bool is_call() const { return code == (BPF_JMP | BPF_CALL); }
  // A call that stays in the object: to another function of it.
  bool is_local_call() const { return is_call() && src == BPF_PSEUDO_CALL && dst == 0 && off == 0; }
};

// REQUIRES: bytes.size() is a multiple of kSlotBytes.
std::vector<RawInsn> load_slots(ByteSpan bytes);
std::vector<std::uint8_t> store_slots(std::span<const RawInsn> slots);

}  // namespace lmn
