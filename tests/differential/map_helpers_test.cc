// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a program does to a map, by helper, gives the kernel's result and leaves the kernel's
// contents, for every type that programs may change.
// Method: one HelperCaller per helper and map, in random order with keys from a small universe and
// flags good and bad; after each call both sides' results, and now and then the elements, are
// compared. Of a lookup only whether there is an element: the value is compared with the contents.
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "differential/helper_caller.h"
#include "maps/map.h"

namespace lmn {
namespace {

struct Shape {
  const char* name;
  std::uint32_t type;
  std::uint32_t key_size;
  std::uint32_t value_size;
  std::uint32_t max_entries;
  std::uint32_t universe;  // of keys
  std::uint32_t flags = 0;
  std::uint64_t extra = 0;
};

constexpr std::uint32_t kKeyAt = 0;
constexpr std::uint32_t kValueAt = 64;

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

using Contents = std::vector<KernelMap::Entry>;

Contents contents_of(Map& map) {
  Contents found;
  std::vector<std::uint8_t> key(map.spec().key_size);
  std::vector<std::uint8_t> next(map.spec().key_size);
  const void* after = nullptr;
  while (map.next_key(after, next.data()) == 0) {
    key = next;
    after = key.data();
    KernelMap::Entry entry{key, std::vector<std::uint8_t>(map.user_value_bytes())};
    if (map.copy_value(key.data(), entry.value, 0) == 0) found.push_back(std::move(entry));
  }
  std::ranges::sort(found);
  return found;
}

class MapHelpers : public testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
    // Ours runs as CPU 0, and per-CPU values are compared.
    ASSERT_EQ(::sched_getaffinity(0, sizeof cpus_before_, &cpus_before_), 0);
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    if (::sched_setaffinity(0, sizeof first, &first) != 0) GTEST_SKIP() << "cannot stay on CPU 0";
    is_pinned_ = true;
    const Shape& shape = GetParam();
    MapSpec spec;
    spec.name = "helped";
    spec.type = shape.type;
    spec.key_size = shape.key_size;
    spec.value_size = shape.value_size;
    spec.max_entries = shape.max_entries;
    spec.map_flags = shape.flags;
    spec.map_extra = shape.extra;
    auto ours = create_map(spec, {.cpu_count = kernel_possible_cpus()}, host_);
    ASSERT_TRUE(ours.has_value()) << ours.error().to_string();
    ours_ = std::move(*ours);
    kernel_ = KernelMap::create({.type = shape.type,
                                 .key_size = shape.key_size,
                                 .value_size = shape.value_size,
                                 .max_entries = shape.max_entries,
                                 .flags = shape.flags,
                                 .map_extra = shape.extra});
    ASSERT_TRUE(kernel_.is_created()) << kernel_.error();
  }
  bool has_keys() const { return GetParam().key_size != 0; }

  // The caller of `id`; empty when the kernel lets no program call it on this type.
  HelperCaller* caller(std::uint32_t id) {
    auto& made = callers_[id];
    if (made != nullptr) return made.get();
    const CallArgument on = map(kernel_, ours_.get());
    std::vector<CallArgument> arguments;
    switch (id) {
      case BPF_FUNC_map_update_elem:
        arguments = {on, memory(kKeyAt), memory(kValueAt), word()};
        break;
      case BPF_FUNC_map_push_elem:
        arguments = {on, memory(kValueAt), word()};
        break;
      case BPF_FUNC_map_pop_elem:
      case BPF_FUNC_map_peek_elem:
        arguments = {on, memory(kValueAt)};
        break;
      case BPF_FUNC_map_lookup_percpu_elem:
        arguments = {on, memory(kKeyAt), word()};
        break;
      default:
        arguments = {on, memory(kKeyAt)};
        break;
    }
    made = std::make_unique<HelperCaller>(id, std::move(arguments));
    EXPECT_EQ(made->error(), 0) << id << ": " << made->log();
    return made->error() == 0 ? made.get() : nullptr;
  }

  void draw_key(std::span<std::uint8_t> key) {
    std::ranges::fill(key, std::uint8_t{0});
    if (GetParam().type == BPF_MAP_TYPE_LPM_TRIE) {
      // A length of 0 to one too many, and few different bits.
      const std::uint64_t bits = (key.size() - 4) * 8;
      key[0] = static_cast<std::uint8_t>(random_() % (bits + 2));
      for (auto& byte : key.subspan(4)) byte = static_cast<std::uint8_t>(random_() & 0x81);
      return;
    }
    if (!key.empty()) key[0] = static_cast<std::uint8_t>(random_() % GetParam().universe);
  }
  std::uint64_t draw_flags() {
    constexpr std::uint64_t kOdd[] = {3, 4, 5, 6, 8, 1ull << 32, ~0ull};
    return random_() % 4 == 0 ? kOdd[random_() % std::size(kOdd)] : random_() % 3;
  }

