// SPDX-License-Identifier: Apache-2.0
//
// What a ternary look-up costs (include/lmn/bpf/ternary.h), by rules and masks: ours beside the
// kernel's and beside a linear scan, and whether the limits hold.
//
// One line per shape. "kernel": the program of bench/programs/ternary_in_c.c by
// BPF_PROG_TEST_RUN, less the same program without the look-up. "maps": the same search over LMN's
// maps through their fast paths, as a compiled program does it. "interpreter": the program in the
// engine. "scan": all rules one after the other, the best first, with early exit: what somebody
// writes who has no ternary match. In nanoseconds per look-up, all over the same keys: half of them
// meet a rule, half are drawn at random and mostly meet none, which asks every mask. Priorities
// have nothing to do with masks, so that a search ends early only by luck: the hard case.
//
// All sides must find rules of the same priorities before anything is timed. There are kRounds
// rounds, in which the sides take turns; the table has medians and behind each
// (third quartile - first) / median. Judged is the fastest round; exit status 1 when a limit is
// broken or a side finds other rules. Without the right to load programs the kernel's column is
// empty.
//
//   ./dev bench ternary
#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "differential/kernel_ternary_maps.h"
#include "engine/engine.h"
#include "harness/kernel_object.h"
#include "maps/array_fast.h"
#include "maps/hash_fast.h"
#include "maps/ternary_builder.h"
#include "maps_timing.h"
#include "object/object_reader.h"

namespace lmn::bench {
namespace {

constexpr int kRounds = 15;
constexpr std::uint32_t kMasksMax = 64;
constexpr std::uint32_t kKeyCount = 65'536;  // as in the program
constexpr std::uint32_t kCheckedKeys = 2'000;
constexpr TernaryShape kShape{.key_bytes = 16, .value_bytes = 4, .masks_max = kMasksMax};

struct RuleKey {
  std::uint64_t words[2];
};

RuleKey masked(const RuleKey& key, const RuleKey& mask) {
  return {{key.words[0] & mask.words[0], key.words[1] & mask.words[1]}};
}

TernaryBytes bytes_of(const RuleKey& key) {
  TernaryBytes out(sizeof key);
  std::memcpy(out.data(), &key, sizeof key);
  return out;
}

struct Rule {
  RuleKey value;
  RuleKey mask;
  std::uint32_t priority;
};

struct Shape {
  std::uint32_t rules;
  std::uint32_t masks;
};

// --- rules and keys

class World {
 public:
  explicit World(const Shape& shape) {
    for (std::uint32_t i = 0; i < shape.masks; ++i) masks_.push_back(mask_of(i));
    std::vector<std::uint32_t> priorities(shape.rules);
    for (std::uint32_t i = 0; i < shape.rules; ++i) priorities[i] = i + 1;
    std::ranges::shuffle(priorities, random_);
    for (std::uint32_t i = 0; i < shape.rules; ++i) {
      const RuleKey& mask = masks_[i % shape.masks];
      rules.push_back({masked(random_key(), mask), mask, priorities[i]});
    }
    std::ranges::sort(rules, std::ranges::greater{}, &Rule::priority);
    for (std::uint32_t i = 0; i < kKeyCount; ++i) keys.push_back(i % 2 == 0 ? hit() : random_key());
  }
  std::vector<Rule> rules;  // the best first
  std::vector<RuleKey> keys;

