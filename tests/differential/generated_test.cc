// SPDX-License-Identifier: Apache-2.0
//
// Goal: interpreter and kernel agree on programs nobody thought of: return code, packet bytes and
// the contents of all maps.
//
// Method: programs from a seed (program_generator.h), each run on a few packets of random bytes and
// lengths with equal maps; the kernel is the judge of what is a program. A fixed seed keeps the run
// repeatable, a fresh one (printed) finds what the fixed one does not. Every operation an XDP
// program can have must come up, in executed programs, at least kOccurrencesMin times.
//
//   LMN_PROGRAMS=100000   how many programs (default 20000, a slice for every test run)
//   LMN_SEED=123          the seed of the fresh run
//   LMN_TRACE=7           if program 7 differs, what the interpreter did in it
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <string>

#include "differential/program_generator.h"
#include "differential/twin.h"
#include "exec/interp/trace.h"
#include "harness/call_counter.h"
#include "helpers/helpers.h"
#include "insn/disasm.h"

namespace lmn {
namespace {

constexpr std::uint64_t kFixedSeed = 0x4c4d4e;
constexpr std::uint64_t kProgramsDefault = 20'000;
constexpr std::uint64_t kOccurrencesMin = 100;
constexpr std::uint32_t kStatementsMax = 28;
constexpr int kPacketsPerProgram = 3;

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

// How often each operation was executed by the interpreter.
class OpCounter final : public CallCounter {
 public:
  OpCounter() : CallCounter(known_helper_protos()) {}
  void on_step(const TraceStep& step) noexcept override {
    CallCounter::on_step(step);
    ++counts[static_cast<std::size_t>(step.program->insns[step.insn.value].op)];
  }
  std::array<std::uint64_t, kOpCount> counts{};
};

// Operations that no XDP program can execute: the second half of lddw, arenas, classic packet
// access.
bool is_executable(Op op) {
  return op != Op::kLddwHigh && op_class(op) != OpClass::kAddrSpaceCast &&
         op_class(op) != OpClass::kLegacy;
}

struct Tally {
  std::uint64_t programs = 0;
  std::uint64_t refused_by_kernel = 0;
  std::uint64_t runs = 0;
  std::uint64_t insns = 0;
};

class Generated : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
    positions_.values = maps_.add(array("values", kGeneratedValueBytes, 1));
    positions_.slots = maps_.add(array("slots", 16, 4));
    MapSpec hash = array("hash", 16, 8);
    hash.type = BPF_MAP_TYPE_HASH;
    positions_.hash = maps_.add(hash);
    MapSpec jumps = array("jumps", 4, 4);
    jumps.type = BPF_MAP_TYPE_PROG_ARRAY;
    positions_.jumps = maps_.add(jumps);
    add_tail_call_targets();
  }

  static MapSpec array(const char* name, std::uint32_t value_size, std::uint32_t max_entries) {
    MapSpec spec;
    spec.name = name;
    spec.type = BPF_MAP_TYPE_ARRAY;
    spec.key_size = 4;
    spec.value_size = value_size;
    spec.max_entries = max_entries;
    return spec;
  }

  // Slot 0 writes to the packet and the map, slot 2 calls itself as often as it may, slot 3 has a
  // function; slot 1 is empty.
  void add_tail_call_targets() {
    const auto values = static_cast<std::int64_t>(positions_.values);
    const auto jumps = static_cast<std::int64_t>(positions_.jumps);
    const std::int64_t counter = values | std::int64_t{248} << 32;
    add_target(0, {{Op::kLddw, 2, BPF_PSEUDO_MAP_IDX_VALUE, 0, counter},
                   {Op::kLddwHigh},
                   {Op::kStMemImm32, 2, 0, 0, 0x5a5a},
                   {Op::kMov64Imm, 0, 0, 0, 77},
                   {Op::kExit}});
    add_target(2, {{Op::kLddw, 2, BPF_PSEUDO_MAP_IDX_VALUE, 0, counter},
                   {Op::kLddwHigh},
                   {Op::kMov64Imm, 3, 0, 0, 1},
                   {Op::kAtomicAdd64, 2, 3, 0, BPF_ADD},
                   {Op::kLddw, 2, BPF_PSEUDO_MAP_IDX, 0, jumps},
                   {Op::kLddwHigh},
                   {Op::kMov64Imm, 3, 0, 0, 2},
                   {Op::kCall, 0, 0, 0, BPF_FUNC_tail_call},
                   {Op::kMov64Imm, 0, 0, 0, 78},
                   {Op::kExit}});
    add_target(3, {{Op::kMov64Imm, 6, 0, 0, 1000},
                   {Op::kCall, 0, BPF_PSEUDO_CALL, 0, 2},
                   {Op::kAdd64Reg, 0, 6},
                   {Op::kExit},
                   {Op::kLdxMem32, 6, 1, 12},
                   {Op::kMov64Reg, 0, 6},
                   {Op::kExit}});
  }

  void add_target(std::uint32_t slot, std::vector<Insn> insns) {
    targets_.push_back(std::make_unique<TwinProgram>(maps_, std::move(insns)));
    ASSERT_TRUE(targets_.back()->is_runnable()) << targets_.back()->refusal();
    maps_.set_tail_call(positions_.jumps, slot, *targets_.back());
  }

