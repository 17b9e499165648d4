// SPDX-License-Identifier: Apache-2.0
//
// Engine: the root object: owns programs, maps, ports and the worker, and is the only way to them.
//
//   auto engine = *Engine::create({});
//   LMN_TRY(LoadedObject* object, engine->load(spec, {}));
//   LMN_TRY(auto ports, engine->open_port("pcap:in=a.pcap"));
//   LMN_CHECK_OK(engine->attach(*object->programs[0], *ports[0]));
//   engine->run({});                       // until the input ends
//
// There is no global state: two engines in one process know nothing of each other (but for what
// liburcu and DPDK keep per process, later). It answers the questions that lower modules ask: what
// an ifindex or a program number stands for (MapHost, PortTable), where prints go (TraceSink).
// What a run may see is freed after a grace period of the engine's Epoch, of which the worker and
// test runs are readers: what ports run and where their frames go (attach, replace, detach), ports
// (remove_port), inner maps (close_map). Programs and the maps of objects live as long as the
// engine, so what slots and timers hold of them needs no count.
// Not done yet: pins, links, several workers, unloading an object.
// Invariants: (1) ids are never reused; (2) objects outlive everything that refers to them:
// destruction goes worker, what is retired, ports, objects, pool.
// Threads: control calls from one thread at a time, while run() is not running unless they say
// "live"; maps by their own rule; run() from one thread; stop() and trace() from any. Tested by
// engine_test.cc, engine_threads_test.cc and inner_maps_test.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/epoch.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/result.h"
#include "dataplane/worker.h"
#include "engine/cpu_queues.h"
#include "engine/host_follower.h"
#include "engine/kernel_tables.h"
#include "engine/port_table.h"
#include "engine/program.h"
#include "engine/reader_bells.h"
#include "engine/trace_buffer.h"
#include "exec/interp/trap.h"
#include "maps/deferred_calls.h"
#include "maps/object_heap.h"
#include "packet/frame_pool.h"
#include "packet/route_table.h"
#include "packet/socket_table.h"
#include "ports/port.h"
#include "spec/environment.h"
#include "spec/object_spec.h"
#include "verifier/verifier.h"

namespace lmn {

// Who runs the programs of CPU queues.
enum class CpuQueueRun : std::uint8_t {
  kAuto,     // threads, unless a seed is given: a replay has one order of things
  kThreads,  // one for each CPU number but the worker's
  kWorker,   // the worker, at the end of each round
};

struct EngineOptions {
  std::size_t frame_count = limits::kFramesDefault;
  Strictness strictness = Strictness::kTrusted;
  std::uint32_t cpu_count = 0;   // slots of per-CPU maps; 0: the host's possible CPUs
  const Clock* clock = nullptr;  // null: the system's
  Log* log = nullptr;            // null: standard error
  std::uint64_t seed = 0;        // of random numbers and hash tables; 0: from the system
  CpuQueueRun cpu_queues = CpuQueueRun::kAuto;
};

// What the verifier says of the program that it refused, for tools that explain it (explain.h).
struct LoadRefusal {
  ProgramSpec program;  // as it was judged
  Error error;
  VerifierReport report;  // fresh when the structural stage refused
};

struct LoadOptions {
  std::string object_name;            // for messages and for names of global data maps
  std::vector<std::string> programs;  // names; empty: every program of type XDP
  // Filled when load() fails because the verifier refuses a program; null: not wanted.
  std::optional<LoadRefusal>* refusal = nullptr;
};

struct TestRunOptions {
  std::uint32_t repeat = 1;
  std::uint32_t ingress_ifindex = 1;  // loopback, as the kernel's test run
  std::uint32_t rx_queue_index = 0;
  std::uint32_t metadata_bytes = 0;  // leading bytes of `packet` that are metadata
  // What a port would have told: which kinds of it there are (kMeta*), and of this packet.
  std::uint16_t port_metadata = 0;
  FrameMeta meta{};
  std::uint64_t rx_time_ns = 0;
};

struct TestRunResult {
  std::uint32_t verdict = 0;         // of the last run
  std::vector<std::uint8_t> packet;  // metadata not included
  std::uint64_t duration_ns = 0;     // average of one run
  std::vector<TrapRecord> traps;     // why runs were stopped
};

// What became of a port that was removed.
struct RemovedPort {
  std::string name;
  CounterSnapshot rx{};
  CounterSnapshot tx{};
  std::size_t dropped_frames = 0;  // that rested in it
  Result<void> output;             // the end of its output: Port::finish()
};

class Engine final : public MapHost {
 public:
  static Result<std::unique_ptr<Engine>> create(const EngineOptions& options);
  // The tables of this build as the contract that programs are judged by.
  static Environment environment(Strictness strictness);
  ~Engine() override;

