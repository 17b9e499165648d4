// SPDX-License-Identifier: Apache-2.0
//
// Goal: every map type answers its users as the kernel does: return value, errno and bytes.
// Method: for each row of map_types.def, the same random operations go to a map of LMN and to a map
// of the kernel of this machine, and each answer is compared. Creation parameters are drawn around
// every limit; keys from a universe a little larger than the map; flags and values from good and
// bad ones alike. A new row without shapes below fails the suite.
//
// LMN_CONTRACT_OPERATIONS sets the operations per type (default 60,000, a full run 1,000,000);
// LMN_CONTRACT_SEED the seed, which is printed.
// Differences that are meant are rows of docs/kernel-differences.md.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <tuple>

#include "abi/limits.h"
#include "abi/map_type_info.h"
#include "contract/map_shapes.h"
#include "contract/map_under_test.h"
#include "contract/maps_world.h"
#include "harness/provoked.h"

namespace lmn {
namespace {

using Random = std::mt19937_64;

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

template <typename T>
T pick(Random& random, const std::vector<T>& choices) {
  return choices[random() % choices.size()];
}

// --- creation

const std::vector<std::uint32_t> kKeySizes = {
    0,   1,   2,   3,    4,       4,  4,  4,   4,   5,   8,    16,   64,
    511, 512, 513, 4096, 4194251, 4u, 8u, 16u, 20u, 12u, 256u, 257u, 0xffffffffu};
const std::vector<std::uint32_t> kValueSizes = {
    0,     1,       2,       3,       4,       4,          4,          8,         8,
    12,    16,      64,      5,       24,      32,         4096,       32768,     32769,
    65536, 4194024, 4194025, 4194251, 4194252, 0x7fffffff, 0x80000000, 0xffffffff};
const std::vector<std::uint32_t> kEntryCounts = {
    0,        1,          1,          2,          2,     3,       4,        4,
    5,        7,          16,         1000,       65536, 1000000, 1u << 27, (1u << 27) + 1,
    1u << 28, 0x80000000, 0x80000001, 0xffffffff, 8,     16,      32,       64,
    4096};

MapSpec random_spec(Random& random, std::uint32_t type) {
  MapSpec spec;
  spec.type = type;
  spec.key_size = random() % 3 == 0 ? pick(random, kKeySizes) : 4;
  const std::uint32_t small_value_size = random() % 2 == 0 ? 4 : 8;
  spec.value_size = random() % 2 == 0 ? pick(random, kValueSizes) : small_value_size;
  const auto small_count = static_cast<std::uint32_t>(1 + random() % 16);
  spec.max_entries = random() % 2 == 0 ? pick(random, kEntryCounts) : small_count;
  // Made with BPF_F_NO_PREALLOC or not at all.
  if (type == BPF_MAP_TYPE_LPM_TRIE && random() % 8 != 0) spec.map_flags |= BPF_F_NO_PREALLOC;
  if (type == BPF_MAP_TYPE_LPM_TRIE && random() % 2 != 0) spec.key_size = 4 + spec.key_size % 300;
  // BPF_F_TOKEN_FD (bit 16) and BPF_F_VTYPE_BTF_OBJ_FD (15) name descriptors that a spec does not
  // have.
  for (std::uint64_t bits = random() % 4; bits > 1; --bits) {
    const auto bit = static_cast<std::uint32_t>(random() % 24);
    if (bit != 15 && bit != 16) spec.map_flags |= 1u << bit;
  }
  if (random() % 8 == 0) spec.map_flags |= 1u << 31;
  if (random() % 4 == 0) spec.map_flags |= BPF_F_NUMA_NODE;
  if (random() % 2 == 0) {
    spec.numa_node = pick(random, std::vector<std::uint32_t>{0, 1, 1023, 0xffffffff, 0x80000000});
  }
  if (random() % 8 == 0) spec.map_extra = pick(random, std::vector<std::uint64_t>{1, 3, 16, ~0ull});
  const bool is_keyless =
      type == BPF_MAP_TYPE_QUEUE || type == BPF_MAP_TYPE_STACK || type == BPF_MAP_TYPE_BLOOM_FILTER;
  if (is_keyless && random() % 8 != 0) spec.key_size = 0;
  if ((type == BPF_MAP_TYPE_RINGBUF || type == BPF_MAP_TYPE_USER_RINGBUF) && random() % 4 != 0) {
    spec.key_size = 0;
    spec.value_size = 0;
    if (random() % 2 != 0) spec.max_entries = 4096u << random() % 4;
  }
  if (type == BPF_MAP_TYPE_ARENA && random() % 8 != 0) {
    spec.key_size = 0;
    spec.value_size = 0;
    spec.map_flags = BPF_F_MMAPABLE | (random() % 4 == 0 ? spec.map_flags : 0);
    spec.map_extra = pick(random, std::vector<std::uint64_t>{0, 1, 4096, 1ull << 32, 0xfffff000,
                                                             (1ull << 44) - 8192, ~0xfffull});
  }
  return spec;
}

// What a map of this spec may take in the kernel; an upper bound.
double memory_bound(const MapSpec& spec) {
  return (128.0 + spec.key_size + spec.value_size * (1.0 + kernel_possible_cpus())) *
         spec.max_entries;
}

// How many CPUs a cpumap may have is the kernel's configuration on one side, a limit of ours on the
// other (docs/kernel-differences.md, maps-4).
bool is_between_cpu_limits(const MapSpec& spec) {
  static const std::uint64_t kernel_max = [] {
    std::ifstream file("/sys/devices/system/cpu/kernel_max");
    std::uint64_t last = 0;
    file >> last;
    return last + 1;
  }();
  return spec.type == BPF_MAP_TYPE_CPUMAP &&
         spec.max_entries > std::min<std::uint64_t>(kernel_max, limits::kCpuCountMax) &&
         spec.max_entries <= std::max<std::uint64_t>(kernel_max, limits::kCpuCountMax);
}

std::string describe(const MapSpec& spec) {
  std::ostringstream out;
  out << "type " << spec.type << " key " << spec.key_size << " value " << spec.value_size
      << " entries " << spec.max_entries << " flags 0x" << std::hex << spec.map_flags << " node 0x"
      << spec.numa_node << " extra 0x" << spec.map_extra;
  return out.str();
}

// --- operations

struct Answer {
  int error = 0;
  Bytes bytes;
  bool operator==(const Answer&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Answer& answer) {
  out << answer.error << " [" << std::hex;
  for (const std::uint8_t byte : answer.bytes) out << unsigned{byte} << ' ';
  return out << std::dec << ']';
}

constexpr std::uint8_t kUntouched = 0xee;

class Duel {
 public:
  Duel(const MapSpec& spec, std::uint32_t universe, MapsWorld& world, Random& random, int btf_fd)
      : spec_(spec),
        universe_(universe != 0 ? universe : spec.max_entries + spec.max_entries / 2 + 2),
        info_(*find_map_type_info(spec.type)),
        world_(world),
        random_(random) {
    int inner_fd = 0;
    if ((info_.flags & kMapHoldsMaps) != 0) {
      const std::size_t chosen = random() % world.map_template_count();
      spec_.inner = world.map_template(chosen);
      inner_fd = static_cast<int>(world.map_handles()[chosen]);
    }
    ours_ = make_lmn_map(spec_, world);
    theirs_ = make_kernel_map(spec_, inner_fd, spec_.btf != nullptr ? btf_fd : 0);
  }
  bool is_ready() const { return ours_ != nullptr && theirs_ != nullptr; }
  // These bytes of a value are each side's own.
  void hide(std::uint32_t offset, std::uint32_t size) { hidden_ = {offset, size}; }

