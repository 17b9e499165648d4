// SPDX-License-Identifier: Apache-2.0
//
// RunContext: what a running program and its helpers may touch.
//
// Helpers get it as their sixth argument, after the five of the BPF calling convention, so that no
// helper needs a thread-local variable or knows of workers. One per worker, its per-packet part
// reset before each program run.
//
// Redirect works as in the kernel (struct bpf_redirect_info, Linux 6.18): a helper fills the slot,
// the last call wins, and whoever ran the program acts on it when the verdict is XDP_REDIRECT.
// Threads: one worker. Tested by helpers_test.cc and dataplane_test.cc.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/clock.h"
#include "packet/frame_sink.h"
#include "packet/kernel_struct.h"
#include "packet/program_entry.h"
#include "packet/xdp_buff.h"

namespace lmn {

class Btf;             // btf/btf.h; opaque here
class Map;             // maps/map.h; opaque here
class RouteTable;      // packet/route_table.h
class SocketTable;     // packet/socket_table.h
class ObjectHeap;      // maps/object_heap.h; opaque here
class DeferredCalls;   // maps/deferred_calls.h; opaque here
class ConntrackTable;  // packet/conntrack_table.h
class FdbTable;        // packet/fdb_table.h
class FlowTable;       // packet/flow_table.h
class TrapSink;        // exec/interp/trap.h; opaque here

// Where bpf_trace_printk writes. Implemented by the engine; bounded, counts what it loses.
class TraceSink {
 public:
  virtual ~TraceSink() = default;
  virtual void print(std::string_view text) noexcept = 0;
};

// What a program left for XDP_REDIRECT.
struct RedirectSlot {
  enum class Kind : std::uint8_t { kNone, kIfindex, kSink, kBroadcast };
  Kind kind = Kind::kNone;
  bool excludes_ingress = false;          // kBroadcast
  std::uint32_t ifindex = 0;              // kIfindex; for kSink the target's ifindex, for messages
  FrameSink* sink = nullptr;              // kSink
  Map* map = nullptr;                     // kSink, kBroadcast: where it came from
  const ProgramEntry* program = nullptr;  // kSink: the map entry's own program, or null
};

// A pseudo-random generator of its own per worker (xoshiro128++, Blackman and Vigna 2019), seeded
// by the engine; a fixed seed replays a run.
struct PrandomState {
  std::uint32_t s[4] = {0x9e3779b9, 0x243f6a88, 0xb7e15162, 0x3c6ef372};
  void seed(std::uint64_t value) noexcept;
  std::uint32_t next() noexcept;
};

// Turns an ifindex into the sink that transmits there; implemented by the engine.
class PortDirectory {
 public:
  virtual ~PortDirectory() = default;
  virtual FrameSink* find_sink(std::uint32_t ifindex) noexcept = 0;
  // The MTU of the port with this ifindex; none when there is no such port.
  virtual std::optional<std::uint32_t> find_mtu(std::uint32_t /*ifindex*/) noexcept {
    return std::nullopt;
  }
  // Its name; empty when there is no such port.
  virtual std::string_view find_name(std::uint32_t /*ifindex*/) noexcept { return {}; }
};

// The keys of SYN cookies: chosen at random by the engine once, the same for all its workers.
using CookieKey = std::array<std::uint64_t, 2>;
struct CookieSecret {
  CookieKey first{};
  CookieKey second{};
};

// A ring buffer's record between reserve and submit. Programs give back what they hold; for one
// that is stopped, whoever runs it does, or the ring would stand still at that record.
struct HeldRecord {
  void* sample = nullptr;
  Map* ring = nullptr;
  void (*discard)(Map& ring, void* sample) noexcept = nullptr;
};

class HeldRecords {
 public:
  static constexpr std::size_t kMax = 64;

  bool is_full() const noexcept { return count_ == kMax; }
  std::size_t count() const noexcept { return count_; }
  // REQUIRES: !is_full().
  void add(const HeldRecord& record) noexcept { records_[count_++] = record; }
  // The ring that `sample` belongs to, which is then held no longer; null when it is not held.
  Map* take(const void* sample) noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      if (records_[i].sample != sample) continue;
      Map* ring = records_[i].ring;
      records_[i] = records_[--count_];
      return ring;
    }
    return nullptr;
  }
  void discard_all() noexcept {
    while (count_ > 0) {
      const HeldRecord& record = records_[--count_];
      record.discard(*record.ring, record.sample);
    }
  }

 private:
  std::array<HeldRecord, kMax> records_;
  std::size_t count_ = 0;
};

// The spin lock that the run holds, at most one: a 32-bit word in a map's value, 1 while it is
// taken. As with records, whoever stops a run gives it back.
class HeldLock {
 public:
  bool is_held() const noexcept { return word_ != nullptr; }
  bool is(const void* word) const noexcept { return word_ == word; }
  void set(std::uint32_t* word) noexcept { word_ = word; }
  // Opens the lock; nothing when none is held.
  void release() noexcept {
    if (word_ == nullptr) return;
    std::atomic_ref<std::uint32_t>(*word_).store(0, std::memory_order_release);
    word_ = nullptr;
  }

