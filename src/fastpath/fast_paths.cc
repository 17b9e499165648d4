// SPDX-License-Identifier: Apache-2.0
//
// The bytes of the bitcode and the table of its names. Tested by fast_paths_test.cc.
#include "fastpath/fast_paths.h"

#include <algorithm>
#include <array>

// The build names the file. An assembler directive takes it in as it is, in any compiler.
__asm__(
    ".pushsection .rodata, \"a\"\n"
    ".balign 16\n"
    ".globl lmn_fast_paths_begin\n"
    "lmn_fast_paths_begin:\n"
    ".incbin \"" LMN_FAST_PATHS_BITCODE
    "\"\n"
    ".globl lmn_fast_paths_end\n"
    "lmn_fast_paths_end:\n"
    ".popsection\n");

extern "C" {
extern const std::uint8_t lmn_fast_paths_begin[] __attribute__((visibility("hidden")));
extern const std::uint8_t lmn_fast_paths_end[] __attribute__((visibility("hidden")));
}

namespace lmn {
namespace {

constexpr FastPathName kNames[] = {
#define LMN_FAST_PATH(name, kind, step) {#name, FastPathKind::kind, FastPathStep::step},
#include "fastpath/fast_paths.def"
#undef LMN_FAST_PATH
};
static_assert(std::ranges::is_sorted(kNames, {}, &FastPathName::symbol),
              "fast_paths.def: rows are sorted by name");

}  // namespace

std::span<const std::uint8_t> fast_paths_bitcode() {
  return {lmn_fast_paths_begin, lmn_fast_paths_end};
}

std::span<const FastPathName> fast_path_names() { return kNames; }

const FastPathName* find_fast_path(FastPathKind kind, FastPathStep step) {
  for (const FastPathName& name : kNames) {
    if (name.kind == kind && name.step == step) return &name;
  }
  return nullptr;
}

}  // namespace lmn
