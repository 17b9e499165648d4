// SPDX-License-Identifier: Apache-2.0
//
// Goal: results that rules of XDP name, and that no suite of one helper or map type shows: of test
// runs, of entries of CPUMAP and DEVMAP, of programs attached to ports.
// Method: each is provoked on purpose, in the kernel and in LMN where both can be asked; what came
// is printed for scripts/conformance/errnos.sh.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "contract/map_under_test.h"
#include "contract/maps_world.h"
#include "differential/raw_insn.h"
#include "engine/engine.h"
#include "harness/provoked.h"
#include "insn/assemble.h"
#include "insn/codec.h"
#include "ports/frame_rules.h"

namespace lmn {
namespace {

Bytes bytes_of(std::uint32_t first) {
  Bytes bytes(4);
  std::memcpy(bytes.data(), &first, sizeof first);
  return bytes;
}

// One update on both sides.
struct Step {
  const char* rule;
  std::uint32_t type;
  std::uint32_t key;
  std::uint32_t value;
  std::uint64_t flags;
  int result;
};

class MapRules : public testing::TestWithParam<Step> {};

TEST_P(MapRules, GiveTheKernelsErrno) {
  auto world = MapsWorld::create();
  if (!world) GTEST_SKIP() << world.error().to_string();
  const Step& step = GetParam();
  MapSpec spec;
  spec.name = "rules";
  spec.type = step.type;
  spec.key_size = spec.value_size = 4;
  // More entries than this machine has CPUs, fewer than any kernel is built for.
  spec.max_entries = std::min(kernel_possible_cpus() + 1, 64u);
  auto kernel = make_kernel_map(spec);
  auto ours = make_lmn_map(spec, **world);
  ASSERT_NE(kernel, nullptr);
  ASSERT_NE(ours, nullptr);
  const std::uint32_t key = step.key == UINT32_MAX ? spec.max_entries - 1 : step.key;
  const int theirs = kernel->update(bytes_of(key), bytes_of(step.value), step.flags);
  EXPECT_EQ(theirs, step.result);
  EXPECT_EQ(ours->update(bytes_of(key), bytes_of(step.value), step.flags), theirs);
  Provoked::instance().add(step.rule, theirs);
}

INSTANTIATE_TEST_SUITE_P(
    Steps, MapRules,
    testing::Values(Step{"cpumap_update", BPF_MAP_TYPE_CPUMAP, 0, 192, 0, 0},
                    Step{"cpumap_update", BPF_MAP_TYPE_CPUMAP, 0, 16385, 0, -EOVERFLOW},
                    Step{"cpumap_update", BPF_MAP_TYPE_CPUMAP, 0, 192, BPF_NOEXIST, -EEXIST},
                    Step{"cpumap_update", BPF_MAP_TYPE_CPUMAP, 1000, 192, 0, -E2BIG},
                    Step{"cpumap_update", BPF_MAP_TYPE_CPUMAP, UINT32_MAX, 192, 0, -ENODEV},
                    Step{"devmap_update", BPF_MAP_TYPE_DEVMAP, 0, 987654, 0, -EINVAL},
                    Step{"devmap_update", BPF_MAP_TYPE_DEVMAP, 1000, 1, 0, -E2BIG},
                    Step{"devmap_update", BPF_MAP_TYPE_DEVMAP, 0, 1, BPF_NOEXIST, -EEXIST}),
    [](const auto& step) { return std::to_string(step.index); });

// The program of an entry is of the entry's kind, and a program.
TEST(ProgramsOfEntries, GiveTheKernelsErrno) {
  auto world = MapsWorld::create();
  if (!world) GTEST_SKIP() << world.error().to_string();
  const std::vector<std::uint32_t>& programs = (*world)->program_handles();
  for (const std::uint32_t type : {BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_CPUMAP}) {
    MapSpec spec;
    spec.name = "rules";
    spec.type = type;
    spec.key_size = 4;
    spec.value_size = 8;
    spec.max_entries = 1;
    auto kernel = make_kernel_map(spec);
    auto ours = make_lmn_map(spec, **world);
    ASSERT_NE(kernel, nullptr);
    ASSERT_NE(ours, nullptr);
    std::set<int> results;
    for (const std::uint32_t program : programs) {
      Bytes value = bytes_of(1);  // the loopback device, or a queue of one
      const Bytes handle = bytes_of(program);
      value.insert(value.end(), handle.begin(), handle.end());
      const int theirs = kernel->update(bytes_of(0), value, 0);
      EXPECT_EQ(ours->update(bytes_of(0), value, 0), theirs) << type << ", handle " << program;
      results.insert(theirs);
      Provoked::instance().add(type == BPF_MAP_TYPE_DEVMAP ? "devmap_program" : "cpumap_program",
                               theirs);
    }
    EXPECT_TRUE(results.contains(0));
    // Whatever keeps a cpumap from making its entry is no memory to the kernel.
    EXPECT_TRUE(results.contains(type == BPF_MAP_TYPE_DEVMAP ? -EINVAL : -ENOMEM))
        << "a program of another kind";
  }
}

TEST(CreationRules, MoreCpusThanTheKernelIsBuiltFor) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  MapSpec spec;
  spec.name = "rules";
  spec.type = BPF_MAP_TYPE_CPUMAP;
  spec.key_size = spec.value_size = 4;
  spec.max_entries = 1u << 20;
  auto world = MapsWorld::create();
  if (!world) GTEST_SKIP() << world.error().to_string();
  const int theirs = kernel_create_error(spec);
  EXPECT_EQ(theirs, -E2BIG);
  EXPECT_EQ(make_lmn_map(spec, **world), nullptr);
  Provoked::instance().add("cpumap_create", theirs);
}

ProgramSpec passing_program() {
  ProgramSpec program;
  program.name = "pass";
  program.section = "xdp";
  program.type = BPF_PROG_TYPE_XDP;
  program.expected_attach_type = BPF_XDP;
  program.insns = *assemble("r0 = 2\nexit");
  program.license = "GPL";
  return program;
}

class EngineRules : public testing::Test {
 protected:
  void SetUp() override {
    engine_ = *Engine::create({.frame_count = 64, .seed = 1});
    ObjectSpec spec;
    spec.programs.push_back(passing_program());
    auto loaded = engine_->load(spec, {});
    ASSERT_TRUE(loaded.has_value()) << loaded.error().to_string();
    program_ = (*loaded)->programs[0].get();
  }
  std::unique_ptr<Engine> engine_;
  Program* program_ = nullptr;
};

TEST_F(EngineRules, TestRunsTakeWhatAFrameHolds) {
  const struct bpf_insn insns[] = {raw::insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 2),
                                   raw::insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)};
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  const KernelProgram kernel = KernelProgram::load(insns);
  ASSERT_TRUE(kernel.is_loaded()) << kernel.log();
  struct Case {
    std::size_t bytes;
    std::uint32_t metadata;
  };
  // Too short, the shortest; metadata of an odd length, and of more than there is.
  for (const Case& run : {Case{13, 0}, Case{14, 0}, Case{60, 3}, Case{60, 64}}) {
    const std::vector<std::uint8_t> packet(run.bytes);
    KernelRunOptions options;
    options.context_in.emplace();
    options.context_in->data = run.metadata;
    options.context_in->data_end = static_cast<std::uint32_t>(run.bytes);
    const int theirs = kernel.run(packet, options).error;
    TestRunOptions ours;
    ours.metadata_bytes = run.metadata;
    const auto result = engine_->test_run(*program_, packet, ours);
    const int mine = result ? 0 : -result.error().errno_value;
    EXPECT_EQ(mine, theirs) << run.bytes << " bytes, " << run.metadata << " of metadata";
    Provoked::instance().add("test_run", theirs);
  }
}

