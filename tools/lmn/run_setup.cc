// SPDX-License-Identifier: Apache-2.0
//
// From words to a ready engine: object, ports, pass sinks, map entries.
#include "run_setup.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/bpf.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>

#include "base/assert.h"
#include "base/file.h"
#include "check_report.h"
#include "object/object_reader.h"
#include "object_input.h"
#include "packet_input.h"

namespace lmn {
namespace {

// "MAP:KEY=VALUE" taken apart.
struct MapWord {
  std::string map;
  std::string key;
  std::string value;
};

Result<MapWord> parse_map_word(const std::string& option, const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::size_t equals = text.find('=', colon == std::string::npos ? 0 : colon);
  if (colon == std::string::npos || equals == std::string::npos) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("{} '{}': must be MAP:KEY=VALUE", option, text));
  }
  return MapWord{text.substr(0, colon), text.substr(colon + 1, equals - colon - 1),
                 text.substr(equals + 1)};
}

Result<std::uint32_t> parse_number(const std::string& option, const std::string& text) {
  std::uint32_t number = 0;
  const bool is_hex = text.starts_with("0x");
  const char* begin = text.data() + (is_hex ? 2 : 0);
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(begin, end, number, is_hex ? 16 : 10);
  if (error != std::errc{} || at != end || begin == end) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("{}: '{}' is not a number", option, text));
  }
  return number;
}

std::array<std::uint8_t, 4> bytes_of(std::uint32_t number) {
  std::array<std::uint8_t, 4> bytes;
  std::memcpy(bytes.data(), &number, bytes.size());
  return bytes;
}

