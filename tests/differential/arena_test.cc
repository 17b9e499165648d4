// SPDX-License-Identifier: Apache-2.0
//
// Goal: arena pointers compute and reach in the interpreter what they do in the kernel: casts in
// both directions, arithmetic of 32 bits, loads, stores and atomic operations of every width, where
// pages are and where none are. Method: random programs of such instructions run on both sides over
// an arena of which user space has touched every other page; after each run the register that
// everything flowed into and all touched pages are compared.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "differential/twin.h"
#include "insn/disasm.h"
#include "insn/insn_table.h"
#include "maps/arena_map.h"

namespace lmn {
namespace {

using Random = std::mt19937_64;

constexpr std::uint32_t kPages = 8;
// Not at a border of 4 GiB, so that the low half of an address is no offset.
constexpr std::uint64_t kUserStart = 0x2000'0030'0000;

Insn make(Op op, std::uint8_t dst, std::uint8_t src = 0, std::int16_t off = 0,
          std::int64_t imm = 0) {
  return {op, dst, src, off, imm};
}

// r1 is the arena pointer, r7 what everything flows into, r6 the packet.
class ArenaPrograms {
 public:
  explicit ArenaPrograms(Random& random) : random_(random) {}

  std::vector<Insn> draw() {
    insns_ = {
        make(Op::kLdxMem32, 6, 1, offsetof(struct xdp_md, data)),
        make(Op::kLdxMem32, 2, 1, offsetof(struct xdp_md, data_end)),
        make(Op::kMov64Reg, 3, 6),
        make(Op::kAdd64Imm, 3, 0, 0, 64),
        make(Op::kMov64Imm, 0, 0, 0, 1),
        make(Op::kJle64Reg, 3, 2, 1),
        make(Op::kExit, 0),
        make(Op::kLdxMem64, 7, 6, 0),
    };
    point();
    const std::uint64_t count = 3 + random_() % 12;
    for (std::uint64_t i = 0; i < count; ++i) add();
    insns_.push_back(make(Op::kStMemReg64, 6, 7, 8));
    insns_.push_back(make(Op::kMov64Imm, 0, 0, 0, 2));
    insns_.push_back(make(Op::kExit, 0));
    return insns_;
  }

 private:
  static constexpr Insn cast(std::uint8_t reg, bool to_user) {
    return {Op::kAddrSpaceCast, reg, reg, BPF_ADDR_SPACE_CAST, to_user ? 1ll << 16 : 1};
  }

  std::int64_t offset() {
    const auto page = static_cast<std::int64_t>(random_() % (kPages + 1));
    const std::int64_t in_page = random_() % 4 == 0
                                     ? 4088 + static_cast<std::int64_t>(random_() % 16)
                                     : static_cast<std::int64_t>(random_() % 4096);
    return page * 4096 + (in_page & ~7ll);
  }

  // r1 somewhere in the arena, by its own address or by a number that becomes one.
  void point() {
    const std::int64_t at = offset();
    if (random_() % 2 == 0 && at < kPages * 4096) {
      insns_.push_back(make(Op::kLddw, 1, BPF_PSEUDO_MAP_IDX_VALUE, 0, at << 32));
    } else {
      insns_.push_back(make(Op::kLddw, 1, 0, 0, static_cast<std::int64_t>(kUserStart) + at));
    }
    insns_.push_back(make(Op::kLddwHigh, 0));
    insns_.push_back(cast(1, false));
  }

  std::int16_t displacement() {
    constexpr std::int16_t kNear[] = {0, 0, 8, -8, 16, 4096, -4096, 32760, -32768};
    return kNear[random_() % std::size(kNear)];
  }
  // The accumulator takes r2 in.
  void take_in() {
    insns_.push_back(make(Op::kMul64Imm, 7, 0, 0, 31));
    insns_.push_back(make(Op::kAdd64Reg, 7, 2));
  }

