// SPDX-License-Identifier: Apache-2.0
//
// From the bytes of a .BTF section to a Btf whose invariants (btf.h) hold.
//
// Three passes: the records, one after the other, each with its own fixed-size rows; then the ids
// they refer to; then the shapes that would send a later walk round in circles. Nothing is trusted
// from one record to the next: the lengths of the header, of each record and of the strings are all
// checked against the bytes that are there. Tested by btf_test.cc and fuzz/object_fuzz.cc. Source:
// Linux 6.18, kernel/bpf/btf.c (btf_parse_hdr, btf_*_check_meta), Documentation/bpf/btf.rst.
#include <fmt/format.h>
#include <linux/btf.h>

#include <algorithm>
#include <utility>

#include "abi/limits.h"
#include "btf/btf.h"

namespace lmn {
namespace {

constexpr std::uint32_t kHeaderBytes = 24;
constexpr std::uint32_t kTypeBytes = 12;
constexpr std::uint8_t kUnvisited = 0;

std::unexpected<Error> malformed(std::string message) {
  return make_error(ErrorCode::kMalformed, "btf: " + std::move(message));
}

struct Header {
  std::size_t types_at = 0;
  std::size_t types_size = 0;
  std::size_t strings_at = 0;
  std::size_t strings_size = 0;
};

Result<Header> parse_header(ByteSpan bytes) {
  ByteReader reader(bytes);
  const auto magic = reader.u16();
  if (!magic) return malformed(fmt::format("{} bytes are too few for a header", bytes.size()));
  if (*magic == 0x9feb) {
    return make_error(ErrorCode::kNotSupported, "btf: big-endian (magic 0x9feb)",
                      "compile with -target bpfel");
  }
  if (*magic != BTF_MAGIC) return malformed(fmt::format("magic is 0x{:04x}, not 0xeb9f", *magic));
  const auto version = reader.u8();
  const auto flags = reader.u8();
  const auto header_size = reader.u32();
  const auto type_off = reader.u32();
  const auto type_len = reader.u32();
  const auto str_off = reader.u32();
  const auto str_len = reader.u32();
  if (!str_len) return malformed(fmt::format("{} bytes are too few for a header", bytes.size()));
  if (*version != BTF_VERSION) {
    return make_error(ErrorCode::kNotSupported,
                      fmt::format("btf: version {} (only 1 is known)", *version));
  }
  if (*flags != 0) return malformed(fmt::format("unknown header flags 0x{:x}", *flags));
  if (*header_size < kHeaderBytes || *header_size > bytes.size()) {
    return malformed(fmt::format("header of {} bytes in {} bytes", *header_size, bytes.size()));
  }
  Header header;
  header.types_at = std::size_t{*header_size} + *type_off;
  header.types_size = *type_len;
  header.strings_at = std::size_t{*header_size} + *str_off;
  header.strings_size = *str_len;
  if (!reader.sub(header.types_at, header.types_size)) {
    return malformed(fmt::format("types at {}+{} reach past the end at {}", header.types_at,
                                 header.types_size, bytes.size()));
  }
  const auto strings = reader.sub(header.strings_at, header.strings_size);
  if (!strings) {
    return malformed(fmt::format("strings at {}+{} reach past the end at {}", header.strings_at,
                                 header.strings_size, bytes.size()));
  }
  if (strings->size() > BTF_MAX_NAME_OFFSET) {
    return malformed(fmt::format("string table of {} bytes", strings->size()));
  }
  if (!strings->empty() && strings->back() != 0) return malformed("the last string has no end");
  return header;
}

}  // namespace

// Fills one Btf. Used once, then thrown away.
class BtfParser {
 public:
  explicit BtfParser(std::shared_ptr<const Btf> base) : btf_(new Btf), base_(std::move(base)) {}

  Result<std::shared_ptr<Btf>> parse(ByteSpan bytes) {
    LMN_TRY(const Header header, parse_header(bytes));
    LMN_CHECK_OK(start(bytes, header));
    LMN_CHECK_OK(parse_types(header));
    LMN_CHECK_OK(check_references());
    LMN_CHECK_OK(check_chains());
    LMN_CHECK_OK(check_nesting());
    return btf_;
  }

