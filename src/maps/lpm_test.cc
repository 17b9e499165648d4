// SPDX-License-Identifier: Apache-2.0
//
// Goal: the index of LPM_TRIE says of every address what the exact trie says, also while prefixes
// come and go. Method: random prefixes, dense, sparse and nested, for addresses of every kind of
// size; program lookups (the index) beside user-side lookups (the trie) on addresses in and next to
// the prefixes; a thread that changes prefixes beside readers who know what may be seen.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "maps/lpm_index.h"
#include "maps/map.h"

namespace lmn {
namespace {

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

std::unique_ptr<Map> make_trie(std::uint32_t data_size, std::uint32_t max_entries) {
  NoHost host;
  auto map = create_map({.name = "m",
                         .type = BPF_MAP_TYPE_LPM_TRIE,
                         .key_size = 4 + data_size,
                         .value_size = 8,
                         .max_entries = max_entries,
                         .map_flags = BPF_F_NO_PREALLOC},
                        {.cpu_count = 2}, host);
  EXPECT_TRUE(map.has_value()) << map.error().to_string();
  return std::move(*map);
}

using Key = std::vector<std::uint8_t>;

Key key_of(std::uint32_t length, const std::vector<std::uint8_t>& data) {
  Key key(4 + data.size());
  std::memcpy(key.data(), &length, 4);
  std::memcpy(key.data() + 4, data.data(), data.size());
  return key;
}

// How the addresses of a run are drawn.
struct Shape {
  std::uint32_t data_size;
  std::uint32_t max_entries;
  std::uint32_t shared_bits;  // that nearly all addresses begin with
  std::uint32_t length_min;
};

class TrieRun {
 public:
  explicit TrieRun(const Shape& shape)
      : shape_(shape),
        map_(make_trie(shape.data_size, shape.max_entries)),
        random_(shape.data_size * 1000 + shape.shared_bits) {}

  void operate(int steps) {
    for (int step = 0; step < steps; ++step) {
      const Key key = random_key();
      const std::uint64_t value = random_();
      if (random_() % 5 < 2) {
        map_->erase(key.data());
      } else {
        const int error = map_->update(key.data(), &value, random_() % 3, 0);
        ASSERT_TRUE(error == 0 || error == -ENOSPC || error == -EEXIST || error == -ENOENT);
      }
      known_.push_back(key);
      if (known_.size() > 300) known_.erase(known_.begin());
      for (int probe = 0; probe < 3; ++probe) compare(random_address());
    }
  }
  void erase_all() {
    Key key(4 + shape_.data_size);
    while (map_->user_next_key(nullptr, key.data()) == 0) {
      ASSERT_EQ(map_->user_erase(key.data()), 0);
      compare(random_address());
    }
    EXPECT_EQ(map_->lookup(key_of(shape_.data_size * 8, random_data()).data(), 0), nullptr);
  }

 private:
  std::vector<std::uint8_t> random_data() {
    std::vector<std::uint8_t> data(shape_.data_size);
    for (auto& byte : data) byte = static_cast<std::uint8_t>(random_());
    if (random_() % 20 != 0) {
      for (std::uint32_t bit = 0; bit < shape_.shared_bits; ++bit) {
        data[bit / 8] &= static_cast<std::uint8_t>(~(0x80 >> bit % 8));
      }
    }
    return data;
  }
  Key random_key() {
    if (!known_.empty() && random_() % 3 == 0) {
      // Another length of a known prefix: nested ones, and the same again.
      Key key = known_[random_() % known_.size()];
      const std::uint32_t length =
          static_cast<std::uint32_t>(random_() % (shape_.data_size * 8 + 1));
      if (random_() % 2 == 0) std::memcpy(key.data(), &length, 4);
      return key;
    }
    const std::uint32_t span = shape_.data_size * 8 - shape_.length_min + 1;
    return key_of(shape_.length_min + static_cast<std::uint32_t>(random_() % span), random_data());
  }
  // In a prefix of late, or one bit beside it.
  Key random_address() {
    Key key = known_.empty() ? key_of(0, random_data()) : known_[random_() % known_.size()];
    std::uint32_t length = 0;
    std::memcpy(&length, key.data(), 4);
    const std::uint32_t bits = shape_.data_size * 8;
    if (random_() % 2 == 0) {
      const auto other = key_of(0, random_data());
      for (std::uint32_t bit = length; bit < bits; ++bit) {
        const auto mask = static_cast<std::uint8_t>(0x80 >> bit % 8);
        key[4 + bit / 8] =
            static_cast<std::uint8_t>((key[4 + bit / 8] & ~mask) | (other[4 + bit / 8] & mask));
      }
    }
    if (random_() % 3 == 0) {
      const auto bit = static_cast<std::uint32_t>(random_() % bits);
      key[4 + bit / 8] ^= static_cast<std::uint8_t>(0x80 >> bit % 8);
    }
    std::memcpy(key.data(), &bits, 4);
    return key;
  }
  void compare(const Key& address) {
    std::uint64_t expected = 0;
    std::uint8_t out[8];
    const bool is_there = map_->user_lookup(address.data(), out, 0) == 0;
    std::memcpy(&expected, out, sizeof expected);
    const auto* found = static_cast<const std::uint64_t*>(map_->lookup(address.data(), 0));
    ASSERT_EQ(found != nullptr, is_there);
    if (is_there) {
      ASSERT_EQ(*found, expected);
    }
  }