 private:
  // Prefixes of both addresses, a protocol or any, a port or any: 8 x 4 x 2 of them, no mask within
  // so few bits that everything would meet it.
  static RuleKey mask_of(std::uint32_t index) {
    const std::uint32_t source_bits = 16 + index % 8 * 2;
    const std::uint32_t destination_bits = 8 + index / 8 % 4 * 8;
    const bool has_port = index / 32 % 2 != 0;
    RuleKey mask{};
    const std::uint32_t source = __builtin_bswap32(~0u << (32 - source_bits));
    const std::uint32_t destination = __builtin_bswap32(~0u << (32 - destination_bits));
    mask.words[0] = source | std::uint64_t{destination} << 32;
    mask.words[1] = (has_port ? 0xffff0000ull : 0) | 0xffull << 32;
    return mask;
  }
  RuleKey random_key() {
    const std::uint64_t ports = random_() & 0xffffffff;
    const std::uint64_t protocol = random_() % 2 == 0 ? 6 : 17;
    return {{random_(), ports | protocol << 32}};
  }
  RuleKey hit() {
    const Rule& rule = rules[random_() % rules.size()];
    const RuleKey other = random_key();
    RuleKey key = rule.value;
    for (int i = 0; i < 2; ++i) key.words[i] |= other.words[i] & ~rule.mask.words[i];
    return key;
  }
  std::mt19937_64 random_{20261120};
  std::vector<RuleKey> masks_;
};

std::vector<TernaryRule> builder_rules(const World& world) {
  std::vector<TernaryRule> out;
  for (const Rule& rule : world.rules) {
    out.push_back({bytes_of(rule.value), bytes_of(rule.mask), rule.priority, TernaryBytes(4, 1)});
  }
  return out;
}

// --- the sides: the sum of the priorities of what keys meet, and nanoseconds per look-up

class Side {
 public:
  virtual ~Side() = default;
  virtual std::uint64_t sum(std::uint32_t key_count) = 0;
  virtual double time() = 0;
};

class Scan final : public Side {
 public:
  explicit Scan(const World& world) : world_(world) {
    const auto rules = static_cast<std::uint32_t>(world.rules.size());
    timed_keys_ = std::max(100u, 20'000'000 / rules / 10);
  }
  std::uint64_t sum(std::uint32_t key_count) override {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < key_count; ++i) sum += find(world_.keys[i % kKeyCount]);
    return sum;
  }
  double time() override {
    return time_ns(timed_keys_, [&] { keep(sum(timed_keys_)); });
  }

 private:
  std::uint32_t find(const RuleKey& key) const {
    for (const Rule& rule : world_.rules) {
      const RuleKey meets = masked(key, rule.mask);
      const std::uint64_t first = meets.words[0] ^ rule.value.words[0];
      const std::uint64_t second = meets.words[1] ^ rule.value.words[1];
      if ((first | second) == 0) return rule.priority;
    }
    return 0;
  }
  const World& world_;
  std::uint32_t timed_keys_;
};

std::string object_path(const Shape& shape) {
  return fmt::format("{}/bpf/ternary_bench_{}.bpf.o", LMN_BINARY_DIR, shape.rules);
}

// The engine with its rules, for the search over its maps and for its interpreter.
class OurEngine {
 public:
  static Result<std::unique_ptr<OurEngine>> create(const Shape& shape, const World& world) {
    std::unique_ptr<OurEngine> made(new OurEngine);
    LMN_TRY(const auto bytes, read_file(object_path(shape), std::size_t{64} << 20));
    ReadOptions read_options;
    read_options.object_name = "ternary";
    LMN_TRY(const ObjectSpec spec, read_object(bytes, read_options));
    EngineOptions options;
    options.seed = 1;
    LMN_TRY(made->engine_, Engine::create(options));
    LoadOptions load_options;
    load_options.object_name = "ternary";
    LMN_TRY(made->object_, made->engine_->load(spec, load_options));
    Map& tables = made->map("acl_tables");
    Engine& engine = *made->engine_;
    const auto create_inner = [&engine, &tables]() -> Result<MapTernary::Inner> {
      LMN_TRY(Map * inner, engine.create_inner_map(tables));
      return MapTernary::Inner{inner->id(), inner};
    };
    made->maps_ = std::make_unique<MapTernary>(made->map("acl_masks"), tables,
                                               made->map("acl_state"), create_inner);
    made->builder_ = std::make_unique<TernaryBuilder>(kShape, *made->maps_);
    LMN_CHECK_OK(made->builder_->replace(builder_rules(world)));
    for (std::uint32_t i = 0; i < kKeyCount; ++i) {
      made->map("keys").user_update(&i, bytes_of(world.keys[i]), BPF_ANY);
    }
    return made;
  }
  Map& map(std::string_view name) { return *object_->find_map(name); }
  double run(const char* name, std::uint32_t repeat) {
    TestRunOptions options;
    options.repeat = repeat;
    const std::vector<std::uint8_t> packet(60);
    const auto ran = engine_->test_run(*object_->find_program(name), packet, options);
    return ran ? static_cast<double>(ran->duration_ns) : 0;
  }