std::string port_names(const Engine& engine) {
  std::vector<std::string> names;
  for (const auto& port : engine.ports()) names.push_back(port->info().name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// "SIZE,PROGRAM" or "SIZE".
struct CpuValue {
  std::string size;
  std::string program;
};

CpuValue split_cpu_value(const std::string& text) {
  const std::size_t comma = text.find(',');
  if (comma == std::string::npos) return {text, {}};
  return {text.substr(0, comma), text.substr(comma + 1)};
}

class RunBuilder {
 public:
  explicit RunBuilder(const RunWords& words) : words_(words) {}

  Result<RunSetup> build() {
    LMN_CHECK_OK(load_object());
    LMN_CHECK_OK(read_tables());
    LMN_CHECK_OK(fill_tables(*setup_.engine, words_.tables));
    for (const std::string& text : words_.ports) LMN_CHECK_OK(open(text, true));
    for (const std::string& text : words_.plain_ports) LMN_CHECK_OK(open(text, false));
    LMN_CHECK_OK(set_pass_sinks());
    for (const std::string& text : words_.redirect_maps) LMN_CHECK_OK(fill_redirect_map(text));
    for (const std::string& text : words_.cpu_maps) LMN_CHECK_OK(fill_cpu_map(text));
    for (const std::string& text : words_.tail_calls) LMN_CHECK_OK(fill_tail_call(text));
    for (const std::string& text : words_.set_maps) LMN_CHECK_OK(set_map(text));
    return std::move(setup_);
  }

 private:
  Result<void> load_object();
  Error explain_refusal(const ObjectSpec& spec, const LoadRefusal& refusal) const;
  Result<void> read_tables();
  Result<void> open(std::string text, bool with_program);
  Result<void> set_pass_sinks();
  Result<FrameSink*> find_pass_target(const std::string& name);
  Result<Map*> find_map(const std::string& option, const std::string& name);
  Result<Map*> find_inner_map(const std::string& option, Map& outer, const std::string& key_text);
  Result<void> update(const std::string& option, Map& map, std::span<const std::uint8_t> key,
                      std::span<const std::uint8_t> value);
  Result<void> fill_redirect_map(const std::string& text);
  Result<void> fill_cpu_map(const std::string& text);
  Result<void> fill_tail_call(const std::string& text);
  std::optional<PacketBytes> bytes_of_word(const std::string& text) const;
  Result<void> set_map(const std::string& text);

  const RunWords& words_;
  RunSetup setup_;
  std::map<std::string, std::string> pass_of_port_;  // from pass= in port specs
  // By the id of the map of maps and their key.
  std::map<std::pair<std::uint32_t, PacketBytes>, Map*> inner_maps_;
};

Result<void> RunBuilder::load_object() {
  if (words_.mode != "native") {
    return make_error(ErrorCode::kNotSupported,
                      fmt::format("mode '{}': only native is there yet", words_.mode));
  }
  LMN_TRY(const ObjectSpec spec, load_object_file(words_.object));
  LMN_TRY(const ProgramSpec* chosen, choose_program(spec, words_.program));
  EngineOptions engine_options;
  engine_options.seed = words_.seed;
  if (words_.clock_ns != 0) {
    setup_.clock = std::make_unique<FakeClock>(words_.clock_ns);
    engine_options.clock = setup_.clock.get();
  }
  if (words_.untrusted) engine_options.strictness = Strictness::kUntrusted;
  LMN_TRY(setup_.engine, Engine::create(engine_options));
  // Megabytes of types: only for who shows values by them.
  if (calls_helper(spec, BPF_FUNC_snprintf_btf)) setup_.engine->set_kernel_types(kernel_btf());
  LoadOptions options;
  options.object_name = object_name_of(words_.object);
  options.programs.push_back(chosen->name);
  const auto load_too = [&](const std::string& name) {
    if (std::ranges::find(options.programs, name) == options.programs.end())
      options.programs.push_back(name);
  };
  for (const std::string& text : words_.tail_calls) {
    LMN_TRY(const MapWord word, parse_map_word("--tail-call", text));
    load_too(word.value);
  }
  for (const std::string& text : words_.cpu_maps) {
    LMN_TRY(const MapWord word, parse_map_word("--cpu-map", text));
    if (const std::string name = split_cpu_value(word.value).program; !name.empty()) load_too(name);
  }
  std::optional<LoadRefusal> refusal;
  options.refusal = &refusal;
  auto object = setup_.engine->load(spec, options);
  if (refusal) return make_error(explain_refusal(spec, *refusal));
  if (!object) return make_error(std::move(object).error().with_context(words_.object));
  setup_.object = *object;
  setup_.program = setup_.object->find_program(chosen->name);
  return {};
}

// Prints what `lmn check` prints of the program, for one line cannot say it; the rest is the error.
Error RunBuilder::explain_refusal(const ObjectSpec& spec, const LoadRefusal& refusal) const {
  ProgramVerdict verdict = refused_program(spec, refusal.program, refusal.error, refusal.report);
  verdict.object = words_.object;
  fmt::print(stderr, "{}", verdict_text(verdict, false));
  Error error;
  error.code = refusal.error.code;
  error.errno_value = refusal.error.errno_value;
  error.message = fmt::format("{}: not loaded: the verifier refuses prog \"{}\"", words_.object,
                              refusal.program.name);
  return error;
}

// "host" follows the host's tables; everything else is a file.
Result<void> RunBuilder::read_tables() {
  constexpr std::string_view kHost = "host";
  constexpr std::size_t kTableBytesMax = std::size_t{64} << 20;
  HostFollowOptions follow;
  follow.routes = words_.routes == kHost;
  follow.sockets = words_.sockets == kHost;
  follow_tables(words_.tables, follow);
  const bool follows_any = follow.routes || follow.sockets || follow.conntrack || follow.fdb;
  if (follows_any) LMN_CHECK_OK(setup_.engine->follow_host(follow));
  const auto text_of = [](const std::vector<std::uint8_t>& bytes) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  if (!words_.routes.empty() && !follow.routes) {
    LMN_TRY(const std::vector<std::uint8_t> bytes, read_file(words_.routes, kTableBytesMax));
    auto routes = RouteTable::parse(text_of(bytes));
    if (!routes) return make_error(std::move(routes).error().with_context(words_.routes));
    setup_.engine->set_routes(std::move(*routes));
  }
  if (!words_.sockets.empty() && !follow.sockets) {
    LMN_TRY(const std::vector<std::uint8_t> bytes, read_file(words_.sockets, kTableBytesMax));
    auto sockets = SocketTable::parse(text_of(bytes));
    if (!sockets) return make_error(std::move(sockets).error().with_context(words_.sockets));
    setup_.engine->set_sockets(std::move(*sockets));
  }
  return {};
}

Result<void> RunBuilder::open(std::string text, bool with_program) {
  std::string pass;
  constexpr std::string_view kPassKey = ",pass=";
  if (const std::size_t at = text.find(kPassKey); at != std::string::npos) {
    const std::size_t end = std::min(text.find(',', at + 1), text.size());
    pass = text.substr(at + kPassKey.size(), end - at - kPassKey.size());
    text.erase(at, end - at);
  }
  LMN_TRY(const std::vector<Port*> ports, setup_.engine->open_port(text));
  for (Port* port : ports) {
    if (!pass.empty()) pass_of_port_[port->info().name] = pass;
    for (const std::string& notice : port->notices()) setup_.engine->log().write(notice);
    if (!with_program) continue;
    LMN_CHECK_OK(setup_.engine->attach(*setup_.program, *port));
    setup_.program_ports.push_back(port);
  }
  return {};
}

Result<FrameSink*> RunBuilder::find_pass_target(const std::string& name) {
  if (Port* port = setup_.engine->find_port(name); port != nullptr) return &port->tx_queue();
  if (name.find(':') == std::string::npos) {
    return make_error(ErrorCode::kNotFound, fmt::format("--pass: no port '{}'; there is: {}", name,
                                                        port_names(*setup_.engine)));
  }
  LMN_TRY(const std::vector<Port*> ports, setup_.engine->open_port(name));
  return &ports[0]->tx_queue();
}

Result<void> RunBuilder::set_pass_sinks() {
  std::string everywhere;
  for (const std::string& text : words_.pass) {
    const std::size_t equals = text.find('=');
    const bool names_port =
        equals != std::string::npos && setup_.engine->find_port(text.substr(0, equals)) != nullptr;
    if (names_port) {
      pass_of_port_[text.substr(0, equals)] = text.substr(equals + 1);
    } else {
      everywhere = text;
    }
  }
  std::vector<Port*> sources;
  for (const auto& port : setup_.engine->ports()) sources.push_back(port.get());
  FrameSink* everywhere_sink = nullptr;
  if (!everywhere.empty()) {
    LMN_TRY(everywhere_sink, find_pass_target(everywhere));
  }
  for (Port* port : sources) {
    const auto own = pass_of_port_.find(port->info().name);
    if (own != pass_of_port_.end()) {
      LMN_TRY(FrameSink * sink, find_pass_target(own->second));
      setup_.engine->set_pass_sink(*port, sink);
    } else if (everywhere_sink != nullptr && &port->tx_queue() != everywhere_sink) {
      setup_.engine->set_pass_sink(*port, everywhere_sink);
    }
  }
  return {};
}

// MAP, or MAP[KEYHEX] for a map in a map of maps.
Result<Map*> RunBuilder::find_map(const std::string& option, const std::string& name) {
  const std::size_t bracket = name.find('[');
  const std::string own_name = name.substr(0, bracket);
  if (Map* map = setup_.object->find_map(own_name); map != nullptr) {
    if (bracket == std::string::npos) return map;
    if (!name.ends_with(']')) {
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("{} '{}': must be MAP or MAP[KEYHEX]", option, name));
    }
    return find_inner_map(option, *map, name.substr(bracket + 1, name.size() - bracket - 2));
  }
  std::vector<std::string> names;
  for (const auto& map : setup_.object->maps) names.push_back(map->spec().name);
  return make_error(ErrorCode::kNotFound,
                    fmt::format("{}: the program uses no map '{}'; it uses: {}", option, own_name,
                                fmt::join(names, ", ")));
}

// The inner map at that key, made when a word names it for the first time.
Result<Map*> RunBuilder::find_inner_map(const std::string& option, Map& outer,
                                        const std::string& key_text) {
  const auto key = parse_hex(key_text);
  if (!key) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("{}: '{}' in {}[{}] is not hex bytes", option, key_text,
                                  outer.spec().name, key_text));
  }
  const auto known = inner_maps_.find({outer.id(), *key});
  if (known != inner_maps_.end()) return known->second;
  LMN_TRY(Map * inner, setup_.engine->create_inner_map(outer));
  LMN_CHECK_OK(update(option, outer, *key, bytes_of(inner->id())));
  inner_maps_[{outer.id(), *key}] = inner;
  return inner;
}

