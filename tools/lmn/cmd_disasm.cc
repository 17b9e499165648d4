// SPDX-License-Identifier: Apache-2.0
//
// lmn disasm: the instructions of an object's programs as `bpftool prog dump xlated` prints them,
// with source lines, map names, function names and helper names; and one program's control flow as
// a graph, in words (--cfg) or drawn (--visual).
#include <fmt/format.h>

#include "base/json_writer.h"
#include "cfg_dot.h"
#include "command.h"
#include "insn/disasm.h"
#include "insn/insn_table.h"
#include "object_input.h"

namespace lmn {
namespace {

class SpecNames : public DisasmNames {
 public:
  SpecNames(const ObjectSpec& object, const ProgramSpec& program)
      : object_(object), program_(program) {}
  std::string map(std::uint32_t index) const override {
    if (index >= program_.maps.size() || program_.maps[index] >= object_.maps.size()) return {};
    return object_.maps[program_.maps[index]].name;
  }
  std::string kfunc(std::uint32_t index) const override {
    return index < program_.kfuncs.size() ? program_.kfuncs[index].name : std::string();
  }
  std::string ksym(std::uint32_t index) const override {
    return index < program_.externs.size() ? program_.externs[index].name : std::string();
  }
  std::string subprogram(InsnIndex start) const override {
    const FunctionInfo* function = program_.function_of(start);
    return function != nullptr && function->insn == start ? function->name : std::string();
  }

 private:
  const ObjectSpec& object_;
  const ProgramSpec& program_;
};

// In a graph calls are told by distance alone, as bpftool's are.
class GraphNames final : public SpecNames {
 public:
  using SpecNames::SpecNames;
  std::string subprogram(InsnIndex /*start*/) const override { return {}; }
};

bool starts_line(const ProgramSpec& program, InsnIndex insn) {
  const LineInfo* line = program.line_of(insn);
  return line != nullptr && line->insn == insn;
}

void print_program(const ObjectSpec& object, const ProgramSpec& program, bool with_source) {
  const SpecNames names(object, program);
  fmt::print("{} (section '{}', {} instructions):\n", program.name, program.section,
             program.insns.size());
  for (std::uint32_t i = 0; i < program.insns.size(); ++i) {
    const InsnIndex at{i};
    if (program.insns[i].op == Op::kLddwHigh) continue;
    if (const std::string function = names.subprogram(at); i > 0 && !function.empty())
      fmt::print("{}:\n", function);
    if (with_source && starts_line(program, at)) {
      const LineInfo& line = *program.line_of(at);
      fmt::print("; {}{}\n", line.text,
                 line.file.empty() ? "" : fmt::format(" @ {}:{}", line.file, line.line));
    }
    fmt::print("{:4}: ({:02x}) {}\n", i, opcode_of(program.insns[i].op),
               disassemble(program.insns[i], at, &names));
  }
}

void write_json(JsonWriter& json, const ObjectSpec& object, const ProgramSpec& program) {
  const SpecNames names(object, program);
  json.begin_object();
  json.field("name", program.name);
  json.field("section", program.section);
  json.key("insns");
  json.begin_array();
  for (std::uint32_t i = 0; i < program.insns.size(); ++i) {
    const InsnIndex at{i};
    if (program.insns[i].op == Op::kLddwHigh) continue;
    json.begin_object();
    json.field("index", i);
    json.field("disasm", disassemble(program.insns[i], at, &names));
    if (const LineInfo* line = program.line_of(at); line != nullptr) {
      json.field("src", line->text);
      json.field("file", line->file);
      json.field("line", line->line);
    }
    json.end_object();
  }
  json.end_array();
  json.end_object();
}

// The graph of the program called `wanted`, or of the only one.
Result<std::string> graph_of(const ObjectSpec& object, const std::string& wanted) {
  const ProgramSpec* program = object.programs.size() == 1 ? &object.programs[0] : nullptr;
  if (program == nullptr || !wanted.empty()) {
    LMN_TRY(program, choose_program(object, wanted));
  }
  if (program->insns.empty() && program->defect) return make_error(*program->defect);
  const GraphNames names(object, *program);
  return cfg_dot(program->insns, &names);
}

int draw_graph(const ObjectSpec& object, const std::string& wanted, bool as_svg) {
  const Result<std::string> dot_text = graph_of(object, wanted);
  if (!dot_text) return fail(dot_text.error());
  if (!as_svg) {
    fmt::print("{}", *dot_text);
    return kExitOk;
  }
  const Result<void> drawn = print_svg(*dot_text);
  return drawn ? kExitOk : fail(drawn.error());
}

}  // namespace

int cmd_disasm(int argc, char** argv) {
  CLI::App app{"Print the instructions of an object's programs", "lmn disasm"};
  std::string path;
  std::string wanted;
  bool without_source = false;
  bool as_json = false;
  bool as_graph = false;
  bool as_svg = false;
  app.add_option("object", path, "ELF object")->required();
  app.add_option("--prog", wanted, "only this program");
  app.add_flag("--no-source", without_source, "instructions only");
  CLI::Option* json_flag = app.add_flag("--json", as_json, "a JSON array on standard output");
  CLI::Option* cfg_flag =
      app.add_flag("--cfg", as_graph, "one program's control flow, in graphviz's language")
          ->excludes(json_flag);
  app.add_flag("--visual", as_svg, "the same drawn by graphviz, as SVG")
      ->excludes(json_flag)
      ->excludes(cfg_flag);
  int status = kExitOk;
  if (!parse_words(app, argc, argv, status)) return status;
  const Result<ObjectSpec> object = load_object_file(path);
  if (!object) return fail(object.error());
  if (as_graph || as_svg) return draw_graph(*object, wanted, as_svg);
  JsonWriter json(2);
  json.begin_array();
  bool found = false;
  for (const ProgramSpec& program : object->programs) {
    if (!wanted.empty() && program.name != wanted) continue;
    if (found && !as_json) fmt::print("\n");
    found = true;
    as_json ? write_json(json, *object, program) : print_program(*object, program, !without_source);
  }
  json.end_array();
  if (!found)
    return fail(Error{ErrorCode::kNotFound, fmt::format("{}: no program '{}'", path, wanted)});
  if (as_json) fmt::print("{}\n", json.text());
  return kExitOk;
}

}  // namespace lmn
