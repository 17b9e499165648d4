// SPDX-License-Identifier: Apache-2.0
//
// What operations on maps cost: ours beside the kernel's, and whether the limits hold.
//
// One line per operation: the kernel's (a program of eight under BPF_PROG_TEST_RUN), ours through
// Map's virtual functions, through the inline fast path with the map's sizes as constants (as a
// compiled program has them), and in batches of 32 lookups in flight. All in nanoseconds per
// operation, less the loop that makes the keys; median of kRounds rounds, kernel and ours in turns;
// behind it the spread, (greatest - least) / median. Keys are drawn at random from all that are
// there; for tries from all addresses ("destinations") or, which is harder, from those that the
// prefixes were made of. Exit status 1 when a limit is broken: what is judged is the fastest round,
// since on a shared machine that is what the code can do, and the rest is what else ran. Without
// the right to load programs the kernel's columns are empty, and limits that compare with it are
// not judged.
//
//   ./dev bench maps
//   build/release/bench/bench_maps LPM          only the rows with this in their name, no limits
#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "kernel_maps.h"
#include "maps/array_fast.h"
#include "maps/hash_fast.h"
#include "maps/lpm_fast.h"
#include "maps/map.h"
#include "maps/ringbuf_map.h"

namespace lmn::bench {
namespace {

constexpr int kRounds = 7;
constexpr std::uint32_t kBatch = 32;

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

// --- what is measured

struct Times {
  std::vector<double> rounds;
  void add(double ns) { rounds.push_back(ns); }
  bool is_empty() const { return rounds.empty(); }
  double median() const {
    if (rounds.empty()) return 0;
    std::vector<double> sorted = rounds;
    std::ranges::sort(sorted);
    return sorted[sorted.size() / 2];
  }
  double best() const { return rounds.empty() ? 0 : std::ranges::min(rounds); }
  std::string text() const {
    if (rounds.empty()) return fmt::format("{:>15}", "-");
    const auto [least, most] = std::ranges::minmax(rounds);
    const double spread = median() > 0 ? (most - least) / median() * 100 : 0;
    return fmt::format("{:>8.1f} {:>5.0f}%", median(), spread);
  }
};

struct Row {
  std::string name;
  Times kernel;
  Times virtual_call;
  Times fast;
  Times batch;
  double kernel_bytes = 0;  // per entry
  double our_bytes = 0;
};

struct Scenario {
  std::string name;
  std::uint32_t type;
  KeyKind keys;
  std::uint32_t entries;
  Operation operation = Operation::kLookup;
  std::uint32_t key_count = 0;  // keys to draw from; 0: those that are there
};

std::uint32_t count_of(const Scenario& s) { return s.key_count != 0 ? s.key_count : s.entries; }
bool is_lpm(const Scenario& s) { return s.type == BPF_MAP_TYPE_LPM_TRIE; }

MapSpec spec_of(const Scenario& s) {
  if (s.operation == Operation::kRingOutput) {
    return {.name = "b", .type = s.type, .max_entries = s.entries};
  }
  return {.name = "b",
          .type = s.type,
          .key_size = key_bytes(s.keys),
          .value_size = 8,
          .max_entries = s.entries,
          .map_flags = is_lpm(s) ? std::uint32_t{BPF_F_NO_PREALLOC} : 0u};
}

// The length of prefix `number` of a trie: like an Internet table, most are /24 (/48), some
// shorter, few longer.
std::uint32_t prefix_length(KeyKind keys, std::uint64_t number) {
  constexpr std::array<std::uint32_t, 16> kV4 = {24, 24, 24, 24, 24, 24, 24, 24,
                                                 24, 23, 22, 21, 20, 19, 16, 29};
  constexpr std::array<std::uint32_t, 16> kV6 = {48, 48, 48, 48, 48, 48, 48, 48,
                                                 44, 40, 40, 36, 32, 32, 29, 64};
  return keys == KeyKind::kLpm4 ? kV4[number % 16] : kV6[number % 16];
}

// --- our side

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
  const double empty = time_keys<kKind>(count, key_count, state);
  return time_ns(count,
                 [&] {
                   Key key{};
                   std::uint64_t sum = 0;
                   for (std::uint64_t i = 0; i < count; ++i) {
                     make_key(kKind, draw_number(state, key_count), key);
                     keep(&key);
                     const auto* value = static_cast<const std::uint64_t*>(call(&key));
                     if (value != nullptr) sum += *value;
                   }
                   keep(sum);
                 }) -
         empty;
}

// The fast path of one shape of map, its sizes constant as in a compiled program.
template <KeyKind kKind>
struct Fast;

template <>
struct Fast<KeyKind::kIndex4> {
  explicit Fast(const Map& map)
      : table(*static_cast<const ArrayDescriptor*>(map.fast_path().descriptor)) {
    table.stride = 8;
  }
  LMN_FAST void* lookup(const Key* key) const { return array_lookup(table, key, 0); }
  LMN_FAST int begin(const Key* key) const { return array_prefetch(table, key, 0), 0; }
  LMN_FAST void go_on(int) const {}
  LMN_FAST void* finish(const Key* key, int) const { return lookup(key); }
  ArrayDescriptor table;
};

template <>
struct Fast<KeyKind::kWords16> {
  explicit Fast(const Map& map)
      : table(*static_cast<const HashDescriptor*>(map.fast_path().descriptor)) {
    table.key_size = 16;
    table.key_stride = 16;
    table.stride = 24;
  }
  LMN_FAST void* lookup(const Key* key) const { return hash_lookup(table, key); }
  LMN_FAST std::uint64_t begin(const Key* key) const { return hash_prefetch_bucket(table, key); }
  LMN_FAST void go_on(std::uint64_t hash) const { hash_prefetch_element(table, hash); }
  LMN_FAST void* finish(const Key* key, std::uint64_t hash) const {
    return hash_finish(table, key, hash);
  }
  HashDescriptor table;
};

template <std::uint32_t kDataSize>
struct FastLpm {
  explicit FastLpm(const Map& map)
      : table(*static_cast<const LpmMapDescriptor*>(map.fast_path().descriptor)) {
    table.index.data_size = kDataSize;
  }
  static const std::uint8_t* data(const Key* key) {
    return reinterpret_cast<const std::uint8_t*>(key) + 4;
  }
  LMN_FAST void* lookup(const Key* key) const { return lpm_lookup(table, key); }
  LMN_FAST const std::uint64_t* begin(const Key* key) const {
    return lpm_prefetch_root(table.index, data(key));
  }
  LMN_FAST void go_on(const std::uint64_t* root) const { lpm_prefetch_node(table.index, root); }
  LMN_FAST void* finish(const Key* key, const std::uint64_t*) const { return lookup(key); }
  LpmMapDescriptor table;
};
template <>
struct Fast<KeyKind::kLpm4> : FastLpm<4> {
  using FastLpm::FastLpm;
};
template <>
struct Fast<KeyKind::kLpm16> : FastLpm<16> {
  using FastLpm::FastLpm;
};

template <KeyKind kKind>
LMN_BIT_INSTRUCTIONS double time_fast(const Map& map, std::uint64_t count, std::uint32_t key_count,
                                      std::uint64_t& state) {
  const Fast<kKind> fast(map);
  const double empty = time_keys<kKind>(count, key_count, state);
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
  return passed.count() / static_cast<double>(count) - empty;
}

template <KeyKind kKind>
LMN_BIT_INSTRUCTIONS double time_batches(const Map& map, std::uint64_t count,
                                         std::uint32_t key_count, std::uint64_t& state) {
  const Fast<kKind> fast(map);
  const double empty = time_keys<kKind>(count, key_count, state);
  std::array<Key, kBatch> keys{};
  std::array<decltype(fast.begin(keys.data())), kBatch> tokens;
  const auto start = Clock::now();
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < count; i += kBatch) {
    for (std::uint32_t j = 0; j < kBatch; ++j) {
      make_key(kKind, draw_number(state, key_count), keys[j]);
      keep(&keys[j]);
      tokens[j] = fast.begin(&keys[j]);
    }
    for (std::uint32_t j = 0; j < kBatch; ++j) fast.go_on(tokens[j]);
    for (std::uint32_t j = 0; j < kBatch; ++j) {
      const auto* value = static_cast<const std::uint64_t*>(fast.finish(&keys[j], tokens[j]));
      if (value != nullptr) sum += *value;
    }
  }
  keep(sum);
  const std::chrono::duration<double, std::nano> passed = Clock::now() - start;
  return passed.count() / static_cast<double>(count) - empty;
}

