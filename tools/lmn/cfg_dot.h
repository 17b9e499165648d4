// SPDX-License-Identifier: Apache-2.0
//
// The control-flow graph of a program in the language of graphviz, and as a drawing.
//
// The text is the one of `bpftool prog dump xlated ... visual` (7.1), to the byte, so that scripts
// made for one work with the other. Some of it is bpftool's choice and not the program's:
// - a block that ends in exit has an edge to the block behind it; only the last one's leads to
// EXIT;
// - a block that ends in a call of the kernel's has its one edge twice;
// - a block that ends in a load of two slots ends in a separator with nothing behind it;
// - functions are numbered in the order in which calls to them stand in the program.
// Where bpftool 7.1 gives up we do not: it crashes on a block that ends in a call of the program's
// own, and it takes a function of which only the address is used (a callback) for a part of the
// function before it.
// Threads: pure function; print_svg() writes to standard output.
// Tested by tests/inspect/cfg_dot_test.cc. Source: bpftool 7.1 (Linux 6.1, tools/bpf/bpftool/cfg.c:
// what the text looks like).
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "insn/disasm.h"

namespace lmn {

// `names` for maps and the like; names of functions would differ from bpftool's text.
std::string cfg_dot(std::span<const Insn> insns, const DisasmNames* names = nullptr);

// Has graphviz's `dot` draw the graph, to our standard output. Errors: kNotFound when it is not
// installed, kIo when it fails.
Result<void> print_svg(const std::string& dot_text);

}  // namespace lmn
