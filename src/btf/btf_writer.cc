// SPDX-License-Identifier: Apache-2.0
//
// Records of BTF, appended. Tested by btf_writer_test.cc.
#include "btf/btf_writer.h"

#include <linux/btf.h>

#include <algorithm>
#include <cstring>

namespace lmn {

void BtfWriter::word(std::uint32_t value) {
  const std::size_t at = types_.size();
  types_.resize(at + sizeof value);
  std::memcpy(types_.data() + at, &value, sizeof value);
}

std::uint32_t BtfWriter::string(std::string_view text) {
  if (text.empty()) return 0;
  const auto offset = static_cast<std::uint32_t>(strings_.size());
  const auto [known, is_new] = known_strings_.try_emplace(std::string(text), offset);
  if (is_new) {
    strings_.insert(strings_.end(), text.begin(), text.end());
    strings_.push_back(0);
  }
  return known->second;
}

std::uint32_t BtfWriter::begin(std::string_view name, BtfKind kind, bool kind_flag,
                               std::size_t vlen, std::uint32_t size_or_type) {
  word(string(name));
  word(static_cast<std::uint32_t>(vlen & 0xffff) | static_cast<std::uint32_t>(kind) << 24 |
       static_cast<std::uint32_t>(kind_flag) << 31);
  word(size_or_type);
  return ++count_;
}

std::uint32_t BtfWriter::add_int(std::string_view name, std::uint32_t size_bytes,
                                 std::uint8_t encoding) {
  const std::uint32_t id = begin(name, BtfKind::kInt, false, 0, size_bytes);
  word(static_cast<std::uint32_t>(encoding) << 24 | size_bytes * 8);
  return id;
}

std::uint32_t BtfWriter::add_reference(BtfKind kind, std::string_view name, std::uint32_t type) {
  return begin(name, kind, false, 0, type);
}

std::uint32_t BtfWriter::add_array(const BtfArray& array) {
  const std::uint32_t id = begin({}, BtfKind::kArray, false, 0, 0);
  word(array.element_type);
  word(array.index_type);
  word(array.count);
  return id;
}

std::uint32_t BtfWriter::add_composite(BtfKind kind, std::string_view name,
                                       std::uint32_t size_bytes,
                                       const std::vector<BtfMember>& members) {
  const bool has_bitfields = std::ranges::any_of(
      members, [](const BtfMember& member) { return member.bitfield_size > 0; });
  const std::uint32_t id = begin(name, kind, has_bitfields, members.size(), size_bytes);
  for (const BtfMember& member : members) {
    word(string(member.name));
    word(member.type);
    word(member.bitfield_size << 24 | member.bit_offset);
  }
  return id;
}

std::uint32_t BtfWriter::add_enum(std::string_view name, const std::vector<BtfEnumerator>& values) {
  const std::uint32_t id = begin(name, BtfKind::kEnum, false, values.size(), 4);
  for (const BtfEnumerator& value : values) {
    word(string(value.name));
    word(static_cast<std::uint32_t>(value.value));
  }
  return id;
}

std::uint32_t BtfWriter::add_function(std::string_view name, std::uint32_t result,
                                      const std::vector<BtfParam>& params) {
  const std::uint32_t proto = begin({}, BtfKind::kFuncProto, false, params.size(), result);
  for (const BtfParam& param : params) {
    word(string(param.name));
    word(param.type);
  }
  return begin(name, BtfKind::kFunc, false, static_cast<std::size_t>(BtfLinkage::kStatic), proto);
}

std::vector<std::uint8_t> BtfWriter::finish() const {
  btf_header header{};
  header.magic = BTF_MAGIC;
  header.version = BTF_VERSION;
  header.hdr_len = sizeof header;
  header.type_len = static_cast<std::uint32_t>(types_.size());
  header.str_off = header.type_len;
  header.str_len = static_cast<std::uint32_t>(strings_.size());
  std::vector<std::uint8_t> out(sizeof header);
  std::memcpy(out.data(), &header, sizeof header);
  out.insert(out.end(), types_.begin(), types_.end());
  out.insert(out.end(), strings_.begin(), strings_.end());
  return out;
}

}  // namespace lmn