std::uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  statm >> size >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

class OurMap {
 public:
  explicit OurMap(const Scenario& s) : scenario_(s) {
    const std::uint64_t before = resident_bytes();
    auto map = create_map(spec_of(s), {.cpu_count = 2, .hash_seed = 0x1234567}, host_);
    if (!map) return;
    map_ = std::move(*map);
    if (s.operation == Operation::kRingOutput) return;
    Key key{};
    const std::uint64_t value = 1;
    for (std::uint32_t i = 0; i < s.entries; ++i) {
      make_key(s.keys, i, key);
      if (is_lpm(s)) {
        const std::uint32_t length = prefix_length(s.keys, i);
        std::memcpy(&key, &length, sizeof length);
      }
      map_->update(&key, &value, 0, 0);
    }
    bytes_ = static_cast<double>(resident_bytes() - before);
  }
  bool is_made() const { return map_ != nullptr; }
  // Of all its memory, for each entry. Tries drop duplicates, so the count is the map's own.
  double bytes_per_entry() const { return bytes_ / scenario_.entries; }

  void measure(Row& row, std::uint64_t count) {
    switch (scenario_.keys) {
      case KeyKind::kIndex4:
        return measure_as<KeyKind::kIndex4>(row, count);
      case KeyKind::kWords16:
        return measure_as<KeyKind::kWords16>(row, count);
      case KeyKind::kLpm4:
        return measure_as<KeyKind::kLpm4>(row, count);
      case KeyKind::kLpm16:
        return measure_as<KeyKind::kLpm16>(row, count);
    }
  }