  // One random operation on both; false after a difference, which is reported.
  bool step() {
    const std::uint64_t dice = random_() % 100;
    if (dice < 45) return update();
    if (dice < 65) return lookup();
    if (dice < 80)
      return compare("delete", {},
                     [&](MapUnderTest& map, const Bytes& key, Bytes&) { return map.erase(key); });
    if (dice < 90) return lookup_and_erase();
    return next_key();
  }

  bool freeze() {
    return compare("freeze", {},
                   [](MapUnderTest& map, const Bytes&, Bytes&) { return map.freeze(); });
  }

  // Every key and value, walked on both sides.
  bool compare_contents() {
    const auto ours = contents(*ours_);
    const auto theirs = contents(*theirs_);
    EXPECT_EQ(ours.size(), theirs.size()) << describe(spec_);
    EXPECT_TRUE(ours == theirs) << describe(spec_);
    return ours == theirs;
  }

 private:
  std::size_t user_value_bytes() const {
    if ((info_.flags & kMapPerCpu) == 0) return spec_.value_size;
    return (spec_.value_size + 7ull) / 8 * 8 * kernel_possible_cpus();
  }

  Bytes random_key() {
    Bytes key(spec_.key_size, 0);
    if (key.empty()) return key;
    if (spec_.type == BPF_MAP_TYPE_LPM_TRIE) return random_prefix();
    std::uint64_t number = random_() % universe_;
    if (random_() % 50 == 0) number = ~0ull >> (random_() % 33);
    for (std::size_t i = 0; i < key.size() && i < 8; ++i) {
      key[i] = static_cast<std::uint8_t>(number >> (8 * i));
    }
    return key;
  }

