// SPDX-License-Identifier: Apache-2.0
//
// The report of a run, in both forms from the same facts.
#include "report.h"

#include <fmt/format.h>

#include "base/json_writer.h"
#include "maps/map_dump.h"

namespace lmn {
namespace {

std::string_view end_name(RunEnd end) {
  switch (end) {
    case RunEnd::kInputEnded:
      return "input ended";
    case RunEnd::kPacketCount:
      return "packet count reached";
    case RunEnd::kDuration:
      return "duration over";
    case RunEnd::kStopped:
      return "stopped";
  }
  return "";
}

void add_counters(std::string& out, const CounterSnapshot& counters) {
  for (std::size_t i = 0; i < kCounterCount; ++i) {
    const auto counter = static_cast<Counter>(i);
    if (counters[i] == 0 && counter != Counter::kRxPackets) continue;
    out += fmt::format("  {:<20} {}\n", counter_name(counter), counters[i]);
  }
}

// A port's counters are the sum of its receive and its transmit queue's: no counter is in both.
CounterSnapshot counters_of(Port& port) {
  CounterSnapshot sum = port.rx_queue().counters().snapshot();
  const CounterSnapshot tx = port.tx_queue().counters().snapshot();
  for (std::size_t i = 0; i < kCounterCount; ++i) sum[i] += tx[i];
  return sum;
}

bool runs_program(const RunSetup& setup, const Port* port) {
  for (const Port* with : setup.program_ports) {
    if (with == port) return true;
  }
  return false;
}

std::string text_report(RunSetup& setup, const ReportOptions& options) {
  std::string out;
  if (options.stats) {
    out += fmt::format("prog {} (id {}): {}\n", setup.program->spec.name, setup.program->id,
                       end_name(options.end));
    for (const auto& port : setup.engine->ports()) {
      const PortInfo& info = port->info();
      out += fmt::format("port {} ({}, ifindex {}): {}\n", info.name, info.driver, info.ifindex,
                         runs_program(setup, port.get()) ? "native" : "no program");
      add_counters(out, counters_of(*port));
    }
    for (const CpuStats& cpu : setup.engine->cpu_stats()) {
      out += fmt::format("cpu {} (CPU queue): {}\n", cpu.cpu,
                         cpu.has_thread ? "a thread of its own" : "served by the worker");
      add_counters(out, cpu.counters);
    }
  }
  const TrapLog& traps = setup.engine->traps();
  if (traps.count() > 0) out += fmt::format("stopped runs: {}\n", traps.count());
  for (const TrapRecord& record : traps.records()) out += fmt::format("  {}\n", record.text);
  if (setup.engine->trace().lost_count() > 0) {
    out += fmt::format("lines of bpf_trace_printk lost: {}\n", setup.engine->trace().lost_count());
  }
  if (options.maps == MapDump::kNone) return out;
  for (const auto& map : setup.object->maps) {
    out += fmt::format("map {} (id {}):\n", map->spec().name, map->id());
    out += options.maps == MapDump::kText ? dump_map_text(*map, setup.object->btf.get())
                                          : dump_map_json(*map, setup.object->btf.get());
    if (!out.ends_with('\n')) out += '\n';
  }
  return out;
}

void write_counters(JsonWriter& json, const CounterSnapshot& counters) {
  json.key("counters");
  json.begin_object();
  for (std::size_t i = 0; i < kCounterCount; ++i)
    json.field(counter_name(static_cast<Counter>(i)), counters[i]);
  json.end_object();
}

void write_cpu(JsonWriter& json, const CpuStats& cpu) {
  json.begin_object();
  json.field("cpu", cpu.cpu);
  json.field("has_thread", cpu.has_thread);
  write_counters(json, cpu.counters);
  json.end_object();
}

void write_port(JsonWriter& json, const RunSetup& setup, Port& port) {
  const PortInfo& info = port.info();
  json.begin_object();
  json.field("name", info.name);
  json.field("driver", info.driver);
  json.field("ifindex", info.ifindex);
  if (runs_program(setup, &port)) {
    json.field("mode", "native");
    json.field("prog_id", setup.program->id);
  }
  write_counters(json, counters_of(port));
  json.end_object();
}

std::string json_report(RunSetup& setup, const ReportOptions& options) {
  JsonWriter json;
  json.begin_object();
  json.field("prog", setup.program->spec.name);
  json.field("prog_id", setup.program->id);
  json.field("end", end_name(options.end));
  json.key("ports");
  json.begin_array();
  for (const auto& port : setup.engine->ports()) write_port(json, setup, *port);
  json.end_array();
  json.key("cpus");
  json.begin_array();
  for (const CpuStats& cpu : setup.engine->cpu_stats()) write_cpu(json, cpu);
  json.end_array();
  json.field("traps", setup.engine->traps().count());
  json.key("trap_records");
  json.begin_array();
  for (const TrapRecord& record : setup.engine->traps().records()) json.string(record.text);
  json.end_array();
  json.field("trace_lost", setup.engine->trace().lost_count());
  if (options.maps != MapDump::kNone) {
    json.key("maps");
    json.begin_array();
    for (const auto& map : setup.object->maps) {
      json.begin_object();
      json.field("id", map->id());
      json.field("name", map->spec().name);
      json.key("elements");
      json.raw(dump_map_json(*map, setup.object->btf.get()));
      json.end_object();
    }
    json.end_array();
  }
  json.end_object();
  return json.text() + "\n";
}

}  // namespace

std::string report(RunSetup& setup, const ReportOptions& options) {
  return options.json ? json_report(setup, options) : text_report(setup, options);
}

}  // namespace lmn