 private:
  template <KeyKind kKind>
  void measure_as(Row& row, std::uint64_t count) {
    const std::uint32_t key_count = count_of(scenario_);
    Map& map = *map_;
    if (scenario_.operation == Operation::kRingOutput) return measure_ring(row, count);
    if (scenario_.operation == Operation::kUpdate) {
      const std::uint64_t value = 1;
      row.virtual_call.add(
          time_calls<kKind>(count, key_count, state_, [&](const Key* key) -> void* {
            map.update(key, &value, 0, 0);
            return nullptr;
          }));
      return;
    }
    row.virtual_call.add(time_calls<kKind>(count, key_count, state_,
                                           [&](const Key* key) { return map.lookup(key, 0); }));
    row.fast.add(time_fast<kKind>(map, count, key_count, state_));
    row.batch.add(time_batches<kKind>(map, count, key_count, state_));
  }
  void measure_ring(Row& row, std::uint64_t count) {
    auto& ring = static_cast<RingbufMap&>(*map_);
    const std::array<std::uint8_t, 64> record{};
    const double empty = time_keys<KeyKind::kIndex4>(count, count_of(scenario_), state_);
    std::uint64_t written = 0;
    row.virtual_call.add(time_ns(count,
                                 [&] {
                                   for (std::uint64_t i = 0; i < count; ++i) {
                                     keep(draw_number(state_, count_of(scenario_)));
                                     written += ring.output(record, BPF_RB_NO_WAKEUP) == 0;
                                   }
                                 }) -
                         empty);
    if (written != count) fmt::print("ring buffer: {} of {} records fit\n", written, count);
    ring.consume([](std::span<const std::uint8_t>) {});
  }

  Scenario scenario_;
  NoHost host_;
  std::unique_ptr<Map> map_;
  double bytes_ = 0;
  std::uint64_t state_ = 1;
};

// --- the kernel's side

std::uint64_t slab_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  std::string word;
  std::uint64_t kilobytes = 0;
  while (meminfo >> word) {
    if (word == "Slab:" && meminfo >> kilobytes) break;
  }
  return kilobytes * 1024;
}

// What the kernel says that the map takes, which leaves out what a trie allocates later.
double memlock_bytes(int fd) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(fd));
  std::string word;
  double bytes = 0;
  while (info >> word) {
    if (word == "memlock:" && info >> bytes) break;
  }
  return bytes;
}

