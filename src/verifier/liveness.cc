// SPDX-License-Identifier: Apache-2.0
//
// Liveness: what each instruction reads and writes, and the two passes. Tested by paths_test.cc.
#include "verifier/liveness.h"

#include <array>
#include <optional>

#include "abi/limits.h"
#include "insn/insn_table.h"

namespace lmn {
namespace {

constexpr std::uint16_t kArguments = 0x3e;    // r1 to r5
constexpr std::uint16_t kCallerSaved = 0x3f;  // r0 to r5
constexpr std::uint64_t kAllSlots = ~0ull;
constexpr std::int32_t kSlotCount = static_cast<std::int32_t>(limits::kStackBytes / 8);
static_assert(kSlotCount == 64, "a mask of slots is one word");

struct Uses {
  std::uint16_t reads = 0;
  std::uint16_t writes = 0;
  std::uint64_t slot_reads = 0;
  std::uint64_t slot_writes = 0;
};

// What a register holds, as far as the function's own stack is concerned.
struct Place {
  enum class Kind : std::uint8_t { kUnseen, kElsewhere, kKnown, kSomewhere };
  Kind kind = Kind::kUnseen;
  std::int32_t offset = 0;
  bool operator==(const Place&) const = default;
  bool is_stack() const { return kind == Kind::kKnown || kind == Kind::kSomewhere; }
};
using Places = std::array<Place, 11>;

constexpr Place kElsewhere{Place::Kind::kElsewhere, 0};
constexpr Place kSomewhere{Place::Kind::kSomewhere, 0};

Place join(Place a, Place b) {
  if (a.kind == Place::Kind::kUnseen || a == b) return b;
  if (b.kind == Place::Kind::kUnseen) return a;
  return kSomewhere;
}

// The slots that [from, from + size) touches, or with `whole`, covers.
std::uint64_t slots_of(std::int64_t from, std::int64_t size, bool is_whole) {
  std::uint64_t mask = 0;
  for (std::int32_t slot = 0; slot < kSlotCount; ++slot) {
    const std::int64_t low = -8 * (std::int64_t{slot} + 1);
    const bool touches = from < low + 8 && from + size > low;
    const bool covers = from <= low && from + size >= low + 8;
    if (is_whole ? covers : touches) mask |= 1ull << slot;
  }
  return mask;
}

std::uint16_t helper_reads(const Environment& env, const Insn& insn) {
  const HelperProto* proto =
      is_helper_call(insn) ? env.find_helper(static_cast<std::uint32_t>(insn.imm)) : nullptr;
  if (proto == nullptr) return kArguments;
  std::uint16_t reads = 0;
  for (std::size_t i = 0; i < proto->args.size(); ++i) {
    if (proto->args[i].kind != ArgKind::kNone) reads |= static_cast<std::uint16_t>(2u << i);
  }
  return reads;
}

// Null: not offered, or a number of none, in code that is refused where a run gets to it.
const KfuncProto* kfunc_called(const Environment& env, const ProgramSpec& program,
                               const Insn& insn) {
  const auto position = static_cast<std::uint64_t>(insn.imm);
  return position < program.kfuncs.size() ? env.find_kfunc(program.kfuncs[position].name) : nullptr;
}

// Bytes that a call reads from the address in an argument register, if the row says so.
std::optional<std::int64_t> bytes_read(const Environment& env, const ProgramSpec& program,
                                       const Insn& insn, std::uint8_t index) {
  if (is_kfunc_call(insn)) {
    const KfuncProto* proto = kfunc_called(env, program, insn);
    if (proto == nullptr) return std::nullopt;
    const KfuncArg& argument = proto->args[index - 1u];
    if (argument.kind == KfuncArgKind::kDynptr) return 16;
    if (argument.kind == KfuncArgKind::kIterator) {
      return static_cast<std::int64_t>(8 * kfunc_iterator_slots(argument.iterator));
    }
    return std::nullopt;
  }
  if (!is_helper_call(insn)) return std::nullopt;
  const HelperProto* proto = env.find_helper(static_cast<std::uint32_t>(insn.imm));
  if (proto == nullptr) return std::nullopt;
  if (proto->args[index - 1u].kind == ArgKind::kPtrToDynptr) return 16;
  return std::nullopt;
}

// Whether the call may reach below the address it is given: a function or a callback of the
// program.
bool may_walk_stack(const Environment& env, const ProgramSpec& program, const Insn& insn) {
  if (is_kfunc_call(insn)) {
    const KfuncProto* proto = kfunc_called(env, program, insn);
    return proto == nullptr || (proto->flags & (kKfCallsBack | kKfCallsLater)) != 0;
  }
  if (!is_helper_call(insn)) return true;
  const HelperProto* proto = env.find_helper(static_cast<std::uint32_t>(insn.imm));
  return proto == nullptr || (proto->flags & kHelperCallsBack) != 0;
}

// The analysis of one function.
class FunctionLiveness {
 public:
  FunctionLiveness(const Environment& env, const StructuredProgram& program,
                   const Subprogram& function, std::vector<std::uint16_t>& registers,
                   std::vector<std::uint64_t>& slots)
      : env_(env),
        program_(program.spec()),
        insns_(program.spec().insns),
        start_(function.start.value),
        end_(function.end.value),
        registers_(registers),
        slots_(slots),
        places_(end_ - start_) {}

