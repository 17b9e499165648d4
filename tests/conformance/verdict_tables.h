// SPDX-License-Identifier: Apache-2.0
//
// What the conformance runs of the verifier compare with: the recorded verdicts of the kernel
// (data/verdicts*.tsv), what each test says of itself (tags in its object's BTF), the wordings that
// are ours (data/wordings.tsv), and the differences that are decided (data/verdict_exceptions.tsv,
// each with a row of docs/kernel-differences.md).
//
// Threads: values and pure functions. Used by verifier_conformance.cc.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "btf/btf.h"
#include "spec/program_spec.h"

namespace lmn {

struct VerdictRow {
  std::string program;
  bool is_accepted = false;
  bool is_as_xdp = false;
  bool is_annotated = false;
  double kernel_microseconds = 0;
};
// Object file name to rows.
using VerdictTable = std::map<std::string, std::vector<VerdictRow>>;

// The XDP programs among the kernel's tests.
VerdictTable read_xdp_table();
// Annotated tests of other types whose verdict as XDP is what their author expects.
VerdictTable read_as_xdp_table();

// What a test says of itself.
struct TestTags {
  std::vector<std::string> messages;  // in the order in which the log has them
  std::uint32_t log_level = 0;        // 0: the default
  std::uint32_t prog_flags = 0;       // BPF_F_*
  std::string btf_object;             // object whose BTF is the CO-RE target; empty: the kernel's
};
TestTags read_tags(const Btf& btf, const ProgramSpec& program);

// A wording of the kernel's log and the one that stands for it here.
struct Wording {
  std::string kernel;
  std::string ours;
};
std::vector<Wording> read_wordings();

// The first of `messages` that `log` does not hold in its place, or nullopt. {{...}} in a message
// is a regular expression.
std::optional<std::string> missing_message(std::string_view log,
                                           const std::vector<std::string>& messages,
                                           const std::vector<Wording>& wordings);

struct VerdictException {
  std::string what;  // "verdict" or "message"
  std::string file;
  std::string program;
  std::string row;  // id in docs/kernel-differences.md
};
std::vector<VerdictException> read_exceptions();
// Ids of the rows of docs/kernel-differences.md.
std::vector<std::string> difference_ids();

}  // namespace lmn