  // Prefixes that lie in each other: a few bits vary, and any length is drawn, 0, full and one too
  // many included.
  Bytes random_prefix() {
    Bytes key(spec_.key_size, 0);
    const std::uint64_t bits = (key.size() - 4) * 8;
    const std::uint64_t length = random_() % 8 == 0 ? bits + random_() % 2 : random_() % (bits + 1);
    put(key, 0, static_cast<std::uint32_t>(length));
    for (std::size_t i = 4; i < key.size(); ++i) {
      const std::uint8_t mask = random_() % 4 == 0 ? 0x11 : 0x81;
      key[i] = static_cast<std::uint8_t>(random_()) & mask;
    }
    if (random_() % 100 == 0) put(key, 0, 0xffffffff);
    return key;
  }

  Bytes random_value() {
    Bytes value(user_value_bytes());
    if ((info_.flags & kMapHoldsPrograms) != 0) {
      put(value, 0, pick(random_, world_.program_handles()));
    } else if ((info_.flags & kMapHoldsMaps) != 0) {
      put(value, 0, pick(random_, world_.map_handles()));
    } else if (spec_.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY) {
      put(value, 0, pick(random_, world_.event_handles()));
    } else if (spec_.type == BPF_MAP_TYPE_CPUMAP) {
      put(value, 0, pick(random_, std::vector<std::uint32_t>{0, 1, 16, 192, 16384, 16385, ~0u}));
      if (value.size() == 8 && random_() % 2 == 0)
        put(value, 4, pick(random_, world_.program_handles()));
    } else if (spec_.type == BPF_MAP_TYPE_XSKMAP) {
      put(value, 0, pick(random_, world_.socket_handles()));
    } else if ((info_.flags & kMapRedirectTarget) != 0) {
      put(value, 0, pick(random_, world_.ifindexes()));
      const bool has_program = value.size() == 8 && random_() % 2 == 0;
      if (has_program) put(value, 4, pick(random_, world_.program_handles()));
    } else if (spec_.type == BPF_MAP_TYPE_BLOOM_FILTER) {
      for (std::uint8_t& byte : value) byte = 0x5a;
      put(value, 0, static_cast<std::uint32_t>(random_() % universe_));
    } else {
      for (std::uint8_t& byte : value) byte = static_cast<std::uint8_t>(random_());
    }
    return value;
  }

  static void put(Bytes& bytes, std::size_t at, std::uint32_t number) {
    for (std::size_t i = 0; i < 4; ++i)
      bytes[at + i] = static_cast<std::uint8_t>(number >> (8 * i));
  }

