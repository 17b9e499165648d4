// SPDX-License-Identifier: Apache-2.0
//
// The loops that maps_bench.cc times: keys alone, any call on a key, a map's fast path with its
// sizes as constants, and the same in batches of lookups in flight.
//
// Each gives nanoseconds per key, the making of keys included. Threads: one. Bench code only.
#pragma once

#include <linux/bpf.h>
#include <time.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "kernel_maps.h"
#include "maps/array_fast.h"
#include "maps/hash_fast.h"
#include "maps/lpm_fast.h"
#include "maps/map.h"
#include "maps/ringbuf_map.h"

namespace lmn::bench {

inline constexpr std::uint32_t kBatch = 32;

// The processor's time of this thread: what the machine gives to others while we wait is no cost of
// ours, and the kernel leaves it out of its figure too.
struct Clock {
  using duration = std::chrono::nanoseconds;
  using time_point = std::chrono::time_point<Clock, duration>;
  static time_point now() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time_point(std::chrono::seconds(time.tv_sec) + duration(time.tv_nsec));
  }
};

template <typename Body>
double time_ns(std::uint64_t operations, Body body) {
  const auto start = Clock::now();
  body();
  const std::chrono::duration<double, std::nano> passed = Clock::now() - start;
  return passed.count() / static_cast<double>(operations);
}

template <typename T>
[[gnu::always_inline]] inline void keep(const T& value) {
  __asm__ volatile("" : : "r,m"(value) : "memory");
}

template <KeyKind kKind>
double time_keys(std::uint64_t count, std::uint32_t key_count, std::uint64_t& state) {
  return time_ns(count, [&] {
    Key key{};
    for (std::uint64_t i = 0; i < count; ++i) {
      make_key(kKind, draw_number(state, key_count), key);
      keep(&key);
    }
  });
}

template <KeyKind kKind, typename Call>
double time_calls(std::uint64_t count, std::uint32_t key_count, std::uint64_t& state, Call call) {
  return time_ns(count, [&] {
    Key key{};
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
      make_key(kKind, draw_number(state, key_count), key);
      keep(&key);
      const auto* value = static_cast<const std::uint64_t*>(call(&key));
      if (value != nullptr) sum += *value;
    }
    keep(sum);
  });
}

// The fast path of one shape of map, its sizes constant as in a compiled program, and whether it
// notes what is used; a lookup in flight takes kSteps steps and a last one.
template <KeyKind kKind, bool kIsLru = false>
struct Fast;

template <>
struct Fast<KeyKind::kIndex4> {
  struct Flight {};
  static constexpr int kSteps = 1;
  LMN_FAST explicit Fast(const Map& map)
      : table(*static_cast<const ArrayDescriptor*>(map.fast_path().descriptor)) {
    table.stride = 8;
  }
  LMN_FAST void* lookup(const Key* key) const { return array_lookup(table, key, 0); }
  template <int kStep>
  LMN_FAST void prefetch(const Key* key, Flight&) const {
    array_prefetch(table, key, 0);
  }
  LMN_FAST void* finish(const Key* key, const Flight&) const { return lookup(key); }
  ArrayDescriptor table;
};

template <bool kIsLru>
struct Fast<KeyKind::kWords16, kIsLru> {
  using Flight = std::uint64_t;
  static constexpr int kSteps = 2;
  LMN_FAST explicit Fast(const Map& map)
      : table(*static_cast<const HashDescriptor*>(map.fast_path().descriptor)) {
    table.key_size = 16;
    table.key_stride = 16;
    table.stride = 24;
    if constexpr (!kIsLru) table.marks = nullptr;
  }
  LMN_FAST void* lookup(const Key* key) const { return hash_lookup(table, key); }
  template <int kStep>
  LMN_FAST void prefetch(const Key* key, Flight& hash) const {
    if constexpr (kStep == 1) hash = hash_prefetch_bucket(table, key);
    if constexpr (kStep == 2) hash_prefetch_element(table, hash);
  }
  LMN_FAST void* finish(const Key* key, Flight hash) const { return hash_finish(table, key, hash); }
  HashDescriptor table;
};

