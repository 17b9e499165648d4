// SPDX-License-Identifier: Apache-2.0
//
// Writing definitions, forward declarations and declarators.
//
// For each definition that BtfCOrder gives, introduce() walks over what it mentions and puts
// forward declarations for names that C does not know yet; then the definition itself is written.
// A declarator is made from the chain of types between a name and its base type, read from the
// base: "int", then what stands right of it. Arrays and functions wrap the rest of the chain, so
// they recurse with what is left of it.
// A failure (a limit, a type that C has no words for) is kept in error_ and ends every loop.
// Tested by btf_text_test.cc and tests/inspect/btf_dump_test.cc.
#include "btf/btf_c.h"

#include <fmt/format.h>

#include <array>
#include <iterator>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "abi/limits.h"
#include "btf/btf_c_layout.h"
#include "btf/btf_c_order.h"

namespace lmn {
namespace {

constexpr int kTopLevel = 0;
constexpr int kIndentMax = 13;
constexpr std::size_t kNameBytesMax = 255;  // libbpf cuts a name that it has to change
constexpr std::uint32_t kNothing = 0;       // no container

// What GCC calls types of its own in Arm's vector headers, and what they are.
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kAliases = {{
    {"__Poly8_t", "unsigned char"},
    {"__Poly16_t", "unsigned short"},
    {"__Poly64_t", "unsigned long long"},
    {"__Poly128_t", "unsigned __int128"},
}};

// One C name space: the second `foo` is foo___2.
class NameSpace {
 public:
  // How often the name was asked for, this time included.
  std::size_t count(std::string_view name) { return ++counts_[name]; }

 private:
  std::unordered_map<std::string_view, std::size_t> counts_;
};

class CWriter {
 public:
  CWriter(const Btf& btf, std::size_t bytes_max)
      : btf_(btf),
        bytes_max_(bytes_max),
        layout_(btf),
        states_(btf.type_count(), State::kNew),
        is_announced_(btf.type_count(), false) {
    states_[0] = State::kDone;
  }

  Result<void> write_definition(std::uint32_t id) {
    introduce(id, kNothing);
    if (error_) return make_error(*error_);
    return {};
  }
  std::string take_text() { return std::exchange(text_, {}); }

 private:
  enum class State : std::uint8_t { kNew, kOpen, kDone };
  using Chain = std::span<const std::uint32_t>;

  // Forward declarations and definitions.
  void introduce(std::uint32_t id, std::uint32_t container);
  void introduce_new(std::uint32_t id, std::uint32_t container);
  void introduce_open(std::uint32_t id, std::uint32_t container);
  void introduce_composite(std::uint32_t id, std::uint32_t container);
  void introduce_typedef(std::uint32_t id);
  void announce_composite(std::uint32_t id);
  void announce_typedef(std::uint32_t id);
  void write_alias(std::uint32_t id);

  // The texts of single types.
  void write_composite(std::uint32_t id, int level);
  void write_members(std::uint32_t id, bool is_packed, int level);
  void write_gap(const BtfCGap::Place& place, int level);
  void write_enum(std::uint32_t id, int level);
  void write_enumerators(const BtfType& type, int level);
  void write_typedef(std::uint32_t id);
  void write_keyword_and_name(std::string_view keyword, std::uint32_t id);

  // Declarators.
  void declare(std::uint32_t id, std::string_view name, int level);
  void declare_chain(Chain chain, std::string_view name, int level);
  void declare_base(std::uint32_t id, int level);
  void declare_array(const BtfType& type, Chain chain, std::string_view name, bool after_pointer,
                     int level);
  void declare_function(const BtfType& type, Chain chain, std::string_view name, bool after_pointer,
                        int level);
  void write_params(const BtfType& proto, int level);
  void write_qualifiers(Chain& chain);
  void drop_modifiers(Chain& chain) const;
  void put_name(std::string_view name, bool after_pointer);

  std::string_view name_of(std::uint32_t id, NameSpace& space);
  std::string_view tag_name(std::uint32_t id) { return name_of(id, tags_); }