  std::uint64_t random_flags() {
    if (random_() % 2 == 0) return BPF_ANY;
    return pick(random_, std::vector<std::uint64_t>{0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17,
                                                    1ull << 32, (1ull << 32) | 1, ~0ull});
  }
  std::uint64_t random_lookup_flags() { return random_() % 4 == 0 ? random_flags() : 0; }

  bool update() {
    const Bytes value = random_value();
    const std::uint64_t flags = random_flags();
    return compare(
        "update flags " + std::to_string(flags), {},
        [&](MapUnderTest& map, const Bytes& key, Bytes&) { return map.update(key, value, flags); });
  }
  bool lookup() {
    const std::uint64_t flags = random_lookup_flags();
    // A Bloom filter is asked with the value itself.
    const bool asks_by_value = spec_.type == BPF_MAP_TYPE_BLOOM_FILTER;
    const Bytes buffer = asks_by_value ? random_value() : Bytes(user_value_bytes(), kUntouched);
    return compare("lookup flags " + std::to_string(flags), buffer,
                   [&](MapUnderTest& map, const Bytes& key, Bytes& out) {
                     return map.lookup(key, out, flags);
                   });
  }
  bool lookup_and_erase() {
    const std::uint64_t flags = random_lookup_flags();
    return compare("lookup_and_delete flags " + std::to_string(flags),
                   Bytes(user_value_bytes(), kUntouched),
                   [&](MapUnderTest& map, const Bytes& key, Bytes& out) {
                     return map.lookup_and_erase(key, out, flags);
                   });
  }
  bool next_key() {
    if (!has_key_order(spec_.type)) {
      return random_() % 32 == 0 ? walk_and_delete() : next_key_in_own_order();
    }
    const bool from_null = random_() % 4 == 0;
    return compare("next_key", Bytes(spec_.key_size, kUntouched),
                   [&](MapUnderTest& map, const Bytes& key, Bytes& next) {
                     return map.next_key(from_null ? Bytes{} : key, next);
                   });
  }

  // Each side has an order of its own: a key that is not there is followed by the first one, and
  // whether there is a first one has the same answer.
  bool next_key_in_own_order() {
    const Bytes key = random_key();
    std::array<int, 2> errors{};
    for (const std::size_t side : {0u, 1u}) {
      MapUnderTest& map = side == 0 ? *ours_ : *theirs_;
      Bytes first(spec_.key_size), next(spec_.key_size), value(user_value_bytes());
      errors[side] = map.next_key({}, first);
      if (errors[side] != 0 || map.lookup(key, value, 0) != -ENOENT) continue;
      EXPECT_EQ(map.next_key(key, next), 0) << describe(spec_);
      EXPECT_EQ(next, first) << describe(spec_) << " behind a key that is not there";
    }
    EXPECT_EQ(errors[0], errors[1]) << describe(spec_) << " first key";
    return errors[0] == errors[1] && !testing::Test::HasFailure();
  }

  // As programs do it that empty a map: each key is deleted when the next one is known. All are
  // seen, once.
  bool walk_and_delete() {
    std::array<std::size_t, 2> seen{};
    for (const std::size_t side : {0u, 1u}) {
      MapUnderTest& map = side == 0 ? *ours_ : *theirs_;
      Bytes key(spec_.key_size), next(spec_.key_size);
      bool has_key = map.next_key({}, key) == 0;
      while (has_key && seen[side] <= spec_.max_entries) {
        has_key = map.next_key(key, next) == 0;
        if (map.erase(key) != 0) break;  // not for writing
        ++seen[side];
        key = next;
      }
    }
    EXPECT_EQ(seen[0], seen[1]) << describe(spec_) << ": keys of a walk that deletes";
    return seen[0] == seen[1] && compare_contents();
  }

