// SPDX-License-Identifier: Apache-2.0
//
// Explorer: walks all paths of one program. Internal to the verifier; the public function is verify
// (verifier.h).
//
// One object for one verification: the current path (state()), branches not walked yet, states kept
// for comparison. Each file next to this one judges one area and is a set of its methods:
//
//   explorer.cc    the walk: one instruction after the other, branches, ends of paths
//   alu.cc         arithmetic on numbers and pointers
//   jump.cc        comparisons: what both branches learn
//   memory.cc      loads, stores and atomics by kind of pointer
//   stack.cc       the program's own stack
//   call.cc        helper calls by their row
//   call_memory.cc memory that helpers are given
//   kptr.cc        kernel pointers in map values and objects, bpf_kptr_xchg
//   subprogram.cc  calls of the program's functions, global functions, callbacks, exit
//   kfunc_call.cc  kfunc calls by their row; kfunc_result.cc what they return
//   object.cc      objects by their BTF: of the kernel, and allocated ones
//   graph.cc       lists and trees of allocated objects
//   lock.cc        spin locks, and what is only true while one is held
//   arena.cc       addresses in arenas
//   dynptr.cc      dynptrs on the stack and their slices
//   iterator.cc    open-coded iterators; saved interrupt flags
//   reference.cc   what is acquired and must be released; sections that must be left
//   prune.cc       which states to keep, and when one includes another
//   exception.cc   bpf_throw and who catches it
//   fastcall.cc    stack around calls that leave registers alone
//   precision.cc   which numbers a decision depended on
//   liveness.cc    which registers and stack slots the code can still read
//   stack_use.cc   which of those slots a walked path did read
//
// A method that judges returns false when the program is refused; the reason is then in report().
// Invariants: (1) after a refusal nothing more is walked; (2) processed() never exceeds the limit;
// (3) every kept state's `branches` counts the paths from it that have not ended.
// Threads: one. Tested by paths_test.cc and tests/conformance.
// Source: Linux 6.18, kernel/bpf/verifier.c (do_check and what it calls).
#pragma once

#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "btf/map_fields.h"
#include "insn/insn_table.h"
#include "verifier/btf_walk.h"
#include "verifier/domain/refine.h"
#include "verifier/domain/scalar_ops.h"
#include "verifier/fastcall.h"
#include "verifier/function_signature.h"
#include "verifier/helper_maps.h"
#include "verifier/liveness.h"
#include "verifier/stack_use.h"
#include "verifier/state.h"
#include "verifier/verifier.h"

namespace lmn {

// Offsets and sizes beyond this are refused, so that sums of them cannot overflow
// (BPF_MAX_VAR_OFF).
inline constexpr std::int64_t kOffsetMax = 1 << 29;
inline constexpr std::uint64_t kPacketOffsetMax = 0xffff;  // MAX_PACKET_OFF

// A load, store or atomic, or a helper's access on the program's behalf.
struct MemoryAccess {
  std::uint8_t pointer = 0;  // register
  std::int64_t offset = 0;   // of the instruction
  std::uint32_t size = 0;
  bool is_write = false;
  int value = -1;  // register read from or written to; -1: none
  bool is_sign_extending = false;
  bool is_exact_alignment_needed = false;  // atomics
  const Insn* insn = nullptr;
};

// What the arguments of one call said.
struct CallFacts {
  const HelperProto* proto = nullptr;
  const MapSpec* map = nullptr;
  std::uint32_t map_uid = 0;
  bool is_raw = false;    // the memory argument need not be initialised
  int raw_register = -1;  // which turned out to be raw stack memory
  std::uint32_t raw_size = 0;
  std::uint64_t size_max = 0;  // of the last size argument
  std::uint64_t alloc_size = 0;
  std::uint32_t reference = 0;
  int release_register = -1;
  std::uint32_t callback = 0;
  std::optional<std::uint64_t> constant_key;
  RegState dynptr;                 // the initialised dynptr argument, if any
  const MapField* kptr = nullptr;  // of bpf_kptr_xchg: the field
  RegState object;                 // of bpf_per_cpu_ptr and bpf_this_cpu_ptr: what each CPU has
};

// The same of a kfunc's call.
struct KfuncFacts {
  const KfuncProto* proto = nullptr;
  RegState dynptr;  // kNone: no initialised dynptr so far
  std::uint64_t constant = 0;
  std::uint32_t reference = 0;
  std::uint32_t iterator_frame = 0;
  std::uint32_t iterator_slot = 0;
  int release_register = -1;
  const MapSpec* map = nullptr;  // of a map or work queue argument
  std::uint32_t map_uid = 0;
  const MapField* graph = nullptr;  // the list's head or the tree's root
  RegState object;                  // the object or node argument
  std::uint32_t callback = 0;
};

// What is done with a lock.
struct LockUse {
  bool is_taken = false;  // or given back
  bool is_resilient = false;
  bool saves_interrupts = false;
};

// How the walk goes on after an instruction.
enum class StepResult : std::uint8_t { kNext, kJumped, kPathEnds, kRefused };

enum class Inclusion : std::uint8_t { kLoose, kExact, kWithin };

// Pairs of identities that stand for each other while two states are compared.
class IdMap {
 public:
  bool same(std::uint32_t old_id, std::uint32_t id);
  bool same_number(std::uint32_t old_id, std::uint32_t id);  // 0 of the old one matches all
  void reset() { pairs_.clear(); }

