// SPDX-License-Identifier: Apache-2.0
//
// The spelling of kernel/bpf/log.c. Tested by kernel_log_test.cc.
#include "verifier/register_text.h"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <string_view>

#include "abi/kfunc_proto.h"
#include "verifier/explorer.h"

namespace lmn {
namespace {

// Small numbers in decimal, others in hex.
std::string unsigned_text(std::uint64_t value) {
  constexpr std::uint64_t kDecimalMax = std::numeric_limits<std::uint16_t>::max();
  return value <= kDecimalMax ? fmt::format("{}", value) : fmt::format("{:#x}", value);
}

std::string signed_text(std::uint64_t bits) {
  const auto value = static_cast<std::int64_t>(bits);
  const bool is_small = value >= std::numeric_limits<std::int16_t>::min() &&
                        value <= std::numeric_limits<std::int16_t>::max();
  return is_small ? fmt::format("{}", value) : fmt::format("{:#x}", bits);
}

struct Bound {
  std::string_view name;
  std::uint64_t value;
  bool is_shown;
  bool is_signed() const { return name.front() == 's'; }
  bool is_negative() const { return is_signed() && static_cast<std::int64_t>(value) < 0; }
};

// A low half's signed bound: as a small number, or else as its 32 bits.
std::uint64_t low_signed(std::int64_t value) {
  const bool is_small = value >= std::numeric_limits<std::int16_t>::min() &&
                        value <= std::numeric_limits<std::int16_t>::max();
  return is_small ? static_cast<std::uint64_t>(value)
                  : static_cast<std::uint64_t>(static_cast<std::uint32_t>(value));
}

// "smin=smin32=0,umax=255": bounds of the same value share it, unless one of them is negative.
void append_ranges(const Scalar& value, std::string& out, std::string_view& separator) {
  const Interval<64>& whole = value.whole;
  const Interval<32>& low = value.low;
  std::array<Bound, 8> bounds{{
      {"smin", static_cast<std::uint64_t>(whole.smin), whole.smin != Width<64>::kSignedMin},
      {"smax", static_cast<std::uint64_t>(whole.smax), whole.smax != Width<64>::kSignedMax},
      {"umin", whole.umin, whole.umin != 0},
      {"umax", whole.umax, whole.umax != Width<64>::kUnsignedMax},
      {"smin32", low_signed(low.smin), low.smin != Width<32>::kSignedMin},
      {"smax32", low_signed(low.smax), low.smax != Width<32>::kSignedMax},
      {"umin32", low.umin, low.umin != 0},
      {"umax32", low.umax, low.umax != Width<32>::kUnsignedMax},
  }};
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    const Bound& bound = bounds[i];
    if (!bound.is_shown) continue;
    out += fmt::format("{}{}=", separator, bound.name);
    separator = ",";
    for (std::size_t j = i + 2; j < bounds.size(); j += 2) {
      Bound& other = bounds[j];
      if (!other.is_shown || other.value != bound.value) continue;
      if (other.is_negative() != bound.is_negative()) continue;
      other.is_shown = false;
      out += fmt::format("{}=", other.name);
    }
    out += bound.is_signed() ? signed_text(bound.value) : unsigned_text(bound.value);
  }
}

std::string_view dynptr_word(std::uint32_t target) {
  switch (static_cast<DynptrType>(target)) {
    case DynptrType::kLocal:
      return "local";
    case DynptrType::kRingbuf:
      return "ringbuf";
    case DynptrType::kXdp:
      return "xdp";
    case DynptrType::kNone:
      break;
  }
  return "<invalid>";
}

std::string dynptr_text(const RegState& dynptr) {
  std::string out = fmt::format("dynptr_{}(", dynptr_word(dynptr.target));
  if (dynptr.id != 0) out += fmt::format("id={}", dynptr.id);
  if (dynptr.reference != 0) {
    out += fmt::format("{}ref_id={}", dynptr.id != 0 ? "," : "", dynptr.reference);
  }
  return out + ")";
}

char slot_letter(SlotByte byte) {
  switch (byte) {
    case SlotByte::kInvalid:
      return '?';
    case SlotByte::kSpill:
      return 'r';
    case SlotByte::kMisc:
      return 'm';
    case SlotByte::kZero:
      return '0';
    case SlotByte::kDynptr:
      return 'd';
    case SlotByte::kIterator:
      return 'i';
    case SlotByte::kInterruptFlag:
      return 'f';
  }
  return '?';
}

std::string object_name(const RegState& reg, const ObjectTypes& types) {
  const Btf* btf = reg.has(kLocalType) ? types.program : types.kernel;
  const BtfType* type = btf == nullptr ? nullptr : btf->find(reg.target);
  return type == nullptr ? std::string() : std::string(type->name);
}

// What stands in the parentheses.
std::string details_text(const RegState& reg) {
  std::string out;
  std::string_view separator;
  const auto add = [&](std::string_view text) {
    out += fmt::format("{}{}", separator, text);
    separator = ",";
  };
  if (reg.id != 0) {
    add(fmt::format("id={}", reg.id & ~kIdAddsConstant));
    if (reg.is_number() && (reg.id & kIdAddsConstant) != 0) out += fmt::format("{:+}", reg.offset);
  }
  if (reg.reference != 0) add(fmt::format("ref_obj_id={}", reg.reference));
  if (reg.has(kNonOwning)) add("non_own_ref");
  const bool has_map =
      reg.kind == RegKind::kMap || reg.kind == RegKind::kMapValue || reg.kind == RegKind::kMapKey;
  if (has_map && reg.map != nullptr) {
    if (!reg.map->name.empty()) add(fmt::format("map={}", reg.map->name.substr(0, 15)));
    add(fmt::format("ks={},vs={}", reg.map->key_size, reg.map->value_size));
  }
  if (!reg.is_number() && reg.offset != 0) {
    add("off=" + signed_text(static_cast<std::uint64_t>(std::int64_t{reg.offset})));
  }
  if (reg.is_packet()) {
    add("r=" + unsigned_text(static_cast<std::uint64_t>(std::int64_t{reg.range})));
  }
  if (reg.kind == RegKind::kMemory) add("sz=" + unsigned_text(reg.size));
  if (reg.kind == RegKind::kDynptr) add(fmt::format("type={}", dynptr_word(reg.target)));
  if (reg.var.is_constant()) {
    if (reg.var.constant_value() != 0) add("imm=" + signed_text(reg.var.constant_value()));
    return out;
  }
  append_ranges(reg.var, out, separator);
  const Tnum<64>& bits = reg.var.bits;
  if (bits.mask != Width<64>::kUnsignedMax) {
    out += fmt::format("{}var_off=({:#x}; {:#x})", separator, bits.value, bits.mask);
  }
  return out;
}

}  // namespace