  void fill_maps(std::mt19937_64& random) {
    maps_.clear(positions_.hash);
    std::vector<std::uint8_t> value(kGeneratedValueBytes);
    for (std::uint8_t& byte : value) byte = static_cast<std::uint8_t>(random());
    std::array<std::uint8_t, 4> key{};
    maps_.fill(positions_.values, key, value);
    for (std::uint8_t i = 0; i < 4; ++i) {
      key[0] = i;
      maps_.fill(positions_.slots, key, std::span(value).first(16));
      if (i % 2 == 0) maps_.fill(positions_.hash, key, std::span(value).first(16));
    }
  }

  static std::vector<std::uint8_t> any_packet(std::mt19937_64& random) {
    std::vector<std::uint8_t> packet(40 + random() % 100);
    for (std::uint8_t& byte : packet) byte = static_cast<std::uint8_t>(random());
    return packet;
  }

  // One program on some packets. False after a difference, which is reported with the program.
  bool compare(const GeneratedProgram& program, std::mt19937_64& random) {
    InterpreterOptions options;
    TextTrace text(20'000);
    options.trace = &counter_;
    if (tally_.programs + 1 == traced_program_) options.trace = &text;
    TwinProgram twin(maps_, program.insns, program.function_starts, options);
    ++tally_.programs;
    if (!twin.kernel_accepts()) {
      ++tally_.refused_by_kernel;
      ++refusals_[last_line(twin.refusal())];
      return true;
    }
    if (!twin.we_accept()) {
      ADD_FAILURE() << "the kernel accepts what we do not: " << twin.refusal() << "\n"
                    << disassemble_program(program.insns);
      return false;
    }
    fill_maps(random);
    tally_.insns += program.insns.size();
    for (int i = 0; i < kPacketsPerProgram; ++i) {
      std::string difference = twin.run(any_packet(random)).difference();
      if (difference.empty()) difference = maps_.difference();
      ++tally_.runs;
      if (difference.empty()) continue;
      for (const std::string& line : text.lines()) fmt::print("{}\n", line);
      ADD_FAILURE() << "program " << tally_.programs << ", packet " << i << ": " << difference
                    << "\n"
                    << disassemble_program(program.insns);
      return false;
    }
    return true;
  }

  // The kernel's reason: the last line of its log that is no statistics.
  static std::string last_line(const std::string& log) {
    std::size_t end = log.find("\nprocessed ");
    if (end == std::string::npos) end = log.size();
    const std::size_t begin = log.find_last_of('\n', end == 0 ? 0 : end - 1);
    return log.substr(begin == std::string::npos ? 0 : begin + 1,
                      end - (begin == std::string::npos ? 0 : begin + 1));
  }

  void run_seed(std::uint64_t seed, std::uint64_t programs) {
    ProgramGenerator generator(seed, positions_);
    std::mt19937_64 random(seed + 1);
    const auto start = std::chrono::steady_clock::now();
    for (std::uint64_t i = 0; i < programs; ++i) {
      const auto statements = static_cast<std::uint32_t>(1 + random() % kStatementsMax);
      if (!compare(generator.next(statements), random)) {
        FAIL() << fmt::format("repeat with LMN_SEED={} LMN_PROGRAMS={} LMN_TRACE={}", seed, i + 1,
                              i + 1);
      }
    }
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    fmt::print(
        "seed {}: {} programs, {} refused by the kernel, {} instructions, {} runs compared, {:.1f} "
        "s\n",
        seed, tally_.programs, tally_.refused_by_kernel, tally_.insns, tally_.runs, seconds);
    for (const auto& [reason, count] : refusals_) fmt::print("  refused {}: {}\n", count, reason);
    EXPECT_LT(tally_.refused_by_kernel * 5, tally_.programs) << "most programs must be programs";
  }

  void print_table() const {
    std::size_t column = 0;
    for (std::size_t row = 0; row < kOpCount; ++row) {
      if (!is_executable(static_cast<Op>(row))) continue;
      fmt::print("{:>18} {:<9}{}", op_name(static_cast<Op>(row)), counter_.counts[row],
                 ++column % 4 == 0 ? "\n" : "");
    }
    fmt::print("\n");
  }

  void demand_all_operations() const {
    for (std::size_t row = 0; row < kOpCount; ++row) {
      if (!is_executable(static_cast<Op>(row))) continue;
      EXPECT_GE(counter_.counts[row], kOccurrencesMin) << op_name(static_cast<Op>(row));
    }
  }

  TwinMaps maps_;
  GeneratorMaps positions_;
  std::vector<std::unique_ptr<TwinProgram>> targets_;
  OpCounter counter_;
  Tally tally_;
  const std::uint64_t traced_program_ = number_from_environment("LMN_TRACE", 0);
  std::map<std::string, std::uint64_t> refusals_;
};

TEST_F(Generated, FixedSeedAgreesAndReachesEveryOperation) {
  run_seed(kFixedSeed, number_from_environment("LMN_PROGRAMS", kProgramsDefault));
  print_table();
  if (tally_.programs >= kProgramsDefault) demand_all_operations();
}

TEST_F(Generated, FreshSeedAgrees) {
  const std::uint64_t seed = number_from_environment("LMN_SEED", std::random_device{}());
  run_seed(seed, number_from_environment("LMN_PROGRAMS", kProgramsDefault) / 4 + 1);
}

}  // namespace
}  // namespace lmn
