// SPDX-License-Identifier: Apache-2.0
//
// verify: the path-sensitive stage of the verifier: every path of a program is walked with what is
// known of each value, until it ends, repeats what an earlier one proved, or breaks a rule.
//
// The rules, by group (rules.def has their words):
//
//   values      uninitialised: a register is read only after it was written
//   pointers    pointer-arithmetic: offsets stay small and known enough; kinds that forbid it
//   memory      packet-bounds, context-access, map-access, stack-access, memory-access, null-check:
//               every access lies where the program may read or write
//   calls       call-argument: each argument is what the helper's or kfunc's row demands; callback;
//               call-frames, stack-depth: 8 frames, 512 bytes together
//   families    dynptr, iterator: what stands for them on the stack; map-field: locks, timers and
//               kptrs in map values
//   balance     reference: what was acquired is released on every path; lock: no lock, RCU, preempt
//               or interrupt section is left open, and what may be done inside
//   ends        infinite-loop, complexity, memory-limit: each path ends within the limits;
//               return-value
//   secrets     pointer-leak: only for Strictness::kUntrusted
//
// The walk is Linux's: depth first, a state kept where paths meet, a path cut where a kept state
// includes the present one; numbers count there only if some decision depended on them
// (precision.h). Loops are walked until they end or repeat; callbacks of bpf_loop and its like
// until their effect repeats. So what Linux accepts is accepted for the same reason, and messages
// carry the kernel's wording (VerifierReport::kernel_message) beside words for people.
//
// Differences from Linux 6.18: (1) numbers are known a little better (domain/); (2) what is kept of
// states inside unfinished loops is compared with all numbers counting, where the kernel computes
// which of them do; (3) no Spectre rules.
// Not done yet: objects of a kernel are looked into only where Environment::kernel_types says what
// they are; stack that is saved around fast calls (fastcall.h) may not lie below the 512 bytes, as
// it may in Linux.
// Threads: a pure function of its arguments.
// Tested by paths_test.cc, paths_calls_test.cc and tests/conformance/verifier_conformance.cc;
// forge_test.cc proves that nobody else can make a VerifiedProgram. Source: Linux 6.18,
// kernel/bpf/verifier.c.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "abi/features.h"
#include "abi/limits.h"
#include "base/result.h"
#include "btf/btf.h"
#include "spec/environment.h"
#include "verifier/rules.h"
#include "verifier/state.h"
#include "verifier/structure.h"

namespace lmn {

// Why a program was refused, for tools and people; and figures of the walk, also of one that was
// not refused.
struct VerifierReport {
  bool is_refused = false;
  Rule rule{};
  InsnIndex insn;
  int errno_value = 0;
  std::string kernel_message;          // the line that Linux's log would end with
  std::string words;                   // the same for a person
  std::optional<Error> refusal;        // the structural pass's own, if it was its rule
  std::string known;                   // what was known of the values involved: explain.h
  std::optional<InsnIndex> came_from;  // the instruction before, on the refused path
  std::optional<InsnIndex> acquired;   // where what is still held was acquired
  std::uint64_t processed = 0;
  std::uint64_t total_states = 0;
  std::uint64_t peak_states = 0;
  std::uint64_t max_states_per_insn = 0;
  std::size_t peak_bytes = 0;              // of kept states
  std::vector<std::uint32_t> stack_bytes;  // per subprogram
};

class VerifierListener;

struct VerifyOptions {
  const Btf* btf = nullptr;          // of the object; global functions need it
  VerifierReport* report = nullptr;  // filled on refusal
  std::uint64_t processed_max = limits::kInsnProcessedMax;
  std::size_t memory_max = limits::kVerifierBytesMax;
  VerifierListener* listener = nullptr;  // trace.h; not with `log`
  std::string* log = nullptr;            // gets the walk in the form of the kernel's log
  std::uint32_t log_level = 0;           // kernel_log.h
};

// What was learnt of one instruction on all paths to it.
struct InsnFacts {
  bool is_seen = false;               // false: dead code
  RegKind pointer = RegKind::kNone;   // of a load, store or atomic
  bool has_several_pointers = false;  // more than one kind over the paths
  // Of an access, over all paths: where it begins, from where the memory begins (of the stack: from
  // its end, r10), and the largest power of two that divides that, at most 4096. 0: no access.
  std::uint16_t alignment = 0;
  std::int32_t offset_min = 0;
  std::int32_t offset_max = 0;
  const MapSpec* map = nullptr;  // of a call, where it is the same on all paths
  bool has_several_maps = false;
  bool has_several_map_types = false;
};

struct VerifiedFacts {
  std::vector<InsnFacts> insns;
  std::vector<std::uint32_t> stack_bytes;  // per subprogram
  std::uint64_t processed = 0;
  std::uint64_t total_states = 0;
  std::uint64_t peak_states = 0;
  std::uint64_t max_states_per_insn = 0;
  std::size_t peak_bytes = 0;
  FeatureSet features;                      // what the program needs
  std::uint32_t stack_depth_max = 0;        // bytes of the deepest chain of frames
  std::uint32_t tail_call_count = 0;        // live bpf_tail_call instructions
  std::uint32_t tail_call_stack_bytes = 0;  // frames of the deepest chain that makes one
};

class VerifiedProgram;

// Errors: as check_structure's; VerifierReport has the details.
Result<VerifiedProgram> verify(const Environment& env, StructuredProgram program,
                               const VerifyOptions& options = {});

// A program that was proved safe to run without checks. Made by verify and copied, never forged.
class VerifiedProgram {
 public:
  class Key {
    Key() {}            // not defaulted: {} must not make one either
    Key(const Key&) {}  // not trivial: std::bit_cast must not make one either
    friend Result<VerifiedProgram> verify(const Environment&, StructuredProgram,
                                          const VerifyOptions&);
  };

  VerifiedProgram(Key, StructuredProgram structure, VerifiedFacts facts)
      : structure_(std::move(structure)), facts_(std::move(facts)) {}

  const StructuredProgram& structure() const { return structure_; }
  const ProgramSpec& spec() const { return structure_.spec(); }
  const VerifiedFacts& facts() const { return facts_; }

 private:
  StructuredProgram structure_;
  VerifiedFacts facts_;
};

}  // namespace lmn