  template <typename Operation>
  bool compare(const std::string& what, const Bytes& buffer, Operation operation) {
    const Bytes key = random_key();
    Answer ours{0, buffer}, theirs{0, buffer};
    ours.error = operation(*ours_, key, ours.bytes);
    theirs.error = operation(*theirs_, key, theirs.bytes);
    hide_in(ours);
    hide_in(theirs);
    // "update flags 4" of whatever type is "map_update".
    Provoked::instance().add("map_" + what.substr(0, what.find(' ')), theirs.error);
    EXPECT_EQ(ours, theirs) << describe(spec_) << ": " << what << " of key "
                            << testing::PrintToString(key) << " (ours, then the kernel's)";
    return ours == theirs;
  }

  std::multiset<std::pair<Bytes, Answer>,
                bool (*)(const std::pair<Bytes, Answer>&, const std::pair<Bytes, Answer>&)>
  contents(MapUnderTest& map) {
    auto less = [](const std::pair<Bytes, Answer>& a, const std::pair<Bytes, Answer>& b) {
      return std::tie(a.first, a.second.error, a.second.bytes) <
             std::tie(b.first, b.second.error, b.second.bytes);
    };
    std::multiset<std::pair<Bytes, Answer>,
                  bool (*)(const std::pair<Bytes, Answer>&, const std::pair<Bytes, Answer>&)>
        all(+less);
    Bytes key;
    Bytes next(spec_.key_size);
    while (map.next_key(key, next) == 0 && all.size() <= spec_.max_entries) {
      key = next;
      Answer answer{0, Bytes(user_value_bytes(), kUntouched)};
      answer.error = map.lookup(key, answer.bytes, 0);
      hide_in(answer);
      all.emplace(key, std::move(answer));
    }
    return all;
  }

  void hide_in(Answer& answer) const {
    const auto [offset, size] = hidden_;
    if (answer.bytes.size() == spec_.value_size && offset + size <= answer.bytes.size()) {
      std::fill_n(answer.bytes.begin() + offset, size, std::uint8_t{0});
    }
  }

