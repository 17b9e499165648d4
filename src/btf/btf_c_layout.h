// SPDX-License-Identifier: Apache-2.0
//
// BtfCLayout: what a C compiler would make of a struct's members, compared with where BTF says they
// are: alignment, whether the struct was packed, and the unnamed bit-fields that fill a gap.
//
//   struct { char a; /* 7 bytes */ long b; }          the compiler leaves the gap itself: no fields
//   struct { char a; /* 7 bytes */ char b; }          "long: 0" moves b to the next multiple of 8
//   struct { int a : 3; /* 5 bits */ int b : 4; }     "char: 5"
//
// Internal to btf_c.cc. Alignments are kept, so that asking about every member of a graph is
// linear. Threads: one owner. Tested by btf_text_test.cc. Source: libbpf 1.1 (Linux 6.1.y,
// tools/lib/bpf/btf_dump.c, btf.c), where the choice of fields comes from.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "btf/btf.h"

namespace lmn {

class BtfCLayout {
 public:
  explicit BtfCLayout(const Btf& btf) : btf_(btf), alignments_(btf.type_count(), kUnknown) {}

  // Natural alignment in bytes; 1 of a packed struct; 0 where there is none.
  std::uint32_t align_of(std::uint32_t id);
  // Whether only `packed` explains where the members are. REQUIRES: a struct or union.
  bool is_packed(const BtfType& composite);

 private:
  static constexpr std::uint8_t kUnknown = 0xff;

  std::uint32_t find_alignment(std::uint32_t id);

  const Btf& btf_;
  std::vector<std::uint8_t> alignments_;
};

// The bits between the end of a member and the start of the next, to be filled one field at a time.
class BtfCGap {
 public:
  struct Place {
    std::uint64_t from_bit = 0;
    std::uint64_t to_bit = 0;
    std::uint32_t align = 1;   // of what comes at to_bit, in bytes
    bool in_bitfield = false;  // between two bit-fields
  };
  struct Field {
    std::string_view type;
    std::uint64_t bits = 0;  // 0: go to the next boundary of the type
  };

  explicit BtfCGap(const Place& place);
  // The next field to write; nullopt when the gap is full or the compiler fills the rest.
  std::optional<Field> next();

 private:
  std::uint64_t at_;
  std::uint64_t end_;
  std::size_t unit_ = 0;         // what whole fields are made of
  std::optional<Field> marker_;  // comes first
};

}  // namespace lmn
