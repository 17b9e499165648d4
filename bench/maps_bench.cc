// SPDX-License-Identifier: Apache-2.0
//
// What operations on maps cost: ours beside the kernel's, and whether the limits hold.
//
// One line per operation: the kernel's (a program of eight under BPF_PROG_TEST_RUN), ours through
// Map's virtual functions, through the inline fast path with the map's sizes as constants (as a
// compiled program has them), and in batches of 32 lookups in flight. All in nanoseconds per
// operation, less the loop that makes the keys. Keys are drawn at random from all that are there;
// for tries from all addresses ("destinations") or, which is harder, from those that the prefixes
// were made of ("hits").
//
// There are kRounds short rounds, and in each the kernel and ours take turns, so that a busy moment
// meets all of them. The table has medians and, behind each, the half of the rounds around it:
// (third quartile - first) / median. Judged is the fastest round, since on a shared machine that is
// what the code can do, and the rest is what else ran; exit status 1 when a limit is broken.
// Without the right to load programs the kernel's columns are empty, and limits that compare with
// it are not judged.
//
//   ./dev bench maps
//   build/release/bench/bench_maps LPM          only the rows with this in their name, no limits
#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kernel_maps.h"
#include "maps/map.h"
#include "maps/ringbuf_map.h"
#include "maps_timing.h"

namespace lmn::bench {
namespace {

constexpr int kRounds = 25;

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

// --- what is measured

// Of an operation's rounds, and of rounds without the operation.
class Times {
 public:
  void add(double ns, double empty_ns) {
    rounds_.push_back(ns);
    empty_rounds_.push_back(empty_ns);
  }
  bool is_empty() const { return rounds_.empty(); }
  double median() const { return quantile(rounds_, 0.5) - quantile(empty_rounds_, 0.5); }
  // Not the least difference, which would be that of a round whose empty half was disturbed.
  double best() const { return quantile(rounds_, 0) - quantile(empty_rounds_, 0); }
  std::string text() const {
    if (is_empty()) return fmt::format("{:>15}", "-");
    const double middle_half = quantile(rounds_, 0.75) - quantile(rounds_, 0.25);
    return fmt::format("{:>8.1f} {:>5.0f}%", median(), middle_half / quantile(rounds_, 0.5) * 100);
  }

 private:
  static double quantile(std::vector<double> rounds, double part) {
    if (rounds.empty()) return 0;
    std::ranges::sort(rounds);
    return rounds[static_cast<std::size_t>(part * static_cast<double>(rounds.size() - 1))];
  }

