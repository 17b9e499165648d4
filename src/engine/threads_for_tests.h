// SPDX-License-Identifier: Apache-2.0
//
// EngineThreads: an engine, its worker on a thread, and what holds it in the middle of a batch; for
// tests of what control threads change meanwhile.
//
// Internal to the engine's tests. Threads: the test's, the worker's, and what the test makes.
// Tested by engine_threads_test.cc and inner_maps_test.cc, which use it.
#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "engine/specs_for_tests.h"

namespace lmn {

inline int write_slot(Map& map, std::uint32_t key, std::uint32_t value) {
  std::array<std::uint8_t, 4> bytes;
  std::memcpy(bytes.data(), &value, sizeof value);
  return map.user_update(&key, bytes, BPF_ANY);
}

// Long enough for another thread to do what it must not do.
template <typename IsEnough>
void give_others_time(IsEnough is_enough) {
  for (int i = 0; i < 20'000 && !is_enough(); ++i) ::sched_yield();
}

inline bool is_mapped(const void* address) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto at = reinterpret_cast<std::uintptr_t>(address) / page * page;
  unsigned char resident = 0;
  return ::mincore(reinterpret_cast<void*>(at), page, &resident) == 0;
}

inline void wait_until_freed(const void* address) {
  for (int i = 0; i < 1'000'000 && is_mapped(address); ++i) ::sched_yield();
  EXPECT_FALSE(is_mapped(address));
}

// A gate in the middle of a batch: the thread that comes through tells and waits.
class Gate {
 public:
  void come_through() {
    if (!is_closed_.exchange(false)) return;
    arrived_.release();
    go_on_.acquire();
  }
  void close() { is_closed_ = true; }
  void wait_for_arrival() { arrived_.acquire(); }
  void open() { go_on_.release(); }

 private:
  std::atomic<bool> is_closed_{false};
  std::binary_semaphore arrived_{0};
  std::binary_semaphore go_on_{0};
};

// A port that sends into nothing; each flush goes through a gate.
class GatePort final : public Port {
 public:
  GatePort(Engine& engine, std::string name, Gate& gate, std::atomic<bool>& is_gone)
      : is_gone_(is_gone), tx_(gate) {
    info_.name = std::move(name);
    info_.ifindex = engine.port_resources().next_own_ifindex++;
  }
  ~GatePort() override {
    EXPECT_FALSE(tx_.is_flushing) << "freed in its own flush";
    is_gone_ = true;
  }
  RxQueue& rx_queue() override { return rx_; }
  TxQueue& tx_queue() override { return tx_; }

 private:
  class Rx final : public RxQueue {
   public:
    std::size_t receive(FrameBatch&) noexcept override { return 0; }
    bool is_exhausted() const noexcept override { return true; }
  };
  class Tx final : public TxQueue {
   public:
    explicit Tx(Gate& gate) : gate_(gate) {}
    int check(std::uint32_t) const noexcept override { return 0; }
    void enqueue(XdpFrame* frame) noexcept override { held_.push_back(frame); }
    void flush() noexcept override {
      is_flushing = true;
      gate_.come_through();
      for (XdpFrame* frame : held_) free_frame(frame);
      counters_.add(Counter::kTxPackets, held_.size());
      held_.clear();
      is_flushing = false;
    }
    std::uint64_t pending() const noexcept override { return held_.size(); }
    bool is_flushing = false;

   private:
    Gate& gate_;
    std::vector<XdpFrame*> held_;
  };
  std::atomic<bool>& is_gone_;
  Rx rx_;
  Tx tx_;
};

class EngineThreads : public ::testing::Test {
 protected:
  EngineThreads() : engine_(make_engine()) {}
  ~EngineThreads() override { stop(); }

  std::unique_ptr<Engine> make_engine() {
    EngineOptions options;
    options.log = &log_;
    options.seed = 1;
    options.frame_count = 512;
    return *Engine::create(options);
  }
  LoadedObject* load(std::initializer_list<ProgramSpec> programs,
                     std::initializer_list<MapSpec> maps = {}) {
    ObjectSpec spec;
    spec.programs = programs;
    spec.maps = maps;
    for (ProgramSpec& program : spec.programs) {
      for (std::uint32_t i = 0; i < spec.maps.size(); ++i) program.maps.push_back(i);
    }
    auto object = engine_->load(spec, {});
    EXPECT_TRUE(object.has_value()) << object.error().to_string();
    return object ? *object : nullptr;
  }
  Port& open(const std::string& text) {
    auto ports = engine_->open_port(text);
    EXPECT_TRUE(ports.has_value()) << ports.error().to_string();
    return *(*ports)[0];
  }
  GatePort& open_gate() {
    return static_cast<GatePort&>(
        engine_->adopt_port(std::make_unique<GatePort>(*engine_, "gate", gate_, is_gone_)));
  }
  void start() {
    thread_ = std::thread([this] { engine_->run({}); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    engine_->stop();
    thread_.join();
    EXPECT_EQ(engine_->accounting_error(), "");
  }
  static std::uint64_t count(Port& port, Counter counter) {
    return port.rx_queue().counters().get(counter);
  }
  // Until the worker has gone on by that many of them.
  static void wait_for_more(Port& port, Counter counter, std::uint64_t more = 1) {
    const std::uint64_t wanted = count(port, counter) + more;
    while (count(port, counter) < wanted) ::sched_yield();
  }

  MemoryLog log_;
  Gate gate_;
  std::atomic<bool> is_gone_{false};
  std::unique_ptr<Engine> engine_;
  std::thread thread_;
};

// Looks the inner map up by slot 0 and adds to its value.
inline constexpr std::string_view kCountInInnerMap = R"(
  *(u32 *)(r10 -4) = 0
  r2 = r10
  r2 += -4
  r1 = map[idx:0]
  call bpf_map_lookup_elem
  if r0 == 0 goto out
  r1 = r0
  r2 = r10
  r2 += -4
  call bpf_map_lookup_elem
  if r0 == 0 goto out
  r1 = 1
  lock *(u64 *)(r0 +0) += r1
out:
  r0 = 2
  exit
)";

inline MapSpec outer_spec(std::uint32_t type) {
  MapSpec outer = map_spec("outer", type, 4, 1);
  outer.inner = std::make_shared<const MapSpec>(map_spec("inner", BPF_MAP_TYPE_ARRAY, 8, 1));
  return outer;
}

}  // namespace lmn