TEST_F(EngineRules, APortHasOneProgramOfTheRightKind) {
  auto port = engine_->open_port("memory:rules");
  ASSERT_TRUE(port.has_value()) << port.error().to_string();
  ASSERT_TRUE(engine_->attach(*program_, *(*port)[0]).has_value());
  const auto again = engine_->attach(*program_, *(*port)[0]);
  ASSERT_FALSE(again.has_value());
  Provoked::instance().add("attach", -again.error().errno_value);
  for (const std::uint32_t type : {BPF_XDP_DEVMAP, BPF_XDP_CPUMAP}) {
    ObjectSpec spec;
    spec.programs.push_back(passing_program());
    spec.programs[0].expected_attach_type = type;
    auto loaded = engine_->load(spec, {});
    ASSERT_TRUE(loaded.has_value()) << loaded.error().to_string();
    auto other = engine_->open_port("memory:rules" + std::to_string(type));
    ASSERT_TRUE(other.has_value());
    const auto refused = engine_->attach(*(*loaded)->programs[0], *(*other)[0]);
    ASSERT_FALSE(refused.has_value());
    Provoked::instance().add("attach", -refused.error().errno_value);
  }
  EXPECT_TRUE(Provoked::instance().has("attach", -EBUSY));
  EXPECT_TRUE(Provoked::instance().has("attach", -EINVAL));
}

// What a redirect's target says to a frame: the dictionary of redirect errors, as ports answer it.
TEST_F(EngineRules, TargetsOfRedirects) {
  auto pair = engine_->open_port("veth:one,two");
  ASSERT_TRUE(pair.has_value()) << pair.error().to_string();
  FrameSink* sink = engine_->find_sink((*pair)[0]->info().ifindex);
  ASSERT_NE(sink, nullptr);
  const std::uint32_t longest = (*pair)[0]->info().mtu + 18;  // Ethernet and one VLAN tag
  EXPECT_EQ(sink->check(longest), 0);
  Provoked::instance().add("redirect_target", -sink->check(longest + 1));
  EXPECT_TRUE(Provoked::instance().has("redirect_target", -EMSGSIZE));
  Provoked::instance().add("redirect_target", -check_frame_length(false, 1500, 60));
  EXPECT_TRUE(Provoked::instance().has("redirect_target", -ENETDOWN));
  EXPECT_EQ(engine_->find_sink(987654), nullptr);
  Provoked::instance().add("redirect_target", -EINVAL);
}

}  // namespace
}  // namespace lmn
