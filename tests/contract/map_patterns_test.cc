// SPDX-License-Identifier: Apache-2.0
//
// Goal: mistakes that kernels have made in maps are not made here. Each case is named after the one
// it is about.
// Method: the smallest history that went wrong there, on maps that are used directly. What two
// threads are needed for is run by two, many times.
// Source: the CVE texts named in the cases; Linux 6.18, kernel/bpf/.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "btf/btf.h"
#include "contract/btf_builder.h"
#include "maps/deferred_calls.h"
#include "maps/map.h"
#include "maps/map_batch.h"
#include "maps/object_heap.h"
#include "maps/ringbuf_map.h"

namespace lmn {
namespace {

class NoSink final : public FrameSink {
 public:
  int check(std::uint32_t) const noexcept override { return 0; }
  void enqueue(XdpFrame*) noexcept override {}
  void flush() noexcept override {}
  std::uint64_t pending() const noexcept override { return 0; }
};

class Host final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t ifindex) noexcept override {
    return ifindex == 1 || ifindex == 2 ? &sinks[ifindex - 1] : nullptr;
  }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override {
    ++held;
    return &program;
  }
  void release_program(const ProgramEntry*) noexcept override { --held; }
  FrameSink* acquire_socket(std::uint32_t handle) noexcept override {
    FrameSink* sink = find_sink(handle);
    held += sink != nullptr;
    return sink;
  }
  void release_socket(FrameSink*) noexcept override { --held; }

  std::array<NoSink, 2> sinks;
  ProgramEntry program{.id = 9, .type = BPF_PROG_TYPE_XDP, .expected_attach_type = BPF_XDP_DEVMAP};
  std::atomic<int> held = 0;
};

class MapPatterns : public testing::Test {
 protected:
  void SetUp() override {
    objects = *ObjectHeap::create();
    deferred = *DeferredCalls::create();
    options = {.cpu_count = 2, .hash_seed = 5, .owners = {objects.get(), deferred.get()}};
  }

  MapSpec spec(std::uint32_t type, std::uint32_t key_size, std::uint32_t value_size,
               std::uint32_t max_entries, std::uint32_t flags = 0) const {
    MapSpec made;
    made.name = "m";
    made.type = type;
    made.key_size = key_size;
    made.value_size = value_size;
    made.max_entries = max_entries;
    made.map_flags = flags;
    return made;
  }
  std::unique_ptr<Map> make(const MapSpec& wanted) {
    auto map = create_map(wanted, options, host);
    EXPECT_TRUE(map.has_value()) << map.error().to_string();
    return map ? std::move(*map) : nullptr;
  }
  int error_of(const MapSpec& wanted) {
    const auto map = create_map(wanted, options, host);
    return map ? 0 : map.error().errno_value;
  }

  // struct { u64 plain; struct bpf_spin_lock at 8; struct bpf_timer at 16; struct object __kptr* at
  // 32; }, or only the first and last, for per-CPU types.
  MapSpec typed(std::uint32_t type, bool has_lock) {
    BtfBuilder btf;
    const std::uint32_t u32 = btf.integer("unsigned int", 4, 0);
    const std::uint32_t u64 = btf.integer("unsigned long", 8, 0);
    const std::uint32_t lock = btf.composite(BTF_KIND_STRUCT, "bpf_spin_lock", 4, {{"v", u32, 0}});
    const std::uint32_t timer =
        btf.composite(BTF_KIND_STRUCT, "bpf_timer", 16, {{"a", u64, 0}, {"b", u64, 64}});
    const std::uint32_t object = btf.composite(BTF_KIND_STRUCT, "object", 8, {{"n", u64, 0}});
    const std::uint32_t kptr =
        btf.reference(BTF_KIND_PTR, btf.reference(BTF_KIND_TYPE_TAG, object, "kptr"));
    std::vector<BtfBuilder::Member> members = {{"plain", u64, 0}};
    if (has_lock) {
      members.push_back({"lock", lock, 8 * 8});
      members.push_back({"timer", timer, 16 * 8});
    }
    members.push_back({"object", kptr, 32 * 8});
    MapSpec made = spec(type, 4, 40, 4);
    made.btf_key_type_id = u32;
    made.btf_value_type_id = btf.composite(BTF_KIND_STRUCT, "value", 40, members);
    made.btf = *parse_btf(btf.bytes());
    return made;
  }
  // Hangs an object into a value of such a map, as bpf_kptr_xchg does.
  void hang(void* value) {
    ObjectLayout layout;
    layout.size_bytes = 8;
    const std::uint64_t address = objects->allocate(layout);
    std::memcpy(static_cast<std::uint8_t*>(value) + 32, &address, sizeof address);
  }

