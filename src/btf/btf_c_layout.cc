// SPDX-License-Identifier: Apache-2.0
//
// Alignment with a memory, and the filling of gaps.
// Tested by btf_text_test.cc and tests/inspect/btf_dump_test.cc.
#include "btf/btf_c_layout.h"

#include <algorithm>
#include <array>
#include <utility>

namespace lmn {
namespace {

constexpr std::uint32_t kPointerBytes = 8;

struct Unit {
  std::string_view name;
  std::uint64_t bits;
};
constexpr std::array<Unit, 4> kUnits = {{{"long", 64}, {"int", 32}, {"short", 16}, {"char", 8}}};

std::uint64_t round_up(std::uint64_t value, std::uint64_t step) {
  return (value + step - 1) / step * step;
}

bool is_misplaced(const BtfMember& member, std::uint32_t align) {
  return member.bitfield_size == 0 && member.bit_offset % (8 * align) != 0;
}

}  // namespace

std::uint32_t BtfCLayout::align_of(std::uint32_t id) {
  if (alignments_[id] == kUnknown) {
    alignments_[id] = static_cast<std::uint8_t>(find_alignment(id));  // at most 8
  }
  return alignments_[id];
}

std::uint32_t BtfCLayout::find_alignment(std::uint32_t id) {
  const BtfType& type = btf_.type(id);
  switch (type.kind) {
    case BtfKind::kInt:
    case BtfKind::kEnum:
    case BtfKind::kEnum64:
    case BtfKind::kFloat:
      return std::min(kPointerBytes, type.size);
    case BtfKind::kPtr:
      return kPointerBytes;
    case BtfKind::kTypedef:
    case BtfKind::kVolatile:
    case BtfKind::kConst:
    case BtfKind::kRestrict:
    case BtfKind::kTypeTag:
    case BtfKind::kArray:
      return align_of(type.type);
    case BtfKind::kStruct:
    case BtfKind::kUnion:
      break;
    case BtfKind::kVoid:
    case BtfKind::kFwd:
    case BtfKind::kFunc:
    case BtfKind::kFuncProto:
    case BtfKind::kVar:
    case BtfKind::kDatasec:
    case BtfKind::kDeclTag:
      return 0;
  }
  std::uint32_t widest = 1;
  for (const BtfMember& member : btf_.members(type)) {
    const std::uint32_t align = align_of(member.type);
    if (align == 0) return 0;
    if (is_misplaced(member, align)) return 1;
    widest = std::max(widest, align);
  }
  return type.size % widest == 0 ? widest : 1;
}

bool BtfCLayout::is_packed(const BtfType& composite) {
  std::uint32_t widest = 1;
  for (const BtfMember& member : btf_.members(composite)) {
    const std::uint32_t align = align_of(member.type);
    if (align != 0 && is_misplaced(member, align)) return true;
    widest = std::max(widest, align);
  }
  return composite.size % widest != 0;
}

BtfCGap::BtfCGap(const Place& place) : at_(place.from_bit), end_(std::max(place.to_bit, at_)) {
  if (at_ == end_) return;
  // The widest type with a boundary inside the gap; from there on the gap is a row of them.
  while (unit_ + 1 < kUnits.size() && round_up(at_, kUnits[unit_].bits) > end_) ++unit_;
  const std::uint64_t boundary = round_up(at_, kUnits[unit_].bits);
  if (boundary == at_ || boundary > end_) return;
  const std::uint64_t natural = round_up(at_, 8ull * std::max(place.align, 1u));
  // Not needed where the compiler goes to the boundary by itself: for the member that stands there,
  // or for a field that is too large for what is left before it.
  const bool is_needed =
      place.in_bitfield ||
      (boundary == end_ ? natural != boundary : end_ - boundary <= boundary - at_);
  if (is_needed) marker_ = Field{kUnits[unit_].name, place.in_bitfield ? boundary - at_ : 0};
  at_ = boundary;
}

std::optional<BtfCGap::Field> BtfCGap::next() {
  if (marker_) return std::exchange(marker_, std::nullopt);
  if (at_ == end_) return std::nullopt;
  const std::uint64_t bits = std::min(end_ - at_, kUnits[unit_].bits);
  at_ += bits;
  if (bits == kUnits[unit_].bits) return Field{kUnits[unit_].name, bits};
  std::size_t smallest = kUnits.size() - 1;
  while (kUnits[smallest].bits < bits) --smallest;  // ends at unit_ at the latest
  return Field{kUnits[smallest].name, bits};
}

}  // namespace lmn
