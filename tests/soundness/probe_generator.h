// SPDX-License-Identifier: Apache-2.0
//
// ProbeGenerator: random programs that need a verifier to think: numbers bounded in every way there
// is and then used as offsets, facts carried through copies, spills, functions and loops, objects
// that may be null or must be given back.
//
// Each statement takes and leaves a simple order: r6 is the context, r7 the map value, r0 to r5, r8
// and r9 hold numbers. Inside a statement the number is bounded and used. `risk_percent` is the
// chance that a statement leaves out or spoils what makes it safe: a check is missing, off by one,
// on a copy, after the use. With 0 nearly all programs are safe; whether a risky one is, the judges
// must find out.
//
// program_generator.h grows programs whose results can be compared between machines; here addresses
// may flow anywhere and only verdicts and states are compared.
// Threads: one. Tested by soundness_test.cc, which demands that operations and helpers come up.
#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "differential/program_generator.h"
#include "insn/insn.h"
#include "insn/insn_table.h"

namespace lmn {

// Positions of the maps that probes use.
struct ProbeMaps {
  GeneratorMaps common;
  std::uint32_t ring = 4;  // ring buffer
};

class ProbeGenerator {
 public:
  ProbeGenerator(std::uint64_t seed, const ProbeMaps& maps) : random_(seed), maps_(maps) {}

  GeneratedProgram next(std::uint32_t statements, std::uint32_t risk_percent);

 private:
  enum class Width : std::uint8_t { k32, k64 };

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  bool is_risky() { return below(100) < risk_percent_; }
  std::int64_t any_immediate();
  std::uint8_t any_number();
  std::uint8_t other_number(std::uint8_t a, std::uint8_t b = 255, std::uint8_t c = 255);
  std::int16_t number_slot() {
    return static_cast<std::int16_t>(-64 + 8 * static_cast<int>(below(8)));
  }

  void emit(Op op, std::uint8_t dst = 0, std::uint8_t src = 0, int off = 0, std::int64_t imm = 0);
  void emit_lddw(std::uint8_t dst, std::uint8_t kind, std::int64_t imm);
  std::size_t jump(Op op, std::uint8_t dst = 0, std::uint8_t src = 0, std::int64_t imm = 0);
  void land(std::size_t jump);
  void jump_back(Op op, std::size_t to, std::uint8_t dst = 0, std::uint8_t src = 0,
                 std::int64_t imm = 0);
  void bail(Op op, std::uint8_t dst = 0, std::uint8_t src = 0, std::int64_t imm = 0);
  void call(std::uint32_t helper) { emit(Op::kCall, 0, 0, 0, helper); }

  void function(std::uint32_t index, std::uint32_t statements);
  void callback_function();
  void statement();
  void simple_statement();
  void renew(std::uint8_t reg);
  void renew_after_call();
  void check_packet(std::uint8_t at, std::uint8_t end, std::int64_t bytes);

  void arithmetic();
  void copy();
  void compare();
  void use_bounded();
  void bound(std::uint8_t reg, std::int64_t max);
  void use_as_offset(std::uint8_t reg, std::int64_t max);
  void diamond();
  void spill_number();
  void spill_pointer();
  void loop();
  void may_goto_loop();
  void atomic();
  void lookup();
  void ring_record();
  void call_function();
  void call_back();
  void packet_access();
  void packet_variable();
  void move_packet();
  void tail_call();
  void odd_pointer();

  std::mt19937_64 random_;
  ProbeMaps maps_;
  std::uint32_t risk_percent_ = 0;
  std::vector<Insn> insns_;
  std::vector<std::size_t> bails_;
  std::vector<std::pair<std::size_t, std::uint32_t>> calls_;
  std::vector<std::size_t> callbacks_;  // lddw of the callback's address
  std::uint32_t function_index_ = 0;
  std::uint32_t function_count_ = 0;
  std::uint32_t nesting_ = 0;
  std::uint32_t reserved_ = 0;  // registers that statements leave alone, as bits
};

}  // namespace lmn