Result<void> RunBuilder::update(const std::string& option, Map& map,
                                std::span<const std::uint8_t> key,
                                std::span<const std::uint8_t> value) {
  const MapSpec& spec = map.spec();
  std::vector<std::uint8_t> whole(value.begin(), value.end());
  // One value for a per-CPU map is meant for every CPU.
  const std::size_t per_cpu_bytes = map.user_value_bytes() / map.cpu_count();
  if (value.size() == spec.value_size && map.user_value_bytes() != spec.value_size) {
    whole.resize(per_cpu_bytes);
    const std::vector<std::uint8_t> one = whole;
    for (std::uint32_t cpu = 1; cpu < map.cpu_count(); ++cpu)
      whole.insert(whole.end(), one.begin(), one.end());
  }
  if (key.size() != spec.key_size || whole.size() != map.user_value_bytes()) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: map '{}' has keys of {} and values of {} bytes, not {} and {}", option,
                    spec.name, spec.key_size, spec.value_size, key.size(), value.size()));
  }
  if (const int error = map.user_update(key.data(), whole, BPF_ANY); error != 0) {
    return make_errno_error(
        ErrorCode::kInvalidArgument, -error,
        fmt::format("{}: map '{}': update refused: {}", option, spec.name, std::strerror(-error)));
  }
  return {};
}

