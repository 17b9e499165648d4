// SPDX-License-Identifier: Apache-2.0
//
// lmn test: a program on given packets, as BPF_PROG_TEST_RUN, without rights and without a network.
//
// Each packet starts from the same frame; maps keep what earlier packets left, as in life. With
// --expect the exit status says whether every packet got that verdict; with --expect-out whether
// the last packet came out as given.
#include <fmt/format.h>

#include <charconv>

#include "base/json_writer.h"
#include "command.h"
#include "maps/map_dump.h"
#include "object_input.h"
#include "packet/action.h"
#include "packet_input.h"
#include "ring_reader.h"
#include "run_setup.h"

namespace lmn {
namespace {

struct TestWords {
  RunWords setup;
  std::string in;
  std::string expect;
  std::string expect_out;
  std::vector<std::string> context;  // FIELD=NUMBER
  TestRunOptions options;
  bool json = false;
  bool dump_maps = false;
};

// "XDP_PASS", "PASS", "pass" or "2".
std::optional<std::uint32_t> parse_verdict(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (!text.starts_with("XDP_")) text = "XDP_" + text;
  for (std::uint32_t verdict = 0; verdict < kActionCount; ++verdict) {
    if (action_name(verdict) == text) return verdict;
  }
  std::uint32_t number = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data() + 4, end, number);
  if (error != std::errc{} || at != end) return std::nullopt;
  return number;
}

std::string verdict_text(std::uint32_t verdict) {
  return verdict < kActionCount ? std::string(action_name(verdict))
                                : fmt::format("{} (no XDP action)", verdict);
}

Result<void> apply_context(TestWords& words) {
  for (const std::string& text : words.context) {
    const std::size_t equals = text.find('=');
    std::uint32_t number = 0;
    const std::string value = equals == std::string::npos ? "" : text.substr(equals + 1);
    const auto [at, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    const bool is_number = error == std::errc{} && at == value.data() + value.size();
    const std::string field = text.substr(0, equals);
    if (is_number && field == "ingress_ifindex") {
      words.options.ingress_ifindex = number;
    } else if (is_number && field == "rx_queue_index") {
      words.options.rx_queue_index = number;
    } else if (is_number && field == "metadata") {
      words.options.metadata_bytes = number;
    } else {
      return make_error(
          ErrorCode::kInvalidArgument,
          fmt::format("--ctx '{}': must be ingress_ifindex=N, rx_queue_index=N or metadata=BYTES",
                      text));
    }
  }
  return {};
}

void print_result(std::size_t index, const TestRunResult& result) {
  fmt::print("packet {}: {} ({} bytes out, {} ns)\n", index, verdict_text(result.verdict),
             result.packet.size(), result.duration_ns);
  fmt::print("  out: {}\n", to_hex(result.packet));
  for (const TrapRecord& trap : result.traps) fmt::print("  stopped: {}\n", trap.text);
}

void write_result(JsonWriter& json, const TestRunResult& result) {
  json.begin_object();
  json.field("retval", result.verdict);
  json.field("action", action_name(result.verdict));
  json.field("data_size_out", static_cast<std::uint64_t>(result.packet.size()));
  json.field("data_out", to_hex(result.packet));
  json.field("duration", result.duration_ns);
  json.key("traps");
  json.begin_array();
  for (const TrapRecord& trap : result.traps) json.string(trap.text);
  json.end_array();
  json.end_object();
}

// What --expect and --expect-out find wrong; empty when all is as expected.
std::string unexpected(const TestWords& words, std::optional<std::uint32_t> verdict,
                       const std::vector<TestRunResult>& results) {
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (verdict && results[i].verdict != *verdict) {
      return fmt::format("packet {}: expected {}, got {}", i, verdict_text(*verdict),
                         verdict_text(results[i].verdict));
    }
  }
  if (words.expect_out.empty() || results.empty()) return {};
  const std::optional<PacketBytes> wanted = parse_hex(words.expect_out);
  if (!wanted) return "--expect-out is not hex";
  if (*wanted == results.back().packet) return {};
  return fmt::format("expected packet {}, got {}", to_hex(*wanted), to_hex(results.back().packet));
}

void add_options(CLI::App& app, TestWords& words) {
  app.add_option("object", words.setup.object, "ELF object with the program")->required();
  app.add_option("--prog", words.setup.program,
                 "program name (needed when the object has several)");
  app.add_option("--in", words.in, "packet: hex, @FILE with raw bytes, or a pcap or pcapng file")
      ->required();
  app.add_option("--ctx", words.context,
                 "ingress_ifindex=N, rx_queue_index=N, or metadata=BYTES at the packet's front")
      ->allow_extra_args(false);
  app.add_option("--repeat", words.options.repeat,
                 "runs per packet; the packet is not restored between them")
      ->check(CLI::PositiveNumber);
  app.add_option("--expect", words.expect, "verdict every packet must get: XDP_DROP, pass, 3 ...");
  app.add_option("--expect-out", words.expect_out, "hex of the last packet as it must come out");
  app.add_option(
         "--set-map", words.setup.set_maps,
         "MAP:KEYHEX=VALUEHEX: sets a map element first; MAP[KEYHEX] is the map at that key of "
         "a map of maps")
      ->allow_extra_args(false);
  app.add_option("--read-ring", words.setup.rings,
                 "MAP: prints the records of this ring buffer at the end, in hex")
      ->allow_extra_args(false);
  app.add_option("--tail-call", words.setup.tail_calls,
                 "MAP:INDEX=PROGRAM: puts a program into a program array")
      ->allow_extra_args(false);
  app.add_option("--seed", words.setup.seed,
                 "of random numbers and hash tables: the same seed gives the same run");
  app.add_option("--clock", words.setup.clock_ns,
                 "the time in nanoseconds, at which all clocks stand still");
  app.add_option("--routes", words.setup.routes,
                 "what bpf_fib_lookup answers from: a file of devices, routes, rules and "
                 "neighbours, or 'host'");
  app.add_option("--sockets", words.setup.sockets,
                 "what bpf_sk_lookup_tcp and its like answer from: a file of sockets, or 'host'");
  add_table_options(app, words.setup.tables);
  app.add_flag("--untrusted", words.setup.untrusted,
               "refuse what Linux refuses to loaders without CAP_PERFMON");
  app.add_flag("--dump-maps", words.dump_maps, "print every map at the end in bpftool's JSON form");
  app.add_flag("--json", words.json, "a JSON object on standard output");
}

void print_maps(RunSetup& setup) {
  for (const auto& map : setup.object->maps) {
    fmt::print("map {} (id {}):\n{}\n", map->spec().name, map->id(),
               dump_map_json(*map, setup.object->btf.get()));
  }
}

void print_json(RunSetup& setup, const TestWords& words,
                const std::vector<TestRunResult>& results) {
  JsonWriter json(2);
  json.begin_object();
  json.key("results");
  json.begin_array();
  for (const TestRunResult& result : results) write_result(json, result);
  json.end_array();
  if (words.dump_maps) {
    json.key("maps");
    json.begin_object();
    for (const auto& map : setup.object->maps) {
      json.key(map->spec().name);
      json.raw(dump_map_json(*map, setup.object->btf.get()));
    }
    json.end_object();
  }
  json.end_object();
  fmt::print("{}\n", json.text());
}

}  // namespace

