// SPDX-License-Identifier: Apache-2.0
//
// Goal: the verifier accepts what the kernel of this machine accepts, and nothing else.
//
// Method: programs in three knobs (program_mutator.h) are given to both. What we accept and the
// kernel refuses is suspected to be unsound: none may be left that explanation() does not explain
// by a row of docs/kernel-differences.md, from facts (kernel_walk.h), and that does not run as the
// verifier says (campaign.h). What we refuse and the kernel accepts is lost to users: at most 0.5
// of 100 programs. A fixed and a fresh seed (printed).
//
//   LMN_PROGRAMS=200000   how many programs per seed (default: 12 seconds of each)
//   LMN_SECONDS=60        how long each seed runs, without LMN_PROGRAMS
//   LMN_SEED=7            the fresh seed
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "harness/kernel_oracle.h"
#include "insn/codec.h"
#include "insn/helper_names.h"
#include "insn/insn_table.h"
#include "soundness/campaign.h"
#include "soundness/kernel_walk.h"
#include "soundness/probe_world.h"
#include "soundness/program_mutator.h"

namespace lmn {
namespace {

constexpr std::uint64_t kFixedSeed = 0x6167726565;
constexpr double kSecondsDefault = 12;
constexpr std::size_t kLogBytes = std::size_t{1} << 24;
constexpr std::uint32_t kLogLevel = 2;

bool divides(const Insn& insn) {
  const int operation = opcode_of(insn.op) & 0xf0;
  return op_class(insn.op) == OpClass::kAlu && (operation == BPF_DIV || operation == BPF_MOD);
}

// The program with every quotient and remainder unknown, as they are to Linux 6.18: read from the
// map value instead. Nothing: it has none.
std::optional<GeneratedProgram> without_quotients(GeneratedProgram program) {
  const auto value = std::ranges::find_if(program.insns, [](const Insn& insn) {
    return insn.op == Op::kLddw && insn.src == BPF_PSEUDO_MAP_IDX_VALUE;
  });
  if (value == program.insns.end()) return std::nullopt;
  const std::uint8_t pointer = value->dst;
  bool has_any = false;
  for (Insn& insn : program.insns) {
    if (!divides(insn)) continue;
    insn = {Op::kLdxMem64, insn.dst, pointer};
    has_any = true;
  }
  return has_any ? std::optional(std::move(program)) : std::nullopt;
}

bool is_about_limits(std::string_view rule) {
  return rule == rule_info(Rule::kComplexity).id || rule == rule_info(Rule::kMemoryLimit).id;
}

constexpr const char* kTooLarge = "BPF program is too large";

// The kernel gave up before it knew.
bool is_kernel_limit(std::string_view why) {
  return why.starts_with(kTooLarge) ||
         (why.starts_with("The sequence of ") && why.ends_with("jumps is too complex."));
}

// Words without numbers, so that alike reasons are one.
std::string without_numbers(const std::string& words) {
  std::string out;
  for (const char c : words) {
    if (c < '0' || c > '9') {
      out += c;
    } else if (out.empty() || out.back() != '#') {
      out += '#';
    }
  }
  return out;
}

// The kernel's reason: the last line of its log that is no statistics.
std::string last_line(const std::string& log) {
  std::size_t end = log.find("\nprocessed ");
  if (end == std::string::npos) end = log.size();
  while (end > 0 && log[end - 1] == '\n') --end;
  const std::size_t begin = log.find_last_of('\n', end == 0 ? 0 : end - 1);
  const std::size_t from = begin == std::string::npos ? 0 : begin + 1;
  return log.substr(from, end - from);
}

struct Class {
  std::uint64_t count = 0;
  std::string example;
};

class Agreement : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
    for (const MapSpec& spec : world_.specs()) {
      kernel_maps_.push_back(KernelMap::create({.type = spec.type,
                                                .key_size = spec.key_size,
                                                .value_size = spec.value_size,
                                                .max_entries = spec.max_entries,
                                                .flags = spec.map_flags,
                                                .name = spec.name}));
      ASSERT_TRUE(kernel_maps_.back().is_created()) << spec.name;
      fds_.push_back(kernel_maps_.back().fd());
    }
  }