 private:
  Result<void> start(ByteSpan bytes, const Header& header);
  Result<void> parse_types(const Header& header);
  Result<void> parse_type(ByteReader& reader, std::uint32_t id);
  Result<void> parse_rows(ByteReader& reader, BtfType& type, std::uint32_t id);
  Result<void> parse_members(ByteReader& reader, BtfType& type, std::uint32_t id);
  Result<void> parse_enumerators(ByteReader& reader, BtfType& type, std::uint32_t id);
  Result<void> parse_params(ByteReader& reader, BtfType& type, std::uint32_t id);
  Result<void> parse_variables(ByteReader& reader, BtfType& type, std::uint32_t id);
  Result<std::string_view> name_at(std::uint32_t offset, std::uint32_t id) const;
  Result<void> check_references() const;
  Result<void> check_reference(const BtfType& type, std::uint32_t id) const;
  Result<void> check_rows(const BtfType& type, std::uint32_t id) const;
  Result<void> check_chains() const;
  Result<void> check_nesting() const;

  bool exists(std::uint32_t id) const { return id < btf_->type_count(); }
  BtfKind kind_of(std::uint32_t id) const { return btf_->type(id).kind; }
  // The struct or union that a member's type is or repeats by value, or 0.
  std::uint32_t contained(std::uint32_t type) const;

