// SPDX-License-Identifier: Apache-2.0
//
// Goal: verifying takes no longer here than in the kernel of the same machine. Method: every XDP
// program of the given objects is loaded by libbpf with log level 4, where the kernel tells its own
// "verification time", and judged by us, in turns, kRounds times; the medians are compared. Then
// programs made to be expensive are judged by us alone: each must end at a limit, in time.
//
//   lmn_verifier_speed OBJECT...
//
// Prints each program whose time is more than twice the kernel's, the ten worst, and the geometric
// mean. The exit status is 0 when the mean is at most 1.0, no program that the kernel needs 50 us
// for is above 2.0, and every expensive program ends within a second of CPU time and 64 MiB.
// Programs that the kernel does not load (they need devices, or fail on purpose) are counted and
// left out. Needs the rights to load programs; without them the run is skipped.
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "helpers/helpers.h"
#include "insn/assemble.h"
#include "insn/insn_table.h"
#include "kfuncs/kfuncs.h"
#include "object/object_reader.h"
#include "verifier/verifier.h"

namespace lmn {
namespace {

constexpr int kRounds = 5;
constexpr double kLeastMicroseconds = 50;
constexpr double kMeanMax = 1.0;
constexpr double kRatioMax = 2.0;

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

struct Measured {
  std::string name;
  double ours = 0;
  double kernels = 0;
  double ratio() const { return std::max(ours, 1.0) / std::max(kernels, 1.0); }
};

// --- the kernel

struct CloseObject {
  void operator()(struct bpf_object* object) const { bpf_object__close(object); }
};
using KernelObject = std::unique_ptr<struct bpf_object, CloseObject>;

// What the kernel says it took, or nullopt when it does not load the program.
std::optional<double> kernel_time(const std::string& path, const std::string& program) {
  const KernelObject object(bpf_object__open_file(path.c_str(), nullptr));
  if (!object) return std::nullopt;
  static std::array<char, 1u << 16> log;
  log[0] = 0;
  struct bpf_program* each = nullptr;
  bpf_object__for_each_program(each, object.get()) {
    const bool is_it = program == bpf_program__name(each);
    bpf_program__set_autoload(each, is_it);
    if (!is_it) continue;
    bpf_program__set_log_level(each, 4);
    bpf_program__set_log_buf(each, log.data(), log.size());
  }
  if (bpf_object__load(object.get()) != 0) return std::nullopt;
  constexpr std::string_view kTime = "verification time ";
  const std::string_view text(log.data());
  const std::size_t at = text.find(kTime);
  if (at == std::string_view::npos) return std::nullopt;
  double out = 0;
  std::from_chars(text.data() + at + kTime.size(), text.data() + text.size(), out);
  return out;
}

// --- ourselves

class Judge {
 public:
  Judge() {
    for (std::uint32_t type = 1; type < __MAX_BPF_MAP_TYPE; ++type) {
      const bool is_direct = type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_ARENA;
      map_types_.push_back(
          {type, "map", is_direct ? std::uint16_t{kMapDirectValue} : std::uint16_t{0}});
    }
    const auto known = kfunc_protos();
    kfuncs_.assign(known.begin(), known.end());
    for (KfuncProto& proto : kfuncs_) proto.refusal = {};
    if (const auto bytes = read_file("/sys/kernel/btf/vmlinux", 64u << 20)) {
      if (auto btf = parse_btf(*bytes)) types_ = *btf;
    }
    // The index of names is made once, and not in the time of a program.
    if (types_ != nullptr) (void)types_->find_by_name("xdp_buff", BtfKind::kStruct);
    environment_.helpers = known_helper_protos();
    environment_.map_types = map_types_;
    environment_.context = kXdpMdFields;
    environment_.kfuncs = kfuncs_;
    environment_.kernel_types = types_.get();
  }

  Result<ObjectSpec> read(const std::string& path) const {
    LMN_TRY(const std::vector<std::uint8_t> bytes, read_file(path, 64u << 20));
    ReadOptions options;
    options.object_name = object_name_of(path);
    options.target_btf = types_;
    options.kernel_version = (6u << 16) | (18u << 8);
    options.kconfig = "CONFIG_HZ=250\n";
    return read_object(bytes, options);
  }

  // Microseconds of both stages; negative: refused.
  double judge(const ObjectSpec& object, const ProgramSpec& program) const {
    std::vector<MapSpec> maps;
    for (const std::uint32_t position : program.maps) maps.push_back(object.maps[position]);
    const auto begin = Clock::now();
    auto structure = check_structure(environment_, program, maps, {.defers_operations = true});
    if (!structure) return -1;
    VerifyOptions options;
    options.btf = object.btf.get();
    const bool is_accepted = verify(environment_, *std::move(structure), options).has_value();
    const double spent = microseconds_since(begin);
    return is_accepted ? spent : -1;
  }

