// SPDX-License-Identifier: Apache-2.0
//
// Goal: an accepted program comes with what later stages need to know of it: features, and per
// instruction what is known of its access. Method: small programs in text, their facts written out.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "verifier/paths_for_tests.h"

namespace lmn::paths_tests {
namespace {

constexpr HelperProto kFeatureHelpers[] = {
    {.id = 5, .name = "bpf_ktime_get_ns"},
    {.id = 7, .name = "bpf_get_prandom_u32"},
    {.id = 12, .name = "bpf_tail_call", .ret = RetKind::kVoid, .args = {kCtx, kMap, kAny}},
    {.id = 23, .name = "bpf_redirect", .args = {kAny, kAny}},
    {.id = 44, .name = "bpf_xdp_adjust_head", .flags = kHelperChangesPacket, .args = {kCtx, kAny}},
    {.id = 51, .name = "bpf_redirect_map", .args = {kMap, kAny, kAny}},
};
constexpr MapTypeInfo kFeatureMaps[] = {
    {.type = BPF_MAP_TYPE_ARRAY, .name = "array", .flags = kMapDirectValue},
    {.type = BPF_MAP_TYPE_PROG_ARRAY, .name = "prog_array", .flags = kMapHoldsPrograms},
    {.type = BPF_MAP_TYPE_DEVMAP, .name = "devmap"},
    {.type = BPF_MAP_TYPE_CPUMAP, .name = "cpumap"},
    {.type = BPF_MAP_TYPE_XSKMAP, .name = "xskmap"},
};

// map[0] devices, map[1] CPUs, map[2] sockets, map[3] programs, map[4] 64 bytes of global data,
// map[5] more devices.
std::optional<VerifiedProgram> program_judged(std::string_view text, std::uint32_t prog_flags = 0) {
  const Environment environment{
      .helpers = kFeatureHelpers, .map_types = kFeatureMaps, .context = kXdpMdFields};
  const std::vector<MapSpec> maps{map_spec("devices", BPF_MAP_TYPE_DEVMAP, 4, 4),
                                  map_spec("cpus", BPF_MAP_TYPE_CPUMAP, 4, 4),
                                  map_spec("sockets", BPF_MAP_TYPE_XSKMAP, 4, 4),
                                  map_spec("programs", BPF_MAP_TYPE_PROG_ARRAY, 4, 4),
                                  map_spec(".data", BPF_MAP_TYPE_ARRAY, 64, 1),
                                  map_spec("more", BPF_MAP_TYPE_DEVMAP, 4, 4)};
  ProgramSpec program = program_of(text, maps.size());
  program.prog_flags = prog_flags;
  program.kfuncs.clear();
  auto structure = check_structure(environment, program, maps, {.defers_operations = true});
  if (!structure) {
    ADD_FAILURE() << structure.error().to_string();
    return std::nullopt;
  }
  VerifierReport report;
  VerifyOptions options;
  options.report = &report;
  auto verified = verify(environment, *std::move(structure), options);
  if (!verified) {
    ADD_FAILURE() << report.kernel_message;
    return std::nullopt;
  }
  return *std::move(verified);
}

// The facts without their program: those about maps point into it.
VerifiedFacts facts_of(std::string_view text, std::uint32_t prog_flags = 0) {
  const auto program = program_judged(text, prog_flags);
  return program ? program->facts() : VerifiedFacts{};
}

std::string features_of(std::string_view text, std::uint32_t prog_flags = 0) {
  std::string out;
  facts_of(text, prog_flags).features.for_each([&out](Feature feature) {
    out += std::string(out.empty() ? "" : " ") + std::string(feature_info(feature).id);
  });
  return out;
}

TEST(Features, VerdictsAreWhatTheEntryReturns) {
  EXPECT_EQ(features_of("r0 = 2\nexit"), "action-pass");
  EXPECT_EQ(features_of("r0 = 7\nexit"), "action-aborted") << "no action";
  EXPECT_EQ(features_of("r6 = 1\ncall bpf_get_prandom_u32\nif r0 == 0 goto out\nr6 = 3\nout:\n"
                        "r0 = r6\nexit"),
            "action-drop action-tx");
  EXPECT_EQ(features_of("call bpf_get_prandom_u32\nr0 &= 1\nexit"), "action-aborted action-drop");
  EXPECT_EQ(features_of("call bpf_get_prandom_u32\nexit"),
            "action-aborted action-drop action-pass action-tx action-redirect action-computed");
}

TEST(Features, VerdictsAreFollowedThroughTheStackAndFunctions) {
  EXPECT_EQ(features_of("r1 = 3\n*(u64 *)(r10 -8) = r1\ncall bpf_ktime_get_ns\n"
                        "r0 = *(u64 *)(r10 -8)\nexit"),
            "action-tx");
  EXPECT_EQ(features_of("call pc+1\nexit\nr0 = 1\nexit"), "action-drop");
  // Through a pointer into the frame somebody else may have written the slot.
  const std::string escaped = features_of(
      "r1 = 3\n*(u64 *)(r10 -8) = r1\nr2 = r10\nr2 += -8\n*(u8 *)(r2 +0) = 1\n"
      "r0 = *(u64 *)(r10 -8)\nexit");
  EXPECT_NE(escaped.find("action-computed"), std::string::npos) << escaped;
}

// The walk over paths cuts the second one where the registers only differ in the verdict.
TEST(Features, VerdictsOfPathsThatAreCutAreSeen) {
  std::string text = "r6 = 1\ncall bpf_get_prandom_u32\nif r0 == 0 goto join\nr6 = 2\njoin:\n";
  for (int i = 0; i < 20; ++i) text += "r7 = 0\n";
  text += "if r7 != 0 goto out\nout:\nr0 = r6\nexit";
  EXPECT_EQ(features_of(text), "action-drop action-pass");
}

TEST(Features, DeadCodeNeedsNothing) {
  EXPECT_EQ(features_of("r6 = r1\nr1 = 0\nif r1 == 0 goto out\nr1 = 4\nr2 = 0\n"
                        "call bpf_redirect\nout:\nr0 = 2\nexit"),
            "action-pass");
}

TEST(Features, RedirectsNameWhereTo) {
  const auto by_map = [](int map, std::string_view flags) {
    return "r1 = map[idx:" + std::to_string(map) + "]\nr2 = 0\nr3 = " + std::string(flags) +
           "\ncall bpf_redirect_map\nexit";
  };
  EXPECT_EQ(features_of(by_map(0, "2")), "action-pass action-redirect redirect-port");
  EXPECT_EQ(features_of(by_map(1, "0")), "action-aborted action-redirect redirect-cpu");
  EXPECT_EQ(features_of(by_map(2, "1")), "action-drop action-redirect redirect-socket");
  EXPECT_EQ(features_of("r1 = 4\nr2 = 0\ncall bpf_redirect\nexit"),
            "action-redirect redirect-port");
}

// A multicast: to all of one map, or of another one of its kind.
TEST(Features, BroadcastsNameTheirKindOfMapAndNoFallback) {
  const auto to_one_of = [](int first, int second) {
    return "call bpf_get_prandom_u32\nr1 = map[idx:" + std::to_string(first) +
           "]\nif r0 == 0 goto out\nr1 = map[idx:" + std::to_string(second) +
           "]\nout:\nr2 = 0\nr3 = 24\ncall bpf_redirect_map\nexit";
  };
  EXPECT_EQ(features_of(to_one_of(0, 5)), "action-aborted action-redirect redirect-port");
  EXPECT_EQ(features_of(to_one_of(0, 1)),
            "action-aborted action-redirect redirect-port redirect-cpu redirect-socket");
}

TEST(Features, CallsFieldsAndFlags) {
  EXPECT_EQ(features_of("r2 = -14\ncall bpf_xdp_adjust_head\nr0 = 2\nexit"),
            "action-pass adjust-head");
  EXPECT_EQ(features_of("r2 = *(u32 *)(r1 +8)\nr3 = *(u32 *)(r1 +12)\nr4 = *(u32 *)(r1 +16)\n"
                        "r0 = 2\nexit"),
            "action-pass metadata-area ingress-ifindex rx-queue-index");
  EXPECT_EQ(features_of("r0 = 2\nexit", BPF_F_XDP_HAS_FRAGS), "action-pass frags");
  EXPECT_EQ(features_of("r0 = 2\nexit", BPF_F_XDP_DEV_BOUND_ONLY), "action-pass device-bound");
  EXPECT_EQ(features_of("r2 = map[idx:3]\nr3 = 0\ncall bpf_tail_call\nr0 = 2\nexit"),
            "action-pass tail-calls");
}

TEST(Features, IdsAreUniqueAndSetsAreSets) {
  for (std::size_t i = 0; i < kFeatureCount; ++i) {
    for (std::size_t j = i + 1; j < kFeatureCount; ++j) {
      EXPECT_NE(kFeatures[i].id, kFeatures[j].id);
    }
  }
  FeatureSet needed;
  needed.add(Feature::kActionTx);
  needed.add(Feature::kFrags);
  FeatureSet has;
  has.add(Feature::kActionTx);
  EXPECT_FALSE(has.holds(needed));
  EXPECT_TRUE(needed.holds(has));
  EXPECT_TRUE(needed.without(has).has(Feature::kFrags));
  EXPECT_FALSE(needed.without(has).has(Feature::kActionTx));
  EXPECT_TRUE(has.without(needed).is_empty());
}

// --- facts per instruction

TEST(Facts, AccessesHaveKindAlignmentAndBounds) {
  const VerifiedFacts facts = facts_of(R"(
    r6 = map[idx:4]+0
    call bpf_get_prandom_u32
    r0 &= 7
    r0 <<= 2
    r6 += r0
    r1 = *(u32 *)(r6 +8)
    *(u64 *)(r10 -16) = r1
    r0 = 2
    exit
  )");
  const InsnFacts& value = facts.insns[6];
  EXPECT_EQ(value.pointer, RegKind::kMapValue);
  EXPECT_EQ(value.offset_min, 8);
  EXPECT_EQ(value.offset_max, 8 + 28);
  EXPECT_EQ(value.alignment, 4);
  const InsnFacts& stack = facts.insns[7];
  EXPECT_EQ(stack.pointer, RegKind::kStack);
  EXPECT_EQ(stack.offset_min, -16);
  EXPECT_EQ(stack.offset_max, -16);
  EXPECT_EQ(stack.alignment, 16);
  EXPECT_EQ(facts.insns[8].alignment, 0) << "no access";
}

TEST(Facts, AccessesOfSeveralPathsAreJoined) {
  const VerifiedFacts facts = facts_of(R"(
    r6 = map[idx:4]+0
    call bpf_get_prandom_u32
    if r0 == 0 goto far
    r6 += 8
    goto join
  far:
    r6 += 20
  join:
    r1 = *(u8 *)(r6 +0)
    r0 = 2
    exit
  )");
  EXPECT_EQ(facts.insns[7].offset_min, 8);
  EXPECT_EQ(facts.insns[7].offset_max, 20);
  EXPECT_EQ(facts.insns[7].alignment, 4);
}

TEST(Facts, DeadCodeIsNotSeenAndMapsOfCallsAreKnown) {
  const auto program = program_judged(R"(
    r1 = map[idx:1]
    r2 = 0
    r3 = 0
    call bpf_redirect_map
    r1 = 1
    if r1 == 1 goto out
    r0 = 2
  out:
    exit
  )");
  ASSERT_TRUE(program.has_value());
  const VerifiedFacts& facts = program->facts();
  EXPECT_TRUE(facts.insns[4].is_seen);
  ASSERT_NE(facts.insns[4].map, nullptr);
  EXPECT_EQ(facts.insns[4].map->name, "cpus");
  EXPECT_FALSE(facts.insns[4].has_several_maps);
  EXPECT_FALSE(facts.insns[7].is_seen);
}

TEST(Facts, StackDepthAndTailCalls) {
  const VerifiedFacts facts = facts_of(R"(
    *(u64 *)(r10 -40) = 0
    r6 = r1
    call pc+7
    r2 = map[idx:3]
    r3 = 0
    r1 = r6
    call bpf_tail_call
    r0 = 2
    exit
    *(u64 *)(r10 -24) = 0
    r0 = 2
    exit
  )");
  EXPECT_EQ(facts.tail_call_count, 1u);
  EXPECT_EQ(facts.tail_call_stack_bytes, 48u) << "the entry's 40 bytes, rounded up to 16";
  EXPECT_EQ(facts.stack_depth_max, 48u + 32u);
}

}  // namespace
}  // namespace lmn::paths_tests