class KernelSide {
 public:
  explicit KernelSide(const Scenario& s) : scenario_(s) {
    if (why_no_kernel_oracle()) return;
    const MapSpec spec = spec_of(s);
    const std::uint64_t slab_before = slab_bytes();
    map_ = KernelMap::create({.type = spec.type,
                              .key_size = spec.key_size,
                              .value_size = spec.value_size,
                              .max_entries = spec.max_entries,
                              .flags = spec.map_flags});
    if (!map_.is_created()) return;
    fill();
    bytes_ = memlock_bytes(map_.fd());
    if (is_lpm(s)) bytes_ = static_cast<double>(slab_bytes()) - static_cast<double>(slab_before);
    loop_ =
        KernelLoop::create(map_, {.operation = s.operation, .keys = s.keys, .count = count_of(s)});
    if (s.operation == Operation::kRingOutput) {
      void* at = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map_.fd(), 0);
      if (at == MAP_FAILED) loop_.reset();
      consumer_ = static_cast<std::uint64_t*>(at);
    }
  }
  double bytes_per_entry() const { return bytes_ / scenario_.entries; }

  void measure(Row& row, std::uint64_t count) {
    if (!loop_) return;
    const auto repeat = static_cast<std::uint32_t>(count / KernelLoop::kOperations);
    const double empty = loop_->run_empty(repeat);
    row.kernel.add(loop_->run(repeat) - empty);
    if (consumer_ != nullptr) {
      const auto written = repeat * std::uint64_t{KernelLoop::kOperations} * 72;
      __atomic_store_n(consumer_, *consumer_ + written, __ATOMIC_RELEASE);
    }
  }

 private:
  void fill() {
    if (scenario_.operation == Operation::kRingOutput) return;
    if (is_lpm(scenario_)) {
      Key key{};
      const std::uint64_t value = 1;
      for (std::uint32_t i = 0; i < scenario_.entries; ++i) {
        make_key(scenario_.keys, i, key);
        const std::uint32_t length = prefix_length(scenario_.keys, i);
        std::memcpy(&key, &length, sizeof length);
        map_.update({reinterpret_cast<const std::uint8_t*>(&key), key_bytes(scenario_.keys)},
                    {reinterpret_cast<const std::uint8_t*>(&value), sizeof value});
      }
      return;
    }
    const auto filler = KernelLoop::create(
        map_, {.operation = Operation::kUpdate, .keys = scenario_.keys, .is_sequential = true});
    if (filler) filler->run(scenario_.entries / KernelLoop::kOperations);
  }

  Scenario scenario_;
  KernelMap map_ = KernelMap::create({.type = UINT32_MAX});
  std::optional<KernelLoop> loop_;
  double bytes_ = 0;
  std::uint64_t* consumer_ = nullptr;
};

// --- the table

Row measure(const Scenario& s) {
  Row row{.name = s.name};
  const bool is_large = s.entries > 100'000 || s.operation != Operation::kLookup;
  const std::uint64_t count = is_large ? 640'000 : 3'200'000;
  OurMap ours(s);
  KernelSide kernel(s);
  if (!ours.is_made()) return row;
  Row warm_up;
  ours.measure(warm_up, count);
  kernel.measure(warm_up, count);
  for (int round = 0; round < kRounds; ++round) {
    kernel.measure(row, count);
    ours.measure(row, count);
  }
  if (s.operation == Operation::kLookup && s.keys != KeyKind::kIndex4) {
    row.our_bytes = ours.bytes_per_entry();
    row.kernel_bytes = kernel.bytes_per_entry();
  }
  fmt::print("{:<26} {} {} {} {}", row.name, row.kernel.text(), row.virtual_call.text(),
             row.fast.text(), row.batch.text());
  if (row.our_bytes > 0) fmt::print(" {:>7.1f} {:>7.1f}", row.kernel_bytes, row.our_bytes);
  fmt::print("\n");
  std::fflush(stdout);
  return row;
}

struct Judge {
  int broken = 0;
  void hold(const std::string& what, double value, double limit) {
    const bool holds = value <= limit;
    broken += !holds;
    fmt::print("{:<6} {:<44} {:>8.1f}, limit {:.1f}\n", holds ? "ok" : "BROKEN", what, value,
               limit);
  }
};