 private:
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs_;
  std::uint32_t invented_ = kIdAddsConstant32 >> 1;
};

class PrecisionWalk;

class Explorer {
 public:
  Explorer(const Environment& env, const StructuredProgram& program, const VerifyOptions& options);

  bool run();
  const VerifierReport& report() const { return report_; }
  VerifiedFacts take_facts() { return std::move(facts_); }

 private:
  friend class PrecisionWalk;

  // --- explorer.cc
  bool walk_all();
  bool explore(PathState initial);
  StepResult step();
  void refuse_deferred();
  StepResult execute(const Insn& insn);
  StepResult execute_lddw(const Insn& insn);
  StepResult execute_memory(const Insn& insn);
  StepResult execute_call(const Insn& insn);
  void end_path();
  bool take_next_path();
  PathState* push_branch(std::uint32_t to);
  void push_history(HistoryEntry what);
  void note_stack_access(std::uint32_t frame, std::uint32_t slot);
  void note_stack_read(std::uint32_t frame, std::int64_t from, std::int64_t to);
  bool find_points();
  bool reject(Rule rule, std::string kernel, std::string words = {}, int errno_value = 0);
  StepResult flow(bool ok) { return ok ? StepResult::kNext : StepResult::kRefused; }
  std::size_t bytes_of(const PathState& state) const;

  const Insn& insn_at(std::uint32_t at) const { return program_.spec().insns[at]; }
  std::uint32_t subprogram_start(std::uint32_t index) const {
    return program_.subprograms()[index].start.value;
  }
  bool is_trusted() const { return env_.strictness == Strictness::kTrusted; }
  bool is_leak(const RegState& reg) const { return !is_trusted() && reg.is_pointer(); }
  RegState& reg(std::uint8_t index) { return state_->regs()[index]; }
  bool check_readable(std::uint8_t index);
  std::uint32_t new_id() { return ++last_id_; }

  // --- alu.cc
  bool check_alu(const Insn& insn);
  bool check_move(const Insn& insn);
  bool check_byte_swap(const Insn& insn);
  bool forget_pointer(const Insn& insn);
  bool check_arithmetic(const Insn& insn, AluOp op, bool is_signed);
  bool add_to_pointer(const Insn& insn, AluOp op, const RegState& pointer, const RegState& number);
  bool check_pointer_kind(const Insn& insn, AluOp op, const RegState& pointer,
                          const RegState& number);
  bool check_offset_sane(const RegState& reg, RegKind kind, std::uint16_t flags);
  void compute_numbers(const Insn& insn, AluOp op, bool is_signed, const RegState& source);
  void link_by_constant(const RegState& dst, const RegState& source, bool is_subtraction,
                        bool is_low, RegState& out) const;
  void give_id(RegState& reg);

  // --- arena.cc
  bool check_address_cast(const Insn& insn);
  bool access_arena(const MemoryAccess& access);