  // Without `log_bytes` the kernel is asked for its verdict alone: its words cost far more than its
  // thinking.
  KernelProgram load(const GeneratedProgram& program, std::size_t log_bytes) const {
    const std::vector<std::uint8_t> bytes = encode_program(program.insns);
    std::vector<struct bpf_insn> raw(bytes.size() / sizeof(struct bpf_insn));
    std::memcpy(raw.data(), bytes.data(), bytes.size());
    KernelLoadOptions options;
    options.fd_array = fds_;
    options.log_bytes = log_bytes;
    if (log_bytes > 0) options.log_level = kLogLevel;
    if (program.function_starts.size() > 1) options.function_starts = program.function_starts;
    return KernelProgram::load(raw, options);
  }

  void compare(const GeneratedProgram& program, Knob knob) {
    ++programs_[static_cast<std::size_t>(knob)];
    const Judgement ours = world_.judge(program);
    const KernelProgram kernel = load(program, 0);
    if (kernel.is_loaded()) {
      ++kernel_accepted_[static_cast<std::size_t>(knob)];
      cover(program);
    }
    if (ours.is_accepted() == kernel.is_loaded()) {
      ours.is_accepted() ? ++both_accept_ : ++both_refuse_;
      if (!ours.is_accepted()) ++rules_[ours.rule];
      return;
    }
    if (kernel.is_loaded()) {
      Class& refused = only_kernel_[ours.rule];
      if (refused.count++ == 0) {
        const GeneratedProgram small = reduce(program, [&](const GeneratedProgram& smaller) {
          // What takes long once would take long each time.
          return !is_about_limits(ours.rule) && world_.judge(smaller).rule == ours.rule &&
                 load(smaller, 0).is_loaded();
        });
        refused.example = world_.judge(small).message + "\n" + reduced_text(small);
      }
      return;
    }
    // A million instructions in words take seconds; the error says it all.
    const std::string log = kernel.error() == -E2BIG ? kTooLarge : load(program, kLogBytes).log();
    const std::string why = last_line(log);
    const std::string_view known = explanation(program, log);
    const std::string kind = known.empty() ? without_numbers(why) : std::string(known);
    if (known.empty()) ++unexplained_;
    if (only_ours_[kind]++ > 0) return;
    const GeneratedProgram small = reduce(program, [&](const GeneratedProgram& smaller) {
      if (is_kernel_limit(why) || !world_.judge(smaller).is_accepted()) return false;
      const std::string again = load(smaller, kLogBytes).log();
      return without_numbers(last_line(again)) == without_numbers(why) &&
             explanation(smaller, again) == known;
    });
    fmt::print("only we accept ({}); the kernel says: {}\n{}\n",
               known.empty() ? "unexplained" : known, why, reduced_text(small));
  }

  // The row of docs/kernel-differences.md that says why the kernel may refuse what we accept;
  // empty: there is none.
  std::string_view explanation(const GeneratedProgram& program, const std::string& log) {
    const std::string why = last_line(log);
    if (why.find("verifier bug: No program to jit") != std::string::npos) return "verifier-4";
    // What is explained by what we know must also be true.
    if (!campaign_.check(program, Knob::kEdge)) {
      fmt::print("UNSOUND: {}\n", campaign_.failure());
      return {};
    }
    if (is_kernel_limit(why)) return "verifier-13";
    const auto unknown = without_quotients(program);
    if (unknown && !world_.judge(*unknown).is_accepted()) return "verifier-3";
    Exploration tree;
    if (!world_.judge(program, &tree).is_accepted()) return {};
    switch (compare_walks(read_kernel_walks(log), tree, program.insns)) {
      case WalkDifference::kDeadBranch:
        return "verifier-11";
      case WalkDifference::kFewerNumbers:
        return "verifier-12";
      case WalkDifference::kMoreNumbers:
        return "verifier-14";
      case WalkDifference::kNone:
        return {};
    }
    return {};
  }

  void cover(const GeneratedProgram& program) {
    for (const Insn& insn : program.insns) {
      ++ops_[static_cast<std::size_t>(insn.op)];
      if (insn.op == Op::kCall && insn.src == 0) ++helpers_[insn.imm];
    }
  }

  std::uint64_t all() const { return programs_[0] + programs_[1] + programs_[2]; }