 private:
  std::uint32_t* word_ = nullptr;
};

// The resilient locks (bpf_res_spin_lock) that the run holds.
class HeldResilientLocks {
 public:
  static constexpr std::size_t kMax = 31;  // the kernel's table of a CPU

  bool is_full() const noexcept { return count_ == kMax; }
  bool is_empty() const noexcept { return count_ == 0; }
  bool holds(const void* word) const noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      if (words_[i] == word) return true;
    }
    return false;
  }
  // REQUIRES: !is_full().
  void add(std::uint32_t* word) noexcept { words_[count_++] = word; }
  // Opens the lock; nothing when it is not held.
  void release(const std::uint32_t* word) noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      if (words_[i] != word) continue;
      std::atomic_ref<std::uint32_t>(*words_[i]).store(0, std::memory_order_release);
      words_[i] = words_[--count_];
      return;
    }
  }
  void release_all() noexcept {
    while (count_ > 0) release(words_[count_ - 1]);
  }

 private:
  std::array<std::uint32_t*, kMax> words_{};
  std::size_t count_ = 0;
};

// A function of a program, to be called later.
struct DeferredFunction {
  CompiledProgram* program = nullptr;  // null: none
  std::uint64_t function = 0;          // the value that the program has for it
};

// One that is due: it is called with map, key and value.
struct DeferredCall {
  std::uint32_t number = 0;  // of DeferredCalls
  DeferredFunction function;
  Map* map = nullptr;
  void* value = nullptr;
};

// Tables that change while a worker runs: asked before each of its rounds, it sets those members of
// the context that it is for.
class TableSource {
 public:
  virtual ~TableSource() = default;
  virtual void refresh(struct RunContext& context) noexcept = 0;
};

struct RunContext {
  XdpBuff* buff = nullptr;  // the packet being processed
  RedirectSlot redirect;
  const Clock* clock = nullptr;
  TraceSink* trace = nullptr;
  PortDirectory* ports = nullptr;
  HeldRecords held_records;
  HeldLock held_lock;
  HeldResilientLocks held_resilient;
  const CookieSecret* cookie_secret = nullptr;  // null: no SYN cookies here
  const RouteTable* routes = nullptr;           // null: nothing is routed here
  const Btf* kernel_types = nullptr;            // null: bpf_snprintf_btf knows none
  const SocketTable* sockets = nullptr;         // null: there are no sockets here
  ConntrackTable* conntrack = nullptr;          // null: no connections are known here
  FdbTable* fdb = nullptr;                      // null: there are no bridges here
  const FlowTable* flows = nullptr;             // null: no flow goes on by itself
  // The structs of the objects that calls give; empty: only their addresses are known.
  std::span<const KernelStruct> kernel_structs;
  KernelObjects* kernel_objects = nullptr;  // null: only calls lead to them
  ObjectHeap* objects = nullptr;            // null: no allocated objects here
  DeferredCalls* deferred = nullptr;        // null: no timers and works here
  std::uint32_t deferred_running = 0;       // number of the call that runs now; 0: a program
  TableSource* tables = nullptr;            // null: all tables stay as they are
  PrandomState prandom;
  std::uint32_t cpu = 0;        // bpf_get_smp_processor_id and the slot of per-CPU maps
  std::uint32_t cpu_count = 1;  // slots of per-CPU maps and objects
  std::uint32_t numa_node = 0;
  TrapSink* traps = nullptr;            // told why the checked interpreter stopped a run
  std::uint64_t trapped_count = 0;      // runs that the checked interpreter stopped; only goes up
  std::uint64_t packet_generation = 0;  // goes up whenever data/data_end may have moved
  // Set by the executing engine for helpers that call back into the program (bpf_loop, ...): runs
  // the function value with arguments r1..r5 and gives its r0.
  std::uint64_t (*call_back)(void* engine_state, std::uint64_t function,
                             std::span<const std::uint64_t> args) noexcept = nullptr;
  // Set by the executing engine for helpers that take an address as a number (the %s of a print,
  // bpf_probe_read_kernel): copies what the program may read from `address` on, at most out.size()
  // bytes, and gives how many; 0 when it may read nothing there.
  std::size_t (*read_guest)(void* engine_state, std::uint64_t address,
                            std::span<std::uint8_t> out) noexcept = nullptr;
  // Set by the executing engine for helpers that cannot go on (a lock that never opens): stops the
  // program as soon as the helper returns.
  void (*stop)(void* engine_state) noexcept = nullptr;
  // Set by the executing engine for helpers that keep a function of the program to be called later.
  DeferredFunction (*defer)(void* engine_state, std::uint64_t function) noexcept = nullptr;
  void* engine_state = nullptr;
  // The helper prints of this run may read the running program's name (messages only).
  std::string_view program_name;
};

// Every helper's shape. Pointers are host addresses that the caller has checked by the helper's
// HelperProto.
using HelperFn = std::uint64_t (*)(std::uint64_t r1, std::uint64_t r2, std::uint64_t r3,
                                   std::uint64_t r4, std::uint64_t r5,
                                   RunContext* context) noexcept;

}  // namespace lmn
