// SPDX-License-Identifier: Apache-2.0
//
// Goal: an access list made with include/lmn/bpf/ternary.h and TernaryBuilder decides as a linear
// scan over its rules does, in the kernel and in LMN, whatever rules come and go. Method:
// examples/ternary_acl.c in both; the same builder fills the kernel's maps by bpf(2) and the
// engine's through Map; after each change random packets are judged by both and by the scan. Few
// masks and values, so that rules overlap.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>

#include "base/file.h"
#include "differential/kernel_ternary_maps.h"
#include "engine/engine.h"
#include "harness/kernel_oracle.h"
#include "maps/ternary_builder.h"
#include "object/object_reader.h"

namespace lmn {
namespace {

constexpr std::uint32_t kMasksMax = 64;
constexpr TernaryShape kShape{.key_bytes = 16, .value_bytes = 4, .masks_max = kMasksMax};
const std::string kObject = std::string(LMN_BINARY_DIR) + "/bpf/ternary_acl.bpf.o";

// The fields that the program compares, in the order of its struct acl_key.
struct Fields {
  std::uint32_t source = 0;
  std::uint32_t destination = 0;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint8_t protocol = 0;
  std::uint8_t zero[3] = {};
};
static_assert(sizeof(Fields) == 16);

TernaryBytes bytes_of(const Fields& fields) {
  TernaryBytes out(sizeof fields);
  std::memcpy(out.data(), &fields, sizeof fields);
  return out;
}

TernaryBytes action_bytes(std::uint32_t action) {
  TernaryBytes out(sizeof action);
  std::memcpy(out.data(), &action, sizeof action);
  return out;
}

std::vector<std::uint8_t> packet_of(const Fields& fields) {
  std::vector<std::uint8_t> packet(60);
  packet[12] = 8;
  packet[14] = 0x45;
  packet[23] = fields.protocol;
  std::memcpy(packet.data() + 26, &fields.source, 4);
  std::memcpy(packet.data() + 30, &fields.destination, 4);
  std::memcpy(packet.data() + 34, &fields.source_port, 2);
  std::memcpy(packet.data() + 36, &fields.destination_port, 2);
  return packet;
}

// The oracle.
class LinearScan {
 public:
  void add(const TernaryRule& rule) { rules_.push_back(rule); }
  void remove(const TernaryRule& rule) {
    std::erase_if(rules_, [&](const TernaryRule& r) { return r.priority == rule.priority; });
  }
  std::uint32_t judge(const Fields& fields) const {
    const TernaryBytes key = bytes_of(fields);
    const TernaryRule* best = nullptr;
    for (const TernaryRule& rule : rules_) {
      bool is_match = true;
      for (std::size_t i = 0; i < key.size(); ++i) {
        is_match = is_match && ((key[i] ^ rule.value[i]) & rule.mask[i]) == 0;
      }
      if (is_match && (best == nullptr || rule.priority > best->priority)) best = &rule;
    }
    std::uint32_t action = XDP_PASS;
    if (best != nullptr) std::memcpy(&action, best->result.data(), sizeof action);
    return action;
  }

 private:
  std::vector<TernaryRule> rules_;
};

class Judge {
 public:
  virtual ~Judge() = default;
  virtual TernaryMaps& maps() = 0;
  virtual std::uint32_t judge(const std::vector<std::uint8_t>& packet) = 0;
  // Nanoseconds per packet.
  virtual std::uint64_t time(const std::vector<std::uint8_t>& packet, std::uint32_t repeat) = 0;
};

class EngineJudge final : public Judge {
 public:
  bool open() {
    const auto bytes = read_file(kObject, std::size_t{64} << 20);
    if (!bytes) return false;
    ReadOptions options;
    options.object_name = "ternary";
    auto spec = read_object(*bytes, options);
    EXPECT_TRUE(spec.has_value()) << spec.error().to_string();
    EngineOptions engine_options;
    engine_options.seed = 1;
    engine_ = *Engine::create(engine_options);
    auto object = engine_->load(*spec, load_options());
    EXPECT_TRUE(object.has_value()) << object.error().to_string();
    if (!object) return false;
    program_ = (*object)->find_program("ternary_acl");
    Map* tables = (*object)->find_map("acl_tables");
    maps_ = std::make_unique<MapTernary>(*(*object)->find_map("acl_masks"), *tables,
                                         *(*object)->find_map("acl_state"),
                                         [this, tables]() -> Result<MapTernary::Inner> {
                                           LMN_TRY(Map * map, engine_->create_inner_map(*tables));
                                           return MapTernary::Inner{map->id(), map};
                                         });
    return true;
  }
  static LoadOptions load_options() {
    LoadOptions options;
    options.object_name = "ternary";
    options.programs = {"ternary_acl"};
    return options;
  }
  TernaryMaps& maps() override { return *maps_; }
  std::uint32_t judge(const std::vector<std::uint8_t>& packet) override {
    const auto result = engine_->test_run(*program_, packet, {});
    EXPECT_TRUE(result.has_value() && result->traps.empty());
    return result ? result->verdict : ~0u;
  }
  std::uint64_t time(const std::vector<std::uint8_t>& packet, std::uint32_t repeat) override {
    TestRunOptions options;
    options.repeat = repeat;
    return engine_->test_run(*program_, packet, options)->duration_ns;
  }