  Host host;
  std::unique_ptr<ObjectHeap> objects;
  std::unique_ptr<DeferredCalls> deferred;
  MapOptions options;
};

// CVE-2021-38166, CVE-2021-41864: element size times count computed in 32 bits.
TEST_F(MapPatterns, SizeTimesCountDoesNotWrap) {
  for (const std::uint32_t type :
       {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_QUEUE}) {
    const std::uint32_t key_size = type == BPF_MAP_TYPE_QUEUE ? 0 : 4;
    // 2^28 elements of 16 bytes and 2^16 of 2^16: 2^32 bytes, which is 0 in 32 bits.
    for (const auto& [size, count] : {std::pair{16u, 1u << 28}, std::pair{1u << 16, 1u << 16}}) {
      auto map = create_map(spec(type, key_size, size, count), options, host);
      if (!map) continue;  // no room for it: said so
      std::vector<std::uint8_t> value((*map)->user_value_bytes(), 0xab);
      const std::uint32_t last = count - 1;
      EXPECT_EQ((*map)->user_update(&last, value, BPF_ANY), 0) << type;
    }
  }
}

// CVE-2024-26883, -26884, -26885: rounding up to a power of two before looking at the result.
TEST_F(MapPatterns, RoundingUpDoesNotWrap) {
  for (const std::uint32_t count : {0x80000001u, 0xffffffffu}) {
    EXPECT_EQ(error_of(spec(BPF_MAP_TYPE_HASH, 4, 4, count)), E2BIG);
    EXPECT_EQ(error_of(spec(BPF_MAP_TYPE_DEVMAP_HASH, 4, 4, count)), EINVAL);
  }
}

// CVE-2024-50262: a walk of a trie over prefixes of the greatest depth.
TEST_F(MapPatterns, TrieWalkAtTheGreatestDepth) {
  constexpr std::uint32_t kBits = 2048;
  auto map = make(spec(BPF_MAP_TYPE_LPM_TRIE, 4 + kBits / 8, 1, kBits + 1, BPF_F_NO_PREALLOC));
  std::vector<std::uint8_t> key(4 + kBits / 8, 0xff);
  const std::vector<std::uint8_t> value(1, 7);
  for (std::uint32_t length = 0; length <= kBits; ++length) {
    std::memcpy(key.data(), &length, 4);
    ASSERT_EQ(map->user_update(key.data(), value, BPF_ANY), 0);
  }
  std::vector<std::uint8_t> next(key.size());
  std::uint32_t count = 0;
  const void* from = nullptr;
  while (map->user_next_key(from, next.data()) == 0 && count <= kBits + 1) {
    key = next;
    from = key.data();
    ++count;
  }
  EXPECT_EQ(count, kBits + 1);
}