int cmd_test(int argc, char** argv) {
  CLI::App app{"Run an XDP program on given packets", "lmn test"};
  TestWords words;
  add_options(app, words);
  int status = kExitOk;
  if (!parse_words(app, argc, argv, status)) return status;
  std::optional<std::uint32_t> expected;
  if (!words.expect.empty()) {
    expected = parse_verdict(words.expect);
    if (!expected) {
      fmt::print(stderr, "lmn: --expect '{}': not a verdict\n", words.expect);
      return kExitUsage;
    }
  }
  if (Result<void> context = apply_context(words); !context) {
    fail(context.error());
    return kExitUsage;
  }
  const Result<std::vector<PacketBytes>> packets = read_packets(words.in);
  if (!packets) return fail(packets.error());
  Result<RunSetup> setup = set_up_run(words.setup);
  if (!setup) return fail(setup.error());
  auto rings = RingReader::create(*setup->engine, *setup->object, words.setup.rings, words.json);
  if (!rings) return fail(rings.error());

  std::vector<TestRunResult> results;
  for (const PacketBytes& packet : *packets) {
    Result<TestRunResult> result = setup->engine->test_run(*setup->program, packet, words.options);
    if (!result) return fail(result.error());
    if (!words.json) print_result(results.size(), *result);
    results.push_back(std::move(*result));
  }
  setup->engine->trace().drain(
      [](std::string_view line) { fmt::print(stderr, "bpf_trace_printk: {}\n", line); });
  (*rings)->drain();
  fmt::print("{}", (*rings)->summary());
  if (words.json) print_json(*setup, words, results);
  if (words.dump_maps && !words.json) print_maps(*setup);
  const std::string problem = unexpected(words, expected, results);
  if (problem.empty()) return kExitOk;
  return fail(Error{ErrorCode::kInvalidArgument, problem});
}

}  // namespace lmn
