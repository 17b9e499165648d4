// SPDX-License-Identifier: Apache-2.0
//
// Btf: the type graph of one object, kernel or module, parsed and validated; immutable once shared.
//
// BTF (BPF Type Format) is an array of types that refer to each other by number, and a table of
// strings. We parse it once into plain vectors: ids stay indices (0 is void), names are views into
// the bytes we own. Nothing here hands out a pointer chain, so a hostile graph cannot send a reader
// into the wild: every id and name is checked when the bytes are parsed, and every walk below is
// bounded because of what parsing guarantees.
//
//   LMN_TRY(auto btf, parse_btf(bytes));
//   auto id = btf->find_by_name("xdp_md", BtfKind::kStruct);
//   for (const BtfMember& member : btf->members(btf->type(*id))) ...
//
// Split BTF (kernel modules): ids and string offsets go on where those of the base end; type() and
// strings reach through to it.
//
// Invariants after parsing: (1) each type id in the graph is < type_count(); (2) each name ends in
// a zero inside the string table; (3) chains of typedef, modifiers, arrays, variables and tags end
// after at most kBtfDepthMax steps, so that skip_modifiers() and resolve_size() need no guard; (4)
// structs do not contain themselves by value and nest at most kBtfNestingMax deep; (5) a FUNC
// refers to a FUNC_PROTO, a DATASEC to VARs or FUNCs; (6) raw() describes the same graph, edits
// included. Threads: reading from any thread; edits only before it is shared. Tested by btf_test.cc
// and fuzz/object_fuzz.cc. Source: Linux 6.18, include/uapi/linux/btf.h, kernel/bpf/btf.c (what is
// malformed).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_reader.h"
#include "base/result.h"

namespace lmn {

enum class BtfKind : std::uint8_t {
#define LMN_BTF_KIND(name, number, word, dump) name = number,
#include "btf/btf_kinds.def"
#undef LMN_BTF_KIND
};

std::string_view btf_kind_word(BtfKind kind);       // "struct"
std::string_view btf_kind_dump_name(BtfKind kind);  // "STRUCT", as bpftool prints it

// Linkage of a FUNC or VAR, by the numbers of BTF.
enum class BtfLinkage : std::uint32_t { kStatic = 0, kGlobal = 1, kExtern = 2 };

struct BtfInt {
  std::uint8_t encoding = 0;  // BTF_INT_SIGNED | BTF_INT_CHAR | BTF_INT_BOOL
  std::uint8_t offset_bits = 0;
  std::uint8_t bits = 0;
};

struct BtfArray {
  std::uint32_t element_type = 0;
  std::uint32_t index_type = 0;
  std::uint32_t count = 0;
};

struct BtfType {
  std::string_view name;  // empty: anonymous
  BtfKind kind = BtfKind::kVoid;
  bool kind_flag =
      false;  // struct: members carry bitfield sizes; fwd: of a union; enum: signed; tag: attribute
  std::uint16_t vlen = 0;  // number of members, values, parameters or variables
  std::uint32_t size = 0;  // bytes: int, struct, union, enum, enum64, float, datasec; else 0
  std::uint32_t type =
      0;  // what it points to, names, modifies, returns, tags; an array's element; else 0
  std::uint32_t detail = 0;  // by kind; use the accessors below
  std::uint32_t detail2 = 0;
  std::uint32_t raw_offset = 0;  // of the record in Btf::raw()

  // REQUIRES of each: the kind it names.
  BtfInt int_info() const;
  BtfArray array() const;
  BtfLinkage linkage() const;            // FUNC, VAR
  std::int32_t component_index() const;  // DECL_TAG: member or parameter, -1: the whole
  bool is_modifier() const;              // const, volatile, restrict, type_tag
  bool is_composite() const;             // struct or union
  bool is_enumeration() const;           // enum or enum64
};

struct BtfMember {
  std::string_view name;
  std::uint32_t type = 0;
  std::uint32_t bit_offset = 0;
  std::uint32_t bitfield_size = 0;  // bits; 0: not a bitfield
};

struct BtfEnumerator {
  std::string_view name;
  std::int64_t value = 0;  // sign-extended when the enum is signed
};

struct BtfParam {
  std::string_view name;
  std::uint32_t type = 0;  // 0 with an empty name in the last place: variadic
};

struct BtfVariable {  // one entry of a DATASEC
  std::uint32_t type = 0;
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
};

class Btf {
 public:
  Btf(const Btf&) = delete;
  Btf& operator=(const Btf&) = delete;

  // Number of ids, void and the base's included: valid ids are 0 <= id < type_count().
  std::uint32_t type_count() const { return first_id_ + static_cast<std::uint32_t>(types_.size()); }
  std::uint32_t first_id() const { return first_id_; }  // 0 unless split
  const std::shared_ptr<const Btf>& base() const { return base_; }
  ByteSpan raw() const { return raw_; }