std::vector<Scenario> scenarios() {
  constexpr std::uint32_t kMillion = 1u << 20;
  constexpr std::uint32_t kAny = 0x7fffffff;  // draws all addresses
  return {
      {"array 1 k", BPF_MAP_TYPE_ARRAY, KeyKind::kIndex4, 1024},
      {"per-CPU array 1 k", BPF_MAP_TYPE_PERCPU_ARRAY, KeyKind::kIndex4, 1024},
      {"hash 1 k", BPF_MAP_TYPE_HASH, KeyKind::kWords16, 1024},
      {"hash 1 k, half misses", BPF_MAP_TYPE_HASH, KeyKind::kWords16, 1024, Operation::kLookup,
       2048},
      {"hash 1 k, update", BPF_MAP_TYPE_HASH, KeyKind::kWords16, 1024, Operation::kUpdate},
      {"hash 8 M", BPF_MAP_TYPE_HASH, KeyKind::kWords16, 8 * kMillion},
      {"LRU 1 M", BPF_MAP_TYPE_LRU_HASH, KeyKind::kWords16, kMillion},
      {"LRU 1 M, update, evicting", BPF_MAP_TYPE_LRU_HASH, KeyKind::kWords16, kMillion,
       Operation::kUpdate, 64 * kMillion},
      {"LPM IPv4 10 k", BPF_MAP_TYPE_LPM_TRIE, KeyKind::kLpm4, 10'000, Operation::kLookup, kAny},
      {"LPM IPv4 500 k", BPF_MAP_TYPE_LPM_TRIE, KeyKind::kLpm4, 500'000, Operation::kLookup, kAny},
      {"LPM IPv6 10 k", BPF_MAP_TYPE_LPM_TRIE, KeyKind::kLpm16, 10'000, Operation::kLookup, kAny},
      {"LPM IPv6 500 k", BPF_MAP_TYPE_LPM_TRIE, KeyKind::kLpm16, 500'000, Operation::kLookup, kAny},
      {"LPM IPv4 10 k, hits", BPF_MAP_TYPE_LPM_TRIE, KeyKind::kLpm4, 10'000},
      {"LPM IPv4 500 k, hits", BPF_MAP_TYPE_LPM_TRIE, KeyKind::kLpm4, 500'000},
      {"LPM IPv6 10 k, hits", BPF_MAP_TYPE_LPM_TRIE, KeyKind::kLpm16, 10'000},
      {"LPM IPv6 500 k, hits", BPF_MAP_TYPE_LPM_TRIE, KeyKind::kLpm16, 500'000},
      {"ring buffer output 64 B", BPF_MAP_TYPE_RINGBUF, KeyKind::kIndex4, 64 * kMillion,
       Operation::kRingOutput, 1024},
  };
}

int judge(const std::vector<Row>& rows) {
  const auto row = [&](const std::string& name) -> const Row& {
    return *std::ranges::find(rows, name, &Row::name);
  };
  Judge judge;
  judge.hold("hash 1 k, fast path", row("hash 1 k").fast.best(), 5);
  judge.hold("hash 8 M, fast path", row("hash 8 M").fast.best(), 90);
  judge.hold("hash 8 M, batches", row("hash 8 M").batch.best(), 30);
  for (const std::string family : {"LPM IPv4", "LPM IPv6"}) {
    judge.hold(family + " 10 k, batches", row(family + " 10 k").batch.best(), 10);
    judge.hold(family + " 500 k, batches", row(family + " 500 k").batch.best(), 25);
  }
  const Row& eviction = row("LRU 1 M, update, evicting");
  if (!eviction.kernel.is_empty()) {
    judge.hold("LRU eviction, a third of the kernel's", eviction.virtual_call.best(),
               eviction.kernel.best() / 3);
  }
  for (const std::string name : {"hash 8 M", "LRU 1 M", "LPM IPv4 500 k", "LPM IPv6 500 k"}) {
    if (row(name).kernel_bytes <= 0) continue;
    judge.hold(name + ", bytes per entry, the kernel's", row(name).our_bytes,
               row(name).kernel_bytes);
  }
  return judge.broken == 0 ? 0 : 1;
}

int run(const std::string& filter) {
  fmt::print("{:<26} {:>15} {:>15} {:>15} {:>15} {:>15}\n", "ns per operation, net", "kernel",
             "ours, Map", "fast path", "batches of 32", "bytes per entry");
  std::vector<Row> rows;
  for (const Scenario& s : scenarios()) {
    if (s.name.find(filter) != std::string::npos) rows.push_back(measure(s));
  }
  return filter.empty() ? judge(rows) : 0;
}

}  // namespace
}  // namespace lmn::bench

int main(int argc, char** argv) { return lmn::bench::run(argc > 1 ? argv[1] : ""); }
