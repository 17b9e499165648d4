// SPDX-License-Identifier: Apache-2.0
//
// Goal: the helpers that are algorithms rather than packet operations: loops over the program's own
// functions, SYN cookies, strings. Method: bodies are called directly; the program's function is
// one of the test's.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <set>

#include "base/byte_reader.h"
#include "helpers/helpers.h"
#include "helpers/test_run.h"
#include "maps/map.h"

namespace lmn {
namespace {

const std::vector<std::uint8_t> kNoPacket;

// --- callbacks: the program's function is the test's

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

// A map of 10 values of 8 bytes, for two CPUs.
std::unique_ptr<Map> make_map(std::uint32_t type, std::uint32_t key_size = 4) {
  MapSpec spec;
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = 8;
  spec.max_entries = 10;
  NoHost host;
  auto map = create_map(spec, {.cpu_count = 2}, host);
  EXPECT_TRUE(map.has_value());
  return std::move(*map);
}

class Callbacks : public testing::Test {
 protected:
  Callbacks() : run_(kNoPacket) {
    run_.context.engine_state = this;
    run_.context.call_back = [](void* state, std::uint64_t function,
                                std::span<const std::uint64_t> args) noexcept {
      auto& self = *static_cast<Callbacks*>(state);
      EXPECT_EQ(function, 77u);
      self.calls_.emplace_back(args.begin(), args.end());
      return self.on_call_(args);
    };
  }
  TestRun run_;
  std::vector<std::vector<std::uint64_t>> calls_;
  std::function<std::uint64_t(std::span<const std::uint64_t>)> on_call_ = [](auto) { return 0; };
};

TEST_F(Callbacks, LoopCountsAndStops) {
  EXPECT_EQ(run_.call(BPF_FUNC_loop, 3, 77, 0x1234, 0), 3);
  EXPECT_EQ(calls_,
            (std::vector<std::vector<std::uint64_t>>{{0, 0x1234}, {1, 0x1234}, {2, 0x1234}}));
  on_call_ = [](auto args) { return std::uint64_t{args[0] == 4}; };
  EXPECT_EQ(run_.call(BPF_FUNC_loop, 100, 77, 0, 0), 5) << "the call that stopped counts";
  EXPECT_EQ(run_.call(BPF_FUNC_loop, 0, 77, 0, 0), 0);
  EXPECT_EQ(run_.call(BPF_FUNC_loop, 1, 77, 0, 1), -EINVAL);
  on_call_ = [](auto) { return std::uint64_t{1}; };
  EXPECT_EQ(run_.call(BPF_FUNC_loop, 8u << 20, 77, 0, 0), 1);
  EXPECT_EQ(run_.call(BPF_FUNC_loop, (8u << 20) + 1, 77, 0, 0), 0x1'0000'0000 - E2BIG);
  EXPECT_EQ(run_.call(BPF_FUNC_loop, 1ull << 32, 77, 0, 0), 0x1'0000'0000 - E2BIG);
}

TEST_F(Callbacks, ForEachShowsEveryElementAndMayDeleteIt) {
  for (const std::uint32_t type :
       {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH}) {
    const auto map = make_map(type);
    run_.context.cpu = 1;
    for (std::uint32_t key = 0; key < 10; ++key) {
      const std::uint64_t value = key * 100;
      EXPECT_EQ(map->update(&key, &value, BPF_ANY, 1), 0);
    }
    std::set<std::uint32_t> keys;
    on_call_ = [&](std::span<const std::uint64_t> args) {
      EXPECT_EQ(args[0], reinterpret_cast<std::uintptr_t>(map.get()));
      const auto key = *reinterpret_cast<const std::uint32_t*>(args[1]);
      EXPECT_EQ(*reinterpret_cast<const std::uint64_t*>(args[2]), key * 100);
      EXPECT_EQ(args[3], 5u);
      EXPECT_TRUE(keys.insert(key).second) << "shown twice";
      if (key % 2 == 0) map->erase(&key);
      return std::uint64_t{0};
    };
    EXPECT_EQ(run_.call(BPF_FUNC_for_each_map_elem, map.get(), 77, 5, 0), 10) << type;
    EXPECT_EQ(keys.size(), 10u);
    EXPECT_EQ(run_.call(BPF_FUNC_for_each_map_elem, map.get(), 77, 5, 1), -EINVAL);
    on_call_ = [](auto) { return std::uint64_t{1}; };
    EXPECT_EQ(run_.call(BPF_FUNC_for_each_map_elem, map.get(), 77, 5, 0), 1);
  }
}

TEST_F(Callbacks, ForEachGoesOnBehindElementsThatItsCallbackDeletes) {
  for (const std::uint32_t type :
       {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_LRU_HASH}) {
    const auto map = make_map(type);
    for (std::uint64_t key = 0; key < 10; ++key) {
      EXPECT_EQ(map->update(&key, &key, BPF_ANY, 0), 0);
    }
    std::set<std::uint32_t> gone;
    on_call_ = [&](std::span<const std::uint64_t> args) {
      const auto shown = *reinterpret_cast<const std::uint32_t*>(args[1]);
      EXPECT_FALSE(gone.contains(shown));
      // Itself and the one that would come next, if that is the next key of a walk by keys.
      std::uint32_t next = 0;
      if (map->next_key(&shown, &next) == 0) {
        EXPECT_EQ(map->erase(&next), 0);
        gone.insert(next);
      }
      return std::uint64_t{0};
    };
    const std::int64_t calls = run_.call(BPF_FUNC_for_each_map_elem, map.get(), 77, 0, 0);
    EXPECT_EQ(calls + static_cast<std::int64_t>(gone.size()), 10) << type;
    EXPECT_EQ(calls, 5) << type;
  }
}

TEST_F(Callbacks, ForEachShowsKeysOfAnySize) {
  constexpr std::uint32_t kKeyBytes = 100'000;  // more than any stack of programs
  const auto map = make_map(BPF_MAP_TYPE_HASH, kKeyBytes);
  const std::vector<std::uint8_t> key(kKeyBytes, 0x5a);
  const std::uint64_t value = 1;
  ASSERT_EQ(map->update(key.data(), &value, BPF_ANY, 0), 0);
  on_call_ = [&](std::span<const std::uint64_t> args) {
    EXPECT_EQ(std::memcmp(reinterpret_cast<const void*>(args[1]), key.data(), key.size()), 0);
    return std::uint64_t{0};
  };
  EXPECT_EQ(run_.call(BPF_FUNC_for_each_map_elem, map.get(), 77, 0, 0), 1);
}

TEST_F(Callbacks, ForEachIsNoUseOfAnLruElement) {
  const auto map = make_map(BPF_MAP_TYPE_LRU_HASH);
  for (std::uint64_t key = 0; key < 10; ++key) {
    EXPECT_EQ(map->update(&key, &key, BPF_ANY, 0), 0);
  }
  const std::uint64_t first = 0;
  EXPECT_NE(map->lookup(&first, 0), nullptr);
  EXPECT_EQ(run_.call(BPF_FUNC_for_each_map_elem, map.get(), 77, 0, 0), 10);
  const std::uint64_t fresh = 10;
  EXPECT_EQ(map->update(&fresh, &fresh, BPF_ANY, 0), 0);
  EXPECT_NE(map->lookup(&first, 0), nullptr) << "the only one that was used";
}

TEST_F(Callbacks, ForEachOfAnEmptyMapCallsNothing) {
  const auto map = make_map(BPF_MAP_TYPE_HASH);
  EXPECT_EQ(run_.call(BPF_FUNC_for_each_map_elem, map.get(), 77, 0, 0), 0);
  EXPECT_TRUE(calls_.empty());
}

// --- SYN cookies

TEST(SynCookies, NeedTheEnginesSecret) {
  TestRun run(kNoPacket);
  std::uint8_t ip[40] = {};
  std::uint8_t tcp[20] = {};
  tcp[12] = 5 << 4;
  EXPECT_EQ(run.call(BPF_FUNC_tcp_raw_gen_syncookie_ipv4, ip, tcp, 20), -EOPNOTSUPP);
  EXPECT_EQ(run.call(BPF_FUNC_tcp_raw_check_syncookie_ipv6, ip, tcp), -EOPNOTSUPP);
}

TEST(SynCookies, LiveForTheirMinuteAndTheNext) {
  TestRun run(kNoPacket);
  const CookieSecret secret{{1, 2}, {3, 4}};
  run.context.cookie_secret = &secret;
  std::uint8_t ip[20] = {};
  std::uint8_t tcp[20] = {};
  tcp[12] = 5 << 4;
  const std::int64_t made = run.call(BPF_FUNC_tcp_raw_gen_syncookie_ipv4, ip, tcp, 20);
  ASSERT_EQ(made >> 32, 536);
  tcp[7] = 1;  // the client's next number
  store_unaligned<std::uint32_t>(tcp + 8, static_cast<std::uint32_t>(made) + 1, std::endian::big);
  const auto check = [&] { return run.call(BPF_FUNC_tcp_raw_check_syncookie_ipv4, ip, tcp); };
  EXPECT_EQ(check(), 0);
  run.clock.advance_ns(60'000'000'000);
  EXPECT_EQ(check(), 0);
  run.clock.advance_ns(60'000'000'000);
  EXPECT_EQ(check(), -EACCES);
}

// --- strings

TEST(Strings, Strncmp) {
  TestRun run(kNoPacket);
  EXPECT_EQ(run.call(BPF_FUNC_strncmp, "abc", 4, "abc"), 0);
  EXPECT_EQ(run.call(BPF_FUNC_strncmp, "abc", 4, "abd"), -1);
  EXPECT_EQ(run.call(BPF_FUNC_strncmp, "abd", 4, "abc"), 1);
  EXPECT_EQ(run.call(BPF_FUNC_strncmp, "abd", 2, "abc"), 0);
  EXPECT_EQ(run.call(BPF_FUNC_strncmp, "ab", 3, "abc"), -1);
  EXPECT_EQ(run.call(BPF_FUNC_strncmp, "\xff", 2, "a"), 1) << "bytes are unsigned";
}

TEST(Strings, Strtol) {
  struct Case {
    std::string_view text;
    std::uint64_t flags;
    std::int64_t expected;
    std::int64_t value;
  };
  constexpr Case kCases[] = {
      {"123", 0, 3, 123},
      {" \t-42x", 0, 5, -42},
      {"0x1f", 0, 4, 31},
      {"0x", 0, 1, 0},
      {"0x", 16, -EINVAL, 0},
      {"017", 0, 3, 15},
      {"1f", 16, 2, 31},
      {"8", 8, -EINVAL, 0},
      {"", 0, -EINVAL, 0},
      {"-", 0, -EINVAL, 0},
      {"+1", 0, -EINVAL, 0},
      {"1", 3, -EINVAL, 0},
      {"1", 1ull << 32, -EINVAL, 0},
      {"9223372036854775807", 10, 19, INT64_MAX},
      {"9223372036854775808", 10, -ERANGE, 0},
      {"-9223372036854775808", 10, 20, INT64_MIN},
      {"-9223372036854775809", 10, -ERANGE, 0},
      {"18446744073709551616", 10, -ERANGE, 0},
  };
  TestRun run(kNoPacket);
  for (const Case& c : kCases) {
    std::int64_t value = 99;
    EXPECT_EQ(run.call(BPF_FUNC_strtol, c.text.data(), c.text.size(), c.flags, &value), c.expected)
        << c.text;
    EXPECT_EQ(value, c.value) << c.text;
  }
  std::uint64_t value = 99;
  EXPECT_EQ(run.call(BPF_FUNC_strtoul, "18446744073709551615", 20, 0, &value), 20);
  EXPECT_EQ(value, UINT64_MAX);
  EXPECT_EQ(run.call(BPF_FUNC_strtoul, "-1", 2, 0, &value), -EINVAL);
  EXPECT_EQ(value, 0u);
}

}  // namespace
}  // namespace lmn