  void add() {
    constexpr Op kLoads[] = {Op::kLdxMem8,   Op::kLdxMem16,   Op::kLdxMem32,  Op::kLdxMem64,
                             Op::kLdxMemSx8, Op::kLdxMemSx16, Op::kLdxMemSx32};
    constexpr Op kStores[] = {Op::kStMemReg8, Op::kStMemReg16, Op::kStMemReg32, Op::kStMemReg64};
    constexpr Op kAtomics[] = {Op::kAtomicAdd32,      Op::kAtomicAdd64,      Op::kAtomicXor64,
                               Op::kAtomicFetchAdd32, Op::kAtomicFetchAdd64, Op::kAtomicXchg64,
                               Op::kAtomicFetchOr64,  Op::kAtomicXchg32};
    constexpr Op kArithmetic[] = {Op::kAdd64Imm, Op::kSub64Imm, Op::kAnd64Imm, Op::kOr64Imm};
    switch (random_() % 8) {
      case 0:
        return point();
      case 1:
      case 2:
        insns_.push_back(make(kLoads[random_() % std::size(kLoads)], 2, 1, displacement()));
        return take_in();
      case 3:
      case 4:
        insns_.push_back(make(kStores[random_() % std::size(kStores)], 1, 7, displacement()));
        return;
      case 5: {
        Insn insn = make(kAtomics[random_() % std::size(kAtomics)], 1, 2, displacement());
        insn.imm = op_info(insn.op).imm.value;
        insns_.push_back(make(Op::kMov64Reg, 2, 7));
        insns_.push_back(insn);
        return take_in();
      }
      case 6: {
        const Op op = kArithmetic[random_() % std::size(kArithmetic)];
        const std::int64_t imm =
            op == Op::kAnd64Imm ? ~0x1000ll : static_cast<std::int64_t>(random_() % 2048) * 8;
        insns_.push_back(make(op, 1, 0, 0, imm));
        return;
      }
      default:
        insns_.push_back(make(Op::kMov64Reg, 2, 1));
        insns_.push_back(cast(2, true));
        return take_in();
    }
  }

  Random& random_;
  std::vector<Insn> insns_;
};

std::string text_of(const std::vector<Insn>& insns) {
  std::string text;
  for (const Insn& insn : insns) text += disassemble(insn) + '\n';
  return text;
}

TEST(ArenaDifferential, RandomProgramsReachTheSameBytes) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  Random random(20261120);
  TwinMaps maps;
  MapSpec spec;
  spec.name = "arena";
  spec.type = BPF_MAP_TYPE_ARENA;
  spec.max_entries = kPages;
  spec.map_flags = BPF_F_MMAPABLE;
  spec.map_extra = kUserStart;
  const std::uint32_t index = maps.add(spec);
  auto& arena = static_cast<ArenaMap&>(maps.ours(index));
  ASSERT_EQ(arena.user_start(), kUserStart);
  // The kernel's takes the place of our own view of the same addresses.
  void* wanted = reinterpret_cast<void*>(kUserStart);
  const std::size_t bytes = std::size_t{kPages} * 4096;
  void* view = ::mmap(wanted, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                      maps.kernel(index).fd(), 0);
  ASSERT_EQ(view, wanted) << "this kernel has no arenas";
  auto* theirs = static_cast<std::uint8_t*>(view);
  std::uint8_t* ours = arena.mapped_memory()->data();
  for (std::uint32_t page = 0; page < kPages; page += 2) {
    for (std::uint8_t* side : {theirs, ours}) std::memset(side + page * 4096, 0x5a, 4096);
  }
  ArenaPrograms programs(random);
  int runs = 0;
  for (int round = 0; round < 3'000; ++round) {
    const std::vector<Insn> insns = programs.draw();
    TwinProgram program(maps, insns);
    if (!program.kernel_accepts()) continue;
    ASSERT_TRUE(program.we_accept()) << program.refusal();
    std::array<std::uint8_t, 64> packet;
    for (std::uint8_t& byte : packet) byte = static_cast<std::uint8_t>(random());
    ASSERT_EQ(program.run(packet).difference(), "") << "round " << round << '\n' << text_of(insns);
    ++runs;
    for (std::uint32_t page = 0; page < kPages; page += 2) {
      ASSERT_EQ(std::memcmp(theirs + page * 4096, ours + page * 4096, 4096), 0)
          << "round " << round << ", page " << page;
    }
  }
  std::cout << "programs " << runs << "\n";
  EXPECT_GT(runs, 1'000);
}

}  // namespace
}  // namespace lmn