  Shape shape_;
  std::unique_ptr<Map> map_;
  std::mt19937_64 random_;
  std::vector<Key> known_;
};

TEST(LpmIndex, SaysWhatTheExactTrieSays) {
  const Shape shapes[] = {
      {1, 300, 0, 0},    {2, 500, 4, 0},      {3, 3000, 0, 8},        {4, 50, 0, 0},
      {4, 3000, 0, 8},   {4, 3000, 20, 20},   {4, 200'000, 0, 8},     {8, 3000, 0, 0},
      {8, 3000, 30, 30}, {16, 3000, 0, 16},   {16, 3000, 64, 60},     {16, 200'000, 24, 20},
      {20, 100, 90, 80}, {64, 500, 300, 200}, {256, 500, 2000, 1990}, {256, 300, 0, 0}};
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(testing::Message() << shape.data_size << " bytes, " << shape.max_entries << ", "
                                    << shape.shared_bits << " bits shared");
    TrieRun run(shape);
    run.operate(shape.max_entries > 100'000 ? 300 : 2000);
    if (testing::Test::HasFatalFailure()) return;
    run.erase_all();
  }
}

TEST(LpmIndex, MemoryComesBack) {
  auto index = LpmIndex::create(4, 5000);
  ASSERT_TRUE(index.has_value());
  const auto run = [&] {
    std::mt19937 random(1);
    for (std::uint32_t i = 1; i <= 5000; ++i) {
      const std::uint32_t data = static_cast<std::uint32_t>(random());
      ASSERT_TRUE(index->put(reinterpret_cast<const std::uint8_t*>(&data), 20 + i % 13, i));
    }
    random.seed(1);
    for (std::uint32_t i = 1; i <= 5000; ++i) {
      const std::uint32_t data = static_cast<std::uint32_t>(random());
      index->remove(reinterpret_cast<const std::uint8_t*>(&data), 20 + i % 13, {});
    }
  };
  run();
  const std::uint64_t used_bytes = index->used_bytes();
  for (int round = 0; round < 20; ++round) run();
  EXPECT_LT(static_cast<double>(index->used_bytes()), 1.2 * static_cast<double>(used_bytes));
}

// Far fewer bytes than the kernel's 115 for an entry with the exact trie's nodes (at most two of 32
// bytes) counted in.
TEST(LpmIndex, BytesPerPrefix) {
  constexpr std::uint32_t kCount = 200'000;
  for (const std::uint32_t data_size : {4u, 16u}) {
    auto index = LpmIndex::create(data_size, kCount);
    ASSERT_TRUE(index.has_value());
    std::mt19937_64 random(3);
    for (std::uint32_t i = 1; i <= kCount; ++i) {
      std::array<std::uint64_t, 2> data = {random(), random()};
      const auto length = static_cast<std::uint32_t>(8 + random() % (data_size == 4 ? 25 : 57));
      ASSERT_TRUE(index->put(reinterpret_cast<const std::uint8_t*>(data.data()), length, i));
    }
    EXPECT_LT(index->used_bytes() / kCount, data_size == 4 ? 50u : 130u);
  }
}

TEST(LpmIndex, WithoutMemoryNothingChanges) {
  // One entry's worth of memory and far more prefixes.
  auto index = LpmIndex::create(256, 1);
  ASSERT_TRUE(index.has_value());
  std::mt19937_64 random(5);
  std::vector<std::array<std::uint8_t, 256>> there;
  std::vector<std::array<std::uint8_t, 256>> refused;
  for (std::uint32_t i = 1; i <= 1000; ++i) {
    std::array<std::uint8_t, 256> data;
    for (auto& byte : data) byte = static_cast<std::uint8_t>(random());
    (index->put(data.data(), 2048, i) ? there : refused).push_back(data);
  }
  ASSERT_FALSE(refused.empty());
  for (const auto& data : refused) EXPECT_EQ(lpm_find(index->descriptor(), data.data()), 0u);
  for (const auto& data : there) EXPECT_NE(lpm_find(index->descriptor(), data.data()), 0u);
  for (const auto& data : there) index->remove(data.data(), 2048, {});
  for (const auto& data : there) EXPECT_EQ(lpm_find(index->descriptor(), data.data()), 0u);
}

// One lookup in flight whose values are one byte each, so that a value's address is its element.
template <typename Address>
class Flight {
 public:
  using Data = std::conditional_t<std::is_same_v<Address, LpmAddress32>, std::uint32_t,
                                  std::array<std::uint64_t, 2>>;

  // Its steps so far: 0 to 4.
  Flight(const LpmIndex& index, const Data& data, int steps = 4)
      : map_{.index = index.descriptor(), .values = values_, .stride = 1} {
    std::memcpy(key_.data() + 4, &data, map_.index.data_size);
    go_on(steps);
  }
  void go_on(int steps) {
    for (; steps > 0; --steps) {
      switch (taken_++) {
        case 0:
          lpm_prefetch_root(map_, key_.data(), flight_);
          break;
        case 1:
          lpm_prefetch_node(map_, flight_);
          break;
        case 2:
          lpm_prefetch_child(map_, flight_);
          break;
        default:
          lpm_prefetch_value(map_, flight_);
      }
    }
  }
  std::uint32_t element() const { return element_of(lpm_finish(map_, key_.data(), flight_)); }
  std::uint32_t element_now() const { return element_of(lpm_lookup(map_, key_.data())); }

 private:
  static std::uint32_t element_of(const void* value) {
    return value == nullptr
               ? kNoLpmElement
               : static_cast<std::uint32_t>(static_cast<const std::uint8_t*>(value) - values_);
  }

  static inline std::uint8_t values_[1];
  LpmMapDescriptor map_;
  std::array<std::uint8_t, 20> key_{};
  LpmFlight<Address> flight_;
  int taken_ = 0;
};

// Lookups of a few prefixes' addresses, of which some change after any step.
template <typename Address>
void expect_flights_to_land_right(std::uint32_t data_size) {
  using Data = typename Flight<Address>::Data;
  constexpr std::uint32_t kPrefixes = 24;
  auto index = LpmIndex::create(data_size, 200'000);
  ASSERT_TRUE(index.has_value());
  std::mt19937_64 random(data_size);
  // All prefixes are of one address, so that the parent of one is the longest shorter one.
  const Data data = std::bit_cast<Data>([&] {
    std::array<std::uint8_t, sizeof(Data)> bytes;
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
    return bytes;
  }());
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&data);
  std::map<std::uint32_t, std::uint32_t> there;  // elements by length
  std::uint32_t element = 0;
  const auto change = [&] {
    const auto length =
        static_cast<std::uint32_t>(random() % kPrefixes * (data_size * 8) / (kPrefixes - 1));
    const auto place = there.lower_bound(length);
    if (place == there.end() || place->first != length || random() % 3 == 0) {
      ASSERT_TRUE(index->put(bytes, length, there[length] = ++element));
      return;
    }
    LpmIndex::Parent parent;
    if (place != there.begin()) parent = {std::prev(place)->second, std::prev(place)->first};
    index->remove(bytes, length, parent);
    there.erase(place);
  };
  for (int step = 0; step < 20'000; ++step) {
    const int changed_after = static_cast<int>(random() % 6);
    Flight<Address> flight(*index, data, std::min(changed_after, 4));
    if (changed_after < 5) change();
    flight.go_on(4 - std::min(changed_after, 4));
    ASSERT_EQ(flight.element(), there.empty() ? kNoLpmElement : there.rbegin()->second);
    ASSERT_EQ(flight.element(), flight.element_now());
  }
}

TEST(LpmIndex, FlightsLandOnWhatIsThereThen) {
  expect_flights_to_land_right<LpmAddress32>(4);
  expect_flights_to_land_right<LpmAddress128>(16);
  expect_flights_to_land_right<LpmAddressBytes>(13);
}

// Prefixes of one address: those of even length are always there, odd ones come and go, and so do
// neighbours, so that blocks move and are used again. The element of length n is n + 1.
class NestedPrefixes {
 public:
  static constexpr std::uint32_t kAddress = 0x0a0b0c0d;

  NestedPrefixes() : index_(std::move(*LpmIndex::create(4, 4000))) {
    for (std::uint32_t length = 0; length <= 32; length += 2) put(kAddress, length);
  }
  std::uint32_t find(std::uint32_t address) const {
    const std::uint32_t data = __builtin_bswap32(address);
    return lpm_find(index_.descriptor(), reinterpret_cast<const std::uint8_t*>(&data));
  }
  std::uint32_t find_in_flight(std::uint32_t address) const {
    const Flight<LpmAddress32> flight(index_, __builtin_bswap32(address));
    return flight.element();
  }
  void change(std::mt19937& random) {
    const auto draw = [&](std::uint32_t end) { return static_cast<std::uint32_t>(random() % end); };
    toggle(kAddress, draw(16) * 2 + 1);
    toggle((kAddress & 0xfffc0000) | 0x20000 | draw(1024), 25 + draw(8));
  }

 private:
  void put(std::uint32_t address, std::uint32_t length) {
    const std::uint32_t data = __builtin_bswap32(address);
    ASSERT_TRUE(index_.put(reinterpret_cast<const std::uint8_t*>(&data), length, length + 1));
  }
  void toggle(std::uint32_t address, std::uint32_t length) {
    const std::uint32_t masked = address & (0xffffffffu << (32 - length));
    const auto [place, is_new] = there_.insert({masked, length});
    if (is_new) return put(masked, length);
    there_.erase(place);
    const std::uint32_t data = __builtin_bswap32(masked);
    // Of a prefix of odd length, the even one around it; the index asks only for short ones.
    index_.remove(reinterpret_cast<const std::uint8_t*>(&data), length,
                  {.element = length, .length = length - 1});
  }

  LpmIndex index_;
  std::set<std::pair<std::uint32_t, std::uint32_t>> there_;
};

TEST(LpmIndex, ReadersBesideAWriterSeeTheOldOrTheNew) {
  NestedPrefixes prefixes;
  std::atomic<bool> is_done{false};
  std::atomic<int> wrong{0};
  const auto read = [&] {
    while (!is_done.load(std::memory_order_relaxed)) {
      if (prefixes.find(NestedPrefixes::kAddress) != 33) ++wrong;
      for (const std::uint32_t bit : {0u, 5u, 11u, 12u, 13u, 17u, 22u, 28u, 31u}) {
        // Leaves the others behind `bit` bits: the prefix of that length if there, or one shorter.
        const std::uint32_t seen = prefixes.find(NestedPrefixes::kAddress ^ (0x80000000u >> bit));
        if (seen != bit + 1 && (bit % 2 == 0 || seen != bit)) ++wrong;
        const std::uint32_t landed =
            prefixes.find_in_flight(NestedPrefixes::kAddress ^ (0x80000000u >> bit));
        if (landed != bit + 1 && (bit % 2 == 0 || landed != bit)) ++wrong;
      }
    }
  };
  std::thread first(read);
  std::thread second(read);
  std::mt19937 random(1);
  for (int step = 0; step < 20'000; ++step) prefixes.change(random);
  is_done = true;
  first.join();
  second.join();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace lmn