  const Environment& environment() const { return environment_; }

 private:
  std::vector<MapTypeInfo> map_types_;
  std::vector<KfuncProto> kfuncs_;
  std::shared_ptr<const Btf> types_;
  Environment environment_;
};

// --- side by side

struct Comparison {
  std::vector<Measured> measured;
  std::size_t left_out = 0;  // not loaded by the kernel
  std::size_t refused = 0;   // by us, though the kernel loads it
};

void compare_object(const Judge& judge, const std::string& path, Comparison& out) {
  const auto object = judge.read(path);
  if (!object) return;
  for (const ProgramSpec& program : object->programs) {
    if (program.type != BPF_PROG_TYPE_XDP || program.defect) continue;
    std::vector<double> ours;
    std::vector<double> kernels;
    for (int round = 0; round < kRounds; ++round) {
      const auto theirs = kernel_time(path, program.name);
      if (!theirs) break;
      kernels.push_back(*theirs);
      ours.push_back(judge.judge(*object, program));
    }
    if (kernels.size() < kRounds) {
      ++out.left_out;
      continue;
    }
    const std::string name = fmt::format("{} {}", path.substr(path.rfind('/') + 1), program.name);
    if (ours.front() < 0) {
      fmt::print("refused here, loaded by the kernel: {}\n", name);
      ++out.refused;
      continue;
    }
    out.measured.push_back({name, median(ours), median(kernels)});
  }
}

bool report(Comparison& comparison) {
  auto& all = comparison.measured;
  std::ranges::sort(all,
                    [](const Measured& a, const Measured& b) { return a.ratio() > b.ratio(); });
  double sum = 0;
  std::size_t counted = 0;
  std::size_t slow = 0;
  double sum_of_long = 0;
  for (const Measured& each : all) {
    sum += std::log(each.ratio());
    if (each.kernels < kLeastMicroseconds) continue;
    ++counted;
    sum_of_long += std::log(each.ratio());
    slow += each.ratio() > kRatioMax ? 1 : 0;
    if (counted > 10 && each.ratio() <= kRatioMax) continue;
    fmt::print("{:6.2f}  {:9.0f} us, kernel {:9.0f} us  {}{}\n", each.ratio(), each.ours,
               each.kernels, each.name, each.ratio() > kRatioMax ? "  SLOW" : "");
  }
  if (all.empty()) return false;
  const double mean = std::exp(sum / static_cast<double>(all.size()));
  fmt::print("{} programs ({} that the kernel does not load left out): geometric mean {:.2f}\n",
             all.size(), comparison.left_out, mean);
  if (counted > 0) {
    fmt::print(
        "{} of them take the kernel {:.0f} us or more: geometric mean {:.2f}, {} above "
        "{:.1f}\n",
        counted, kLeastMicroseconds, std::exp(sum_of_long / static_cast<double>(counted)), slow,
        kRatioMax);
  }
  return mean <= kMeanMax && slow == 0 && comparison.refused == 0;
}

// --- expensive programs

struct Expensive {
  std::string name;
  std::vector<Insn> insns;
};

Insn simple(Op op, std::uint8_t dst, std::int64_t imm) {
  Insn out;
  out.op = op;
  out.dst = dst;
  out.imm = imm;
  return out;
}

std::vector<Insn> assembled(const std::string& text) {
  auto insns = assemble(text);
  if (!insns) fmt::print("{}\n", insns.error().to_string());
  return insns ? *std::move(insns) : std::vector<Insn>{};
}

std::vector<Expensive> expensive_programs() {
  std::vector<Expensive> out;
  // Every path leaves another number, and the number matters: 2^40 paths.
  std::string branches = "r6 = 0\n";
  for (int i = 0; i < 40; ++i) {
    branches += fmt::format("call bpf_get_prandom_u32\nif r0 == 0 goto next{}\nr6 += {}\nnext{}:\n",
                            i, i < 30 ? 1 << i : i, i);
  }
  branches += "r6 &= 7\nr1 = r10\nr1 += -8\nr1 += r6\n*(u8 *)(r1 +0) = 1\nr0 = 0\nexit";
  out.push_back({"2^40 paths", assembled(branches)});
  out.push_back(
      {"a loop of 2^31 rounds, counted", assembled("r0 = 0\nagain:\nr0 += 1\n"
                                                   "if r0 < 0x7fffffff goto again\nexit")});
  out.push_back({"loops in loops, counted",
                 assembled("r6 = 0\na:\nr7 = 0\nb:\nr8 = 0\nc:\nr8 += 1\nif r8 < 1000 goto c\n"
                           "r7 += 1\nif r7 < 1000 goto b\nr6 += 1\nif r6 < 1000 goto a\n"
                           "r0 = 0\nexit")});
  std::string spills = "r6 = 0\n";
  for (int i = 0; i < 60; ++i) {
    spills += fmt::format(
        "call bpf_get_prandom_u32\n*(u64 *)(r10 -{}) = r0\nif r0 > {} goto n{}\n"
        "r6 += 1\nn{}:\n",
        8 + i * 8, i + 2, i, i);
  }
  spills += "r1 = r10\nr1 += -512\nr1 += r6\n*(u8 *)(r1 +0) = 1\nr0 = 0\nexit";
  out.push_back({"branches over a full stack", assembled(spills)});
  Expensive longest{"1,000,000 instructions", {}};
  longest.insns.assign(999'998, simple(Op::kAdd64Imm, 0, 1));
  longest.insns.front() = simple(Op::kMov64Imm, 0, 0);
  longest.insns.push_back(simple(Op::kMov64Imm, 0, 2));
  longest.insns.push_back(simple(Op::kExit, 0, 0));
  out.push_back(std::move(longest));
  // Every second instruction a branch: half a million places for states.
  Expensive jumps{"500,000 branches", {}};
  jumps.insns.push_back(simple(Op::kMov64Imm, 0, 0));
  for (int i = 0; i < 249'000; ++i) {
    jumps.insns.push_back(simple(Op::kAdd64Imm, 0, i));
    Insn jump = simple(Op::kJeq64Imm, 1, 0);
    jump.off = 1;
    jumps.insns.push_back(jump);
    jumps.insns.push_back(simple(Op::kAdd64Imm, 0, 1));
    jumps.insns.push_back(simple(Op::kXor64Imm, 0, 1));
  }
  jumps.insns.push_back(simple(Op::kMov64Imm, 0, 2));
  jumps.insns.push_back(simple(Op::kExit, 0, 0));
  out.push_back(std::move(jumps));
  return out;
}

// Time of this thread on a CPU: what else the machine does must not fail the program.
double cpu_microseconds() {
  struct timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

bool judge_expensive(const Judge& judge, const Expensive& expensive) {
  constexpr double kMicrosecondsMax = 1e6;
  ProgramSpec program;
  program.name = "p";
  program.type = BPF_PROG_TYPE_XDP;
  program.license = "GPL";
  program.insns = expensive.insns;
  const double begin = cpu_microseconds();
  auto structure = check_structure(judge.environment(), program, {}, {.defers_operations = true});
  if (!structure) {
    fmt::print("{}: {}\n", expensive.name, structure.error().to_string());
    return false;
  }
  VerifierReport report;
  VerifyOptions options;
  options.report = &report;
  const auto verified = verify(judge.environment(), *std::move(structure), options);
  const double spent = cpu_microseconds() - begin;
  const bool is_good = spent <= kMicrosecondsMax && report.peak_bytes <= limits::kVerifierBytesMax;
  fmt::print("{}: {} after {} instructions, {} states, {} KiB, {:.0f} ms{}\n", expensive.name,
             verified ? "accepted" : rule_info(report.rule).id, report.processed,
             report.peak_states, report.peak_bytes / 1024, spent / 1000,
             is_good ? "" : "  TOO MUCH");
  return is_good;
}

int quiet(enum libbpf_print_level, const char*, va_list) { return 0; }

int run(const std::vector<std::string>& objects) {
  if (objects.empty()) {
    fmt::print(stderr, "usage: lmn_verifier_speed OBJECT...\n");
    return 2;
  }
  libbpf_set_print(quiet);
  const Judge judge;
  Comparison comparison;
  for (const std::string& path : objects) compare_object(judge, path, comparison);
  const bool has_compared = !comparison.measured.empty();
  if (!has_compared) {
    fmt::print("[  SKIPPED ] the kernel loads none of the programs: no rights, or no objects\n");
  }
  const bool is_fast = !has_compared || report(comparison);
  bool is_bounded = true;
  for (const Expensive& expensive : expensive_programs()) {
    is_bounded = judge_expensive(judge, expensive) && is_bounded;
  }
  return is_fast && is_bounded ? 0 : 1;
}

}  // namespace
}  // namespace lmn

int main(int count, char** words) { return lmn::run({words + 1, words + count}); }