  std::vector<double> rounds_;
  std::vector<double> empty_rounds_;
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

// A number behind a word, in a file of the proc file system.
std::uint64_t read_number(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  std::uint64_t number = 0;
  while (file >> word) {
    if (word == name && file >> number) break;
  }
  return number;
}

// By a walk of the page tables: the counters that statm shows lag behind by megabytes.
std::uint64_t resident_bytes() { return read_number("/proc/self/smaps_rollup", "Rss:") * 1024; }

class OurMap {
 public:
  explicit OurMap(const Scenario& s) : scenario_(s) {
    // A small one first: code and tables of the process are no memory of the map.
    Scenario small = s;
    small.entries = std::min(s.entries, 4096u);
    make_map(small);
    const std::uint64_t before = resident_bytes();
    map_ = make_map(s);
    bytes_ = static_cast<double>(resident_bytes() - before);
  }
  bool is_made() const { return map_ != nullptr; }
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
  // Filled; null when it cannot be made.
  std::unique_ptr<Map> make_map(const Scenario& s) {
    auto map = create_map(spec_of(s), {.cpu_count = 2, .hash_seed = 0x1234567}, host_);
    if (!map) return nullptr;
    if (s.operation == Operation::kRingOutput) return std::move(*map);
    Key key{};
    const std::uint64_t value = 1;
    for (std::uint32_t i = 0; i < s.entries; ++i) {
      make_key(s.keys, i, key);
      if (is_lpm(s)) {
        const std::uint32_t length = prefix_length(s.keys, i);
        std::memcpy(&key, &length, sizeof length);
      }
      (*map)->update(&key, &value, 0, 0);
    }
    return std::move(*map);
  }
  template <KeyKind kKind>
  void measure_as(Row& row, std::uint64_t count) {
    const std::uint32_t key_count = count_of(scenario_);
    Map& map = *map_;
    if (scenario_.operation == Operation::kRingOutput) return measure_ring(row, count);
    const double empty = time_keys<kKind>(count, key_count, state_);
    if (scenario_.operation == Operation::kUpdate) {
      const std::uint64_t value = 1;
      const auto update = [&](const Key* key) -> void* {
        map.update(key, &value, 0, 0);
        return nullptr;
      };
      row.virtual_call.add(time_calls<kKind>(count, key_count, state_, update), empty);
      return;
    }
    const auto look_up = [&](const Key* key) { return map.lookup(key, 0); };
    row.virtual_call.add(time_calls<kKind>(count, key_count, state_, look_up), empty);
    const bool is_lru = scenario_.type == BPF_MAP_TYPE_LRU_HASH;
    if constexpr (kKind == KeyKind::kWords16) {
      if (is_lru) return measure_fast<kKind, true>(row, count, empty);
    }
    measure_fast<kKind, false>(row, count, empty);
  }
  template <KeyKind kKind, bool kIsLru>
  void measure_fast(Row& row, std::uint64_t count, double empty) {
    const std::uint32_t key_count = count_of(scenario_);
    row.fast.add(time_fast<kKind, kIsLru>(*map_, count, key_count, state_), empty);
    row.batch.add(time_batches<kKind, kIsLru>(*map_, count, key_count, state_), empty);
  }
  void measure_ring(Row& row, std::uint64_t count) {
    auto& ring = static_cast<RingbufMap&>(*map_);
    const std::array<std::uint8_t, 64> record{};
    const double empty = time_keys<KeyKind::kIndex4>(count, count_of(scenario_), state_);
    std::uint64_t written = 0;
    const auto output = [&] {
      for (std::uint64_t i = 0; i < count; ++i) {
        keep(draw_number(state_, count_of(scenario_)));
        written += ring.output(record, BPF_RB_NO_WAKEUP) == 0;
      }
    };
    const auto read_all = [&] { ring.consume([](std::span<const std::uint8_t>) {}); };
    row.virtual_call.add(time_ns(count, output), empty);
    read_all();
    const auto output_fast = [&] { written += write_records(ring, count, state_); };
    row.fast.add(time_ns(count, output_fast), empty);
    read_all();
    if (written != 2 * count) fmt::print("ring buffer: {} of {} fit\n", written, 2 * count);
  }

  Scenario scenario_;
  NoHost host_;
  std::unique_ptr<Map> map_;
  double bytes_ = 0;
  std::uint64_t state_ = 1;
};

// --- the kernel's side

std::uint64_t slab_bytes() { return read_number("/proc/meminfo", "Slab:") * 1024; }

// When what the kernel frees after a while has been freed: the maps of the row before.
std::uint64_t settled_slab_bytes() {
  std::uint64_t before = slab_bytes();
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
    const std::uint64_t now = slab_bytes();
    if (now + (1u << 20) > before) return now;
    before = now;
  }
  return before;
}

// What the kernel says that the map takes, which leaves out what a trie allocates later.
std::uint64_t memlock_bytes(int fd) {
  return read_number("/proc/self/fdinfo/" + std::to_string(fd), "memlock:");
}

class KernelSide {
 public:
  explicit KernelSide(const Scenario& s) : scenario_(s) {
    if (why_no_kernel_oracle()) return;
    map_ = create_map();
    if (!map_.is_created()) return;
    fill(map_);
    bytes_ = is_lpm(s) ? trie_bytes() : static_cast<double>(memlock_bytes(map_.fd()));
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
    row.kernel.add(loop_->run(repeat), empty);
    if (consumer_ != nullptr) {
      const auto written = repeat * std::uint64_t{KernelLoop::kOperations} * 72;
      __atomic_store_n(consumer_, *consumer_ + written, __ATOMIC_RELEASE);
    }
  }