  std::shared_ptr<Btf> btf_;
  std::shared_ptr<const Btf> base_;
};

Result<void> BtfParser::start(ByteSpan bytes, const Header& header) {
  Btf& btf = *btf_;
  btf.raw_.assign(bytes.begin(), bytes.end());
  btf.strings_at_ = header.strings_at;
  btf.strings_size_ = header.strings_size;
  if (base_ == nullptr) {
    if (header.strings_size == 0 || btf.raw_[header.strings_at] != 0) {
      return malformed("the string table does not start with the empty string");
    }
    btf.types_.emplace_back();  // void
    return {};
  }
  btf.string_base_ = base_->string_base_ + static_cast<std::uint32_t>(base_->strings_size_);
  btf.first_id_ = base_->type_count();
  btf.members_.first = base_->members_.end();
  btf.enumerators_.first = base_->enumerators_.end();
  btf.params_.first = base_->params_.end();
  btf.variables_.first = base_->variables_.end();
  btf.base_ = std::move(base_);
  return {};
}

Result<std::string_view> BtfParser::name_at(std::uint32_t offset, std::uint32_t id) const {
  // "No name" is offset 0, which a split BTF looks up in its base.
  const auto name = btf_->string(offset);
  if (!name)
    return malformed(fmt::format("type [{}]: name at {} is outside the strings", id, offset));
  return *name;
}

Result<void> BtfParser::parse_types(const Header& header) {
  ByteReader reader(btf_->raw().subspan(header.types_at, header.types_size));
  btf_->types_.reserve(std::min(header.types_size / kTypeBytes + 1, limits::kBtfTypesMax));
  while (reader.remaining() > 0) {
    const std::uint32_t id = btf_->type_count();
    if (id >= limits::kBtfTypesMax) {
      return make_error(ErrorCode::kLimitExceeded,
                        fmt::format("btf: more than {} types", limits::kBtfTypesMax));
    }
    const std::size_t at = header.types_at + reader.position();
    LMN_CHECK_OK(parse_type(reader, id));
    btf_->types_.back().raw_offset = static_cast<std::uint32_t>(at);
  }
  return {};
}

Result<void> BtfParser::parse_type(ByteReader& reader, std::uint32_t id) {
  const auto name_off = reader.u32();
  const auto info = reader.u32();
  const auto size_or_type = reader.u32();
  if (!size_or_type) return malformed(fmt::format("type [{}] is cut off", id));
  const std::uint32_t kind = BTF_INFO_KIND(*info);
  if (kind == BTF_KIND_UNKN || kind > BTF_KIND_MAX) {
    return make_error(ErrorCode::kNotSupported,
                      fmt::format("btf: type [{}]: kind {} is not known (the last known is {})", id,
                                  kind, static_cast<int>(BTF_KIND_MAX)));
  }
  if ((*info & 0x60ff0000u) != 0) {
    return malformed(fmt::format("type [{}]: reserved bits in info 0x{:08x}", id, *info));
  }
  BtfType type;
  LMN_TRY(type.name, name_at(*name_off, id));
  type.kind = static_cast<BtfKind>(kind);
  type.kind_flag = BTF_INFO_KFLAG(*info) != 0;
  type.vlen = static_cast<std::uint16_t>(BTF_INFO_VLEN(*info));
  switch (type.kind) {
    case BtfKind::kInt:
    case BtfKind::kStruct:
    case BtfKind::kUnion:
    case BtfKind::kEnum:
    case BtfKind::kEnum64:
    case BtfKind::kFloat:
    case BtfKind::kDatasec:
      type.size = *size_or_type;
      break;
    default:
      type.type = *size_or_type;
  }
  LMN_CHECK_OK(parse_rows(reader, type, id));
  btf_->types_.push_back(type);
  return {};
}

Result<void> BtfParser::parse_rows(ByteReader& reader, BtfType& type, std::uint32_t id) {
  switch (type.kind) {
    case BtfKind::kStruct:
    case BtfKind::kUnion:
      return parse_members(reader, type, id);
    case BtfKind::kEnum:
    case BtfKind::kEnum64:
      return parse_enumerators(reader, type, id);
    case BtfKind::kFuncProto:
      return parse_params(reader, type, id);
    case BtfKind::kDatasec:
      return parse_variables(reader, type, id);
    case BtfKind::kFunc:
      type.detail = type.vlen;  // its linkage
      type.vlen = 0;
      if (type.detail > BTF_FUNC_EXTERN) {
        return malformed(
            fmt::format("type [{}]: func '{}' of linkage {}", id, type.name, type.detail));
      }
      return {};
    default:
      break;
  }
  if (type.vlen != 0) {
    return malformed(
        fmt::format("type [{}]: {} with {} members", id, btf_kind_word(type.kind), type.vlen));
  }
  std::optional<std::uint32_t> last = 0;
  if (type.kind == BtfKind::kArray) {
    const auto element = reader.u32();
    const auto index = reader.u32();
    last = reader.u32();
    type.type = element.value_or(0);
    type.detail2 = index.value_or(0);
    type.detail = last.value_or(0);
  } else if (type.kind == BtfKind::kInt || type.kind == BtfKind::kVar ||
             type.kind == BtfKind::kDeclTag) {
    last = reader.u32();
    type.detail = last.value_or(0);
  }
  if (!last) return malformed(fmt::format("type [{}] is cut off", id));
  if (type.kind == BtfKind::kInt) {
    const BtfInt info = type.int_info();
    if (type.size == 0 || type.size > 16 || info.bits > 128 ||
        unsigned{info.bits} + info.offset_bits > type.size * 8) {
      return malformed(fmt::format("type [{}]: int '{}' of {} bits at {} in {} bytes", id,
                                   type.name, info.bits, info.offset_bits, type.size));
    }
  }
  if (type.kind == BtfKind::kVar && type.detail > BTF_VAR_GLOBAL_EXTERN) {
    return malformed(fmt::format("type [{}]: var '{}' of linkage {}", id, type.name, type.detail));
  }
  return {};
}

Result<void> BtfParser::parse_members(ByteReader& reader, BtfType& type, std::uint32_t id) {
  type.detail = btf_->members_.end();
  for (std::uint32_t i = 0; i < type.vlen; ++i) {
    const auto name_off = reader.u32();
    const auto member_type = reader.u32();
    const auto offset = reader.u32();
    if (!offset) return malformed(fmt::format("type [{}]: member {} is cut off", id, i));
    BtfMember member;
    LMN_TRY(member.name, name_at(*name_off, id));
    member.type = *member_type;
    member.bit_offset = type.kind_flag ? BTF_MEMBER_BIT_OFFSET(*offset) : *offset;
    member.bitfield_size = type.kind_flag ? BTF_MEMBER_BITFIELD_SIZE(*offset) : 0;
    if (std::uint64_t{member.bit_offset} + member.bitfield_size > std::uint64_t{type.size} * 8) {
      return malformed(fmt::format("type [{}]: member {} '{}' at bit {} of {} bytes", id, i,
                                   member.name, member.bit_offset, type.size));
    }
    btf_->members_.rows.push_back(member);
  }
  return {};
}

Result<void> BtfParser::parse_enumerators(ByteReader& reader, BtfType& type, std::uint32_t id) {
  if (type.size > 8 || (type.size & (type.size - 1)) != 0) {
    return malformed(fmt::format("type [{}]: enum '{}' of {} bytes", id, type.name, type.size));
  }
  type.detail = btf_->enumerators_.end();
  for (std::uint32_t i = 0; i < type.vlen; ++i) {
    const auto name_off = reader.u32();
    const auto low = reader.u32();
    const auto high =
        type.kind == BtfKind::kEnum64 ? reader.u32() : std::optional<std::uint32_t>(0);
    if (!low || !high) return malformed(fmt::format("type [{}]: value {} is cut off", id, i));
    BtfEnumerator value;
    LMN_TRY(value.name, name_at(*name_off, id));
    value.value = static_cast<std::int64_t>(std::uint64_t{*high} << 32 | *low);
    if (type.kind == BtfKind::kEnum && type.kind_flag)
      value.value = static_cast<std::int32_t>(*low);
    btf_->enumerators_.rows.push_back(value);
  }
  return {};
}

Result<void> BtfParser::parse_params(ByteReader& reader, BtfType& type, std::uint32_t id) {
  type.detail = btf_->params_.end();
  for (std::uint32_t i = 0; i < type.vlen; ++i) {
    const auto name_off = reader.u32();
    const auto param_type = reader.u32();
    if (!param_type) return malformed(fmt::format("type [{}]: parameter {} is cut off", id, i));
    BtfParam param;
    LMN_TRY(param.name, name_at(*name_off, id));
    param.type = *param_type;
    btf_->params_.rows.push_back(param);
  }
  return {};
}

Result<void> BtfParser::parse_variables(ByteReader& reader, BtfType& type, std::uint32_t id) {
  type.detail = btf_->variables_.end();
  for (std::uint32_t i = 0; i < type.vlen; ++i) {
    const auto var_type = reader.u32();
    const auto offset = reader.u32();
    const auto size = reader.u32();
    if (!size) return malformed(fmt::format("type [{}]: variable {} is cut off", id, i));
    btf_->variables_.rows.push_back({*var_type, *offset, *size});
  }
  return {};
}

Result<void> BtfParser::check_references() const {
  for (std::uint32_t id = btf_->first_id(); id < btf_->type_count(); ++id) {
    const BtfType& type = btf_->type(id);
    LMN_CHECK_OK(check_reference(type, id));
    LMN_CHECK_OK(check_rows(type, id));
  }
  return {};
}

Result<void> BtfParser::check_reference(const BtfType& type, std::uint32_t id) const {
  if (type.kind == BtfKind::kFwd) return {};  // the field is unused
  if (!exists(type.type)) {
    return malformed(fmt::format("type [{}]: {} refers to type [{}] of {}", id,
                                 btf_kind_word(type.kind), type.type, btf_->type_count()));
  }
  if (type.kind == BtfKind::kArray && !exists(type.array().index_type)) {
    return malformed(fmt::format("type [{}]: array is indexed by type [{}] of {}", id,
                                 type.array().index_type, btf_->type_count()));
  }
  if (type.kind == BtfKind::kFunc && kind_of(type.type) != BtfKind::kFuncProto) {
    return malformed(fmt::format("type [{}]: func '{}' is of type [{}], a {}", id, type.name,
                                 type.type, btf_kind_word(kind_of(type.type))));
  }
  return {};
}

Result<void> BtfParser::check_rows(const BtfType& type, std::uint32_t id) const {
  const auto bad = [&](std::string_view what, std::uint32_t target) {
    return malformed(fmt::format("type [{}]: {} of '{}' refers to type [{}] of {}", id, what,
                                 type.name, target, btf_->type_count()));
  };
  if (type.is_composite()) {
    for (const BtfMember& member : btf_->members(type)) {
      if (!exists(member.type)) return bad("a member", member.type);
    }
  } else if (type.kind == BtfKind::kFuncProto) {
    for (const BtfParam& param : btf_->params(type)) {
      if (!exists(param.type)) return bad("a parameter", param.type);
    }
  } else if (type.kind == BtfKind::kDatasec) {
    for (const BtfVariable& variable : btf_->variables(type)) {
      if (!exists(variable.type)) return bad("a variable", variable.type);
      const BtfKind kind = kind_of(variable.type);
      if (kind != BtfKind::kVar && kind != BtfKind::kFunc)
        return bad("an entry (no variable)", variable.type);
    }
  }
  return {};
}

// Kinds that are nothing without the type they name. Pointers, structs and functions end a chain.
static bool continues_chain(BtfKind kind) {
  switch (kind) {
    case BtfKind::kTypedef:
    case BtfKind::kVolatile:
    case BtfKind::kConst:
    case BtfKind::kRestrict:
    case BtfKind::kTypeTag:
    case BtfKind::kArray:
    case BtfKind::kVar:
    case BtfKind::kDeclTag:
      return true;
    default:
      return false;
  }
}

Result<void> BtfParser::check_chains() const {
  // steps[i]: types from i to the end of its chain, found once; so the whole check is linear.
  const std::uint32_t first = btf_->first_id();
  std::vector<std::uint8_t> steps(btf_->types_.size(), kUnvisited);
  std::vector<std::uint32_t> path;
  for (std::uint32_t id = first; id < btf_->type_count(); ++id) {
    path.clear();
    std::uint32_t at = id;
    std::size_t tail = 0;
    while (continues_chain(kind_of(at))) {
      if (at >= first && steps[at - first] != kUnvisited) {
        tail = steps[at - first];
        break;
      }
      path.push_back(at);
      if (path.size() > limits::kBtfDepthMax) break;
      at = btf_->type(at).type;
    }
    if (path.size() + tail > limits::kBtfDepthMax) {
      return malformed(
          fmt::format("type [{}]: {} '{}' leads through more than {} types, or round in a "
                      "circle",
                      id, btf_kind_word(kind_of(id)), btf_->type(id).name, limits::kBtfDepthMax));
    }
    for (; !path.empty(); path.pop_back()) {
      ++tail;
      if (path.back() >= first) steps[path.back() - first] = static_cast<std::uint8_t>(tail);
    }
  }
  return {};
}

std::uint32_t BtfParser::contained(std::uint32_t type) const {
  while (continues_chain(kind_of(type))) type = btf_->type(type).type;
  return btf_->type(type).is_composite() ? type : 0;
}

Result<void> BtfParser::check_nesting() const {
  // Depth-first over "contains by value", with an explicit stack; depth[i] is 1 + that of the
  // deepest member.
  struct Frame {
    std::uint32_t id;
    std::uint32_t next_member;
    std::uint32_t deepest;
  };
  constexpr std::uint8_t kOpen = 255;
  const std::uint32_t first = btf_->first_id();
  std::vector<std::uint8_t> depth(btf_->types_.size(), kUnvisited);
  std::vector<Frame> stack;
  const auto refuse = [&](std::uint32_t id) {
    return malformed(fmt::format("type [{}]: {} '{}' contains itself, or nests more than {} deep",
                                 id, btf_kind_word(kind_of(id)), btf_->type(id).name,
                                 limits::kBtfNestingMax));
  };
  for (std::uint32_t root = first; root < btf_->type_count(); ++root) {
    if (!btf_->type(root).is_composite() || depth[root - first] != kUnvisited) continue;
    stack.push_back({root, 0, 0});
    depth[root - first] = kOpen;
    while (!stack.empty()) {
      Frame& frame = stack.back();
      const auto members = btf_->members(btf_->type(frame.id));
      if (frame.next_member == members.size()) {
        const std::uint32_t own = frame.deepest + 1;
        if (own > limits::kBtfNestingMax) return refuse(frame.id);
        depth[frame.id - first] = static_cast<std::uint8_t>(own);
        stack.pop_back();
        if (!stack.empty()) stack.back().deepest = std::max(stack.back().deepest, own);
        continue;
      }
      const std::uint32_t inner = contained(members[frame.next_member++].type);
      if (inner < first || inner == 0) continue;  // void, no struct, or checked with the base
      if (depth[inner - first] == kOpen) return refuse(inner);
      if (depth[inner - first] != kUnvisited) {
        frame.deepest = std::max<std::uint32_t>(frame.deepest, depth[inner - first]);
        continue;
      }
      if (stack.size() >= limits::kBtfNestingMax) return refuse(root);
      depth[inner - first] = kOpen;
      stack.push_back({inner, 0, 0});
    }
  }
  return {};
}

Result<std::shared_ptr<Btf>> parse_editable_btf(ByteSpan bytes, std::shared_ptr<const Btf> base) {
  return BtfParser(std::move(base)).parse(bytes);
}

Result<std::shared_ptr<const Btf>> parse_btf(ByteSpan bytes, std::shared_ptr<const Btf> base) {
  LMN_TRY(std::shared_ptr<const Btf> btf, parse_editable_btf(bytes, std::move(base)));
  return btf;
}

}  // namespace lmn