 private:
  std::unique_ptr<Engine> engine_;
  Program* program_ = nullptr;
  std::unique_ptr<MapTernary> maps_;
};

class KernelJudge final : public Judge {
 public:
  ~KernelJudge() override { bpf_object__close(object_); }
  // Empty, or why there is no kernel to ask.
  std::string open() {
    libbpf_set_print([](enum libbpf_print_level, const char*, va_list) { return 0; });
    object_ = bpf_object__open(kObject.c_str());
    if (object_ == nullptr) return "libbpf does not open the object";
    if (const int error = bpf_object__load(object_); error != 0) {
      return "the kernel does not load the program: " + std::string(std::strerror(-error));
    }
    const auto fd = [this](const char* name) {
      return bpf_object__find_map_fd_by_name(object_, name);
    };
    maps_ = std::make_unique<KernelTernaryMaps>(
        KernelTernaryMaps::Options{fd("acl_masks"), fd("acl_tables"), fd("acl_state"), kShape});
    program_ = bpf_program__fd(bpf_object__find_program_by_name(object_, "ternary_acl"));
    return {};
  }
  TernaryMaps& maps() override { return *maps_; }
  std::uint32_t judge(const std::vector<std::uint8_t>& packet) override {
    return run(packet, 1).retval;
  }
  std::uint64_t time(const std::vector<std::uint8_t>& packet, std::uint32_t repeat) override {
    return run(packet, repeat).duration;
  }

 private:
  bpf_test_run_opts run(const std::vector<std::uint8_t>& packet, std::uint32_t repeat) {
    bpf_test_run_opts options = {};
    options.sz = sizeof options;
    options.data_in = packet.data();
    options.data_size_in = static_cast<std::uint32_t>(packet.size());
    options.repeat = static_cast<int>(repeat);
    EXPECT_EQ(bpf_prog_test_run_opts(program_, &options), 0);
    return options;
  }

  struct bpf_object* object_ = nullptr;
  std::unique_ptr<KernelTernaryMaps> maps_;
  int program_ = -1;
};

class Ternary : public testing::Test {
 protected:
  Fields random_fields() {
    Fields fields;
    fields.source = htonl(0x0a000000 | (random_() & 0x30003));
    fields.destination = htonl(0x0a000000 | (random_() & 3));
    fields.protocol = random_() % 2 == 0 ? 6 : 17;
    fields.source_port = htons(static_cast<std::uint16_t>(random_() % 3));
    fields.destination_port = htons(static_cast<std::uint16_t>(random_() % 3));
    return fields;
  }
  Fields random_mask() {
    const std::uint32_t addresses[] = {0, 0xff000000, 0xffff0000, 0xffffffff, 0x00030003};
    Fields mask;
    mask.source = htonl(addresses[random_() % 5]);
    mask.destination = htonl(addresses[random_() % 4]);
    mask.protocol = random_() % 2 == 0 ? 0xff : 0;
    mask.destination_port = random_() % 2 == 0 ? 0xffff : 0;
    return mask;
  }
  TernaryRule random_rule() {
    // Each priority once: between equal ones nothing is promised.
    return {bytes_of(random_fields()), bytes_of(random_mask()),
            next_priority_ += 1 + static_cast<std::uint32_t>(random_() % 9),
            action_bytes(random_() % 2 == 0 ? XDP_DROP : XDP_TX)};
  }
  // Rules come and go; after each change packets are judged.
  void run(Judge& judge, int changes) {
    TernaryBuilder builder(kShape, judge.maps());
    LinearScan scan;
    std::vector<TernaryRule> rules;
    for (int i = 0; i < changes; ++i) {
      if (rules.empty() || random_() % 5 < 3) {
        const TernaryRule rule = random_rule();
        const auto added = builder.add(rule);
        if (!added && added.error().code == ErrorCode::kLimitExceeded) continue;
        ASSERT_TRUE(added.has_value()) << added.error().to_string();
        scan.add(rule);
        rules.push_back(rule);
      } else {
        const std::size_t which = random_() % rules.size();
        const auto removed = builder.remove(rules[which]);
        ASSERT_TRUE(removed.has_value()) << removed.error().to_string();
        scan.remove(rules[which]);
        rules.erase(rules.begin() + static_cast<std::ptrdiff_t>(which));
      }
      ASSERT_EQ(builder.rule_count(), rules.size());
      for (int k = 0; k < 8; ++k) {
        const Fields fields = random_fields();
        ASSERT_EQ(judge.judge(packet_of(fields)), scan.judge(fields)) << "change " << i;
      }
    }
    while (!rules.empty()) {
      ASSERT_TRUE(builder.remove(rules.back()).has_value());
      rules.pop_back();
    }
    EXPECT_EQ(builder.mask_count(), 0u);
    EXPECT_EQ(judge.judge(packet_of(random_fields())), static_cast<std::uint32_t>(XDP_PASS));
  }