 private:
  OurEngine() = default;
  std::unique_ptr<Engine> engine_;
  LoadedObject* object_ = nullptr;
  std::unique_ptr<MapTernary> maps_;
  std::unique_ptr<TernaryBuilder> builder_;
};

// The search of ternary.h over the engine's maps, as a compiler would make it: the sizes of keys
// are constants, the tables' descriptors are read as the program meets them.
class OurMaps final : public Side {
 public:
  OurMaps(OurEngine& engine, const World& world)
      : world_(world),
        masks_(array_of(engine.map("acl_masks"))),
        state_(array_of(engine.map("acl_state"))),
        tables_(engine.map("acl_tables")) {}
  std::uint64_t sum(std::uint32_t key_count) override {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < key_count; ++i) sum += find(world_.keys[i % kKeyCount]);
    return sum;
  }
  double time() override {
    constexpr std::uint32_t kKeys = 20'000;
    return time_ns(kKeys, [&] { keep(sum(kKeys)); });
  }

 private:
  struct MaskValue {  // struct acl_mask
    std::uint32_t best;
    std::uint32_t mask[4];
  };
  static const ArrayDescriptor& array_of(const Map& map) {
    return *static_cast<const ArrayDescriptor*>(map.fast_path().descriptor);
  }
  std::uint32_t find(const RuleKey& key) {
    const std::uint32_t zero = 0;
    const std::uint32_t now = *static_cast<std::uint32_t*>(array_lookup(state_, &zero, 0));
    const std::uint32_t first = now >> 31 != 0 ? kMasksMax : 0;
    const std::uint32_t count = now & 0x7fffffff;
    std::uint32_t best = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t at = first + i;
      const auto* value = static_cast<const MaskValue*>(array_lookup(masks_, &at, 0));
      if (value == nullptr || best >= value->best) break;
      RuleKey mask;
      std::memcpy(&mask, value->mask, sizeof mask);
      const RuleKey wanted = masked(key, mask);
      auto* table = static_cast<Map*>(tables_.lookup(&at, 0));
      if (table == nullptr) continue;
      HashDescriptor hash = *static_cast<const HashDescriptor*>(table->fast_path().descriptor);
      hash.key_size = 16;
      hash.key_stride = 16;
      hash.stride = 24;
      hash.marks = nullptr;
      const auto* rule = static_cast<const std::uint32_t*>(hash_lookup(hash, &wanted));
      if (rule != nullptr && *rule > best) best = *rule;
    }
    return best;
  }
  const World& world_;
  const ArrayDescriptor& masks_;
  const ArrayDescriptor& state_;
  Map& tables_;
};

struct Progress {
  std::uint64_t next = 0;
  std::uint64_t sum = 0;
};

class Interpreter final : public Side {
 public:
  explicit Interpreter(OurEngine& engine) : engine_(engine) {}
  std::uint64_t sum(std::uint32_t key_count) override {
    const std::uint32_t zero = 0;
    Map& map = engine_.map("progress");
    map.user_update(&zero, TernaryBytes(sizeof(Progress)), BPF_ANY);
    engine_.run("with_rules", key_count);
    Progress progress;
    std::memcpy(&progress, map.lookup(&zero, 0), sizeof progress);
    return progress.sum;
  }
  double time() override {
    constexpr std::uint32_t kRuns = 1'000;
    return engine_.run("with_rules", kRuns) - engine_.run("without_rules", kRuns);
  }

 private:
  OurEngine& engine_;
};

class Kernel final : public Side {
 public:
  // Null where there is no kernel to ask; why is printed.
  static std::unique_ptr<Kernel> create(const Shape& shape, const World& world) {
    std::unique_ptr<Kernel> made(new Kernel);
    const KernelObject& object = made->object_;
    if (!made->object_.load(object_path(shape))) {
      fmt::print("the kernel does not load the program: its column is empty\n");
      return nullptr;
    }
    made->maps_ = std::make_unique<KernelTernaryMaps>(
        KernelTernaryMaps::Options{object.map_fd("acl_masks"), object.map_fd("acl_tables"),
                                   object.map_fd("acl_state"), kShape, shape.rules});
    made->builder_ = std::make_unique<TernaryBuilder>(kShape, *made->maps_);
    if (const auto done = made->builder_->replace(builder_rules(world)); !done) {
      fmt::print("kernel: {}\n", done.error().to_string());
      return nullptr;
    }
    for (std::uint32_t i = 0; i < kKeyCount; ++i) object.set("keys", i, &world.keys[i]);
    return made;
  }
  std::uint64_t sum(std::uint32_t key_count) override {
    Progress progress;
    object_.set("progress", 0, &progress);
    object_.run_ns("with_rules", key_count);
    object_.get("progress", 0, &progress);
    return progress.sum;
  }
  double time() override {
    constexpr std::uint32_t kRuns = 20'000;
    return object_.run_ns("with_rules", kRuns) - object_.run_ns("without_rules", kRuns);
  }