Result<void> RunBuilder::fill_redirect_map(const std::string& text) {
  LMN_TRY(const MapWord word, parse_map_word("--redirect-map", text));
  LMN_TRY(Map * map, find_map("--redirect-map", word.map));
  const Port* port = setup_.engine->find_port(word.value);
  if (port == nullptr) {
    return make_error(ErrorCode::kNotFound,
                      fmt::format("--redirect-map: no port '{}'; there is: {}", word.value,
                                  port_names(*setup_.engine)));
  }
  // The key may be a number or a port's name, which stands for its ifindex.
  std::uint32_t key = 0;
  if (const Port* key_port = setup_.engine->find_port(word.key); key_port != nullptr) {
    key = key_port->info().ifindex;
  } else {
    LMN_TRY(key, parse_number("--redirect-map", word.key));
  }
  std::vector<std::uint8_t> value(map->spec().value_size);
  const auto ifindex = bytes_of(port->info().ifindex);
  std::copy_n(ifindex.begin(), std::min(ifindex.size(), value.size()), value.begin());
  return update("--redirect-map", *map, bytes_of(key), value);
}

Result<void> RunBuilder::fill_cpu_map(const std::string& text) {
  LMN_TRY(const MapWord word, parse_map_word("--cpu-map", text));
  LMN_TRY(Map * map, find_map("--cpu-map", word.map));
  if (map->spec().type != BPF_MAP_TYPE_CPUMAP) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("--cpu-map: map '{}' is no CPUMAP", word.map));
  }
  const CpuValue given = split_cpu_value(word.value);
  LMN_TRY(const std::uint32_t cpu, parse_number("--cpu-map", word.key));
  bpf_cpumap_val entry = {};
  LMN_TRY(entry.qsize, parse_number("--cpu-map", given.size));
  if (!given.program.empty()) {
    if (map->spec().value_size < sizeof entry) {
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("--cpu-map: values of map '{}' have no program", word.map));
    }
    const Program* program = setup_.object->find_program(given.program);
    LMN_ASSERT(program != nullptr);  // load_object() loaded it by this name
    entry.bpf_prog.fd = static_cast<int>(program->id);
  }
  std::vector<std::uint8_t> value(map->spec().value_size);
  std::memcpy(value.data(), &entry, std::min(value.size(), sizeof entry));
  return update("--cpu-map", *map, bytes_of(cpu), value);
}

Result<void> RunBuilder::fill_tail_call(const std::string& text) {
  LMN_TRY(const MapWord word, parse_map_word("--tail-call", text));
  LMN_TRY(Map * map, find_map("--tail-call", word.map));
  LMN_TRY(const std::uint32_t index, parse_number("--tail-call", word.key));
  const Program* program = setup_.object->find_program(word.value);
  LMN_ASSERT(program != nullptr);  // load_object() loaded it by this name
  return update("--tail-call", *map, bytes_of(index), bytes_of(program->id));
}

// Hex digits, or "@PORT": the ifindex of that port as programs see it.
std::optional<PacketBytes> RunBuilder::bytes_of_word(const std::string& text) const {
  if (!text.starts_with('@')) return parse_hex(text);
  const Port* port = setup_.engine->find_port(text.substr(1));
  if (port == nullptr) return std::nullopt;
  const auto ifindex = bytes_of(port->info().ifindex);
  return PacketBytes(ifindex.begin(), ifindex.end());
}

Result<void> RunBuilder::set_map(const std::string& text) {
  LMN_TRY(const MapWord word, parse_map_word("--set-map", text));
  LMN_TRY(Map * map, find_map("--set-map", word.map));
  const auto key = bytes_of_word(word.key);
  const auto value = bytes_of_word(word.value);
  if (!key || !value) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("--set-map '{}': key and value are hex bytes, or @PORT for the "
                                  "ifindex of a port; there is: {}",
                                  text, port_names(*setup_.engine)));
  }
  return update("--set-map", *map, *key, *value);
}

}  // namespace

Result<RunSetup> set_up_run(const RunWords& words) { return RunBuilder(words).build(); }

}  // namespace lmn