  // The type of an id from outside (an object's records): null when there is none.
  const BtfType* find(std::uint32_t id) const;
  // The type of an id from this graph. REQUIRES: id < type_count().
  const BtfType& type(std::uint32_t id) const;

  std::span<const BtfMember> members(const BtfType& composite) const;
  std::span<const BtfEnumerator> enumerators(const BtfType& enumeration) const;
  std::span<const BtfParam> params(const BtfType& proto) const;
  std::span<const BtfVariable> variables(const BtfType& datasec) const;

  // The string at an offset from outside (.BTF.ext records).
  std::optional<std::string_view> string(std::uint32_t offset) const;

  // The lowest id of that name and kind.
  std::optional<std::uint32_t> find_by_name(std::string_view name, BtfKind kind) const;
  // All ids of this graph (not of its base) whose name without a flavour (`___x`) is `name`,
  // rising.
  std::vector<std::uint32_t> find_by_essential_name(std::string_view name) const;

  // The first type that is no const, volatile, restrict or type_tag; and no typedef either.
  std::uint32_t skip_modifiers(std::uint32_t id) const;
  std::uint32_t skip_modifiers_and_typedefs(std::uint32_t id) const;

  // Bytes a value of the type takes; an error for void, functions, forward declarations and sizes
  // over 32 bits.
  Result<std::uint32_t> resolve_size(std::uint32_t id) const;
  // Natural alignment in bytes (a packed struct's is 1), or 0 where there is none.
  std::uint32_t align_of(std::uint32_t id) const;

  // A member by name, through anonymous structs and unions; its bit offset counts from `composite`.
  std::optional<BtfMember> find_member(const BtfType& composite, std::string_view name) const;

  // Edits, for the object reader: what compilers leave open in BTF and loaders fill in (as
  // libbpf 1.5 does). REQUIRES: not shared yet; ids of this graph, of the right kind.
  void set_datasec(std::uint32_t id, std::uint32_t size, std::span<const BtfVariable> variables);
  void set_linkage(std::uint32_t id, BtfLinkage linkage);

 private:
  friend class BtfParser;
  Btf() = default;

  template <typename Row>
  struct Rows {
    std::uint32_t first = 0;  // rows of the base
    std::vector<Row> rows;
    std::uint32_t end() const { return first + static_cast<std::uint32_t>(rows.size()); }
  };

  struct NameIndex;
  // The entries of `name` in an index, by kind and id.
  std::span<const std::uint64_t> lookup(NameIndex& index, bool is_essential,
                                        std::string_view name) const;
  BtfKind kind_of_entry(std::uint64_t entry) const;
  // `visits` bounds the work: a struct that holds two of a struct that holds two ... is met 2^depth
  // times.
  std::uint32_t alignment_of(std::uint32_t id, std::size_t& visits) const;
  std::optional<BtfMember> member_at(const BtfType& composite, std::string_view name,
                                     std::size_t& visits) const;

  std::shared_ptr<const Btf> base_;
  std::vector<std::uint8_t> raw_;
  std::uint32_t string_base_ = 0;  // offset of our first string in the joint table
  std::size_t strings_at_ = 0;     // where raw_ has the string table
  std::size_t strings_size_ = 0;
  std::uint32_t first_id_ = 0;
  std::vector<BtfType> types_;  // types_[0] is void when not split
  // BtfType::detail counts positions in these through base and split, as ids do.
  Rows<BtfMember> members_;
  Rows<BtfEnumerator> enumerators_;
  Rows<BtfParam> params_;
  Rows<BtfVariable> variables_;
  // Ids by name, whole or without flavour: sorted by hash, then name, kind and id, so that names
  // made to collide cost no more than others. Made on first use, from any thread.
  struct NameIndex {
    std::once_flag once;
    std::vector<std::uint64_t> entries;  // hash << 32 | id
  };
  mutable NameIndex by_name_;
  mutable NameIndex by_essential_name_;
};

// Parses the contents of a .BTF section or of /sys/kernel/btf/*. Big-endian BTF is kNotSupported by
// name, anything else that breaks an invariant kMalformed with the type's number.
Result<std::shared_ptr<const Btf>> parse_btf(ByteSpan bytes,
                                             std::shared_ptr<const Btf> base = nullptr);
// The same, for a caller that edits before sharing.
Result<std::shared_ptr<Btf>> parse_editable_btf(ByteSpan bytes,
                                                std::shared_ptr<const Btf> base = nullptr);

// The part of a name before its flavour: "task_struct___old" -> "task_struct".
std::string_view essential_name(std::string_view name);

}  // namespace lmn