  void put(std::string_view text) {
    if (text_.size() + text.size() <= bytes_max_) {
      text_ += text;
    } else {
      fail(ErrorCode::kLimitExceeded, fmt::format("the text passes {} bytes", bytes_max_));
    }
  }
  template <typename... Args>
  void put(fmt::format_string<Args...> format, Args&&... args)
    requires(sizeof...(Args) > 0)
  {
    put(std::string_view(fmt::format(format, std::forward<Args>(args)...)));
  }
  void put_line(int level) {
    put("\n");
    put(std::string_view("\t\t\t\t\t\t\t\t\t\t\t\t\t")
            .substr(0, level < kIndentMax ? level : kIndentMax));
  }
  void fail(ErrorCode code, std::string message) {
    if (error_) return;
    error_.emplace();
    error_->code = code;
    error_->message = "btf as C: " + std::move(message);
  }
  // Counts one more type on the way down; false when it must not be looked at.
  bool descend(std::uint32_t id) {
    if (error_) return false;
    if (depth_ >= limits::kBtfTextDepthMax || ++visits_ > limits::kBtfTextVisitsMax) {
      fail(ErrorCode::kLimitExceeded,
           fmt::format("type [{}]: {} types deep, {} types met", id, depth_, visits_));
      return false;
    }
    ++depth_;
    return true;
  }
  void ascend() { --depth_; }

