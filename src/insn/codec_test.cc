// SPDX-License-Identifier: Apache-2.0
//
// Goal: decoding accepts exactly what opcodes.def allows, keeps every bit, and names what it
// refuses. Method: all 256 opcode bytes x selected fields, compared with a model that is written
// from the field rules alone; encode as inverse for everything accepted, in both byte orders;
// messages by example.
#include "insn/codec.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "insn/insn_table.h"

namespace lmn {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes slot(unsigned opcode, unsigned dst, unsigned src, std::int16_t off, std::int32_t imm) {
  Bytes bytes(8);
  bytes[0] = static_cast<std::uint8_t>(opcode);
  bytes[1] = static_cast<std::uint8_t>(src << 4 | dst);
  store_unaligned(bytes.data() + 2, static_cast<std::uint16_t>(off), std::endian::little);
  store_unaligned(bytes.data() + 4, static_cast<std::uint32_t>(imm), std::endian::little);
  return bytes;
}

bool rule_allows(const FieldRule& rule, std::int64_t number, bool is_register) {
  switch (rule.use) {
    case FieldUse::kNone:
      return number == 0;
    case FieldUse::kFixed:
      return number == rule.value;
    case FieldUse::kRead:
    case FieldUse::kWrite:
    case FieldUse::kReadWrite:
      return is_register && number <= 10;
    case FieldUse::kKind:
    case FieldUse::kIgnored:
    case FieldUse::kMemory:
    case FieldUse::kJump:
    case FieldUse::kValue:
    case FieldUse::kWide:
      return true;
  }
  return false;
}

std::vector<const OpInfo*> rows_of(unsigned opcode) {
  std::vector<const OpInfo*> rows;
  for (std::size_t i = 0; i < kOpCount; ++i) {
    const OpInfo& info = op_info(static_cast<Op>(i));
    if (info.opcode == opcode && info.op != Op::kLddwHigh) rows.push_back(&info);
  }
  return rows;
}

// Which of the rows allows these fields, or null; the kinds of call and lddw by hand.
const OpInfo* model_row(const std::vector<const OpInfo*>& rows, unsigned dst, unsigned src, int off,
                        std::int32_t imm) {
  const OpInfo* found = nullptr;
  for (const OpInfo* info : rows) {
    if (!rule_allows(info->dst, dst, true) || !rule_allows(info->src, src, true)) continue;
    if (!rule_allows(info->off, off, false) || !rule_allows(info->imm, imm, false)) continue;
    if (info->op == Op::kCall && (src > 2 || (src != 2 && off != 0))) continue;
    if (info->op == Op::kLddw && src > 6) continue;
    if (info->op == Op::kAddrSpaceCast && imm != 1 && imm != 0x10000) continue;
    EXPECT_EQ(found, nullptr) << "two rows for one encoding: " << found->name << ", " << info->name;
    found = info;
  }
  return found;
}

TEST(Codec, ExhaustiveOpcodesAndSelectedFields) {
  const std::int16_t offs[] = {0, 1, -1, 8, 16, 24, 32, 33, 0x7fff, -0x8000};
  const std::int32_t imms[] = {0,    1,    2,     8,     16,    32,    64,      -1,
                               0x40, 0x41, 0x50,  0x51,  0xa0,  0xa1,  0xe0,    0xe1,
                               0xf0, 0xf1, 0x100, 0x101, 0x110, 0x111, 0x10000, 0x7fffffff};
  std::size_t accepted = 0;
  std::size_t refused = 0;
  for (unsigned opcode = 0; opcode < 256; ++opcode) {
    const std::vector<const OpInfo*> rows = rows_of(opcode);
    for (unsigned dst : {0u, 1u, 10u, 11u, 15u}) {
      for (unsigned src : {0u, 1u, 2u, 3u, 6u, 7u, 10u, 11u, 15u}) {
        for (std::int16_t off : offs) {
          for (std::int32_t imm : imms) {
            Bytes raw = slot(opcode, dst, src, off, imm);
            if (opcode == 0x18) raw.resize(16);
            const auto decoded = decode_program(raw);
            const OpInfo* row = model_row(rows, dst, src, off, imm);
            ASSERT_EQ(decoded.has_value(), row != nullptr)
                << std::hex << opcode << " dst " << dst << " src " << src << " off " << off
                << " imm " << imm;
            row == nullptr ? ++refused : ++accepted;
            if (row == nullptr) {
              ASSERT_EQ(decoded.error().errno_value, EINVAL);
              continue;
            }
            ASSERT_EQ((*decoded)[0].op, row->op);
            ASSERT_EQ(field_problem((*decoded)[0]), nullptr);
            ASSERT_EQ(encode_program(*decoded), raw);
          }
        }
      }
    }
  }
  EXPECT_GT(accepted, 30'000u);
  EXPECT_GT(refused, 50'000u);
}

TEST(Codec, BigEndianSwapsRegistersAndFields) {
  const Bytes raw = {0x7b, 0xa1, 0xff, 0xf8, 0, 0, 0, 0};  // *(u64 *)(r10 -8) = r1
  const auto decoded = decode_program(raw, std::endian::big);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ((*decoded)[0], (Insn{.op = Op::kStMemReg64, .dst = 10, .src = 1, .off = -8, .imm = 0}));
  EXPECT_EQ(encode_program(*decoded, std::endian::big), raw);
}

TEST(Codec, LddwHoldsAll64BitsAndTwoSlots) {
  Bytes raw = slot(0x18, 3, 0, 0, -2);
  const Bytes high = slot(0, 0, 0, 0, 0x12345678);
  raw.insert(raw.end(), high.begin(), high.end());
  const auto decoded = decode_program(raw);
  ASSERT_TRUE(decoded) << decoded.error().message;
  ASSERT_EQ(decoded->size(), 2u);
  EXPECT_EQ((*decoded)[0], (Insn{.op = Op::kLddw, .dst = 3, .imm = 0x12345678fffffffe}));
  EXPECT_EQ((*decoded)[1], (Insn{.op = Op::kLddwHigh}));
  EXPECT_EQ(encode_program(*decoded), raw);
}

TEST(Codec, MapReferenceHasNoSecondImmediateButAValueReferenceHas) {
  for (unsigned kind = 0; kind <= 6; ++kind) {
    Bytes raw = slot(0x18, 1, kind, 0, 4);
    const Bytes high = slot(0, 0, 0, 0, 16);
    raw.insert(raw.end(), high.begin(), high.end());
    const bool is_map = kind == BPF_PSEUDO_MAP_FD || kind == BPF_PSEUDO_MAP_IDX;
    EXPECT_EQ(decode_program(raw).has_value(), !is_map) << kind;
  }
}

TEST(Codec, NoSlotsAreAnEmptyProgram) { EXPECT_TRUE(decode_program({})->empty()); }

struct BadCase {
  const char* what;
  Bytes raw;
  const char* message;
};

TEST(Codec, RefusalsNameSlotAndBytes) {
  const Bytes half_lddw = slot(0x18, 0, 0, 0, 0);
  Bytes wrong_second = half_lddw;
  const Bytes exit = slot(0x95, 0, 0, 0, 0);
  wrong_second.insert(wrong_second.end(), exit.begin(), exit.end());
  Bytes second_with_off = half_lddw;
  const Bytes off = slot(0, 0, 0, 1, 0);
  second_with_off.insert(second_with_off.end(), off.begin(), off.end());
  Bytes second_insn = exit;
  const Bytes neg_reg = slot(0x8f, 1, 0, 0, 0);
  second_insn.insert(second_insn.end(), neg_reg.begin(), neg_reg.end());
  const BadCase cases[] = {
      {"unknown", second_insn, "insn 1: opcode 0x8f is unknown (bytes 8f 01 00 00 00 00 00 00)"},
      {"callx", slot(0x8d, 1, 0, 0, 0),
       "insn 0: opcode 0x8d is unknown (callx, an indirect call, in no kernel) (bytes 8d 01 00 00 "
       "00 00 00 00)"},
      {"lddw at the end", half_lddw,
       "insn 0: lddw lacks its second slot (bytes 18 00 00 00 00 00 00 00)"},
      {"lddw then exit", wrong_second,
       "insn 1: not the second slot of the lddw before it (bytes 95 00 00 00 00 00 00 00)"},
      {"lddw then off", second_with_off,
       "insn 1: not the second slot of the lddw before it (bytes 00 00 01 00 00 00 00 00)"},
      {"second slot alone", slot(0, 0, 0, 0, 0),
       "insn 0: opcode 0x00 stands only in the second slot of lddw (bytes 00 00 00 00 00 00 00 "
       "00)"},
      {"register", slot(0xb7, 11, 0, 0, 0),
       "insn 0: opcode 0xb7: dst is above r10 (bytes b7 0b 00 00 00 00 00 00)"},
      {"src of an immediate", slot(0x07, 0, 1, 0, 0),
       "insn 0: opcode 0x07: src is reserved and not 0 (bytes 07 10 00 00 00 00 00 00)"},
      {"off of add", slot(0x07, 0, 0, -1, 0),
       "insn 0: opcode 0x07: off is reserved and not 0 (it is -1) (bytes 07 00 ff ff 00 00 00 00)"},
      {"off of div", slot(0x37, 0, 0, 2, 3),
       "insn 0: opcode 0x37: off is reserved and not 0 (it is 2) (bytes 37 00 02 00 03 00 00 00)"},
      {"atomic", slot(0xdb, 10, 1, -8, 2),
       "insn 0: opcode 0xdb: imm 0x2 is no atomic operation of 64 bits (bytes db 1a f8 ff 02 00 00 "
       "00)"},
      {"atomic add of 8 bits", slot(0xd3, 10, 1, -8, 0),
       "insn 0: opcode 0xd3: imm 0x0 is no atomic operation of 8 bits (bytes d3 1a f8 ff 00 00 00 "
       "00)"},
      {"swap", slot(0xd4, 1, 0, 0, 8),
       "insn 0: opcode 0xd4: byte swap of 8 bits, not 16, 32 or 64 (bytes d4 01 00 00 08 00 00 "
       "00)"},
      {"call kind", slot(0x85, 0, 3, 0, 5),
       "insn 0: opcode 0x85: src is not a kind of call (0, 1 or 2) (bytes 85 30 00 00 05 00 00 "
       "00)"},
      {"bytes left", Bytes(12), "12 bytes are no whole number of instructions of 8 bytes"},
  };
  for (const BadCase& bad : cases) {
    const auto decoded = decode_program(bad.raw);
    ASSERT_FALSE(decoded) << bad.what;
    EXPECT_EQ(decoded.error().message, bad.message);
    EXPECT_EQ(decoded.error().code, ErrorCode::kMalformed);
    EXPECT_EQ(decoded.error().errno_value, EINVAL);
  }
}

TEST(Codec, FieldProblemSeesWhatNeverWasBytes) {
  EXPECT_EQ(field_problem(Insn{.op = Op::kAdd64Imm, .dst = 1, .imm = 5}), nullptr);
  EXPECT_STREQ(field_problem(Insn{.op = Op::kAdd64Imm, .imm = 1ll << 32}),
               "imm does not fit 32 bits");
  EXPECT_STREQ(field_problem(Insn{.op = Op::kSdiv64Imm, .off = 0}),
               "off does not select this operation");
  EXPECT_STREQ(field_problem(Insn{.op = Op::kAtomicXchg64, .imm = 0}),
               "imm does not select this operation");
  EXPECT_STREQ(field_problem(Insn{.op = Op::kExit, .dst = 1}), "dst is reserved and not 0");
  EXPECT_EQ(field_problem(Insn{.op = Op::kExit, .off = 5}), nullptr);  // the kernel ignores it
}

}  // namespace
}  // namespace lmn
