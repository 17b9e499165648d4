// SPDX-License-Identifier: Apache-2.0
//
// Decoding and encoding, driven by opcodes.def: the opcode byte names a run of neighbouring rows,
// and the row whose fixed off and imm are those of the bytes is the operation. Tested by
// codec_test.cc, and against the kernel by kernel_test.cc.
#include "insn/codec.h"

#include <fmt/format.h>

#include <cerrno>
#include <optional>
#include <string>

#include "base/assert.h"
#include "insn/insn_table.h"

namespace lmn {
namespace {

// A slot as it stands in memory, in our byte order, before it has a meaning.
struct RawSlot {
  std::uint8_t opcode;
  std::uint8_t dst;
  std::uint8_t src;
  std::int16_t off;
  std::int32_t imm;
};

// Rows [first, first + count) have the opcode byte.
struct RowRun {
  std::uint8_t first = 0;
  std::uint8_t count = 0;
};

constexpr std::array<RowRun, 256> make_row_index() {
  std::array<RowRun, 256> index{};
  for (std::size_t i = 0; i < kOpCount; ++i) {
    RowRun& run = index[op_info(static_cast<Op>(i)).opcode];
    if (run.count == 0) run.first = static_cast<std::uint8_t>(i);
    ++run.count;
  }
  return index;
}

constexpr std::array<RowRun, 256> kRowIndex = make_row_index();

// Opcode bytes that are no rows but that people know.
struct KnownOpcode {
  std::uint8_t opcode;
  const char* words;
};
constexpr KnownOpcode kKnownOpcodes[] = {
    {0x0d, "gotox, an indirect jump; Linux 6.19"},
    {0x38, "packet access of 8 bytes, in no kernel"},
    {0x8d, "callx, an indirect call, in no kernel"},
    {0xf0, "tail call, made by the kernel from a call of bpf_tail_call"},
};

RawSlot read_slot(const std::uint8_t* bytes, std::endian order) {
  const bool is_little = order == std::endian::little;
  const auto low = static_cast<std::uint8_t>(bytes[1] & 0xf);
  const auto high = static_cast<std::uint8_t>(bytes[1] >> 4);
  return {.opcode = bytes[0],
          .dst = is_little ? low : high,
          .src = is_little ? high : low,
          .off = static_cast<std::int16_t>(load_unaligned<std::uint16_t>(bytes + 2, order)),
          .imm = static_cast<std::int32_t>(load_unaligned<std::uint32_t>(bytes + 4, order))};
}

void write_slot(std::uint8_t* bytes, const RawSlot& slot, std::endian order) {
  const bool is_little = order == std::endian::little;
  const unsigned low = is_little ? slot.dst : slot.src;
  const unsigned high = is_little ? slot.src : slot.dst;
  bytes[0] = slot.opcode;
  bytes[1] = static_cast<std::uint8_t>(high << 4 | low);
  store_unaligned(bytes + 2, static_cast<std::uint16_t>(slot.off), order);
  store_unaligned(bytes + 4, static_cast<std::uint32_t>(slot.imm), order);
}

bool selects(const FieldRule& rule, std::int32_t number) {
  return rule.use != FieldUse::kFixed || rule.value == number;
}

// The row of these bytes, by the fields that select among rows of one opcode; the other fields are
// not looked at.
std::optional<Op> find_row(const RawSlot& slot) {
  const RowRun run = kRowIndex[slot.opcode];
  for (std::size_t i = run.first; i < std::size_t{run.first} + run.count; ++i) {
    const OpInfo& info = op_info(static_cast<Op>(i));
    // A row without a fixed off wants 0 where its neighbours have one: 0 is their common "not
    // used".
    const bool off_fits =
        info.off.use == FieldUse::kNone ? slot.off == 0 : selects(info.off, slot.off);
    if (off_fits && selects(info.imm, slot.imm)) return info.op;
  }
  return std::nullopt;
}

const char* register_problem(const FieldRule& rule, std::uint8_t number, const char* none,
                             const char* too_high) {
  if (rule.use == FieldUse::kNone) return number == 0 ? nullptr : none;
  if (rule.use == FieldUse::kKind) return nullptr;
  return number < kRegisterCount ? nullptr : too_high;
}

// src of call and lddw, and what belongs to it in other fields.
const char* kind_problem(const Insn& insn) {
  if (insn.op == Op::kCall) {
    if (insn.src > BPF_PSEUDO_KFUNC_CALL) return "src is not a kind of call (0, 1 or 2)";
    if (insn.src != BPF_PSEUDO_KFUNC_CALL && insn.off != 0) return "off is reserved and not 0";
  }
  if (insn.op == Op::kLddw) {
    if (insn.src > BPF_PSEUDO_MAP_IDX_VALUE) return "src is not a kind of lddw (0 to 6)";
    const bool is_map = insn.src == BPF_PSEUDO_MAP_FD || insn.src == BPF_PSEUDO_MAP_IDX;
    if (is_map && insn.imm >> 32 != 0) return "a map reference has no second immediate";
  }
  return nullptr;
}

const char* off_problem(const FieldRule& rule, std::int16_t off) {
  if (rule.use == FieldUse::kNone && off != 0) return "off is reserved and not 0";
  if (rule.use == FieldUse::kFixed && off != rule.value)
    return "off does not select this operation";
  return nullptr;
}

const char* imm_problem(const Insn& insn, const FieldRule& rule) {
  if (rule.use == FieldUse::kWide) return nullptr;
  if (insn.imm != static_cast<std::int32_t>(insn.imm)) return "imm does not fit 32 bits";
  if (rule.use == FieldUse::kNone && insn.imm != 0) return "imm is reserved and not 0";
  if (rule.use == FieldUse::kFixed && insn.imm != rule.value)
    return "imm does not select this operation";
  if (insn.op == Op::kAddrSpaceCast && insn.imm != 1 && insn.imm != 1 << 16) {
    return "imm must cast between address spaces 0 and 1";
  }
  return nullptr;
}

std::unexpected<Error> bad_slot(std::size_t at, const std::uint8_t* bytes,
                                const std::string& what) {
  std::string hex;
  for (std::size_t i = 0; i < kSlotBytes; ++i)
    hex += fmt::format("{}{:02x}", i == 0 ? "" : " ", bytes[i]);
  return make_errno_error(ErrorCode::kMalformed, EINVAL,
                          fmt::format("insn {}: {} (bytes {})", at, what, hex));
}

// Why no row fits: the opcode has none, or a field that selects among its rows is wrong.
std::string no_row_words(const RawSlot& slot) {
  const RowRun run = kRowIndex[slot.opcode];
  if (run.count == 0) {
    for (const KnownOpcode& known : kKnownOpcodes) {
      if (known.opcode == slot.opcode)
        return fmt::format("opcode {:#04x} is unknown ({})", slot.opcode, known.words);
    }
    return fmt::format("opcode {:#04x} is unknown", slot.opcode);
  }
  const OpInfo& first = op_info(static_cast<Op>(run.first));
  if (first.op_class == OpClass::kAtomic) {
    return fmt::format("opcode {:#04x}: imm {:#x} is no atomic operation of {} bits", slot.opcode,
                       static_cast<std::uint32_t>(slot.imm), first.width_bits);
  }
  if (first.op_class == OpClass::kByteSwap) {
    return fmt::format("opcode {:#04x}: byte swap of {} bits, not 16, 32 or 64", slot.opcode,
                       slot.imm);
  }
  return fmt::format("opcode {:#04x}: off is reserved and not 0 (it is {})", slot.opcode, slot.off);
}

}  // namespace

const char* field_problem(const Insn& insn) {
  const OpInfo& info = op_info(insn.op);
  if (const char* problem =
          register_problem(info.dst, insn.dst, "dst is reserved and not 0", "dst is above r10")) {
    return problem;
  }
  if (const char* problem =
          register_problem(info.src, insn.src, "src is reserved and not 0", "src is above r10")) {
    return problem;
  }
  if (const char* problem = off_problem(info.off, insn.off)) return problem;
  if (const char* problem = imm_problem(insn, info.imm)) return problem;
  return kind_problem(insn);
}

Result<std::vector<Insn>> decode_program(ByteSpan raw, std::endian order) {
  if (raw.size() % kSlotBytes != 0) {
    return make_errno_error(ErrorCode::kMalformed, EINVAL,
                            fmt::format("{} bytes are no whole number of instructions of {} bytes",
                                        raw.size(), kSlotBytes));
  }
  const std::size_t count = raw.size() / kSlotBytes;
  std::vector<Insn> insns;
  insns.reserve(count);
  for (std::size_t at = 0; at < count; ++at) {
    const std::uint8_t* bytes = raw.data() + at * kSlotBytes;
    const RawSlot slot = read_slot(bytes, order);
    const std::optional<Op> op = find_row(slot);
    if (!op) return bad_slot(at, bytes, no_row_words(slot));
    if (*op == Op::kLddwHigh) {
      return bad_slot(at, bytes, "opcode 0x00 stands only in the second slot of lddw");
    }
    Insn insn{.op = *op, .dst = slot.dst, .src = slot.src, .off = slot.off, .imm = slot.imm};
    if (*op == Op::kLddw) {
      if (at + 1 == count) return bad_slot(at, bytes, "lddw lacks its second slot");
      const RawSlot high = read_slot(bytes + kSlotBytes, order);
      if (high.opcode != 0 || high.dst != 0 || high.src != 0 || high.off != 0) {
        return bad_slot(at + 1, bytes + kSlotBytes, "not the second slot of the lddw before it");
      }
      insn.imm =
          static_cast<std::int64_t>(std::uint64_t{static_cast<std::uint32_t>(high.imm)} << 32 |
                                    static_cast<std::uint32_t>(slot.imm));
    }
    if (const char* problem = field_problem(insn)) {
      return bad_slot(at, bytes, fmt::format("opcode {:#04x}: {}", slot.opcode, problem));
    }
    insns.push_back(insn);
    if (*op == Op::kLddw) {
      insns.push_back(Insn{.op = Op::kLddwHigh});
      ++at;
    }
  }
  return insns;
}

std::vector<std::uint8_t> encode_program(std::span<const Insn> insns, std::endian order) {
  std::vector<std::uint8_t> raw(insns.size() * kSlotBytes);
  for (std::size_t at = 0; at < insns.size(); ++at) {
    const Insn& insn = insns[at];
    std::uint8_t* bytes = raw.data() + at * kSlotBytes;
    write_slot(bytes,
               {.opcode = opcode_of(insn.op),
                .dst = insn.dst,
                .src = insn.src,
                .off = insn.off,
                .imm = static_cast<std::int32_t>(insn.imm)},
               order);
    if (insn.op != Op::kLddw) continue;
    LMN_ASSERT(at + 1 < insns.size());
    LMN_ASSERT(insns[at + 1].op == Op::kLddwHigh);
    write_slot(bytes + kSlotBytes,
               {.opcode = 0,
                .dst = 0,
                .src = 0,
                .off = 0,
                .imm = static_cast<std::int32_t>(insn.imm >> 32)},
               order);
    ++at;
  }
  return raw;
}

}  // namespace lmn
