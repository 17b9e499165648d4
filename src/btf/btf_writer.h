// SPDX-License-Identifier: Apache-2.0
//
// BtfWriter: makes a type graph, type by type.
//
// Each call appends one record and gives its id, to be named by later ones; finish() gives the
// bytes of a .BTF section, which parse_btf checks like anybody's. What refers to a type that comes
// later cannot be written, which is enough for graphs that are copied or listed bottom-up.
//
//   BtfWriter writer;
//   const auto u32 = writer.add_int("unsigned int", 4, 0);
//   writer.add_composite(BtfKind::kStruct, "point", 8, {{"x", u32, 0}, {"y", u32, 32}});
//   LMN_TRY(auto btf, parse_btf(writer.finish()));
//
// Threads: one. Tested by btf_writer_test.cc.
// Source: Linux 6.18, include/uapi/linux/btf.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "btf/btf.h"

namespace lmn {

class BtfWriter {
 public:
  BtfWriter() { strings_.push_back(0); }

  // `encoding` is of BtfInt.
  std::uint32_t add_int(std::string_view name, std::uint32_t size_bytes, std::uint8_t encoding);
  // Pointers, typedefs, modifiers, forward declarations (`type` 0): all that names one type.
  std::uint32_t add_reference(BtfKind kind, std::string_view name, std::uint32_t type);
  std::uint32_t add_array(const BtfArray& array);
  // Structs and unions; bit fields keep their width.
  std::uint32_t add_composite(BtfKind kind, std::string_view name, std::uint32_t size_bytes,
                              const std::vector<BtfMember>& members);
  // Values of 32 bits.
  std::uint32_t add_enum(std::string_view name, const std::vector<BtfEnumerator>& values);
  std::uint32_t add_function(std::string_view name, std::uint32_t result,
                             const std::vector<BtfParam>& params);

  std::vector<std::uint8_t> finish() const;

 private:
  std::uint32_t string(std::string_view text);
  // Appends the common part of a record.
  std::uint32_t begin(std::string_view name, BtfKind kind, bool kind_flag, std::size_t vlen,
                      std::uint32_t size_or_type);
  void word(std::uint32_t value);

  std::vector<std::uint8_t> types_;
  std::vector<std::uint8_t> strings_;
  std::unordered_map<std::string, std::uint32_t> known_strings_;
  std::uint32_t count_ = 0;
};

}  // namespace lmn