  void run() {
    follow_pointers();
    uses_.resize(end_ - start_);
    for (std::uint32_t at = start_; at < end_; ++at) uses_[at - start_] = uses_of(at);
    bool has_changed = true;
    while (has_changed) {
      has_changed = false;
      for (std::uint32_t at = end_; at-- > start_;) has_changed = step_back(at) || has_changed;
    }
    if (!escapes_) return;
    for (std::uint32_t at = start_; at < end_; ++at) slots_[at] = kAllSlots;
  }

 private:
  template <typename Visit>
  void for_each_successor(std::uint32_t at, Visit&& visit) const {
    const Insn& insn = insns_[at];
    if (const auto target = jump_target(InsnIndex{at}, insn)) visit(target->value);
    const std::uint32_t next = at + slot_count(insn.op);
    if (falls_through(insn.op) && next < end_) visit(next);
  }

  void follow_pointers() {
    places_[0].fill(kElsewhere);
    places_[0][kFramePointer] = {Place::Kind::kKnown, 0};
    bool has_changed = true;
    while (has_changed) {
      has_changed = false;
      for (std::uint32_t at = start_; at < end_; ++at) {
        if (places_[at - start_][kFramePointer].kind == Place::Kind::kUnseen) continue;
        const Places after = places_after(at);
        for_each_successor(at, [&](std::uint32_t to) {
          for (std::size_t r = 0; r < after.size(); ++r) {
            const Place joined = join(places_[to - start_][r], after[r]);
            has_changed = has_changed || joined != places_[to - start_][r];
            places_[to - start_][r] = joined;
          }
        });
      }
    }
  }

  Places places_after(std::uint32_t at) const {
    const Insn& insn = insns_[at];
    Places out = places_[at - start_];
    if (insn.op == Op::kCall) {
      for (std::size_t r = 0; r <= 5; ++r) out[r] = kElsewhere;
      return out;
    }
    const auto written = written_register(insn);
    if (!written) return out;
    Place& place = out[*written];
    switch (insn.op) {
      case Op::kMov64Reg:
        place = out[insn.src];
        break;
      case Op::kAdd64Imm:
      case Op::kSub64Imm:
        if (place.kind == Place::Kind::kKnown) {
          const std::int64_t by = insn.op == Op::kAdd64Imm ? insn.imm : -insn.imm;
          const std::int64_t moved = place.offset + by;
          const bool is_near = moved > -(1 << 20) && moved < (1 << 20);
          place =
              is_near ? Place{Place::Kind::kKnown, static_cast<std::int32_t>(moved)} : kSomewhere;
        }
        break;
      default: {
        const bool from_stack = op_class(insn.op) == OpClass::kAlu &&
                                ((reads_dst(insn.op) && place.is_stack()) ||
                                 (reads_src(insn.op) && out[insn.src].is_stack()));
        place = from_stack ? kSomewhere : kElsewhere;
      }
    }
    return out;
  }

