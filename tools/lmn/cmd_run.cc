// SPDX-License-Identifier: Apache-2.0
//
// lmn run: an XDP program on ports, in this process, until the input ends, N packets, S seconds or
// a signal.
//
// The worker has a thread of its own; the main thread waits for signals and prints what programs
// print. At the end come the counters and, if asked, the maps in bpftool's form.
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "command.h"
#include "report.h"
#include "ring_reader.h"
#include "run_setup.h"

namespace lmn {
namespace {

constexpr long kTraceIntervalNs = 50'000'000;

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaddset(&set, signal);
  return set;
}

void print_trace(Engine& engine) {
  engine.trace().drain(
      [](std::string_view line) { fmt::print(stderr, "bpf_trace_printk: {}\n", line); });
}

// Runs the worker to its end; returns why it ended.
RunEnd run_watched(Engine& engine, const RunLimits& limits) {
  const sigset_t signals = watched_signals();
  const pthread_t main_thread = ::pthread_self();
  std::atomic<bool> is_done{false};
  RunEnd end = RunEnd::kInputEnded;
  std::jthread worker([&] {
    end = engine.run(limits);
    is_done.store(true, std::memory_order_release);
    ::pthread_kill(main_thread, SIGUSR1);
  });
  while (!is_done.load(std::memory_order_acquire)) {
    const timespec timeout{0, kTraceIntervalNs};
    const int signal = ::sigtimedwait(&signals, nullptr, &timeout);
    if (signal == SIGINT || signal == SIGTERM) engine.stop();
    print_trace(engine);
  }
  worker.join();
  print_trace(engine);
  return end;
}

// What --port takes, from the drivers' own table.
std::string port_help() {
  std::string out = "ports:\n";
  for (const PortDriver& driver : port_drivers()) {
    out += fmt::format("  {}\n      {}\n", driver.syntax, driver.summary);
  }
  return out + "  NETDEV\n      the best driver for a netdev: now packet\n";
}

void add_options(CLI::App& app, RunWords& words, RunLimits& limits, double& duration_s,
                 ReportOptions& options, std::string& dump) {
  app.add_option("object", words.object, "ELF object with the program")->required();
  app.add_option("--prog", words.program, "program name (needed when the object has several)");
  app.add_option("--port", words.ports,
                 "port that runs the program: DRIVER:key=value,... or a netdev name; repeatable")
      ->required()
      ->allow_extra_args(false);
  app.add_option("--plain", words.plain_ports,
                 "port without program: what it receives goes to its pass sink")
      ->allow_extra_args(false);
  app.add_option("--pass", words.pass,
                 "where PASS goes: PORT=TARGET, or TARGET for all ports; a target is a port's name "
                 "or a specification")
      ->allow_extra_args(false);
  app.add_option("--redirect-map", words.redirect_maps,
                 "MAP:KEY=PORT: puts a port into a devmap; KEY is a number or a port's name")
      ->allow_extra_args(false);
  app.add_option("--cpu-map", words.cpu_maps,
                 "MAP:CPU=SIZE[,PROGRAM]: puts a queue of SIZE frames into a CPUMAP, whose thread "
                 "runs PROGRAM on them")
      ->allow_extra_args(false);
  app.add_option("--tail-call", words.tail_calls,
                 "MAP:INDEX=PROGRAM: puts a program into a program array")
      ->allow_extra_args(false);
  app.add_option("--set-map", words.set_maps,
                 "MAP:KEYHEX=VALUEHEX: sets a map element before the run; @PORT in the place of a "
                 "key or value is a port's ifindex; MAP[KEYHEX] is the map at that key of a map of "
                 "maps, here and in --redirect-map")
      ->allow_extra_args(false);
  app.add_option("--read-ring", words.rings,
                 "MAP: prints the records of this ring buffer as they come, in hex")
      ->allow_extra_args(false);
  app.add_option("--routes", words.routes,
                 "what bpf_fib_lookup answers from: a file of devices, routes, rules and "
                 "neighbours, or 'host'");
  app.add_option("--sockets", words.sockets,
                 "what bpf_sk_lookup_tcp and its like answer from: a file of sockets, or 'host'");
  add_table_options(app, words.tables);
  app.add_option("--mode", words.mode, "attach mode; only native is there yet");
  app.add_option("--count", limits.packet_count_max, "stop after N packets");
  app.add_option("--duration", duration_s, "stop after S seconds")->check(CLI::NonNegativeNumber);
  app.add_option("--dump-maps", dump,
                 "print every map at the end in bpftool's form: json (the default) or text")
      ->expected(0, 1)
      ->default_str("json")
      ->check(CLI::IsMember({"", "json", "text"}));
  app.add_flag("--stats,!--no-stats", options.stats, "print counters at the end (the default)");
  app.add_flag("--untrusted", words.untrusted,
               "refuse what Linux refuses to loaders without CAP_PERFMON");
  app.add_flag("--json", options.json, "one JSON object on standard output");
}

}  // namespace

int cmd_run(int argc, char** argv) {
  CLI::App app{"Run an XDP program on ports", "lmn run"};
  app.footer(port_help());
  RunWords words;
  RunLimits limits;
  ReportOptions options;
  double duration_s = 0;
  std::string dump = "none";
  add_options(app, words, limits, duration_s, options, dump);
  int status = kExitOk;
  if (!parse_words(app, argc, argv, status)) return status;
  if (app.count("--dump-maps") > 0) options.maps = dump == "text" ? MapDump::kText : MapDump::kJson;
  limits.duration_ns_max = static_cast<std::uint64_t>(duration_s * 1e9);

  const sigset_t signals = watched_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Result<RunSetup> setup = set_up_run(words);
  if (!setup) return fail(setup.error());
  auto rings = RingReader::create(*setup->engine, *setup->object, words.rings, options.json);
  if (!rings) return fail(rings.error());
  setup->engine->log().write("running");
  (*rings)->start();
  options.end = run_watched(*setup->engine, limits);
  (*rings)->stop();

  status = kExitOk;
  if (Result<void> finished = setup->engine->finish(); !finished) status = fail(finished.error());
  for (const auto& port : setup->engine->ports()) {
    const std::string error = port->rx_queue().input_error();
    if (!error.empty()) status = fail(Error{ErrorCode::kMalformed, error});
  }
  if (const std::string error = setup->engine->accounting_error(); !error.empty()) {
    status = fail(Error{ErrorCode::kInternal, error});
  }
  fmt::print("{}{}", (*rings)->summary(), report(*setup, options));
  if (!options.json) fmt::print("{}", table_summary(*setup->engine, words.tables));
  return status;
}

}  // namespace lmn
