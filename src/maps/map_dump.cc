// SPDX-License-Identifier: Apache-2.0
//
// Map dumps in bpftool's forms. Tested by map_dump_test.cc and tests/contract/maps_dump_test.cc.
#include "maps/map_dump.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "abi/map_type_info.h"
#include "maps/bpftool_json.h"
#include "maps/map_memory.h"
#include "maps/value_dump.h"

namespace lmn {
namespace {

// What both forms need of a map.
struct DumpedMap {
  explicit DumpedMap(Map& source, const Btf* given_btf)
      : map(source), spec(source.spec()), flags(find_map_type_info(spec.type)->flags) {
    if (spec.btf_value_type_id != 0 && (flags & kMapNoBtf) == 0) btf = given_btf;
  }
  bool is_percpu() const { return (flags & kMapPerCpu) != 0; }
  // Slots of programs and maps are either there or not worth a line.
  bool hides_empty_slots() const { return (flags & (kMapHoldsPrograms | kMapHoldsMaps)) != 0; }
  std::size_t percpu_step() const {
    return static_cast<std::size_t>(round_up_to_8(spec.value_size));
  }
  // The value of one CPU in what copy_value gave.
  ByteSpan value_of(ByteSpan all, std::uint32_t cpu) const {
    return all.subspan(is_percpu() ? cpu * percpu_step() : 0, spec.value_size);
  }

  Map& map;
  const MapSpec& spec;
  std::uint16_t flags;
  const Btf* btf = nullptr;
};

// Calls visit(key, value, error) for each key, error being copy_value's.
template <typename Visit>
void for_each_entry(const DumpedMap& dumped, Visit visit) {
  std::vector<std::uint8_t> key(dumped.spec.key_size);
  std::vector<std::uint8_t> next(dumped.spec.key_size);
  std::vector<std::uint8_t> value(dumped.map.user_value_bytes());
  for (std::uint32_t count = 0; count < dumped.spec.max_entries; ++count) {
    if (dumped.map.next_key(count == 0 ? nullptr : key.data(), next.data()) != 0) return;
    key = next;
    visit(ByteSpan(key), ByteSpan(value), dumped.map.copy_value(key.data(), value, 0));
  }
}

void hex_array(BpftoolJson& json, ByteSpan bytes) {
  json.begin_array();
  for (const std::uint8_t byte : bytes) json.token(fmt::format("\"{:#04x}\"", byte));
  json.end_array();
}

// {"key":...,"value":...} by BTF types.
void typed_entry(BpftoolJson& json, const DumpedMap& dumped, ByteSpan key, ByteSpan value) {
  const MapSpec& spec = dumped.spec;
  json.begin_object();
  bool is_shown = true;
  if (spec.btf_key_type_id != 0) {
    json.name("key");
    is_shown = dump_typed_value(json, *dumped.btf, spec.btf_key_type_id, key);
  }
  if (is_shown && !dumped.is_percpu()) {
    json.name("value");
    dump_typed_value(json, *dumped.btf, spec.btf_value_type_id, value);
  } else if (is_shown) {
    json.name("values");
    json.begin_array();
    for (std::uint32_t cpu = 0; is_shown && cpu < dumped.map.cpu_count(); ++cpu) {
      json.begin_object();
      json.name("cpu");
      json.token(fmt::format("{}", cpu));
      json.name("value");
      is_shown =
          dump_typed_value(json, *dumped.btf, spec.btf_value_type_id, dumped.value_of(value, cpu));
      json.end_object();
    }
    json.end_array();
  }
  json.end_object();
}

void json_values(BpftoolJson& json, const DumpedMap& dumped, ByteSpan value) {
  if (!dumped.is_percpu()) {
    json.name("value");
    hex_array(json, dumped.value_of(value, 0));
    return;
  }
  json.name("values");
  json.begin_array();
  for (std::uint32_t cpu = 0; cpu < dumped.map.cpu_count(); ++cpu) {
    json.begin_object();
    json.name("cpu");
    json.token(fmt::format("{}", cpu));
    json.name("value");
    hex_array(json, dumped.value_of(value, cpu));
    json.end_object();
  }
  json.end_array();
}

void json_entry(BpftoolJson& json, const DumpedMap& dumped, ByteSpan key, ByteSpan value,
                int error) {
  if (error != 0 && dumped.hides_empty_slots()) return;
  json.begin_object();
  json.name("key");
  hex_array(json, key);
  if (error != 0) {
    json.name("value");
    json.begin_object();
    json.name("error");
    json.string(std::strerror(-error));
    json.end_object();
  } else {
    json_values(json, dumped, value);
    if (dumped.btf != nullptr) {
      json.name("formatted");
      typed_entry(json, dumped, key, value);
    }
  }
  json.end_object();
}

// "00 01 .. 07  08 .." sixteen to the line.
std::string hex_lines(ByteSpan bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i != 0) out += i % 16 == 0 ? "\n" : i % 8 == 0 ? "  " : " ";
    out += fmt::format("{:02x}", bytes[i]);
  }
  return out;
}