  // --- jump.cc
  StepResult check_branch(const Insn& insn);
  StepResult check_may_goto(const Insn& insn);
  int known_branch(Condition condition, const RegState& a, const RegState& b, bool is_low) const;
  bool walk_both(const Insn& insn, Condition condition, bool is_low, bool has_source,
                 const RegState& constant);
  void learn_numbers(PathState& state, const Insn& insn, Condition condition, bool is_low,
                     bool has_source, const RegState& constant, const HistoryEntry* linked);
  void learn_pointers(PathState& fall, PathState& taken, const Insn& insn, Condition condition,
                      bool has_source, const RegState& constant);
  bool learn_packet_range(PathState& fall, PathState& taken, const Insn& insn, Condition condition);
  void learn_null(PathState& state, std::uint8_t index, bool is_null);
  void collect_linked(std::uint32_t id, HistoryEntry& out);
  void sync_linked(PathState& state, const RegState& known, const HistoryEntry& linked);

  // --- memory.cc
  bool check_access(const MemoryAccess& access);
  bool note_pointer(const RegState& pointer);
  void note_place(const RegState& pointer, std::int64_t offset);
  bool check_alignment(const RegState& pointer, const MemoryAccess& access);
  bool access_map_value(const MemoryAccess& access);
  bool access_memory(const MemoryAccess& access);
  bool access_context(const MemoryAccess& access);
  bool access_packet(const MemoryAccess& access);
  bool access_object(const MemoryAccess& access);
  bool check_region(std::uint8_t index, std::int64_t offset, std::uint64_t size,
                    std::uint64_t region, bool is_zero_allowed, Rule rule,
                    std::string_view message);
  bool check_map_rights(std::uint8_t index, std::int64_t offset, std::uint64_t size, bool is_write);
  bool check_map_region(std::uint8_t index, std::int64_t offset, std::uint64_t size,
                        bool is_zero_allowed, bool is_by_helper);
  bool check_packet_region(std::uint8_t index, std::int64_t offset, std::uint64_t size,
                           bool is_zero_allowed);
  bool check_fixed_offset(std::uint8_t index);
  std::optional<std::uint64_t> read_frozen(const MapSpec& map, std::uint64_t offset,
                                           std::uint32_t size, bool is_sign_extending) const;
  bool check_atomic(const Insn& insn);
  void write_unknown(const MemoryAccess& access);

  // --- stack.cc
  bool check_stack_bounds(std::uint8_t index, std::int64_t offset, std::int64_t size, bool is_write,
                          std::string_view what);
  void grow_stack(std::uint32_t frame, std::int64_t lowest);
  bool access_stack(const MemoryAccess& access);
  bool read_stack_fixed(const MemoryAccess& access, FrameState& frame, std::int64_t offset);
  bool read_stack_spill(const MemoryAccess& access, StackSlot& slot, std::int64_t offset,
                        bool& is_fill);
  bool read_stack_variable(const MemoryAccess& access);
  bool write_stack_fixed(const MemoryAccess& access, FrameState& frame, std::int64_t offset);
  bool write_stack_bytes(const MemoryAccess& access, StackSlot& slot, std::int64_t offset,
                         bool is_zero);
  bool write_stack_variable(const MemoryAccess& access, FrameState& frame);
  void give_stack_bytes(const FrameState& frame, std::int64_t from, std::int64_t to, int value);
  bool check_stack_range(std::uint8_t index, std::int64_t offset, std::uint64_t size,
                         bool is_zero_allowed, bool is_write, CallFacts* raw);

  // --- call.cc
  bool check_helper_call(const Insn& insn);
  bool check_argument(const HelperProto& proto, std::size_t argument, CallFacts& facts);
  bool check_argument_kind(const HelperProto& proto, std::size_t argument, const CallFacts& facts);
  bool check_argument_object(const HelperProto& proto, std::size_t argument,
                             const CallFacts& facts);
  bool check_argument_offset(const HelperArg& argument, std::uint8_t index);
  bool check_argument_value(const HelperProto& proto, std::size_t argument, CallFacts& facts);
  bool check_map_argument(const HelperArg& wanted, std::uint8_t index, CallFacts& facts);
  bool check_map_for_helper(const HelperProto& proto, const CallFacts& facts);
  bool check_special_helper(const HelperProto& proto, CallFacts& facts, const Insn& insn);
  bool release_argument(const HelperProto& proto, const CallFacts& facts);
  void clear_caller_saved(FrameState& frame);
  bool set_result(const HelperProto& proto, const CallFacts& facts);
  bool set_object_result(const HelperProto& proto, const CallFacts& facts);
  void set_map_value_result(const HelperProto& proto, const CallFacts& facts, RegState& result);
  bool check_in_section(const HelperProto& proto);
  std::optional<std::uint64_t> constant_key_of(std::uint8_t index, const MapSpec& map);