  std::mt19937 random_{20261120};
  std::uint32_t next_priority_ = 0;
};

TEST_F(Ternary, LmnDecidesAsALinearScan) {
  EngineJudge judge;
  ASSERT_TRUE(judge.open());
  run(judge, 2'000);
}

TEST_F(Ternary, TheKernelDecidesAsALinearScan) {
  KernelJudge judge;
  if (const std::string reason = judge.open(); !reason.empty()) GTEST_SKIP() << reason;
  // Each write of a map of maps waits for a grace period there.
  run(judge, 60);
}

TEST_F(Ternary, WrongRulesAreRefused) {
  EngineJudge judge;
  ASSERT_TRUE(judge.open());
  TernaryBuilder builder(kShape, judge.maps());
  const TernaryRule rule = random_rule();
  TernaryRule shorter = rule;
  shorter.mask.pop_back();
  EXPECT_EQ(builder.add(shorter).error().code, ErrorCode::kInvalidArgument);
  ASSERT_TRUE(builder.add(rule).has_value());
  EXPECT_EQ(builder.add(rule).error().code, ErrorCode::kInvalidArgument) << "there already";
  EXPECT_EQ(builder.remove(random_rule()).error().code, ErrorCode::kNotFound);
  for (std::uint32_t i = 1; i < kMasksMax; ++i) {
    TernaryRule other = rule;
    other.mask[0] = static_cast<std::uint8_t>(i);
    other.mask[15] = 0x5a;
    ASSERT_TRUE(builder.add(other).has_value()) << i;
  }
  TernaryRule one_more = rule;
  one_more.mask[15] = 0xa5;
  EXPECT_EQ(builder.add(one_more).error().code, ErrorCode::kLimitExceeded);
}

TEST_F(Ternary, AllRulesAreReplacedAtOnce) {
  EngineJudge judge;
  ASSERT_TRUE(judge.open());
  TernaryBuilder builder(kShape, judge.maps());
  for (int round = 0; round < 20; ++round) {
    LinearScan scan;
    std::vector<TernaryRule> rules;
    // Nothing, one, as many as there may be masks.
    for (int i = 0; i < std::min(round * round, 60); ++i) {
      rules.push_back(random_rule());
      scan.add(rules.back());
    }
    ASSERT_TRUE(builder.replace(rules).has_value());
    EXPECT_EQ(builder.rule_count(), rules.size());
    if (!rules.empty()) {
      // The builder goes on from there.
      ASSERT_TRUE(builder.remove(rules.back()).has_value());
      scan.remove(rules.back());
      const TernaryRule more = random_rule();
      ASSERT_TRUE(builder.add(more).has_value());
      scan.add(more);
    }
    for (int k = 0; k < 100; ++k) {
      const Fields fields = random_fields();
      ASSERT_EQ(judge.judge(packet_of(fields)), scan.judge(fields)) << "round " << round;
    }
  }
}

TEST_F(Ternary, ARefusedReplacementChangesNothing) {
  EngineJudge judge;
  ASSERT_TRUE(judge.open());
  TernaryBuilder builder(kShape, judge.maps());
  const Fields fields = random_fields();
  Fields everything;
  const TernaryRule drop{bytes_of(fields), bytes_of(everything), 1, action_bytes(XDP_DROP)};
  ASSERT_TRUE(builder.add(drop).has_value());
  TernaryRule shorter = random_rule();
  shorter.result.pop_back();
  const TernaryRule good = random_rule();
  for (const std::vector<TernaryRule>& rules :
       {std::vector{good, shorter}, std::vector{good, good}}) {
    const auto refused = builder.replace(rules);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(refused.error().to_string().find("rule 1"), std::string::npos)
        << refused.error().to_string();
  }
  std::vector<TernaryRule> too_many(kMasksMax + 1, good);
  for (std::uint32_t i = 0; i < too_many.size(); ++i) {
    too_many[i].mask[0] = static_cast<std::uint8_t>(i);
  }
  EXPECT_EQ(builder.replace(too_many).error().code, ErrorCode::kLimitExceeded);
  EXPECT_EQ(builder.rule_count(), 1u);
  EXPECT_EQ(judge.judge(packet_of(fields)), static_cast<std::uint32_t>(XDP_DROP));
}

TEST_F(Ternary, TheKernelTakesAReplacementAtOnce) {
  KernelJudge judge;
  if (const std::string reason = judge.open(); !reason.empty()) GTEST_SKIP() << reason;
  TernaryBuilder builder(kShape, judge.maps());
  for (int round = 0; round < 4; ++round) {
    LinearScan scan;
    std::vector<TernaryRule> rules;
    for (int i = 0; i < round * 20; ++i) {
      rules.push_back(random_rule());
      scan.add(rules.back());
    }
    ASSERT_TRUE(builder.replace(rules).has_value());
    for (int k = 0; k < 100; ++k) {
      const Fields fields = random_fields();
      ASSERT_EQ(judge.judge(packet_of(fields)), scan.judge(fields)) << "round " << round;
    }
  }
}

// Of two rules of the same value and mask the better counts, and the other comes back.
TEST_F(Ternary, ShadowedRulesComeBack) {
  EngineJudge judge;
  ASSERT_TRUE(judge.open());
  TernaryBuilder builder(kShape, judge.maps());
  const Fields fields = random_fields();
  Fields mask;
  mask.protocol = 0xff;
  const TernaryRule low{bytes_of(fields), bytes_of(mask), 1, action_bytes(XDP_DROP)};
  const TernaryRule high{bytes_of(fields), bytes_of(mask), 2, action_bytes(XDP_TX)};
  ASSERT_TRUE(builder.add(high).has_value());
  ASSERT_TRUE(builder.add(low).has_value());
  EXPECT_EQ(judge.judge(packet_of(fields)), static_cast<std::uint32_t>(XDP_TX));
  ASSERT_TRUE(builder.remove(high).has_value());
  EXPECT_EQ(judge.judge(packet_of(fields)), static_cast<std::uint32_t>(XDP_DROP));
}

// Not a bound: what a look-up costs by the number of masks, printed.
TEST_F(Ternary, CostByMasks) {
  KernelJudge kernel;
  const bool has_kernel = kernel.open().empty();
  for (const std::uint32_t masks : {1u, 8u, 32u}) {
    EngineJudge engine;
    ASSERT_TRUE(engine.open());
    KernelJudge fresh;
    if (has_kernel) {
      ASSERT_EQ(fresh.open(), "");
    }
    for (Judge* judge : {static_cast<Judge*>(&engine), static_cast<Judge*>(&fresh)}) {
      if (judge == &fresh && !has_kernel) continue;
      TernaryBuilder builder(kShape, judge->maps());
      for (std::uint32_t i = 0; i < masks; ++i) {
        Fields mask;
        mask.source = 0xffffffff;
        mask.source_port = static_cast<std::uint16_t>(i);
        ASSERT_TRUE(
            builder.add({TernaryBytes(16, 0xfe), bytes_of(mask), masks - i, action_bytes(XDP_DROP)})
                .has_value());
      }
      const std::uint32_t repeat = judge == &engine ? 1'000 : 20'000;
      const std::uint64_t ns = judge->time(packet_of(random_fields()), repeat);
      std::printf("%2u masks: %s %llu ns per packet\n", masks,
                  judge == &engine ? "interpreter" : "kernel", static_cast<unsigned long long>(ns));
      EXPECT_GT(ns, 0u);
    }
  }
}

}  // namespace
}  // namespace lmn