  // One call on both sides. False after a difference, which is reported.
  bool call(std::uint32_t id) {
    HelperCaller* on = caller(id);
    if (on == nullptr) return false;
    const auto memory_in = on->memory_in();
    draw_key(memory_in.subspan(kKeyAt, GetParam().key_size));
    for (auto& byte : memory_in.subspan(kValueAt, GetParam().value_size)) {
      byte = static_cast<std::uint8_t>(random_());
    }
    const bool is_bloom = GetParam().type == BPF_MAP_TYPE_BLOOM_FILTER;
    if (is_bloom) {
      std::ranges::fill(memory_in.subspan(kValueAt, GetParam().value_size), std::uint8_t{7});
      memory_in[kValueAt] = static_cast<std::uint8_t>(random_() % GetParam().universe);
    }
    std::array<std::uint64_t, 5> words{};
    if (id == BPF_FUNC_map_update_elem) words[3] = draw_flags();
    if (id == BPF_FUNC_map_push_elem) words[2] = draw_flags();
    if (id == BPF_FUNC_map_lookup_percpu_elem) words[2] = random_() % (kernel_possible_cpus() + 2);
    Comparison c = on->compare(packet_, words);
    const bool gives_address =
        id == BPF_FUNC_map_lookup_elem || id == BPF_FUNC_map_lookup_percpu_elem;
    if (gives_address) {
      c.kernel.result = c.kernel.result != 0 ? 1 : 0;
      c.ours.result = c.ours.result != 0 ? 1 : 0;
    }
    seen_[id].insert(c.kernel.result);
    if (c.is_equal()) return true;
    ADD_FAILURE() << GetParam().name << ", helper " << id << ", key byte " << int{memory_in[kKeyAt]}
                  << ", flags " << words[2] << " " << words[3] << ": " << c.difference();
    return false;
  }

  void compare_contents() { ASSERT_TRUE(contents_of(*ours_) == kernel_.entries()); }

  void TearDown() override {
    if (is_pinned_) ::sched_setaffinity(0, sizeof cpus_before_, &cpus_before_);
  }

  cpu_set_t cpus_before_;
  bool is_pinned_ = false;
  NoHost host_;
  std::unique_ptr<Map> ours_;
  KernelMap kernel_;
  std::map<std::uint32_t, std::unique_ptr<HelperCaller>> callers_;
  std::map<std::uint32_t, std::set<std::int64_t>> seen_;
  std::vector<std::uint8_t> packet_ = std::vector<std::uint8_t>(60);
  std::mt19937_64 random_{20261120};
};

using KeyedMapHelpers = MapHelpers;
using KeylessMapHelpers = MapHelpers;

TEST_P(KeyedMapHelpers, LookUpdateAndDelete) {
  constexpr int kCalls = 6'000;
  const bool is_percpu = ours_->user_value_bytes() != GetParam().value_size;
  std::vector<std::uint32_t> ids = {BPF_FUNC_map_update_elem, BPF_FUNC_map_update_elem,
                                    BPF_FUNC_map_lookup_elem, BPF_FUNC_map_delete_elem};
  if (is_percpu) ids.push_back(BPF_FUNC_map_lookup_percpu_elem);
  for (int i = 0; i < kCalls; ++i) {
    ASSERT_TRUE(call(ids[random_() % ids.size()])) << "call " << i;
    if (i % 64 == 0) compare_contents();
    ASSERT_FALSE(HasFatalFailure()) << "call " << i;
  }
  EXPECT_TRUE(seen_[BPF_FUNC_map_update_elem].contains(0));
  EXPECT_TRUE(seen_[BPF_FUNC_map_update_elem].contains(-EINVAL));
  EXPECT_TRUE(seen_[BPF_FUNC_map_lookup_elem].contains(1));
}

TEST_P(KeylessMapHelpers, PushPopAndPeek) {
  constexpr int kCalls = 6'000;
  const bool is_bloom = GetParam().type == BPF_MAP_TYPE_BLOOM_FILTER;
  std::vector<std::uint32_t> ids = {BPF_FUNC_map_push_elem, BPF_FUNC_map_peek_elem};
  if (!is_bloom) ids.push_back(BPF_FUNC_map_pop_elem);
  for (int i = 0; i < kCalls; ++i) {
    ASSERT_TRUE(call(ids[random_() % ids.size()])) << "call " << i;
  }
  EXPECT_TRUE(seen_[BPF_FUNC_map_push_elem].contains(0));
  EXPECT_TRUE(seen_[BPF_FUNC_map_push_elem].contains(-EINVAL));
  EXPECT_TRUE(seen_[BPF_FUNC_map_peek_elem].contains(-ENOENT));
}

constexpr auto kNameOf = [](const auto& row) { return std::string(row.param.name); };

// An LRU is asked for few keys of many, so that neither side evicts one.
INSTANTIATE_TEST_SUITE_P(
    Types, KeyedMapHelpers,
    testing::Values(Shape{"hash", BPF_MAP_TYPE_HASH, 8, 12, 8, 14},
                    Shape{"hash_no_prealloc", BPF_MAP_TYPE_HASH, 5, 40, 8, 14, BPF_F_NO_PREALLOC},
                    Shape{"percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, 4, 12, 8, 14},
                    Shape{"percpu_hash_no_prealloc", BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 8, 14,
                          BPF_F_NO_PREALLOC},
                    Shape{"lru_hash", BPF_MAP_TYPE_LRU_HASH, 4, 8, 500, 8},
                    Shape{"lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 8, 500, 8},
                    Shape{"array", BPF_MAP_TYPE_ARRAY, 4, 13, 8, 12},
                    Shape{"percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 13, 8, 12},
                    Shape{"lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 7, 8, 20, 0, BPF_F_NO_PREALLOC}),
    kNameOf);

INSTANTIATE_TEST_SUITE_P(Types, KeylessMapHelpers,
                         testing::Values(Shape{"queue", BPF_MAP_TYPE_QUEUE, 0, 12, 5, 0},
                                         Shape{"stack", BPF_MAP_TYPE_STACK, 0, 12, 5, 0},
                                         Shape{"bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 40,
                                               100, BPF_F_ZERO_SEED, 3}),
                         kNameOf);

}  // namespace
}  // namespace lmn