template <typename Address>
struct FastLpm {
  using Flight = LpmFlight<Address>;
  static constexpr int kSteps = 4;
  LMN_FAST explicit FastLpm(const Map& map)
      : table(*static_cast<const LpmMapDescriptor*>(map.fast_path().descriptor)) {
    table.index.data_size = sizeof(Address) == 16 ? 16 : 4;
    table.stride = 8;
  }
  LMN_FAST void* lookup(const Key* key) const { return lpm_lookup(table, key); }
  template <int kStep>
  LMN_FAST void prefetch(const Key* key, Flight& flight) const {
    if constexpr (kStep == 1) lpm_prefetch_root(table, key, flight);
    if constexpr (kStep == 2) lpm_prefetch_node(table, flight);
    if constexpr (kStep == 3) lpm_prefetch_child(table, flight);
    if constexpr (kStep == 4) lpm_prefetch_value(table, flight);
  }
  LMN_FAST void* finish(const Key* key, const Flight& flight) const {
    return lpm_finish(table, key, flight);
  }
  LpmMapDescriptor table;
};
template <>
struct Fast<KeyKind::kLpm4> : FastLpm<LpmAddress32> {
  using FastLpm::FastLpm;
};
template <>
struct Fast<KeyKind::kLpm16> : FastLpm<LpmAddress128> {
  using FastLpm::FastLpm;
};

template <KeyKind kKind, bool kIsLru>
LMN_BIT_INSTRUCTIONS double time_fast(const Map& map, std::uint64_t count, std::uint32_t key_count,
                                      std::uint64_t& state) {
  const Fast<kKind, kIsLru> fast(map);
  const auto start = Clock::now();
  Key key{};
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    make_key(kKind, draw_number(state, key_count), key);
    keep(&key);
    const auto* value = static_cast<const std::uint64_t*>(fast.lookup(&key));
    if (value != nullptr) sum += *value;
  }
  keep(sum);
  const std::chrono::duration<double, std::nano> passed = Clock::now() - start;
  return passed.count() / static_cast<double>(count);
}

// The keys of one batch, and their lookups.
template <typename FastPath>
struct Flights {
  std::array<Key, kBatch> keys{};
  std::array<typename FastPath::Flight, kBatch> flights;

  template <int kStep>
  LMN_FAST void prefetch(const FastPath& fast) {
    if constexpr (kStep <= FastPath::kSteps) {
      for (std::uint32_t i = 0; i < kBatch; ++i) {
        fast.template prefetch<kStep>(&keys[i], flights[i]);
      }
    }
  }
};

template <KeyKind kKind, bool kIsLru>
LMN_BIT_INSTRUCTIONS double time_batches(const Map& map, std::uint64_t count,
                                         std::uint32_t key_count, std::uint64_t& state) {
  const Fast<kKind, kIsLru> fast(map);
  Flights<Fast<kKind, kIsLru>> batch;
  const auto start = Clock::now();
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < count; i += kBatch) {
    for (std::uint32_t j = 0; j < kBatch; ++j) {
      make_key(kKind, draw_number(state, key_count), batch.keys[j]);
      keep(&batch.keys[j]);
      fast.template prefetch<1>(&batch.keys[j], batch.flights[j]);
    }
    batch.template prefetch<2>(fast);
    batch.template prefetch<3>(fast);
    batch.template prefetch<4>(fast);
    for (std::uint32_t j = 0; j < kBatch; ++j) {
      const void* value = fast.finish(&batch.keys[j], batch.flights[j]);
      if (value != nullptr) sum += *static_cast<const std::uint64_t*>(value);
    }
  }
  keep(sum);
  const std::chrono::duration<double, std::nano> passed = Clock::now() - start;
  return passed.count() / static_cast<double>(count);
}

// Records of 64 bytes; the number of those that found room.
inline std::uint64_t write_records(RingbufMap& map, std::uint64_t count, std::uint64_t& state) {
  const auto& ring = *static_cast<const RingbufDescriptor*>(map.fast_path().descriptor);
  const std::array<std::uint8_t, 64> record{};
  std::uint64_t written = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    keep(draw_number(state, 1024));
    keep(&record);
    void* sample = nullptr;
    if (!ringbuf_try_reserve(ring, record.size(), sample)) sample = map.reserve(record.size());
    if (sample == nullptr) continue;
    std::memcpy(sample, record.data(), record.size());
    ++written;
    if (ringbuf_try_commit(ring, sample, BPF_RB_NO_WAKEUP, 0)) continue;
    map.submit(sample, BPF_RB_NO_WAKEUP);
  }
  return written;
}

}  // namespace lmn::bench