  const Btf& btf_;
  std::size_t bytes_max_;
  BtfCLayout layout_;
  std::vector<State> states_;
  std::vector<bool> is_announced_;  // C knows the name: a forward declaration, a typedef
  NameSpace tags_;
  NameSpace identifiers_;
  std::unordered_map<std::uint32_t, std::string> names_;  // of types that got one
  std::string text_;
  std::optional<Error> error_;
  std::size_t depth_ = 0;
  std::size_t visits_ = 0;
};

// ---------------------------------------------------------------- definitions and announcements

// With no container, `id` is to be defined; else it is mentioned inside of that type.
void CWriter::introduce(std::uint32_t id, std::uint32_t container) {
  if (states_[id] == State::kDone || !descend(id)) return;
  if (states_[id] == State::kOpen) {
    introduce_open(id, container);
  } else {
    introduce_new(id, container);
  }
  ascend();
}

// Mentioned from inside itself.
void CWriter::introduce_open(std::uint32_t id, std::uint32_t container) {
  const BtfType& type = btf_.type(id);
  if (is_announced_[id]) return;
  if (type.kind == BtfKind::kTypedef) {
    announce_typedef(id);
  } else if (type.is_composite() && id != container && !type.name.empty()) {
    announce_composite(id);
  }
}

void CWriter::introduce_new(std::uint32_t id, std::uint32_t container) {
  const BtfType& type = btf_.type(id);
  switch (type.kind) {
    case BtfKind::kInt:
      write_alias(id);
      states_[id] = State::kDone;
      break;
    case BtfKind::kEnum:
    case BtfKind::kEnum64:
      if (container == kNothing) {
        write_enum(id, kTopLevel);
        put(";\n\n");
      }
      states_[id] = State::kDone;
      break;
    case BtfKind::kPtr:
    case BtfKind::kVolatile:
    case BtfKind::kConst:
    case BtfKind::kRestrict:
    case BtfKind::kTypeTag:
    case BtfKind::kArray:
      introduce(type.type, container);
      break;
    case BtfKind::kFwd:
      write_keyword_and_name(type.kind_flag ? "union" : "struct", id);
      put(";\n\n");
      states_[id] = State::kDone;
      break;
    case BtfKind::kTypedef:
      introduce_typedef(id);
      break;
    case BtfKind::kStruct:
    case BtfKind::kUnion:
      introduce_composite(id, container);
      break;
    case BtfKind::kFuncProto:
      introduce(type.type, container);
      for (const BtfParam& param : btf_.params(type)) introduce(param.type, container);
      break;
    case BtfKind::kVoid:
    case BtfKind::kFloat:
    case BtfKind::kFunc:
    case BtfKind::kVar:
    case BtfKind::kDatasec:
    case BtfKind::kDeclTag:
      break;
  }
}

void CWriter::introduce_typedef(std::uint32_t id) {
  states_[id] = State::kOpen;
  introduce(btf_.type(id).type, id);
  // What it stands for may have led back here and announced it.
  if (!is_announced_[id]) announce_typedef(id);
  states_[id] = State::kDone;
}

void CWriter::introduce_composite(std::uint32_t id, std::uint32_t container) {
  const BtfType& type = btf_.type(id);
  const bool is_defined_here = container == kNothing;
  states_[id] = State::kOpen;
  // Members are only written in a definition, and a type without name is one wherever it is used.
  if (is_defined_here || type.name.empty()) {
    for (const BtfMember& member : btf_.members(type)) {
      introduce(member.type, type.name.empty() ? container : id);
    }
  } else if (!is_announced_[id] && id != container) {
    announce_composite(id);
  }
  if (is_defined_here) {
    write_composite(id, kTopLevel);
    put(";\n\n");
  }
  states_[id] = is_defined_here ? State::kDone : State::kNew;
}

void CWriter::announce_composite(std::uint32_t id) {
  write_keyword_and_name(btf_.type(id).kind == BtfKind::kStruct ? "struct" : "union", id);
  put(";\n\n");
  is_announced_[id] = true;
}

void CWriter::announce_typedef(std::uint32_t id) {
  // The compiler has its own __builtin_va_list and accepts no other.
  if (btf_.type(id).name != "__builtin_va_list") {
    write_typedef(id);
    put(";\n\n");
  }
  is_announced_[id] = true;
}

void CWriter::write_alias(std::uint32_t id) {
  const std::string_view name = tag_name(id);
  for (const auto& [alias, meaning] : kAliases) {
    if (name == alias) put("typedef {} {};\n\n", meaning, name);
  }
}

// ---------------------------------------------------------------- texts of single types

std::string_view CWriter::name_of(std::uint32_t id, NameSpace& space) {
  const BtfType& type = btf_.type(id);
  if (type.name.empty()) return {};
  if (const auto known = names_.find(id); known != names_.end()) return known->second;
  // A declaration without definition takes no name from anybody: it means the defined type.
  const bool is_only_declared =
      type.kind == BtfKind::kFwd || (type.kind == BtfKind::kEnum && type.vlen == 0);
  const std::size_t count = is_only_declared ? 1 : space.count(type.name);
  std::string name(type.name);
  if (count > 1) name = fmt::format("{}___{}", name, count).substr(0, kNameBytesMax);
  return names_.emplace(id, std::move(name)).first->second;
}

void CWriter::write_keyword_and_name(std::string_view keyword, std::uint32_t id) {
  put(keyword);
  if (btf_.type(id).name.empty()) return;
  put(" ");
  put(tag_name(id));
}

void CWriter::write_composite(std::uint32_t id, int level) {
  const BtfType& type = btf_.type(id);
  const bool is_struct = type.kind == BtfKind::kStruct;
  const bool is_packed = is_struct && layout_.is_packed(type);
  write_keyword_and_name(is_struct ? "struct" : "union", id);
  put(" {");
  write_members(id, is_packed, level);
  if (type.vlen != 0 || type.size != 0) put_line(level);
  put("}");
  if (is_packed) put(" __attribute__((packed))");
}

void CWriter::write_members(std::uint32_t id, bool is_packed, int level) {
  const BtfType& type = btf_.type(id);
  std::uint64_t end_bit = 0;
  bool was_bitfield = false;
  for (const BtfMember& member : btf_.members(type)) {
    if (error_) return;
    const bool is_bitfield = member.bitfield_size != 0;
    write_gap({.from_bit = end_bit,
               .to_bit = member.bit_offset,
               .align = is_packed ? 1 : layout_.align_of(member.type),
               .in_bitfield = was_bitfield && is_bitfield},
              level + 1);
    put_line(level + 1);
    declare(member.type, member.name, level + 1);
    end_bit = member.bit_offset + member.bitfield_size;
    if (is_bitfield) {
      put(": {}", member.bitfield_size);
    } else {
      end_bit += 8ull * btf_.resolve_size(member.type).value_or(0);
    }
    put(";");
    was_bitfield = is_bitfield;
  }
  if (type.kind != BtfKind::kStruct) return;
  write_gap({.from_bit = end_bit,
             .to_bit = 8ull * type.size,
             .align = layout_.align_of(id),
             .in_bitfield = false},
            level + 1);
}

void CWriter::write_gap(const BtfCGap::Place& place, int level) {
  BtfCGap gap(place);
  for (auto field = gap.next(); field && !error_; field = gap.next()) {
    put_line(level);
    put("{}: {};", field->type, field->bits);
  }
}

void CWriter::write_enum(std::uint32_t id, int level) {
  const BtfType& type = btf_.type(id);
  write_keyword_and_name("enum", id);
  if (type.vlen == 0) return;
  put(" {");
  write_enumerators(type, level);
  put_line(level);
  put("}");
}

void CWriter::write_enumerators(const BtfType& type, int level) {
  const bool is_long = type.kind == BtfKind::kEnum64;
  for (const BtfEnumerator& value : btf_.enumerators(type)) {
    if (error_) return;
    put_line(level + 1);
    put(value.name);
    if (const std::size_t count = identifiers_.count(value.name); count > 1) put("___{}", count);
    if (type.kind_flag) {
      put(" = {}{},", value.value, is_long ? "LL" : "");
    } else {
      put(" = {}{},", static_cast<std::uint64_t>(value.value), is_long ? "ULL" : "");
    }
  }
}

void CWriter::write_typedef(std::uint32_t id) {
  const BtfType& type = btf_.type(id);
  const std::string_view name = name_of(id, identifiers_);
  // Old GCC says that this one stands for void.
  if (type.type == 0 && name == "__gnuc_va_list") {
    return put("typedef __builtin_va_list __gnuc_va_list");
  }
  put("typedef ");
  declare(type.type, name, kTopLevel);
}

// ---------------------------------------------------------------- declarators

void CWriter::declare(std::uint32_t id, std::string_view name, int level) {
  if (!descend(id)) return;
  std::vector<std::uint32_t> chain = {id};
  for (;;) {
    const BtfType& type = btf_.type(chain.back());
    const bool goes_on = type.is_modifier() || type.kind == BtfKind::kPtr ||
                         type.kind == BtfKind::kArray || type.kind == BtfKind::kFuncProto;
    if (!goes_on) break;
    if (chain.size() >= limits::kBtfTextDepthMax) {
      return fail(ErrorCode::kLimitExceeded,
                  fmt::format("type [{}]: a chain of {} types", id, chain.size()));
    }
    chain.push_back(type.type);
  }
  declare_chain(chain, name, level);
  ascend();
}

// The last of the chain is the base type, the first what the name itself is.
void CWriter::declare_chain(Chain chain, std::string_view name, int level) {
  // A pointer that begins a chain, as in "(*name)", has nothing to keep a distance from.
  bool after_pointer = true;
  while (!chain.empty() && !error_) {
    const std::uint32_t id = chain.back();
    const BtfType& type = btf_.type(id);
    chain = chain.first(chain.size() - 1);
    switch (type.kind) {
      case BtfKind::kPtr:
        put(after_pointer ? "*" : " *");
        break;
      case BtfKind::kVolatile:
        put(" volatile");
        break;
      case BtfKind::kConst:
        put(" const");
        break;
      case BtfKind::kRestrict:
        put(" restrict");
        break;
      case BtfKind::kArray:
        return declare_array(type, chain, name, after_pointer, level);
      case BtfKind::kFuncProto:
        return declare_function(type, chain, name, after_pointer, level);
      case BtfKind::kTypeTag:
        write_qualifiers(chain);
        put(" __attribute__((btf_type_tag(\"{}\")))", type.name);
        break;
      default:
        write_qualifiers(chain);  // of the base type: they stand before it
        declare_base(id, level);
    }
    after_pointer = type.kind == BtfKind::kPtr;
  }
  put_name(name, after_pointer);
}

void CWriter::declare_base(std::uint32_t id, int level) {
  const BtfType& type = btf_.type(id);
  if (type.kind == BtfKind::kVoid) return put("void");
  if (type.kind == BtfKind::kInt || type.kind == BtfKind::kFloat) return put(type.name);
  if (type.kind == BtfKind::kTypedef) return put(name_of(id, identifiers_));
  if (type.is_composite()) {
    if (type.name.empty()) return write_composite(id, level);
    return write_keyword_and_name(type.kind == BtfKind::kStruct ? "struct" : "union", id);
  }
  if (type.is_enumeration()) {
    return type.name.empty() ? write_enum(id, level) : write_keyword_and_name("enum", id);
  }
  if (type.kind == BtfKind::kFwd) {
    return write_keyword_and_name(type.kind_flag ? "union" : "struct", id);
  }
  fail(ErrorCode::kMalformed, fmt::format("type [{}]: {} '{}' is no type of a member or parameter",
                                          id, btf_kind_word(type.kind), type.name));
}

void CWriter::declare_array(const BtfType& type, Chain chain, std::string_view name,
                            bool after_pointer, int level) {
  drop_modifiers(chain);  // GCC repeats those of the elements for the array
  const std::uint32_t count = type.array().count;
  if (chain.empty()) {
    put_name(name, after_pointer);
    return put("[{}]", count);
  }
  if (!name.empty() && !after_pointer) put(" ");
  const bool is_of_array = btf_.type(chain.back()).kind == BtfKind::kArray;  // [2][3]
  if (!is_of_array) put("(");
  declare_chain(chain, name, level);
  if (!is_of_array) put(")");
  put("[{}]", count);
}

void CWriter::declare_function(const BtfType& type, Chain chain, std::string_view name,
                               bool after_pointer, int level) {
  drop_modifiers(chain);  // GCC makes pointers to noreturn functions volatile
  if (chain.empty()) {
    put_name(name, after_pointer);
  } else {
    put(" (");
    declare_chain(chain, name, level);
    put(")");
  }
  put("(");
  write_params(type, level);
  put(")");
}

void CWriter::write_params(const BtfType& proto, int level) {
  const auto params = btf_.params(proto);
  if (params.empty() || (params.size() == 1 && params[0].type == 0)) return put("void");
  for (std::size_t i = 0; i < params.size() && !error_; ++i) {
    if (i > 0) put(", ");
    const bool is_ellipsis = i + 1 == params.size() && params[i].type == 0;
    is_ellipsis ? put("...") : declare(params[i].type, params[i].name, level);
  }
}

void CWriter::write_qualifiers(Chain& chain) {
  for (; !chain.empty(); chain = chain.first(chain.size() - 1)) {
    switch (btf_.type(chain.back()).kind) {
      case BtfKind::kVolatile:
        put("volatile ");
        break;
      case BtfKind::kConst:
        put("const ");
        break;
      case BtfKind::kRestrict:
        put("restrict ");
        break;
      default:
        return;
    }
  }
}

void CWriter::drop_modifiers(Chain& chain) const {
  while (!chain.empty() && btf_.type(chain.back()).is_modifier()) {
    chain = chain.first(chain.size() - 1);
  }
}

void CWriter::put_name(std::string_view name, bool after_pointer) {
  if (!name.empty() && !after_pointer) put(" ");
  put(name);
}

}  // namespace

Result<std::string> btf_c_text(const Btf& btf, const BtfTextOptions& options) {
  LMN_TRY(const std::vector<std::uint32_t> roots, chosen_btf_ids(btf, options, 1));
  BtfCOrder order(btf);
  CWriter writer(btf, options.bytes_max);
  for (const std::uint32_t root : roots) {
    LMN_TRY(const std::vector<std::uint32_t> definitions, order.definitions_for(root));
    for (const std::uint32_t id : definitions) LMN_CHECK_OK(writer.write_definition(id));
  }
  return writer.take_text();
}

Result<std::string> btf_c_header(const Btf& btf, const BtfTextOptions& options) {
  LMN_TRY(const std::string declarations, btf_c_text(btf, options));
  return "#ifndef __VMLINUX_H__\n"
         "#define __VMLINUX_H__\n"
         "\n"
         "#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n"
         "#pragma clang attribute push (__attribute__((preserve_access_index)), "
         "apply_to = record)\n"
         "#endif\n"
         "\n" +
         declarations +
         "#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n"
         "#pragma clang attribute pop\n"
         "#endif\n"
         "\n"
         "#endif /* __VMLINUX_H__ */\n";
}

}  // namespace lmn