  void print(std::uint64_t seed, double seconds) const {
    const std::uint64_t accepted = kernel_accepted_[0] + kernel_accepted_[1] + kernel_accepted_[2];
    std::uint64_t lost = 0;
    for (const auto& [rule, one] : only_kernel_) lost += one.count;
    fmt::print(
        "seed {}, {:.1f} s: {} programs, kernel accepts {} ({:.1f} %); both accept {}, both refuse "
        "{}, only we accept {} unexplained, only the kernel accepts {} ({:.3f} %)\n",
        seed, seconds, all(), accepted,
        100.0 * static_cast<double>(accepted) / static_cast<double>(all()), both_accept_,
        both_refuse_, unexplained_, lost,
        100.0 * static_cast<double>(lost) / static_cast<double>(all()));
    for (std::size_t knob = 0; knob < kKnobCount; ++knob) {
      fmt::print("  {}: kernel accepts {} of {}\n", knob_name(static_cast<Knob>(knob)),
                 kernel_accepted_[knob], programs_[knob]);
    }
    for (const auto& [why, count] : only_ours_)
      fmt::print("  only we accept, {}: {}\n", why, count);
    for (const auto& [rule, one] : only_kernel_) {
      fmt::print("  only the kernel accepts, {}: {}, for example {}\n", rule, one.count,
                 one.example);
    }
    print_coverage();
  }

  void print_coverage() const {
    std::size_t covered = 0;
    std::string missing;
    for (std::size_t row = 0; row < kOpCount; ++row) {
      const auto op = static_cast<Op>(row);
      if (op_class(op) == OpClass::kLegacy || op_class(op) == OpClass::kAddrSpaceCast) continue;
      if (ops_[row] > 0) {
        ++covered;
      } else {
        missing += fmt::format(" {}", op_name(op));
      }
    }
    fmt::print("  operations in accepted programs: {}, missing:{}\n  helpers:", covered,
               missing.empty() ? " none" : missing);
    for (const auto& [id, count] : helpers_) fmt::print(" {}={}", uapi_helper_name(id), count);
    fmt::print("\n  rules that refused with the kernel:");
    for (const auto& [rule, count] : rules_) fmt::print(" {}={}", rule, count);
    fmt::print("\n");
  }

  void run_seed(std::uint64_t seed) {
    const char* programs = std::getenv("LMN_PROGRAMS");
    const char* time = std::getenv("LMN_SECONDS");
    const double seconds_max = time != nullptr ? std::strtod(time, nullptr) : kSecondsDefault;
    const std::uint64_t wanted = programs != nullptr ? std::strtoull(programs, nullptr, 0) : 0;
    ProgramSource source(seed, world_.positions());
    const auto begin = std::chrono::steady_clock::now();
    const auto seconds = [&] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    while (wanted != 0 ? all() < wanted : seconds() < seconds_max) {
      const Knob knob = source.any_knob();
      compare(source.next(knob), knob);
    }
    print(seed, seconds());
    EXPECT_EQ(unexplained_, 0) << "seed " << seed;
    std::uint64_t lost = 0;
    for (const auto& [rule, one] : only_kernel_) lost += one.count;
    EXPECT_LE(lost * 200, all()) << "at most 0.5 % refused that the kernel accepts";
    EXPECT_GE((kernel_accepted_[0] + kernel_accepted_[1] + kernel_accepted_[2]) * 10, all() * 4);
    EXPECT_GE(kernel_accepted_[0] * 100, programs_[0] * 95) << "valid programs are valid";
  }

  ProbeWorld world_;
  SoundnessCampaign campaign_{kFixedSeed};
  std::vector<KernelMap> kernel_maps_;
  std::vector<int> fds_;
  std::array<std::uint64_t, kKnobCount> programs_{};
  std::array<std::uint64_t, kKnobCount> kernel_accepted_{};
  std::uint64_t both_accept_ = 0;
  std::uint64_t both_refuse_ = 0;
  std::uint64_t unexplained_ = 0;
  std::map<std::string, std::uint64_t> only_ours_;
  std::map<std::string, Class> only_kernel_;
  std::map<std::string, std::uint64_t> rules_;
  std::array<std::uint64_t, kOpCount> ops_{};
  std::map<std::int64_t, std::uint64_t> helpers_;
};

TEST_F(Agreement, FixedSeed) { run_seed(kFixedSeed); }

TEST_F(Agreement, FreshSeed) {
  // A gate must answer alike for the same tree: what a new seed finds is work, not a broken change.
  const char* seed = std::getenv("LMN_SEED");
  if (seed == nullptr) GTEST_SKIP() << "no LMN_SEED: ./dev conformance agreement gives a new one";
  run_seed(std::strtoull(seed, nullptr, 0));
}

}  // namespace
}  // namespace lmn