 private:
  Kernel() = default;
  KernelObject object_;
  std::unique_ptr<KernelTernaryMaps> maps_;
  std::unique_ptr<TernaryBuilder> builder_;
};

// --- the table

class Rounds {
 public:
  void add(double ns) { rounds_.push_back(ns); }
  bool is_empty() const { return rounds_.empty(); }
  double quantile(double part) const {
    std::vector<double> sorted = rounds_;
    std::ranges::sort(sorted);
    return sorted[static_cast<std::size_t>(part * static_cast<double>(sorted.size() - 1))];
  }
  double best() const { return quantile(0); }
  std::string text() const {
    if (is_empty()) return fmt::format("{:>16}", "-");
    const double spread = (quantile(0.75) - quantile(0.25)) / quantile(0.5) * 100;
    return fmt::format("{:>10.1f} {:>4.0f}%", quantile(0.5), spread);
  }

 private:
  std::vector<double> rounds_;
};

// How much faster than a scan a look-up must be, once there are many rules for few masks. With a
// thousand rules for 64 masks the scan wins, here as in the kernel.
constexpr std::uint32_t kManyRules = 100'000;
constexpr std::uint32_t kFewMasks = 16;
constexpr double kTimesFasterThanScan = 20;

// False: a limit is broken.
bool judge(const Shape& shape, const Rounds& kernel, const Rounds& maps, const Rounds& scan) {
  bool is_good = true;
  if (!kernel.is_empty() && maps.best() > kernel.best()) {
    fmt::print("LIMIT: {:.1f} ns, the kernel {:.1f}\n", maps.best(), kernel.best());
    is_good = false;
  }
  const bool must_beat_scan = shape.rules >= kManyRules && shape.masks <= kFewMasks;
  if (must_beat_scan && maps.best() * kTimesFasterThanScan > scan.best()) {
    fmt::print("LIMIT: {:.1f} ns, at most 1/{} of the scan's {:.1f} is allowed\n", maps.best(),
               kTimesFasterThanScan, scan.best());
    is_good = false;
  }
  return is_good;
}

bool measure(const Shape& shape) {
  const World world(shape);
  auto engine = OurEngine::create(shape, world);
  if (!engine) {
    fmt::print("{}\n", engine.error().to_string());
    return false;
  }
  const std::unique_ptr<Kernel> kernel = Kernel::create(shape, world);
  Scan scan(world);
  OurMaps maps(**engine, world);
  Interpreter interpreter(**engine);
  Side* sides[] = {kernel.get(), &maps, &interpreter, &scan};
  const std::uint64_t expected = scan.sum(kCheckedKeys);
  for (Side* side : sides) {
    if (side == nullptr || side->sum(kCheckedKeys) == expected) continue;
    fmt::print("{} rules, {} masks: a side finds other rules than the scan\n", shape.rules,
               shape.masks);
    return false;
  }
  Rounds rounds[4];
  for (int i = 0; i < kRounds; ++i) {
    for (std::size_t s = 0; s < std::size(sides); ++s) {
      if (sides[s] != nullptr) rounds[s].add(sides[s]->time());
    }
  }
  fmt::print("{:>7} rules {:>2} masks {} {} {} {}\n", shape.rules, shape.masks, rounds[0].text(),
             rounds[1].text(), rounds[2].text(), rounds[3].text());
  std::fflush(stdout);
  return judge(shape, rounds[0], rounds[1], rounds[3]);
}

}  // namespace
}  // namespace lmn::bench

int main() {
  fmt::print("{:>22} {:>16} {:>16} {:>16} {:>16}\n", "ns per look-up", "kernel", "maps",
             "interpreter", "scan");
  bool is_good = true;
  for (const std::uint32_t rules : {1'000u, 100'000u}) {
    for (const std::uint32_t masks : {4u, 16u, 64u}) {
      is_good = lmn::bench::measure({rules, masks}) && is_good;
    }
  }
  return is_good ? 0 : 1;
}
