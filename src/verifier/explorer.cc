// SPDX-License-Identifier: Apache-2.0
//
// The walk: instruction after instruction along one path, and along the next when it ends. Tested
// by paths_test.cc.
#include "verifier/explorer.h"

#include <fmt/format.h>

#include "base/assert.h"
#include "verifier/explain.h"
#include "verifier/trace.h"

namespace lmn {
namespace {

// The depth of the stack is no single instruction's fault; the call of the function with the
// largest frame is the best place to begin.
InsnIndex largest_call(const StructuredProgram& program, std::span<const std::uint32_t> bytes) {
  InsnIndex found;
  std::uint32_t most = 0;
  for (const CallSite& call : program.calls()) {
    if (bytes[call.callee] <= most) continue;
    most = bytes[call.callee];
    found = call.insn;
  }
  return found;
}

// Where the path acquired the lock or object that it should have given back.
std::optional<InsnIndex> held_since(const PathState& state, Rule rule) {
  if (rule != Rule::kLock && rule != Rule::kReference) return std::nullopt;
  for (const Reference& held : state.references) {
    const bool is_object = held.kind == Reference::Kind::kObject;
    if (is_object == (rule == Rule::kReference)) return InsnIndex{held.insn};
  }
  return std::nullopt;
}

// The last place on the path, as far as it is remembered, that is another line than the one of
// `at`.
InsnIndex came_from(const PathState& state, const ProgramSpec& program, std::uint32_t at) {
  const LineInfo* here = program.line_of(InsnIndex{at});
  const auto is_elsewhere = [&](std::uint32_t insn) {
    const LineInfo* line = program.line_of(InsnIndex{insn});
    return line != nullptr && here != nullptr && line->line != here->line;
  };
  if (is_elsewhere(state.previous)) return InsnIndex{state.previous};
  for (auto entry = state.history.rbegin(); entry != state.history.rend(); ++entry) {
    if (is_elsewhere(entry->previous)) return InsnIndex{entry->previous};
  }
  return InsnIndex{state.previous};
}

// What stands between the quotes that `before` ends with.
std::string_view quoted_in(std::string_view message, std::string_view before) {
  const std::size_t at = message.find(before);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = message.substr(at + before.size());
  return rest.substr(0, rest.find('\''));
}

}  // namespace

Explorer::Explorer(const Environment& env, const StructuredProgram& program,
                   const VerifyOptions& options)
    : env_(env),
      program_(program),
      options_(options),
      liveness_(env, program),
      stack_use_(program),
      fastcall_(env, program) {
  const std::size_t slots = program.spec().insns.size();
  const std::size_t functions = program.subprograms().size();
  facts_.insns.resize(slots);
  facts_.stack_bytes.resize(functions);
  known_.resize(slots);
  signatures_.resize(functions);
  has_signature_.resize(functions);
  is_called_.resize(functions);
  is_explored_.resize(functions);
  changes_packet_.resize(functions);
  if (const auto& callback = program.spec().exception_callback) {
    exception_callback_ = program.subprogram_of(*callback);
  }
}

bool Explorer::run() {
  const bool is_proved = walk_all();
  report_.processed = facts_.processed = processed_;
  report_.total_states = facts_.total_states;
  report_.peak_states = facts_.peak_states;
  report_.max_states_per_insn = facts_.max_states_per_insn;
  report_.peak_bytes = facts_.peak_bytes;
  report_.stack_bytes = facts_.stack_bytes;
  return is_proved;
}

bool Explorer::walk_all() {
  if (!find_points()) return false;
  find_packet_changers();
  if (!explore(entry_state(0))) return false;
  if (!check_exception_callback()) return false;
  if (!explore_global_functions()) return false;
  for (std::uint32_t f = 0; f < facts_.stack_bytes.size(); ++f) {
    facts_.stack_bytes[f] = fastcall_.counted_bytes(f, facts_.stack_bytes[f]);
  }
  for (std::uint32_t at = 0; at < facts_.insns.size(); ++at) {
    const Insn& insn = insn_at(at);
    const bool is_tail_call = is_helper_call(insn) && insn.imm == BPF_FUNC_tail_call;
    facts_.tail_call_count += is_tail_call && facts_.insns[at].is_seen ? 1 : 0;
  }
  if (check_stack_depth()) return true;
  report_.insn = largest_call(program_, facts_.stack_bytes);
  return false;
}

bool Explorer::reject(Rule rule, std::string kernel, std::string words, int errno_value) {
  if (report_.is_refused) return false;
  report_.is_refused = true;
  report_.rule = rule;
  report_.insn = InsnIndex{at_};
  report_.errno_value = errno_value != 0 ? errno_value : rule_info(rule).errno_value;
  report_.words = words.empty() ? kernel : std::move(words);
  if (state_ != nullptr) {
    report_.known = known_at(insn_at(at_), rule, kernel, state_->frame());
    report_.came_from = came_from(*state_, program_.spec(), at_);
    report_.acquired = held_since(*state_, rule);
  }
  report_.kernel_message = std::move(kernel);
  return false;
}

// Where paths can part or meet: where states are worth keeping, and where walking back has to ask
// how it got there.
bool Explorer::find_points() {
  const auto insns = std::span(program_.spec().insns);
  points_.resize(insns.size() + 1);
  const auto mark = [&](std::optional<InsnIndex> at, int what) {
    if (at && at->value < insns.size()) points_[at->value] |= static_cast<std::uint8_t>(what);
  };
  for (std::uint32_t at = 0; at < insns.size(); ++at) {
    const Insn& insn = insns[at];
    const InsnIndex here{at};
    const std::optional<InsnIndex> next{InsnIndex{at + slot_count(insn.op)}};
    if (is_jump(insn.op)) mark(jump_target(here, insn), kJumpPoint | kPrunePoint);
    if (is_conditional_jump(insn.op)) mark(here, kPrunePoint);
    if (insn.op == Op::kMayGoto) {
      mark(here, kPrunePoint | kForced);
      mark(next, kJumpPoint);
    }
    if (is_function_call(insn) || is_function_address(insn)) {
      mark(function_target(here, insn), kJumpPoint | kPrunePoint);
    }
    if (is_function_call(insn)) mark(next, kJumpPoint | kPrunePoint);
    const KfuncProto* kfunc = kfunc_of(insn);
    if (kfunc != nullptr && (kfunc->flags & kKfIterNext) != 0) {
      mark(here, kPrunePoint | kForced | kIterates);
      mark(next, kJumpPoint);
    }
    bool calls_back = kfunc != nullptr && (kfunc->flags & kKfCallsBack) != 0;
    if (is_helper_call(insn)) {
      const HelperProto* proto = env_.find_helper(static_cast<std::uint32_t>(insn.imm));
      calls_back = proto != nullptr && (proto->flags & kHelperCallsBack) != 0;
    }
    // What is known there is looked at before one more path begins: callbacks that set timers anew
    // would never end.
    const bool calls_later = (kfunc != nullptr && (kfunc->flags & kKfCallsLater) != 0) ||
                             (is_helper_call(insn) && insn.imm == BPF_FUNC_timer_set_callback);
    if (calls_later) mark(here, kPrunePoint);
    if (calls_back) {
      mark(here, kPrunePoint | kForced | kCallsBack | kJumpPoint);
      mark(next, kJumpPoint);
    }
  }
  for (const DeferredOperation& operation : program_.deferred()) mark(operation.insn, kDeferred);
  return true;
}

bool Explorer::explore(PathState initial) {
  for (auto& list : known_) list.clear();
  states_.clear();
  free_states_.clear();
  stack_use_.clear();
  bytes_ = 0;
  pending_.clear();
  root_ = initial.frame().subprogram;
  initial.insn = initial.first_insn = subprogram_start(root_);
  state_ = std::make_unique<PathState>(std::move(initial));
  at_ = state_->insn;
  previous_ = at_;
  if (options_.listener != nullptr) options_.listener->on_walk(root_);
  while (true) {
    switch (step()) {
      case StepResult::kRefused:
        return false;
      case StepResult::kNext:
        at_ += slot_count(insn_at(at_).op);
        break;
      case StepResult::kJumped:
        break;
      case StepResult::kPathEnds:
        end_path();
        if (!take_next_path()) return true;
        break;
    }
  }
}

StepResult Explorer::step() {
  if (++processed_ > options_.processed_max) {
    reject(Rule::kComplexity,
           fmt::format("BPF program is too large. Processed {} insn", processed_));
    return StepResult::kRefused;
  }
  has_history_entry_ = false;
  state_->insn = at_;
  state_->previous = previous_;
  if (options_.listener != nullptr) options_.listener->on_visit(*state_);
  if (is_point(at_, kPrunePoint)) {
    switch (visit_known_states()) {
      case Visit::kIncluded:
        return StepResult::kPathEnds;
      case Visit::kRefused:
        return StepResult::kRefused;
      case Visit::kNew:
        break;
    }
  }
  if (is_point(at_, kJumpPoint)) push_history({});
  if (is_point(at_, kDeferred)) {
    refuse_deferred();
    return StepResult::kRefused;
  }
  facts_.insns[at_].is_seen = true;
  previous_ = at_;
  return execute(insn_at(at_));
}

// What the structural pass refuses if a run gets here: one does.
void Explorer::refuse_deferred() {
  for (const DeferredOperation& operation : program_.deferred()) {
    if (operation.insn.value != at_) continue;
    report_.is_refused = true;
    report_.rule = rule_of(operation.refusal);
    report_.insn = operation.insn;
    report_.errno_value = operation.refusal.errno_value;
    report_.kernel_message = report_.words = operation.refusal.message;
    if (report_.rule == Rule::kKfunc) {
      const std::string_view name = quoted_in(operation.refusal.message, "kernel function '");
      if (!name.empty()) {
        report_.kernel_message = fmt::format("calling kernel function {} is not allowed", name);
      }
    }
    report_.refusal = operation.refusal;
  }
}

StepResult Explorer::execute(const Insn& insn) {
  switch (op_class(insn.op)) {
    case OpClass::kAlu:
    case OpClass::kByteSwap:
    case OpClass::kAddrSpaceCast:
      return flow(check_alu(insn));
    case OpClass::kLoad:
    case OpClass::kStore:
      return execute_memory(insn);
    case OpClass::kAtomic:
      return flow(check_atomic(insn));
    case OpClass::kJump:
      ++jumps_;
      at_ = jump_target(InsnIndex{at_}, insn)->value;
      return StepResult::kJumped;
    case OpClass::kBranch:
      ++jumps_;
      return insn.op == Op::kMayGoto ? check_may_goto(insn) : check_branch(insn);
    case OpClass::kCall:
      ++jumps_;
      return execute_call(insn);
    case OpClass::kExit:
      ++jumps_;
      return check_exit();
    case OpClass::kWide:
      return execute_lddw(insn);
    case OpClass::kLegacy:
      reject(Rule::kCallArgument,
             "BPF_LD_[ABS|IND] instructions not allowed for this program type");
      return StepResult::kRefused;
  }
  return StepResult::kRefused;
}

StepResult Explorer::execute_lddw(const Insn& insn) {
  RegState& dst = reg(insn.dst);
  switch (insn.src) {
    case BPF_PSEUDO_MAP_IDX:
    case BPF_PSEUDO_MAP_IDX_VALUE: {
      const auto index = static_cast<std::uint32_t>(insn.imm);
      LMN_ASSERT(index < program_.maps().size());
      const bool is_value = insn.src == BPF_PSEUDO_MAP_IDX_VALUE;
      if (is_value && program_.maps()[index].type == BPF_MAP_TYPE_ARENA) {
        dst = RegState::unknown();  // where user space has it
        return StepResult::kNext;
      }
      dst = RegState::pointer(is_value ? RegKind::kMapValue : RegKind::kMap);
      dst.map = &program_.maps()[index];
      if (is_value) dst.offset = static_cast<std::int32_t>(insn.imm >> 32);
      return StepResult::kNext;
    }
    case BPF_PSEUDO_FUNC:
      dst = RegState::pointer(RegKind::kFunction);
      dst.target = *program_.callee_of(InsnIndex{at_});
      return StepResult::kNext;
    case 0:
      dst = RegState::constant(static_cast<std::uint64_t>(insn.imm));
      return StepResult::kNext;
    default:
      reject(Rule::kCallArgument, "unrecognized bpf_ld_imm64 insn");
      return StepResult::kRefused;
  }
}

StepResult Explorer::execute_memory(const Insn& insn) {
  MemoryAccess access;
  access.insn = &insn;
  access.offset = insn.off;
  access.size = access_size(insn.op);
  access.is_write = op_class(insn.op) == OpClass::kStore;
  if (!access.is_write) {
    access.pointer = insn.src;
    access.value = insn.dst;
    access.is_sign_extending =
        insn.op == Op::kLdxMemSx8 || insn.op == Op::kLdxMemSx16 || insn.op == Op::kLdxMemSx32;
    return flow(check_readable(insn.src) && check_access(access));
  }
  access.pointer = insn.dst;
  if (reads_src(insn.op)) {
    access.value = insn.src;
    if (!check_readable(insn.src)) return StepResult::kRefused;
  }
  return flow(check_readable(insn.dst) && check_access(access));
}

StepResult Explorer::execute_call(const Insn& insn) {
  if (is_function_call(insn)) return check_function_call(insn);
  if (is_helper_call(insn)) return flow(check_helper_call(insn));
  return check_kfunc_call(insn);
}

bool Explorer::check_readable(std::uint8_t index) {
  if (reg(index).kind != RegKind::kNone) return true;
  return reject(Rule::kUninitialised, fmt::format("R{} !read_ok", index),
                fmt::format("r{} is read but was never given a value on this path", index));
}

const MapFields& Explorer::fields_of(const MapSpec& map) {
  const auto [at, is_new] = map_fields_.try_emplace(&map);
  const Btf* types = options_.btf;
  const std::uint32_t id = map.btf_value_type_id;
  if (!is_new || types == nullptr || id == 0 || types->find(id) == nullptr) return at->second;
  // As in the kernel, a value whose fields are not as they must be has none.
  if (auto fields = parse_map_fields(*types, id, map.value_size)) at->second = *std::move(fields);
  return at->second;
}

// --- paths

void Explorer::end_path() {
  for (KnownState* known = state_->parent; known != nullptr;) {
    KnownState* up = known->state.parent;
    LMN_ASSERT(known->branches > 0);
    if (--known->branches > 0) break;
    if (known->is_evicted) evict(*known);
    known = up;
  }
  state_.reset();
}

bool Explorer::take_next_path() {
  if (pending_.empty()) return false;
  if (options_.listener != nullptr) options_.listener->on_next_path();
  state_ = std::move(pending_.back());
  pending_.pop_back();
  at_ = state_->insn;
  previous_ = state_->previous;
  return true;
}

// A copy of the present path that will go on at `to`; null after a refusal.
PathState* Explorer::push_branch(std::uint32_t to) {
  if (pending_.size() >= limits::kPendingBranchesMax) {
    reject(Rule::kComplexity,
           fmt::format("The sequence of {} jumps is too complex.", limits::kPendingBranchesMax));
    return nullptr;
  }
  auto copy = std::make_unique<PathState>(*state_);
  copy->insn = to;
  copy->previous = at_;
  if (copy->parent != nullptr) ++copy->parent->branches;
  pending_.push_back(std::move(copy));
  if (options_.listener != nullptr) options_.listener->on_branch();
  return pending_.back().get();
}

// One entry per executed instruction; what is said twice of one is put together.
void Explorer::push_history(HistoryEntry what) {
  if (has_history_entry_) {
    HistoryEntry& entry = state_->history.back();
    if (what.is_stack_access) {
      entry.is_stack_access = true;
      entry.frame = what.frame;
      entry.slot = what.slot;
    }
    entry.is_dst_stack = entry.is_dst_stack || what.is_dst_stack;
    entry.is_src_stack = entry.is_src_stack || what.is_src_stack;
    if (what.linked_count > 0) {
      entry.linked = what.linked;
      entry.linked_count = what.linked_count;
    }
    return;
  }
  what.insn = at_;
  what.previous = state_->previous;
  state_->history.push_back(what);
  has_history_entry_ = true;
}

void Explorer::note_stack_access(std::uint32_t frame, std::uint32_t slot) {
  HistoryEntry entry;
  entry.is_stack_access = true;
  entry.frame = static_cast<std::uint8_t>(frame);
  entry.slot = static_cast<std::uint8_t>(slot);
  push_history(entry);
}

std::size_t Explorer::bytes_of(const PathState& state) const {
  std::size_t bytes = sizeof(KnownState) + state.history.capacity() * sizeof(HistoryEntry);
  for (const FrameState& frame : state.frames) {
    bytes += sizeof(FrameState) + frame.stack.capacity() * sizeof(StackSlot);
  }
  return bytes;
}

}  // namespace lmn