  // --- call_memory.cc
  bool check_helper_memory(std::uint8_t index, std::uint64_t size, bool is_write,
                           bool is_zero_allowed, CallFacts* facts);
  bool check_size_argument(std::uint8_t index, bool is_write, bool is_zero_allowed,
                           CallFacts& facts);
  bool check_constant_string(std::uint8_t index);
  bool check_format(const CallFacts& facts);
  bool check_timer(std::uint8_t index, const CallFacts& facts);

  // --- kfunc_call.cc
  const KfuncProto* kfunc_of(const Insn& insn) const;
  StepResult check_kfunc_call(const Insn& insn);
  bool check_kfunc_section(const KfuncProto& proto);
  bool check_kfunc_arguments(const KfuncProto& proto, KfuncFacts& facts);
  bool check_kfunc_pointer(const KfuncProto& proto, std::size_t argument, KfuncFacts& facts);
  bool check_kfunc_map(std::uint8_t index, KfuncFacts& facts);
  bool check_workqueue(std::uint8_t index, KfuncFacts& facts);
  bool push_workqueue_callback(const KfuncFacts& facts);
  bool finish_kfunc_call(const KfuncProto& proto, const KfuncFacts& facts);
  bool change_section(const KfuncProto& proto);
  bool check_kfunc_argument(const KfuncProto& proto, std::size_t argument, KfuncFacts& facts);
  bool check_known_constant(std::uint8_t index, KfuncFacts& facts);
  bool check_kfunc_memory(const KfuncProto& proto, std::size_t argument, KfuncFacts& facts);
  bool check_kfunc_size(const KfuncProto& proto, std::size_t argument);
  bool check_kfunc_dynptr(const KfuncProto& proto, const KfuncArg& wanted, std::uint8_t index,
                          KfuncFacts& facts);

  // --- kfunc_result.cc
  bool set_kfunc_result(const KfuncProto& proto, const KfuncFacts& facts);
  bool set_kernel_result(const KfuncProto& proto, const KfuncFacts& facts);
  bool set_cast_result(const KfuncProto& proto, const KfuncFacts& facts);
  bool set_new_object(const KfuncProto& proto, const KfuncFacts& facts);
  void finish_object_result(const KfuncProto& proto, const KfuncFacts& facts);

  // --- object.cc
  const Btf* types_of(const RegState& reg) const;
  std::uint32_t kernel_type(std::string_view name);
  std::string struct_name(const RegState& reg) const;
  std::string object_words(const RegState& reg) const;
  const MapFields& fields_of_type(std::uint32_t id);
  const MapFields* fields_behind(const RegState& reg);
  bool may_hold_lock(const RegState& reg);
  bool is_of_struct(const RegState& reg, std::string_view name, bool is_strict);
  bool check_pointer_offset(std::uint8_t index, bool is_release);
  bool check_object_argument(const KfuncProto& proto, std::size_t argument, KfuncFacts& facts);
  bool check_kernel_object(const KfuncProto& proto, std::size_t argument);
  bool check_owned_object(const KfuncProto& proto, std::size_t argument, KfuncFacts& facts);
  bool check_refcounted(std::size_t argument, KfuncFacts& facts);
  bool check_trust(const KfuncProto& proto, std::uint8_t index);
  bool access_btf_object(const MemoryAccess& access);
  bool check_object_span(std::uint8_t index, std::int64_t offset, std::uint32_t size, bool is_write,
                         RegState& loaded);
  std::uint16_t trust_after_walk(const RegState& from, const StructMember& member);
  bool access_map_struct(const MemoryAccess& access);

