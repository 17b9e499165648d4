// SPDX-License-Identifier: Apache-2.0
//
// From blocks and edges to the language of graphviz, and running graphviz on it.
// Tested by tests/inspect/cfg_dot_test.cc.
#include "cfg_dot.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <map>
#include <optional>
#include <vector>

#include "base/unique_fd.h"
#include "insn/cfg.h"
#include "insn/insn_table.h"

namespace lmn {
namespace {

// Nodes of a function: these two, then its blocks.
constexpr std::size_t kEntryNode = 0;
constexpr std::size_t kExitNode = 1;
constexpr std::size_t kFirstBlockNode = 2;

// First slots of functions and the numbers they go by: the program itself is 0, then come the
// called ones in the order of the calls, then those of which only the address is taken.
std::map<std::uint32_t, std::size_t> number_functions(std::span<const Insn> insns) {
  std::map<std::uint32_t, std::size_t> numbers = {{0, 0}};
  for (const bool is_call : {true, false}) {
    for (std::uint32_t i = 0; i < insns.size(); ++i) {
      if (is_function_call(insns[i]) != is_call) continue;
      const std::optional<InsnIndex> start = function_target(InsnIndex{i}, insns[i]);
      if (!start || start->value >= insns.size()) continue;
      if (insns[start->value].op == Op::kLddwHigh) continue;
      numbers.emplace(start->value, numbers.size());
    }
  }
  return numbers;
}

// A record's label gives these characters a meaning of their own; the last four never stand in an
// instruction but may in a name.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("<>|&{}\"\\").find(c) != std::string_view::npos) out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

class FunctionDrawing {
 public:
  FunctionDrawing(std::span<const Insn> insns, const DisasmNames* names, const FunctionGraph& graph,
                  std::size_t number, std::string& text)
      : insns_(insns), names_(names), graph_(graph), number_(number), text_(text) {}

  void draw() {
    put("subgraph \"cluster_{}\" {{\n\tstyle=\"dashed\";\n\tcolor=\"black\";\n", number_);
    put("\tlabel=\"func_{} ()\";\n", number_);
    draw_diamond(kEntryNode, "ENTRY");
    for (std::size_t i = 0; i < graph_.blocks.size(); ++i) draw_block(i);
    draw_diamond(kExitNode, "EXIT");
    draw_edge(kEntryNode, kFirstBlockNode);
    for (std::size_t i = 0; i < graph_.blocks.size(); ++i) draw_edges_of(i);
    put("\tfn_{0}_bb_{1}:s -> fn_{0}_bb_{2}:n [style=\"invis\", constraint=true];\n}}\n", number_,
        kEntryNode, kExitNode);
  }

 private:
  void draw_diamond(std::size_t node, std::string_view label) {
    put("\tfn_{}_bb_{} [shape=Mdiamond,style=filled,label=\"{}\"];\n\n", number_, node, label);
  }

  void draw_block(std::size_t index) {
    const BasicBlock& block = graph_.blocks[index];
    put("\tfn_{}_bb_{} [shape=record,style=filled,label=\"{{", number_, index + kFirstBlockNode);
    for (std::uint32_t i = block.first.value; i <= block.last.value; ++i) {
      if (insns_[i].op == Op::kLddwHigh) continue;
      put("{}{:4}: ({:02x}) {}\\l\\\n", i == block.first.value ? "" : " | ", i - graph_.start.value,
          opcode_of(insns_[i].op), escaped(disassemble(insns_[i], InsnIndex{i}, names_)));
    }
    const bool ends_in_two_slots = insns_[block.last.value].op == Op::kLddw;
    put("{}}}\"];\n\n", ends_in_two_slots ? " | " : "");
  }

  void draw_edges_of(std::size_t index) {
    const BasicBlock& block = graph_.blocks[index];
    const Op op = insns_[block.last.value].op;
    const bool is_last = index + 1 == graph_.blocks.size();
    std::span<const std::uint32_t> jumps = block.successors;
    if (falls_through(op) || op == Op::kExit) {
      const std::size_t next = is_last ? kExitNode : index + 1 + kFirstBlockNode;
      draw_edge(index + kFirstBlockNode, next);
      // bpftool takes a call for a jump; one of a helper's has the distance 0.
      const bool is_doubled = op == Op::kCall && !is_function_call(insns_[block.last.value]);
      if (is_doubled && !is_last) draw_edge(index + kFirstBlockNode, next);
      if (falls_through(op) && !is_last) jumps = jumps.subspan(1);
    }
    for (const std::uint32_t target : jumps) {
      draw_edge(index + kFirstBlockNode, target + kFirstBlockNode);
    }
  }

  void draw_edge(std::size_t from, std::size_t to) {
    put("\tfn_{0}_bb_{1}:s -> fn_{0}_bb_{2}:n [style=\"solid,bold\", color=black, weight=10, "
        "constraint=true];\n",
        number_, from, to);
  }

  template <typename... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
  }

  std::span<const Insn> insns_;
  const DisasmNames* names_;
  const FunctionGraph& graph_;
  std::size_t number_;
  std::string& text_;
};

Result<UniqueFd> file_with(const std::string& text) {
  UniqueFd fd(::memfd_create("lmn-dot", MFD_CLOEXEC));
  if (!fd.is_open()) return make_error(system_error("memfd_create", errno));
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t count = ::write(fd.get(), text.data() + at, text.size() - at);
    if (count < 0) return make_error(system_error("write to a memfd", errno));
    at += static_cast<std::size_t>(count);
  }
  if (::lseek(fd.get(), 0, SEEK_SET) != 0) return make_error(system_error("lseek", errno));
  return fd;
}

// Starts `dot -Tsvg` reading from `input`. 0, or the errno of the start.
int start_dot(int input, pid_t& pid) {
  char name[] = "dot";
  char format[] = "-Tsvg";
  char* argv[] = {name, format, nullptr};
  posix_spawn_file_actions_t actions;
  if (const int error = ::posix_spawn_file_actions_init(&actions); error != 0) return error;
  int error = ::posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  if (error == 0) error = ::posix_spawnp(&pid, name, &actions, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  return error;
}

}  // namespace

std::string cfg_dot(std::span<const Insn> insns, const DisasmNames* names) {
  std::string text = "digraph \"DOT graph for eBPF program\" {\n";
  const std::map<std::uint32_t, std::size_t> numbers = number_functions(insns);
  std::vector<InsnIndex> starts;
  for (const auto& [start, number] : numbers) starts.push_back(InsnIndex{start});
  for (const FunctionGraph& graph : control_flow(insns, starts)) {
    FunctionDrawing(insns, names, graph, numbers.at(graph.start.value), text).draw();
  }
  return text + "}\n";
}

Result<void> print_svg(const std::string& dot_text) {
  LMN_TRY(const UniqueFd input, file_with(dot_text));
  std::fflush(stdout);
  pid_t pid = -1;
  const int error = start_dot(input.get(), pid);
  if (error == ENOENT) {
    return make_error(ErrorCode::kNotFound, "graphviz is not installed: no program 'dot' in PATH",
                      "install graphviz, or take the text of --cfg to where it is");
  }
  if (error != 0) return make_error(system_error("start 'dot'", error));
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return make_error(system_error("wait for 'dot'", errno));
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return make_error(
      ErrorCode::kIo,
      WIFEXITED(status)
          ? fmt::format("graphviz's 'dot' failed with exit status {}", WEXITSTATUS(status))
          : fmt::format("graphviz's 'dot' was ended by signal {}", WTERMSIG(status)));
}

}  // namespace lmn