// "key: K  value: V", over as many lines as the sizes ask for.
std::string plain_entry(ByteSpan key, const std::string& value, std::size_t value_length) {
  const bool breaks_names = key.size() > 16 || value_length > 16;
  const bool is_single_line = key.size() + value_length <= 24 && !breaks_names;
  std::string out;
  if (!key.empty()) {
    out = fmt::format("key:{}{}{}", breaks_names ? '\n' : ' ', hex_lines(key),
                      is_single_line ? "  " : "\n");
  }
  return out + fmt::format("value:{}{}\n", breaks_names ? '\n' : ' ', value);
}

std::string plain_percpu_entry(const DumpedMap& dumped, ByteSpan key, ByteSpan value) {
  std::string out = fmt::format("key:\n{}\n", hex_lines(key));
  for (std::uint32_t cpu = 0; cpu < dumped.map.cpu_count(); ++cpu) {
    out += fmt::format("value (CPU {:02}):{}{}\n", cpu, dumped.spec.value_size > 16 ? '\n' : ' ',
                       hex_lines(dumped.value_of(value, cpu)));
  }
  return out;
}

std::string text_entry(const DumpedMap& dumped, ByteSpan key, ByteSpan value, int error) {
  if (error != 0) {
    const std::string words = error == -ENOENT ? "<no entry>" : std::strerror(-error);
    return plain_entry(key, words, words.size());
  }
  if (dumped.is_percpu()) return plain_percpu_entry(dumped, key, value);
  return plain_entry(key, hex_lines(value), value.size());
}

}  // namespace

std::string dump_map_text(Map& map, const Btf* btf) {
  const DumpedMap dumped(map, btf);
  if (dumped.btf != nullptr) {
    BpftoolJson json(true);
    json.begin_array();
    for_each_entry(dumped, [&](ByteSpan key, ByteSpan value, int error) {
      if (error == 0) typed_entry(json, dumped, key, value);
    });
    json.end_array();
    return json.text() + '\n';
  }
  std::string out;
  std::size_t count = 0;
  for_each_entry(dumped, [&](ByteSpan key, ByteSpan value, int error) {
    if (error == 0) ++count;
    if (error != 0 && dumped.hides_empty_slots()) return;
    out += text_entry(dumped, key, value, error);
  });
  return out + fmt::format("Found {} element{}\n", count, count == 1 ? "" : "s");
}

std::string dump_map_json(Map& map, const Btf* btf) {
  const DumpedMap dumped(map, btf);
  BpftoolJson json(false);
  json.begin_array();
  for_each_entry(dumped, [&](ByteSpan key, ByteSpan value, int error) {
    json_entry(json, dumped, key, value, error);
  });
  json.end_array();
  return json.text();
}

}  // namespace lmn