std::string register_text(const RegState& reg, std::uint32_t frame, const ObjectTypes& types) {
  const std::string precise = reg.is_number() && reg.is_precise ? "P" : "";
  if (reg.is_constant()) return precise + signed_text(reg.var.constant_value());
  std::string out = precise + kind_words(reg);
  if (reg.kind == RegKind::kBtfObject) out += object_name(reg, types);
  if (reg.kind == RegKind::kArena) return out;
  if (reg.kind == RegKind::kStack) {
    if (reg.target != frame) out += fmt::format("[{}]", reg.target);
    if (reg.var.is_constant()) {
      const auto offset = static_cast<std::uint64_t>(std::int64_t{reg.offset});
      return out + signed_text(reg.var.constant_value() + offset);
    }
  }
  return out + "(" + details_text(reg) + ")";
}

std::string slot_text(const FrameState& frame, std::uint32_t frame_index, std::uint32_t slot,
                      const ObjectTypes& types) {
  const StackSlot& here = frame.stack[slot];
  std::string letters;
  bool is_written = false;
  for (const SlotByte byte : here.bytes) {
    letters += slot_letter(byte);
    is_written = is_written || byte != SlotByte::kInvalid;
  }
  if (!is_written) return {};
  const std::string name = fmt::format(" fp-{}=", (slot + 1) * kSlotSize);
  const RegState& spilled = here.spilled;
  switch (here.bytes[kSlotSize - 1]) {
    case SlotByte::kSpill:
      return name + letters.substr(0, kSlotSize - here.spill_size()) +
             register_text(spilled, frame_index, types);
    case SlotByte::kDynptr:
      // Of its two slots the lower one stands for both; dynptr.cc marks it.
      if (spilled.size != 1) return {};
      return name + dynptr_text(spilled);
    case SlotByte::kIterator:
      // The first slot has the reference; iterator.cc.
      if (spilled.reference == 0) return {};
      return name + fmt::format("iter_{}(ref_id={},state={},depth={})",
                                iterator_words(static_cast<KfuncIterator>(spilled.target)),
                                spilled.reference, spilled.range == 1 ? "drained" : "active",
                                spilled.offset);
    default:
      return name + letters;
  }
}

std::string state_text(const PathState& state, std::uint32_t frame_index, const ShownPlaces& shown,
                       const ObjectTypes& types) {
  const FrameState& frame = state.frames[frame_index];
  std::string out;
  if (frame_index != 0) out += fmt::format(" frame{}:", frame_index);
  for (std::uint32_t r = 0; r < frame.regs.size(); ++r) {
    if (frame.regs[r].kind == RegKind::kNone || (shown.registers >> r & 1) == 0) continue;
    out += fmt::format(" R{}={}", r, register_text(frame.regs[r], frame_index, types));
  }
  for (std::uint32_t s = 0; s < frame.stack.size(); ++s) {
    if ((shown.slots >> s & 1) != 0) out += slot_text(frame, frame_index, s, types);
  }
  for (std::size_t i = 0; i < state.references.size(); ++i) {
    out += fmt::format("{}{}", i == 0 ? " refs=" : ",", state.references[i].id);
  }
  if (frame.is_async_callback) {
    out += " async_cb";
  } else if (frame.is_callback) {
    out += " cb";
  }
  return out;
}

}  // namespace lmn