  // Creates the maps that the chosen programs use, verifies and prepares the programs, fills
  // initial slots. All or nothing, and nothing that the verifier refuses: there is no switch.
  // Errors name program or map; those of programs carry rule, instruction, source line and remedy.
  Result<LoadedObject*> load(const ObjectSpec& spec, const LoadOptions& options)
      LMN_EXCLUDES(lists_lock_);
  // A map like those that `outer`, a map of maps, takes: its number is what user space writes into
  // a slot. Lives until close_map(), and as long as a slot holds it. Errors: kInvalidArgument when
  // `outer` holds no maps, and those of making maps. Live.
  Result<Map*> create_inner_map(const Map& outer) LMN_EXCLUDES(lists_lock_);
  // The caller uses an inner map no more, as when its last descriptor is closed: it is freed when
  // no slot holds it and no run can see it. Errors: kNotFound (ENOENT) for what is no inner map, or
  // is closed already. Live.
  Result<void> close_map(Map& map) LMN_EXCLUDES(lists_lock_);
  // Opens what a port specification describes: one port, or the two of a pair.
  Result<std::vector<Port*>> open_port(std::string_view spec);
  // Takes a port that the caller made (memory ports of tests and applications).
  Port& adopt_port(std::unique_ptr<Port> port);
  // Ends a port, as Linux unregisters a netdev: its program is detached, slots of maps and pass
  // sinks that lead to it become empty, and when no run can see it any more it is freed, with the
  // frames it holds. The other end of a pair stays and is down (ENETDOWN). Returns when all that is
  // done. Errors: kNotFound (ENODEV); kInvalidArgument (EDEADLK) from within a run. Live.
  Result<RemovedPort> remove_port(Port& port);
  // The port of that name, or null.
  Port* find_port(std::string_view name) const;
  const std::vector<std::unique_ptr<Port>>& ports() const { return ports_; }

  // Runs `program` on what `port` receives, in native mode, from its next batch on. Errors:
  // kInvalidArgument with errno EINVAL for programs of another type or attach type, EBUSY when the
  // port has one already. Live.
  Result<void> attach(Program& program, Port& port);
  // The same in the place of what it runs; no packet goes by without a program. Live.
  Result<void> replace(Program& program, Port& port);
  // Errors: kNotFound (ENOENT) when the port runs none. Live.
  Result<void> detach(Port& port);
  // Where PASS of `port` goes; null: counted as pass_no_stack. Live: the caller frees an old sink
  // of its own after wait_for_runs().
  void set_pass_sink(Port& port, FrameSink* sink);
  // Returns when no run is under way that saw how things were before. REQUIRES: not called from
  // within a run.
  void wait_for_runs() noexcept { epoch_.synchronize(); }

  // What bpf_fib_lookup answers from; without it no device is known there. REQUIRES: nothing runs.
  void set_routes(RouteTable routes) { routes_ = std::move(routes); }
  // Connections, bridges and flows that kernel functions answer from. REQUIRES, to change them:
  // nothing runs.
  KernelTables& kernel_tables() { return *kernel_tables_; }
  // The types that bpf_snprintf_btf shows values by: the kernel's, which CO-RE numbers mean.
  void set_kernel_types(std::shared_ptr<const Btf> types) { kernel_types_ = std::move(types); }
  // What bpf_sk_lookup_tcp and its like answer from; without it no socket is there. REQUIRES:
  // nothing runs.
  void set_sockets(SocketTable sockets) {
    sockets.take_cookie_times(sockets_);
    sockets_ = std::move(sockets);
  }

  // A descriptor to poll(2) for records of a RINGBUF: reader_bells.h. It is closed with the
  // map. Errors: kInvalidArgument (EINVAL) for maps of other types. Live.
  Result<int> reader_bell(const Map& map);

  // The tables that `options` names are the host's from now on, and follow it while the engine
  // lives. Errors: kPermission, kIo. REQUIRES: nothing runs; called once.
  Result<void> follow_host(const HostFollowOptions& options);
  // What became of it; null: nothing is followed.
  const HostFollower* host_follower() const { return host_follower_.get(); }