  Uses uses_of(std::uint32_t at) {
    const Insn& insn = insns_[at];
    Uses uses;
    if (insn.op == Op::kCall) {
      uses.reads = helper_reads(env_, insn);
      uses.writes = kCallerSaved;
      for (std::uint8_t r = 1; r <= 5; ++r) {
        const Place& place = places_[at - start_][r];
        if ((uses.reads >> r & 1) == 0 || !place.is_stack()) continue;
        const bool is_all =
            place.kind == Place::Kind::kSomewhere || may_walk_stack(env_, program_, insn);
        const std::int64_t bytes =
            bytes_read(env_, program_, insn, r).value_or(-std::int64_t{place.offset});
        uses.slot_reads |= is_all ? kAllSlots : slots_of(place.offset, bytes, false);
      }
      return uses;
    }
    if (insn.op == Op::kExit) uses.reads |= 1;
    if (reads_dst(insn.op)) uses.reads |= static_cast<std::uint16_t>(1u << insn.dst);
    if (reads_src(insn.op)) uses.reads |= static_cast<std::uint16_t>(1u << insn.src);
    if (is_compare_exchange(insn.op)) uses.reads |= 1;
    if (const auto written = written_register(insn)) {
      uses.writes |= static_cast<std::uint16_t>(1u << *written);
    }
    add_memory_uses(at, insn, uses);
    return uses;
  }

  void add_memory_uses(std::uint32_t at, const Insn& insn, Uses& uses) {
    const std::uint32_t size = access_size(insn.op);
    if (size == 0) return;
    const OpClass kind = op_class(insn.op);
    const Places& places = places_[at - start_];
    const bool is_load = kind == OpClass::kLoad || writes_dst(insn.op);
    const Place& base = places[is_load ? insn.src : insn.dst];
    const bool stores_register = !is_load && reads_src(insn.op);
    if (stores_register && places[insn.src].is_stack()) escapes_ = true;
    if (base.kind == Place::Kind::kSomewhere && kind != OpClass::kStore)
      uses.slot_reads = kAllSlots;
    if (base.kind != Place::Kind::kKnown) return;
    const std::int64_t from = std::int64_t{base.offset} + insn.off;
    if (kind == OpClass::kStore) {
      uses.slot_writes |= slots_of(from, size, true);
    } else {
      uses.slot_reads |= slots_of(from, size, false);
    }
  }

  bool step_back(std::uint32_t at) {
    std::uint16_t registers = 0;
    std::uint64_t slots = 0;
    for_each_successor(at, [&](std::uint32_t to) {
      registers |= registers_[to];
      slots |= slots_[to];
    });
    const Uses& uses = uses_[at - start_];
    registers = static_cast<std::uint16_t>((registers & ~uses.writes) | uses.reads);
    slots = (slots & ~uses.slot_writes) | uses.slot_reads;
    const bool has_changed = registers != registers_[at] || slots != slots_[at];
    registers_[at] = registers;
    slots_[at] = slots;
    return has_changed;
  }

  const Environment& env_;
  const ProgramSpec& program_;
  const std::vector<Insn>& insns_;
  std::uint32_t start_;
  std::uint32_t end_;
  std::vector<std::uint16_t>& registers_;
  std::vector<std::uint64_t>& slots_;
  std::vector<Places> places_;
  std::vector<Uses> uses_;
  bool escapes_ = false;
};

}  // namespace

Liveness::Liveness(const Environment& env, const StructuredProgram& program)
    : registers_(program.spec().insns.size()), slots_(program.spec().insns.size()) {
  for (const Subprogram& function : program.subprograms()) {
    FunctionLiveness(env, program, function, registers_, slots_).run();
  }
}

}  // namespace lmn
