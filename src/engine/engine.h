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
// an ifindex or a program number stands for (MapHost, PortDirectory), where prints go (TraceSink).
// Not done yet: pins, links, several workers, replacing a program while it runs.
// Invariants: (1) ids are never reused; (2) objects outlive everything that refers to them:
// destruction goes worker, ports, objects, pool. Threads: control calls from one thread while run()
// is not running; run() from one thread; stop() and trace() from any. Tested by engine_test.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "dataplane/worker.h"
#include "engine/host_follower.h"
#include "engine/kernel_tables.h"
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

struct EngineOptions {
  std::size_t frame_count = limits::kFramesDefault;
  Strictness strictness = Strictness::kTrusted;
  std::uint32_t cpu_count = 0;   // slots of per-CPU maps; 0: the host's possible CPUs
  const Clock* clock = nullptr;  // null: the system's
  Log* log = nullptr;            // null: standard error
  std::uint64_t seed = 0;        // of random numbers and hash tables; 0: from the system
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

class Engine final : public MapHost, public PortDirectory {
 public:
  static Result<std::unique_ptr<Engine>> create(const EngineOptions& options);
  // The tables of this build as the contract that programs are judged by.
  static Environment environment(Strictness strictness);
  ~Engine() override;

  // Creates the maps that the chosen programs use, verifies and prepares the programs, fills
  // initial slots. All or nothing, and nothing that the verifier refuses: there is no switch.
  // Errors name program or map; those of programs carry rule, instruction, source line and remedy.
  Result<LoadedObject*> load(const ObjectSpec& spec, const LoadOptions& options);
  // A map like those that `outer`, a map of maps, takes: its number is what user space writes into
  // a slot. Lives as long as the engine. Errors: kInvalidArgument when `outer` holds no maps, and
  // those of making maps.
  Result<Map*> create_inner_map(const Map& outer);
  // Opens what a port specification describes: one port, or the two of a pair.
  Result<std::vector<Port*>> open_port(std::string_view spec);
  // Takes a port that the caller made (memory ports of tests and applications).
  Port& adopt_port(std::unique_ptr<Port> port);
  // The port of that name, or null.
  Port* find_port(std::string_view name) const;
  const std::vector<std::unique_ptr<Port>>& ports() const { return ports_; }

  // Runs `program` on what `port` receives, in native mode. Errors: kInvalidArgument with errno
  // EINVAL for programs of another type or attach type, EBUSY when the port has one already.
  Result<void> attach(Program& program, Port& port);
  // Where PASS of `port` goes; null: counted as pass_no_stack.
  void set_pass_sink(Port& port, FrameSink* sink);

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

  // A descriptor to poll(2) for records of a RINGBUF: reader_bells.h. Errors: kInvalidArgument
  // (EINVAL) for maps of other types. REQUIRES: nothing runs.
  Result<int> reader_bell(const Map& map);

  // Routes and sockets are the host's from now on, and follow it while the engine runs. Errors:
  // kPermission, kIo. REQUIRES: nothing runs; called once.
  Result<void> follow_host(const HostFollowOptions& options);

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

  PortResources& port_resources() { return resources_; }
  TraceBuffer& trace() { return trace_; }
  const TrapLog& traps() const { return traps_; }
  Log& log() { return *log_; }

  // MapHost and PortDirectory
  FrameSink* find_sink(std::uint32_t ifindex) noexcept override;
  std::optional<std::uint32_t> find_mtu(std::uint32_t ifindex) noexcept override;
  const ProgramEntry* acquire_program(std::uint32_t handle) noexcept override;
  void release_program(const ProgramEntry* entry) noexcept override;
  Map* acquire_map(std::uint32_t handle) noexcept override;

 private:
  struct Attachment {
    Port* port;
    Dispatcher dispatcher;
    FrameSink* pass_sink = nullptr;
  };
  friend class ObjectLoader;

  explicit Engine(const EngineOptions& options);
  RunContext make_context();
  MapOptions map_options() const;
  Attachment& attachment_of(Port& port);

  EngineOptions options_;
  SystemClock system_clock_;
  StderrLog stderr_log_;
  Log* log_;
  const Clock* clock_;
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
  std::vector<std::unique_ptr<Map>> inner_maps_;
  std::vector<std::unique_ptr<LoadedObject>> objects_;
  std::vector<std::unique_ptr<Port>> ports_;
  std::vector<std::unique_ptr<Attachment>> attachments_;
  std::unique_ptr<HostFollower> host_follower_;
  ReaderBells reader_bells_;
  std::unique_ptr<Worker> worker_;
  LoadedObject* loading_ = nullptr;  // while slots are filled
  std::uint32_t next_program_id_ = 1;
  std::uint32_t next_map_id_ = 1;
};

}  // namespace lmn