  std::pair<std::uint32_t, std::uint32_t> hidden_{0, 0};
  MapSpec spec_;
  std::uint64_t universe_;
  const MapTypeInfo& info_;
  MapsWorld& world_;
  Random& random_;
  std::unique_ptr<MapUnderTest> ours_;
  std::unique_ptr<MapUnderTest> theirs_;
};

class MapsContract : public testing::TestWithParam<std::uint32_t> {
 protected:
  void SetUp() override {
    auto world = MapsWorld::create();
    if (!world) GTEST_SKIP() << world.error().to_string();
    world_ = std::move(*world);
    auto types = TypedValues::create();
    ASSERT_TRUE(types.has_value()) << types.error().to_string();
    types_ = std::move(*types);
    seed_ = setting("LMN_CONTRACT_SEED", 1) * 1000 + GetParam();
    random_.seed(seed_);
  }
  std::unique_ptr<MapsWorld> world_;
  std::optional<TypedValues> types_;
  std::uint64_t seed_ = 0;
  Random random_;
};

TEST_P(MapsContract, CreationIsJudgedAsByTheKernel) {
  constexpr double kMemoryMax = 32e6;
  int compared = 0;
  int created = 0;
  int too_large = 0;
  for (int round = 0; round < 4000; ++round) {
    MapSpec spec = random_spec(random_, GetParam());
    int inner_fd = 0;
    if ((find_map_type_info(GetParam())->flags & kMapHoldsMaps) != 0) {
      inner_fd = static_cast<int>(world_->map_handles()[0]);
      spec.inner = world_->map_template(0);
    }
    auto map = create_map(spec, {.cpu_count = kernel_possible_cpus()}, *world_);
    const int ours = map ? 0 : -map.error().errno_value;
    map = make_error(ErrorCode::kInternal, "given back");
    if ((ours == 0 || ours == -ENOMEM) && memory_bound(spec) > kMemoryMax) {
      ++too_large;  // what it does depends on the machine's memory
      continue;
    }
    if (is_between_cpu_limits(spec)) continue;
    ++compared;
    if (ours == 0) ++created;
    ASSERT_EQ(ours, kernel_create_error(spec, inner_fd)) << describe(spec) << ", seed " << seed_;
    Provoked::instance().add("map_create", ours);
  }
  std::cout << "compared " << compared << ", of these created " << created << ", too large "
            << too_large << "\n";
  EXPECT_GT(compared, 3000);
  EXPECT_GT(created, 50);
}

// Where the kernel's own operations are slow: it starts and stops a thread for each change of a
// cpumap, and waits for a grace period for each of a map of maps.
std::uint64_t operations_max(std::uint32_t type) {
  switch (type) {
    case BPF_MAP_TYPE_CPUMAP:
      return 10'000;
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
      return 2'000;
    default:
      return UINT64_MAX;
  }
}

TEST_P(MapsContract, OperationsAnswerAsInTheKernel) {
  const std::vector<Shape> shapes = shapes_of(GetParam());
  ASSERT_FALSE(shapes.empty()) << "a row of map_types.def without shapes in this suite";
  std::uint64_t operations = setting("LMN_CONTRACT_OPERATIONS", 60'000);
  operations = std::min(operations, operations_max(GetParam()));
  constexpr std::uint64_t kLifeMax = 3000;
  std::uint64_t done = 0;
  for (std::uint64_t life = 0; done < operations; ++life) {
    const Shape& shape = shapes[life % shapes.size()];
    MapSpec spec;
    spec.type = GetParam();
    spec.key_size = shape.key_size;
    spec.value_size = shape.value_size;
    spec.max_entries = shape.max_entries;
    spec.map_flags = shape.flags;
    spec.map_extra = shape.extra;
    types_->describe(spec, shape.fields);
    {
      Duel duel(spec, shape.universe, *world_, random_, types_->fd());
      ASSERT_TRUE(duel.is_ready()) << describe(spec);
      if (shape.fields == Fields::kGraphs) {
        duel.hide(types_->list_offset(), TypedValues::kListBytes);
      }
      const std::uint64_t length = 1 + random_() % kLifeMax;
      const bool is_frozen_at_end = random_() % 2 == 0;
      for (std::uint64_t i = 0; i < length; ++i, ++done) {
        if (is_frozen_at_end && i + 50 == length) {
          ASSERT_TRUE(duel.freeze());
        }
        ASSERT_TRUE(duel.step()) << "seed " << seed_ << ", operation " << done;
        if (spec.key_size != 0 && i % 500 == 0) {
          ASSERT_TRUE(duel.compare_contents()) << "seed " << seed_;
        }
      }
      ASSERT_TRUE(duel.freeze());
      if (spec.key_size != 0) {
        ASSERT_TRUE(duel.compare_contents()) << "seed " << seed_;
      }
    }
    ASSERT_EQ(world_->held_programs(), 0) << "a map died holding programs";
    ASSERT_EQ(world_->held_maps(), 0) << "a map died holding maps";
    ASSERT_EQ(world_->held_sinks(), 0) << "a map died holding queues or sockets";
  }
  std::cout << "operations " << done << "\n";
}

TEST(MapsContractUnknown, TypesThatAreNotThereAreEinval) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  auto world = MapsWorld::create();
  if (!world) GTEST_SKIP() << world.error().to_string();
  for (const std::uint32_t type : {0u, 34u, 35u, 1000u, 0xffffffffu}) {
    MapSpec spec;
    spec.type = type;
    spec.key_size = spec.value_size = 4;
    spec.max_entries = 1;
    const auto map = create_map(spec, {}, **world);
    ASSERT_FALSE(map.has_value());
    EXPECT_EQ(-map.error().errno_value, kernel_create_error(spec)) << type;
  }
}

std::vector<std::uint32_t> all_types() {
  std::vector<std::uint32_t> types;
  for (const MapTypeInfo& info : map_type_infos()) types.push_back(info.type);
  return types;
}

INSTANTIATE_TEST_SUITE_P(EveryRow, MapsContract, testing::ValuesIn(all_types()),
                         [](const auto& param_info) {
                           return std::string(find_map_type_info(param_info.param)->name);
                         });

}  // namespace
}  // namespace lmn