  // --- graph.cc
  bool check_graph_head(std::size_t argument, MapFieldKind kind, KfuncFacts& facts);
  bool check_graph_node(const KfuncProto& proto, std::size_t argument, MapFieldKind kind,
                        KfuncFacts& facts);
  bool give_to_graph(std::uint8_t index);
  bool push_order_callback(const KfuncFacts& facts);
  RegState node_of(const MapField& graph) const;
  void make_non_owning(RegState& reg);

  // --- lock.cc
  const void* lock_place(const RegState& reg) const;
  bool check_lock(std::uint8_t index, const LockUse& use);
  bool take_lock(const RegState& given, const LockUse& use);
  bool give_back_lock(const RegState& given, const LockUse& use);
  bool is_lock_held_over(const RegState& reg) const;
  void forget_non_owning();
  bool in_tree_callback() const;
  bool push_failed_lock();
  bool check_resilient_lock(const KfuncProto& proto, std::uint8_t index);

  // --- kptr.cc
  struct KptrTarget {
    std::uint32_t type = 0;
    bool is_kernel = false;
  };
  KptrTarget kptr_target(const MapField& field);
  bool check_kptr_place(std::uint8_t index, const MapField& field, std::int64_t offset,
                        std::uint64_t size, bool is_by_helper);
  bool access_kptr(const MemoryAccess& access, const MapField& field);
  bool check_kptr_match(const MapField& field, std::uint8_t index);
  RegState kptr_loaded(const MapField& field);
  bool check_kptr_argument(std::uint8_t index, CallFacts& facts);
  bool release_into_kptr(std::uint32_t reference);
  void set_kptr_result(const CallFacts& facts);
  bool is_in_rcu() const;

  // --- exception.cc
  StepResult check_throw();
  bool check_exception_callback();

  // --- dynptr.cc
  std::optional<std::uint32_t> special_slot(std::uint8_t index, std::uint32_t bytes,
                                            std::string_view what);
  bool write_special_slots(std::uint8_t index, std::uint32_t bytes);
  bool make_dynptr(std::uint8_t index, DynptrType type, std::uint32_t shared_reference);
  const RegState* dynptr_at(std::uint8_t index);
  bool check_dynptr_argument(const HelperArg& wanted, std::uint8_t index, CallFacts& facts);
  bool release_dynptr(std::uint8_t index);
  void forget_slices(std::uint32_t dynptr_id);
  bool destroy_special(FrameState& frame, std::uint32_t slot);
  RegState slice_of(const RegState& dynptr, std::uint64_t size, bool is_read_only);

  // --- iterator.cc
  bool check_iterator(const KfuncProto& proto, const KfuncArg& wanted, std::uint8_t index,
                      KfuncFacts& facts);
  bool make_iterator(KfuncIterator iterator, std::uint8_t index, std::uint32_t first);
  bool branch_on_next(const KfuncFacts& facts);
  bool next_may_give_more() const;
  static bool iterator_rounds_differ(const PathState& old, const PathState& now);
  bool check_interrupt_flag(const KfuncProto& proto, std::uint8_t index);

  // --- reference.cc
  std::uint32_t acquire(std::uint32_t id);
  bool release(std::uint32_t id);
  bool check_nothing_held(std::string_view where, bool ignore_locks);
  void forget_packet_pointers();
  void forget_rcu_protection();

  // --- subprogram.cc
  StepResult check_function_call(const Insn& insn);
  StepResult call_static(std::uint32_t callee);
  bool call_global(std::uint32_t callee);
  bool check_global_argument(std::uint32_t callee, const FunctionArg& argument, std::uint8_t index);
  bool check_global_object(const FunctionArg& argument, std::uint8_t index);
  bool check_memory_argument(std::uint8_t index, std::uint32_t size);
  StepResult check_exit();
  StepResult leave_frame();
  bool return_from_tail_call();
  bool push_callback(const HelperProto& proto, const CallFacts& facts);
  void set_callback_arguments(const HelperProto& proto, const CallFacts& facts,
                              const FrameState& caller, FrameState& callee);
  PathState entry_state(std::uint32_t subprogram);
  bool explore_global_functions();
  bool check_stack_depth();
  bool check_stack_depth_from(std::uint32_t root);
  void widen(const KnownState& before, PathState& now);
  const KnownState* find_earlier_entry(const PathState& state, std::uint32_t at) const;
  FunctionSignature& signature_of(std::uint32_t subprogram);
  bool is_global(std::uint32_t subprogram) const;
  void find_packet_changers();

