// SPDX-License-Identifier: Apache-2.0
//
// Prints what read_object makes of object files, one line per object, to be compared with a table
// (scripts/conformance/objects_table.sh): name, number of BTF types, programs, maps.
//
//   lmn_describe_objects FILE...
//
// program: name:section:type:attach type:instructions:functions; map:
// name:type:key:value:entries:flags:BTF ids. CO-RE is resolved against each object's own types, so
// that lines are the same on every machine.
#include <fmt/format.h>

#include <string>

#include "base/file.h"
#include "btf/btf.h"
#include "object/object_reader.h"
#include "object_types.h"

namespace {

std::string describe(const lmn::ProgramSpec& program) {
  const std::string insns = program.insns.empty() ? "defect" : std::to_string(program.insns.size());
  return fmt::format("{}:{}:{}:{}:{}:{}", program.name, program.section, program.type,
                     program.expected_attach_type, insns, program.functions.size());
}

std::string describe(const lmn::MapSpec& map) {
  return fmt::format("{}:{}:{}:{}:{}:{}:{}:{}", map.name, map.type, map.key_size, map.value_size,
                     map.max_entries, map.map_flags, map.btf_key_type_id, map.btf_value_type_id);
}

std::string describe_file(const std::string& path) {
  const std::string name = path.substr(path.find_last_of('/') + 1);
  const auto bytes = lmn::read_file(path, 64u << 20);
  if (!bytes) return fmt::format("{}\tunreadable", name);
  lmn::ReadOptions options;
  options.object_name = lmn::object_name_of(path);
  options.target_btf = lmn::testing::types_of_object(*bytes);
  const auto object = lmn::read_object(*bytes, options);
  if (!object) return fmt::format("{}\trefused: {}", name, object.error().to_string());
  std::string line = fmt::format("{}\t{}\t", name, object->btf ? object->btf->type_count() : 0);
  for (const lmn::ProgramSpec& program : object->programs) line += describe(program) + " ";
  line += "\t";
  for (const lmn::MapSpec& map : object->maps) line += describe(map) + " ";
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) fmt::print("{}\n", describe_file(argv[i]));
  return 0;
}
