// SPDX-License-Identifier: Apache-2.0
//
// Walking structs by offset. Tested by btf_walk_test.cc.
#include "verifier/btf_walk.h"

#include <fmt/format.h>

#include <cerrno>
#include <optional>

#include "abi/kfunc_proto.h"
#include "verifier/state.h"

namespace lmn {
namespace {

constexpr int kStepsMax = 64;        // structs in structs, and rounds through flexible arrays
constexpr int kPlainNestingMax = 3;  // of structs of numbers
constexpr std::uint64_t kPointerBytes = 8;

// A member's type seen through arrays: `count` elements of `element`.
struct Extent {
  std::uint32_t element = 0;
  std::uint64_t count = 1;
  std::uint64_t bytes = 0;
  bool is_array = false;
};

std::optional<Extent> extent_of(const Btf& btf, std::uint32_t id) {
  Extent out;
  const auto size = btf.resolve_size(id);
  if (!size) return std::nullopt;
  out.bytes = *size;
  out.element = btf.skip_modifiers_and_typedefs(id);
  while (btf.type(out.element).kind == BtfKind::kArray) {
    const BtfArray array = btf.type(out.element).array();
    out.is_array = true;
    out.count *= array.count;
    out.element = btf.skip_modifiers_and_typedefs(array.element_type);
  }
  return out;
}

class Walk {
 public:
  Walk(const Btf& btf, StructSpan span, bool is_growing)
      : btf_(btf), offset_(span.offset), size_(span.size), is_growing_(is_growing) {}

  // What a step found. kInside: a struct begins at the very place; `type_` is it.
  enum class Found : std::uint8_t { kRefused, kNumber, kPointer, kInside };

  Found step(std::uint32_t id) {
    type_ = id;
    for (int steps = 0; steps < kStepsMax; ++steps) {
      bool goes_deeper = false;
      const Found found = look_into(goes_deeper);
      if (!goes_deeper) return found;
    }
    return refuse(EINVAL, "structs nest too deep");
  }

  std::uint32_t type() const { return type_; }
  std::uint16_t flags() const { return flags_; }
  std::string_view name() const { return name_; }
  const std::string& problem() const { return problem_; }
  int errno_value() const { return errno_value_; }
  void restart() { offset_ = 0; }

 private:
  Found refuse(int errno_value, std::string problem) {
    errno_value_ = errno_value;
    problem_ = std::move(problem);
    return Found::kRefused;
  }

  std::int64_t end() const { return offset_ + size_; }

  Found look_into(bool& goes_deeper) {
    type_ = btf_.skip_modifiers_and_typedefs(type_);
    const BtfType& type = btf_.type(type_);
    if (!type.is_composite()) {
      return refuse(EINVAL, fmt::format("Type '{}' is not a struct", type.name));
    }
    // Nobody knows which member of a union is the true one.
    if (type.kind == BtfKind::kUnion && type.vlen != 1) flags_ |= kUntrusted;
    if (end() > type.size) return look_behind(type, goes_deeper);
    for (const BtfMember& member : btf_.members(type)) {
      const std::int64_t at = member.bit_offset / 8;
      if (end() <= at) break;
      if (member.bitfield_size != 0) {
        const std::int64_t last = (member.bit_offset + member.bitfield_size + 7) / 8;
        if (offset_ <= at && last <= end()) return Found::kNumber;
        continue;
      }
      if (offset_ < at) break;  // a hole
      const auto extent = extent_of(btf_, member.type);
      if (!extent) {
        return refuse(EFAULT, fmt::format("field {} doesn't have size", member.name));
      }
      if (offset_ >= at + static_cast<std::int64_t>(extent->bytes)) continue;
      if (btf_.type(member.type).name == kUnkeptTypeName) {
        return refuse(EACCES, fmt::format("LMN does not keep up member {} of struct {}: it cannot "
                                          "be read",
                                          member.name, type.name));
      }
      return look_at(type, member, *extent, goes_deeper);
    }
    return refuse(EINVAL,
                  fmt::format("struct {} doesn't have field at offset {}", type.name, offset_));
  }

  // Past the end of `type`: right where its last member is an array of no declared size.
  Found look_behind(const BtfType& type, bool& goes_deeper) {
    const auto members = btf_.members(type);
    if (is_growing_ && !members.empty()) {
      const BtfMember& last = members.back();
      const std::int64_t at = last.bit_offset / 8;
      const BtfType& array = btf_.type(btf_.skip_modifiers_and_typedefs(last.type));
      if (array.kind == BtfKind::kArray && array.array().count == 0 && offset_ >= at) {
        const std::uint32_t element = btf_.skip_modifiers_and_typedefs(array.array().element_type);
        if (btf_.type(element).kind == BtfKind::kInt) return Found::kNumber;
        if (btf_.type(element).is_composite() && btf_.type(element).size != 0) {
          offset_ = (offset_ - at) % btf_.type(element).size;
          type_ = element;
          goes_deeper = true;
          return Found::kRefused;
        }
      }
    }
    return refuse(EACCES, fmt::format("access beyond struct {} at off {} size {}", type.name,
                                      offset_, size_));
  }