  // --- prune.cc
  enum class Visit : std::uint8_t { kNew, kIncluded, kRefused };
  enum class Match : std::uint8_t { kNone, kIncluded, kInLoop, kEndless };
  Visit visit_known_states();
  Match match(const KnownState& known);
  Match match_unfinished(const KnownState& known);
  void end_at(KnownState& known, bool is_in_loop);
  bool drop_useless(std::vector<KnownState*>& list, std::size_t index);
  void keep_state();
  void forget_single_ids();
  bool includes(const KnownState& old, const PathState& now, Inclusion how);
  bool includes_frame(const PathState& old_state, const PathState& now, std::size_t frame,
                      Inclusion how);
  std::uint64_t live_slots(const PathState& now, std::size_t frame, std::uint32_t at,
                           Inclusion how);
  bool includes_register(const RegState& old, const RegState& now, Inclusion how);
  bool includes_stack(const FrameState& old, const FrameState& now, std::uint64_t live,
                      Inclusion how);
  bool includes_references(const PathState& old, const PathState& now);
  bool is_exactly(const RegState& old, const RegState& now);
  bool may_be_looping(const PathState& old, const PathState& now) const;
  void evict(KnownState& known);

  // --- precision.cc
  bool mark_precise(std::uint8_t index);
  bool mark_slot_precise(std::uint32_t frame, std::uint32_t slot);
  void copy_precision(const KnownState& from);

  const Environment& env_;
  const StructuredProgram& program_;
  const VerifyOptions& options_;
  VerifierReport report_;
  VerifiedFacts facts_;
  Liveness liveness_;
  StackUse stack_use_;
  FastcallStack fastcall_;
  std::vector<FunctionSignature> signatures_;  // per subprogram, made on first use
  std::vector<std::uint8_t> has_signature_;
  std::vector<std::uint8_t> is_called_;  // global functions to verify
  std::vector<std::uint8_t> is_explored_;
  std::vector<std::uint8_t> changes_packet_;  // per subprogram
  std::vector<std::uint32_t> async_roots_;    // subprograms that timers call
  std::unordered_map<const MapSpec*, MapFields> map_fields_;
  const MapFields& fields_of(const MapSpec& map);
  std::unordered_map<std::uint32_t, MapFields> type_fields_;  // of structs of the program
  std::vector<std::string> handle_types_;  // stand for types where there is no kernel's BTF

  std::vector<std::uint8_t> points_;  // per insn: Point bits
  enum Point : std::uint8_t {
    kJumpPoint = 1,
    kPrunePoint = 2,
    kForced = 4,
    kCallsBack = 8,
    kIterates = 16,
    kDeferred = 32
  };
  bool is_point(std::uint32_t at, Point what) const { return (points_[at] & what) != 0; }

  std::unique_ptr<PathState> state_;
  std::vector<std::unique_ptr<PathState>> pending_;
  std::uint32_t at_ = 0;
  std::uint32_t previous_ = 0;
  bool has_history_entry_ = false;  // of the current instruction
  std::uint64_t processed_ = 0;
  std::uint64_t jumps_ = 0;
  std::uint64_t processed_at_checkpoint_ = 0;
  std::uint64_t jumps_at_checkpoint_ = 0;
  std::vector<std::vector<KnownState*>> known_;  // per insn
  std::deque<KnownState> states_;
  std::vector<KnownState*> free_states_;
  std::size_t bytes_ = 0;
  IdMap ids_;
  std::vector<std::uint32_t> id_uses_;  // of forget_single_ids, kept for its memory
  std::uint32_t last_id_ = 0;
  std::uint32_t root_ = 0;                           // subprogram this exploration began with
  std::optional<std::uint32_t> exception_callback_;  // subprogram
};

// --- words for registers (words.cc)
std::string kind_words(const RegState& reg);  // "map_value_or_null"
std::string kind_words(RegKind kind, std::uint16_t flags);
std::string_view iterator_words(KfuncIterator iterator);  // "num"
std::string bits_words(const Tnum<64>& bits);             // "(0x0; 0xff)"

}  // namespace lmn