// BPF_EXIST and BPF_NOEXIST in a trie, and a replacement in a full one.
TEST_F(MapPatterns, TrieFlagsAndAFullTrie) {
  auto map = make(spec(BPF_MAP_TYPE_LPM_TRIE, 8, 4, 2, BPF_F_NO_PREALLOC));
  const std::array<std::uint32_t, 2> a = {8, 1};
  const std::array<std::uint32_t, 2> b = {8, 2};
  const std::array<std::uint32_t, 2> c = {8, 3};
  const std::vector<std::uint8_t> value(4, 1);
  EXPECT_EQ(map->user_update(a.data(), value, BPF_EXIST), -ENOENT);
  EXPECT_EQ(map->user_update(a.data(), value, BPF_NOEXIST), 0);
  EXPECT_EQ(map->user_update(a.data(), value, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(map->user_update(b.data(), value, BPF_ANY), 0);
  EXPECT_EQ(map->user_update(c.data(), value, BPF_ANY), -ENOSPC);
  EXPECT_EQ(map->user_update(b.data(), std::vector<std::uint8_t>(4, 2), BPF_EXIST), 0);
}

// CVE-2024-56614, -56615: an index taken as a signed number.
TEST_F(MapPatterns, IndicesAreUnsigned) {
  for (const std::uint32_t type : {BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_XSKMAP}) {
    auto map = make(spec(type, 4, 4, 4));
    for (const std::uint32_t index : {4u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
      EXPECT_EQ(map->user_erase(&index), -EINVAL) << type;
      RedirectTarget target;
      EXPECT_FALSE(map->find_redirect_target(index, target));
      EXPECT_EQ(map->lookup(&index, 0), nullptr);
    }
  }
}

// CVE-2021-3489: a record larger than the ring. CVE-2024-41009: the consumer's position is user
// space's to write, and must not make records overlap.
TEST_F(MapPatterns, RingRecordsStayInTheRing) {
  auto made = make(spec(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096));
  auto& ring = static_cast<RingbufMap&>(*made);
  EXPECT_EQ(ring.reserve(4096), nullptr);
  EXPECT_EQ(ring.reserve(0x3fffffff), nullptr);
  EXPECT_EQ(ring.reserve(UINT64_MAX - 7), nullptr);
  auto* first = static_cast<std::uint8_t*>(ring.reserve(3000));
  ASSERT_NE(first, nullptr);
  std::memset(first, 0x11, 3000);
  // As if it had been read, and far more.
  for (const std::uint64_t position : {std::uint64_t{3008}, std::uint64_t{1} << 40, UINT64_MAX}) {
    std::memcpy(ring.mapped_memory()->data(), &position, sizeof position);
    void* second = ring.reserve(3000);
    if (second != nullptr) std::memset(second, 0x22, 3000);
    for (int i = 0; i < 3000; ++i) ASSERT_EQ(first[i], 0x11) << "a record over another";
  }
}

// CVE-2023-52446: the types go before the map that needs them to free its values.
TEST_F(MapPatterns, AMapOutlivesItsTypes) {
  MapSpec wanted = typed(BPF_MAP_TYPE_HASH, true);
  std::weak_ptr<const Btf> types = wanted.btf;
  auto map = make(wanted);
  wanted.btf = nullptr;
  const std::uint32_t key = 1;
  ASSERT_EQ(map->user_update(&key, std::vector<std::uint8_t>(40), BPF_ANY), 0);
  hang(map->lookup(&key, 0));
  EXPECT_EQ(objects->object_count(), 1u);
  EXPECT_EQ(map->user_erase(&key), 0);
  EXPECT_EQ(objects->object_count(), 0u);
  map.reset();
  EXPECT_TRUE(types.expired());
}

// CVE-2023-53441: what a replaced entry held is not given back.
TEST_F(MapPatterns, ReplacingGivesBack) {
  for (const std::uint32_t type : {BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH}) {
    auto map = make(spec(type, 4, 8, 4));
    const std::uint32_t key = 1;
    std::vector<std::uint8_t> value = {1, 0, 0, 0, 10, 0, 0, 0};
    for (int i = 0; i < 5; ++i) ASSERT_EQ(map->user_update(&key, value, BPF_ANY), 0);
    EXPECT_EQ(host.held, 1) << type;
    map.reset();
    EXPECT_EQ(host.held, 0) << type;
  }
}

// CVE-2024-26737, CVE-2024-41045: a timer is cancelled while its element is freed.
TEST_F(MapPatterns, CancellingATimerWhileItsElementGoes) {
  auto map = make(typed(BPF_MAP_TYPE_HASH, true));
  const std::uint32_t key = 1;
  const std::vector<std::uint8_t> value(40);
  FakeClock clock;
  std::atomic<bool> is_done{false};
  std::thread other([&] {
    while (!is_done) {
      map->user_erase(&key);
      map->user_update(&key, value, BPF_ANY);
    }
  });
  for (int i = 0; i < 20'000; ++i) {
    auto* element = static_cast<std::uint8_t*>(map->lookup(&key, 0));
    if (element == nullptr) continue;
    const auto field = reinterpret_cast<std::uintptr_t>(element + 16);
    const auto place = place_of_field(*map, MapFieldKind::kTimer, field);
    ASSERT_EQ(place.map, map.get());
    deferred->init(DeferredCalls::Kind::kTimer, place, 1);
    deferred->set_function(DeferredCalls::Kind::kTimer, field,
                           {reinterpret_cast<CompiledProgram*>(0x1000), 1});
    deferred->start_timer(field, 1000, false, clock);
    deferred->cancel(field, 0);
  }
  is_done = true;
  other.join();
  map.reset();
  EXPECT_EQ(deferred->count(), 0u);
  EXPECT_EQ(deferred->next_due_ns(), UINT64_MAX);
}

// CVE-2025-68744: what hangs in a per-CPU value is not freed when it is overwritten.
TEST_F(MapPatterns, OverwritingFreesWhatHangsInEveryCpusValue) {
  for (const std::uint32_t type :
       {BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_LRU_PERCPU_HASH,
        BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH}) {
    auto map = make(typed(type, false));
    const std::uint32_t key = 1;
    const std::vector<std::uint8_t> value(map->user_value_bytes(), 0xff);
    ASSERT_EQ(map->user_update(&key, value, BPF_ANY), 0);
    for (const std::uint32_t cpu : {0u, 1u}) {
      if (cpu == 0 || map->user_value_bytes() > 40) hang(map->lookup(&key, cpu));
    }
    EXPECT_GE(objects->object_count(), 1u);
    ASSERT_EQ(map->user_update(&key, value, BPF_EXIST), 0);
    EXPECT_EQ(objects->object_count(), 0u) << type;
  }
}

// A map goes with all that hangs in its values: also in one whose element was gone already, where
// a program that still held the value put it.
TEST_F(MapPatterns, AMapThatGoesFreesWhatHangsInItsValues) {
  for (const std::uint32_t type :
       {BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_LRU_PERCPU_HASH,
        BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH}) {
    auto map = make(typed(type, false));
    const std::vector<std::uint8_t> value(map->user_value_bytes());
    for (const std::uint32_t key : {1u, 2u}) {
      ASSERT_EQ(map->user_update(&key, value, BPF_ANY), 0);
      for (const std::uint32_t cpu : {0u, 1u}) {
        if (cpu == 0 || map->user_value_bytes() > 40) hang(map->lookup(&key, cpu));
      }
    }
    const std::uint32_t gone = 2;
    void* held = map->lookup(&gone, 0);
    if (map->user_erase(&gone) == 0) hang(held);  // not in arrays
    EXPECT_GE(objects->object_count(), 2u);
    map.reset();
    EXPECT_EQ(objects->object_count(), 0u) << type;
  }
}

// ... also when the element was used again meanwhile, by a program.
TEST_F(MapPatterns, AnElementUsedAgainGivesUpWhatCameAfterItsEnd) {
  for (const std::uint32_t type : {BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_HASH}) {
    auto map = make(typed(type, false));
    std::uint32_t key = 1;
    const std::vector<std::uint8_t> value(map->user_value_bytes());
    ASSERT_EQ(map->update(&key, value.data(), BPF_ANY, 0), 0);
    void* held = map->lookup(&key, 0);
    ASSERT_EQ(map->erase(&key), 0);
    hang(held);
    key = 2;
    ASSERT_EQ(map->update(&key, value.data(), BPF_ANY, 0), 0);
    ASSERT_EQ(map->lookup(&key, 0), held);
    map.reset();
    EXPECT_EQ(objects->object_count(), 0u) << type;
  }
}

// What was put under a key after a batch had read it does not go with the batch.
TEST_F(MapPatterns, ABatchErasesTheInnerMapsThatItGave) {
  struct InnerHost final : MapHost {
    FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
    const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
    void release_program(const ProgramEntry*) noexcept override {}
    Map* acquire_map(std::uint32_t handle) noexcept override { return inner[handle].get(); }
    void release_map(Map*) noexcept override {
      if (on_release) std::exchange(on_release, nullptr)();
    }
    std::array<std::unique_ptr<Map>, 3> inner;
    std::function<void()> on_release;
  };
  InnerHost inner_host;
  for (std::uint32_t i = 0; i < 3; ++i) {
    inner_host.inner[i] = make(spec(BPF_MAP_TYPE_ARRAY, 4, 8, 1));
    inner_host.inner[i]->set_id(100 + i);
  }
  MapSpec wanted = spec(BPF_MAP_TYPE_HASH_OF_MAPS, 4, 4, 4);
  wanted.inner = std::make_shared<const MapSpec>(inner_host.inner[0]->spec());
  auto map = *create_map(wanted, options, inner_host);
  const auto put = [&](std::uint32_t key, std::uint8_t handle) {
    return map->user_update(&key, std::vector<std::uint8_t>{handle, 0, 0, 0}, BPF_ANY);
  };
  ASSERT_EQ(put(0, 0), 0);
  ASSERT_EQ(put(1, 0), 0);
  // When the first one is given up, both keys get another map.
  inner_host.on_release = [&] { EXPECT_EQ(put(0, 1) | put(1, 2), 0); };
  std::array<std::uint32_t, 2> keys{};
  std::array<std::uint32_t, 2> ids{};
  std::uint32_t cookie = 0;
  MapBatch batch{.next = &cookie, .keys = keys.data(), .values = ids.data(), .count = 2};
  EXPECT_EQ(map->user_lookup_and_erase_batch(batch), -ENOENT);
  EXPECT_EQ(batch.count, 2u);
  EXPECT_EQ(ids, (std::array<std::uint32_t, 2>{100, 100}));
  EXPECT_EQ(map->element_count(), 2);
}

// CVE-2021-4135, CVE-2023-53790: an element that is used again shows what another key had.
TEST_F(MapPatterns, AnElementUsedAgainIsFresh) {
  auto map = make(spec(BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 1));
  const std::vector<std::uint8_t> secret(map->user_value_bytes(), 0x5e);
  std::uint32_t key = 1;
  ASSERT_EQ(map->user_update(&key, secret, BPF_ANY), 0);
  ASSERT_EQ(map->user_erase(&key), 0);
  key = 2;
  const std::uint64_t mine = 1;
  ASSERT_EQ(map->update(&key, &mine, BPF_ANY, 0), 0);
  std::uint64_t others = 1;
  std::memcpy(&others, map->lookup(&key, 1), sizeof others);
  EXPECT_EQ(others, 0u);
  // Nor does it have the old one's timer.
  auto timed = make(typed(BPF_MAP_TYPE_HASH, true));
  const std::vector<std::uint8_t> value(40);
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(timed->user_update(&key, value, BPF_ANY), 0);
    const auto field = reinterpret_cast<std::uintptr_t>(timed->lookup(&key, 0)) + 16;
    const auto place = place_of_field(*timed, MapFieldKind::kTimer, field);
    ASSERT_EQ(deferred->init(DeferredCalls::Kind::kTimer, place, 1), 0) << i;
    ASSERT_EQ(timed->user_erase(&key), 0);
  }
}

// CVE-2023-0160: the lock of an update and the lock of a program wait for each other.
TEST_F(MapPatterns, LockedUpdatesAndAProgramThatHoldsTheLock) {
  auto map = make(typed(BPF_MAP_TYPE_HASH, true));
  const std::uint32_t key = 1;
  std::vector<std::uint8_t> value(40);
  ASSERT_EQ(map->user_update(&key, value, BPF_ANY), 0);
  std::atomic<bool> is_done{false};
  std::thread people([&] {
    while (!is_done) EXPECT_EQ(map->user_update(&key, value, BPF_F_LOCK), 0);
  });
  auto* element = static_cast<std::uint8_t*>(map->lookup(&key, 0));
  auto& lock = *reinterpret_cast<std::uint32_t*>(element + 8);
  for (int i = 0; i < 20'000; ++i) {
    // As a program: no calls of the map while it holds the lock, but look-ups before and after.
    while (std::atomic_ref(lock).exchange(1, std::memory_order_acquire) != 0) {
      std::this_thread::yield();
    }
    std::atomic_ref(lock).store(0, std::memory_order_release);
    ASSERT_EQ(map->lookup(&key, 0), element);
  }
  is_done = true;
  people.join();
}

// A walk by get_next_key never ends when keys are deleted and inserted behind it.
TEST_F(MapPatterns, AWalkEndsWhileKeysComeAndGo) {
  auto map = make(spec(BPF_MAP_TYPE_HASH, 4, 4, 100));
  const std::vector<std::uint8_t> value(4);
  for (std::uint32_t key = 0; key < 50; ++key) {
    ASSERT_EQ(map->user_update(&key, value, BPF_ANY), 0);
  }
  std::uint32_t steps = 0;
  std::uint32_t key = 0;
  std::uint32_t next = 0;
  const void* from = nullptr;
  // The key that was shown goes and comes again before the next is asked for.
  while (map->user_next_key(from, &next) == 0) {
    key = next;
    from = &key;
    ASSERT_EQ(map->user_erase(&key), 0);
    ASSERT_EQ(map->user_update(&key, value, BPF_ANY), 0);
    ASSERT_LT(++steps, 10'000u);
  }
  EXPECT_GE(steps, 50u);
}

// A port that goes leaves no entry that leads to it, nor the entry's program.
TEST_F(MapPatterns, SlotsOfAPortThatGoesAreEmptied) {
  for (const std::uint32_t type :
       {BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH, BPF_MAP_TYPE_XSKMAP}) {
    const bool is_xskmap = type == BPF_MAP_TYPE_XSKMAP;
    auto map = make(spec(type, 4, is_xskmap ? 4 : 8, 6));
    for (std::uint32_t key = 0; key < 6; ++key) {
      std::vector<std::uint8_t> value = {static_cast<std::uint8_t>(1 + key % 2), 0, 0, 0};
      if (!is_xskmap) value.insert(value.end(), {10, 0, 0, 0});
      ASSERT_EQ(map->user_update(&key, value, BPF_ANY), 0) << type;
    }
    EXPECT_EQ(host.held, 6);
    map->forget_sink(host.sinks[0]);
    EXPECT_EQ(host.held, 3);
    for (std::uint32_t key = 0; key < 6; ++key) {
      RedirectTarget target;
      EXPECT_EQ(map->find_redirect_target(key, target), key % 2 == 1) << type << ' ' << key;
    }
    map.reset();
    EXPECT_EQ(host.held, 0);
  }
}

// ... and takes none that leads to another one by now.
TEST_F(MapPatterns, APortThatGoesLeavesTheSlotsOfOthers) {
  for (const std::uint32_t type :
       {BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH, BPF_MAP_TYPE_XSKMAP}) {
    auto map = make(spec(type, 4, 4, 1));
    const std::uint32_t key = 0;
    std::atomic<bool> is_done{false};
    std::thread other([&] {
      while (!is_done) map->forget_sink(host.sinks[0]);
    });
    int lost = 0;
    for (int i = 0; i < 100'000; ++i) {
      map->user_update(&key, std::vector<std::uint8_t>{1, 0, 0, 0}, BPF_ANY);
      map->user_update(&key, std::vector<std::uint8_t>{2, 0, 0, 0}, BPF_ANY);
      RedirectTarget target;
      lost += map->find_redirect_target(key, target) ? 0 : 1;
    }
    is_done = true;
    other.join();
    EXPECT_EQ(lost, 0) << type;
  }
}

}  // namespace
}  // namespace lmn