  RunEnd run(const RunLimits& limits);
  void stop() noexcept;
  // Ends all ports' output in good order. The first error of several.
  Result<void> finish();
  // Empty, or what of the frame accounting does not add up. Meaningful while nothing runs.
  std::string accounting_error() const;

  // BPF_PROG_TEST_RUN: the program on one packet, which is not sent anywhere. Errors:
  // kInvalidArgument (EINVAL) for packets that a frame cannot hold.
  Result<TestRunResult> test_run(Program& program, std::span<const std::uint8_t> packet,
                                 const TestRunOptions& options);

  // Runs what timers and works of the programs have due now, for who runs no worker; how many calls
  // that were. Test runs do so at their end.
  int run_deferred();

  // What became of the frames that entries of CPUMAPs got, by CPU. Exact while nothing runs.
  std::vector<CpuStats> cpu_stats() const { return cpu_queues_->stats(); }

  PortResources& port_resources() { return resources_; }
  TraceBuffer& trace() { return trace_; }
  const TrapLog& traps() const { return traps_; }
  Log& log() { return *log_; }
  const Clock& clock() const { return *clock_; }

  // MapHost: any thread but a run's.
  FrameSink* find_sink(std::uint32_t ifindex) noexcept override;
  const ProgramEntry* acquire_program(std::uint32_t handle) noexcept override
      LMN_EXCLUDES(lists_lock_);
  void release_program(const ProgramEntry* entry) noexcept override;
  Map* acquire_map(std::uint32_t handle) noexcept override LMN_EXCLUDES(lists_lock_);
  void release_map(Map* map) noexcept override LMN_EXCLUDES(lists_lock_);
  FrameSink* acquire_cpu_queue(std::uint32_t cpu, std::uint32_t queue_size,
                               const ProgramEntry* program) noexcept override;
  int cpu_queue_error() noexcept override;
  void release_cpu_queue(FrameSink* queue) noexcept override;

 private:
  struct Attachment {
    Port* port;
    Dispatcher dispatcher;
    FrameSink* pass_sink = nullptr;
  };
  // A map that is in no object.
  struct InnerMap {
    std::unique_ptr<Map> map;
    std::uint32_t slot_count = 0;  // slots that hold it
    bool is_closed = false;
  };
  friend class ObjectLoader;

  explicit Engine(const EngineOptions& options);
  RunContext make_context();
  MapOptions map_options();
  Attachment& attachment_of(Port& port);
  void publish();
  InnerMap* find_inner(const Map& map) LMN_REQUIRES(lists_lock_);
  std::unique_ptr<Map> take_if_unused(InnerMap& inner) LMN_REQUIRES(lists_lock_);
  void retire_map(std::unique_ptr<Map> map);
  std::vector<Map*> all_maps() LMN_EXCLUDES(lists_lock_);
  std::unique_ptr<Port> take_port(Port& port);

  EngineOptions options_;
  SystemClock system_clock_;
  StderrLog stderr_log_;
  Log* log_;
  const Clock* clock_;
  Epoch epoch_;
  PortTable port_table_{epoch_};
  FramePool pool_;
  PortResources resources_;
  CookieSecret cookie_secret_;
  RouteTable routes_;
  std::unique_ptr<KernelTables> kernel_tables_;
  SocketTable sockets_;
  std::shared_ptr<const Btf> kernel_types_;
  std::unique_ptr<ObjectHeap> object_heap_;
  std::unique_ptr<DeferredCalls> deferred_;
  TraceBuffer trace_;
  TrapLog traps_;
  std::unique_ptr<CpuQueues> cpu_queues_;
  Mutex lists_lock_;  // of what maps ask for while control calls change it
  std::vector<InnerMap> inner_maps_ LMN_GUARDED_BY(lists_lock_);
  std::vector<std::unique_ptr<LoadedObject>> objects_ LMN_GUARDED_BY(lists_lock_);
  LoadedObject* loading_ LMN_GUARDED_BY(lists_lock_) = nullptr;  // while slots are filled
  std::vector<std::unique_ptr<Port>> ports_;
  std::vector<std::unique_ptr<Attachment>> attachments_;
  std::unique_ptr<HostFollower> host_follower_;
  ReaderBells reader_bells_{epoch_};
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<const Wiring> wiring_;
  std::uint32_t next_program_id_ = 1;
  std::uint32_t next_map_id_ = 1;
};

}  // namespace lmn