 private:
  KernelMap create_map() const {
    const MapSpec spec = spec_of(scenario_);
    return KernelMap::create({.type = spec.type,
                              .key_size = spec.key_size,
                              .value_size = spec.value_size,
                              .max_entries = spec.max_entries,
                              .flags = spec.map_flags});
  }
  // What the kernel's allocator gives for a trie. Others use it too, and its counter lags behind by
  // hundreds of kilobytes: so it is looked at after every kEntriesTogether entries, and the median
  // counts.
  double trie_bytes() const {
    constexpr std::uint32_t kEntriesTogether = 100'000;
    constexpr std::size_t kLooks = 5;
    std::vector<KernelMap> maps;
    std::vector<double> bytes_per_entry;
    std::uint32_t at = scenario_.entries;  // in the last map
    std::uint64_t before = settled_slab_bytes();
    while (bytes_per_entry.size() < kLooks) {
      for (std::uint32_t left = kEntriesTogether; left > 0;) {
        if (at == scenario_.entries) {
          maps.push_back(create_map());
          at = 0;
        }
        const std::uint32_t end = at + std::min(left, scenario_.entries - at);
        fill_trie(maps.back(), at, end);
        left -= end - at;
        at = end;
      }
      const std::uint64_t now = slab_bytes();
      bytes_per_entry.push_back((static_cast<double>(now) - static_cast<double>(before)) /
                                kEntriesTogether);
      before = now;
    }
    std::ranges::sort(bytes_per_entry);
    return bytes_per_entry[kLooks / 2] * scenario_.entries;
  }
  void fill_trie(KernelMap& map, std::uint32_t from, std::uint32_t end) const {
    Key key{};
    const std::uint64_t value = 1;
    for (std::uint32_t i = from; i < end; ++i) {
      make_key(scenario_.keys, i, key);
      const std::uint32_t length = prefix_length(scenario_.keys, i);
      std::memcpy(&key, &length, sizeof length);
      map.update({reinterpret_cast<const std::uint8_t*>(&key), key_bytes(scenario_.keys)},
                 {reinterpret_cast<const std::uint8_t*>(&value), sizeof value});
    }
  }
  void fill(KernelMap& map) const {
    if (scenario_.operation == Operation::kRingOutput) return;
    if (is_lpm(scenario_)) return fill_trie(map, 0, scenario_.entries);
    const auto filler = KernelLoop::create(
        map, {.operation = Operation::kUpdate, .keys = scenario_.keys, .is_sequential = true});
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
  const std::uint64_t count = is_large ? 160'000 : 640'000;
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
  for (const std::string which : {"", ", hits"}) {
    for (const std::string family : {"LPM IPv4", "LPM IPv6"}) {
      judge.hold(family + " 10 k" + which + ", batches", row(family + " 10 k" + which).batch.best(),
                 10);
      judge.hold(family + " 500 k" + which + ", batches",
                 row(family + " 500 k" + which).batch.best(), 25);
    }
  }
  const Row& eviction = row("LRU 1 M, update, evicting");
  if (!eviction.kernel.is_empty()) {
    judge.hold("LRU eviction, a third of the kernel's", eviction.virtual_call.best(),
               eviction.kernel.best() / 3);
  }
  const Row& ring = row("ring buffer output 64 B");
  if (!ring.kernel.is_empty()) {
    judge.hold("ring buffer output, the kernel's", ring.fast.best(), ring.kernel.best());
  }
  for (const Row& each : rows) {
    if (each.kernel_bytes <= 0) continue;
    judge.hold(each.name + ", bytes per entry, the kernel's", each.our_bytes, each.kernel_bytes);
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