  Found look_at(const BtfType& type, const BtfMember& member, const Extent& extent,
                bool& goes_deeper) {
    std::int64_t at = member.bit_offset / 8;
    const std::int64_t true_end = at + static_cast<std::int64_t>(extent.bytes);
    std::int64_t bytes = static_cast<std::int64_t>(extent.bytes);
    if (extent.is_array && extent.count != 0) {
      bytes /= static_cast<std::int64_t>(extent.count);
      if (bytes != 0) at += (offset_ - at) / bytes * bytes;
    }
    const BtfType& element = btf_.type(extent.element);
    if (element.is_composite()) {
      type_ = extent.element;
      if (offset_ == at) return Found::kInside;
      offset_ -= at;
      goes_deeper = true;
      return Found::kRefused;
    }
    if (element.kind == BtfKind::kPtr) {
      if (size_ != kPointerBytes || offset_ != at) {
        return refuse(EACCES, fmt::format("cannot access ptr member {} with moff {} in struct {} "
                                          "with off {} size {}",
                                          member.name, at, type.name, offset_, size_));
      }
      if (is_struct_pointer(element)) {
        name_ = member.name;
        return Found::kPointer;
      }
    }
    if (end() > true_end && (flags_ & kUntrusted) == 0) {
      return refuse(EACCES, fmt::format("access beyond the end of member {} (mend:{}) in struct {} "
                                        "with off {} size {}",
                                        member.name, true_end, type.name, offset_, size_));
    }
    return Found::kNumber;
  }

  bool is_struct_pointer(const BtfType& pointer) {
    const std::uint32_t pointee = btf_.skip_modifiers_and_typedefs(pointer.type);
    if (!btf_.type(pointee).is_composite()) return false;
    type_ = pointee;
    const BtfType& first = btf_.type(pointer.type);
    if (first.kind == BtfKind::kTypeTag) {
      if (first.name == "user") flags_ |= kUserMemory;
      if (first.name == "percpu") flags_ |= kPerCpu;
      if (first.name == "rcu") flags_ |= kRcuProtected;
    }
    return true;
  }

  const Btf& btf_;
  std::int64_t offset_;
  std::uint32_t size_;
  bool is_growing_;
  std::uint32_t type_ = 0;
  std::uint16_t flags_ = 0;
  std::string_view name_;
  std::string problem_;
  int errno_value_ = 0;
};

bool is_number(const BtfType& type) { return type.kind == BtfKind::kInt || type.is_enumeration(); }

bool has_only_numbers(const Btf& btf, const BtfType& type, int depth) {
  for (const BtfMember& member : btf.members(type)) {
    const BtfType& inner = btf.type(btf.skip_modifiers_and_typedefs(member.type));
    if (inner.is_composite()) {
      if (depth >= kPlainNestingMax || !has_only_numbers(btf, inner, depth + 1)) return false;
      continue;
    }
    if (inner.kind == BtfKind::kArray) {
      const BtfArray array = inner.array();
      const BtfType& element = btf.type(btf.skip_modifiers_and_typedefs(array.element_type));
      if (array.count == 0 || !is_number(element)) return false;
      continue;
    }
    if (!is_number(inner)) return false;
  }
  return true;
}

}  // namespace

StructMember walk_struct(const Btf& btf, std::uint32_t id, StructSpan span, bool is_growing) {
  Walk walk(btf, span, is_growing);
  StructMember out;
  std::uint32_t at = id;
  for (int steps = 0; steps < kStepsMax; ++steps) {
    switch (walk.step(at)) {
      case Walk::Found::kInside:
        at = walk.type();
        walk.restart();
        continue;
      case Walk::Found::kNumber:
        out.kind = StructMember::Kind::kNumber;
        return out;
      case Walk::Found::kPointer:
        out.kind = StructMember::Kind::kPointer;
        out.type = walk.type();
        out.flags = walk.flags();
        out.name = walk.name();
        return out;
      case Walk::Found::kRefused:
        out.problem = walk.problem();
        out.errno_value = walk.errno_value();
        return out;
    }
  }
  out.problem = "structs nest too deep";
  out.errno_value = EINVAL;
  return out;
}

bool has_struct_at(TypeRef have, std::int64_t offset, TypeRef want, bool is_strict,
                   bool is_growing) {
  if (offset == 0 && have == want) return true;
  if (is_strict || have.btf != want.btf) return false;
  Walk walk(*have.btf, {offset, 1}, is_growing);
  std::uint32_t at = have.id;
  for (int steps = 0; steps < kStepsMax; ++steps) {
    if (walk.step(at) != Walk::Found::kInside) return false;
    at = walk.type();
    if (at == want.id) return true;
    walk.restart();
  }
  return false;
}

bool is_struct_of_numbers(const Btf& btf, std::uint32_t id) {
  const BtfType& type = btf.type(btf.skip_modifiers_and_typedefs(id));
  return type.is_composite() && has_only_numbers(btf, type, 0);
}

}  // namespace lmn
