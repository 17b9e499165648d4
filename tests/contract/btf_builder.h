// SPDX-License-Identifier: Apache-2.0
//
// BtfBuilder: makes a BTF blob type by type, for tests that need types no compiler emits on
// request.
//
//   BtfBuilder btf;
//   const std::uint32_t u32 = btf.integer("unsigned int", 4, 0);
//   auto bytes = btf.bytes();
//
// It checks nothing: a test may want nonsense. Ids count from 1. Test code only. Threads: one.
// Source: Linux 6.18, Documentation/bpf/btf.rst (layout).
#pragma once

#include <linux/btf.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace lmn {

class BtfBuilder {
 public:
  struct Member {
    std::string name;
    std::uint32_t type;
    std::uint32_t bit_offset;
    std::uint32_t bitfield_size = 0;
  };

  std::uint32_t integer(const std::string& name, std::uint32_t size, std::uint32_t encoding) {
    header(name, BTF_KIND_INT, 0, false, size);
    word(encoding << 24 | size * 8);
    return ++last_id_;
  }
  // An integer that does not fill its bytes.
  std::uint32_t part_of_integer(const std::string& name, std::uint32_t size,
                                std::uint32_t bit_offset, std::uint32_t bits) {
    header(name, BTF_KIND_INT, 0, false, size);
    word(bit_offset << 16 | bits);
    return ++last_id_;
  }
  // Pointers, typedefs, const and the like.
  std::uint32_t reference(std::uint32_t kind, std::uint32_t type, const std::string& name = "") {
    header(name, kind, 0, false, type);
    return ++last_id_;
  }
  // A property of a member, or with component -1 of the type itself.
  std::uint32_t declaration_tag(const std::string& name, std::uint32_t type,
                                std::int32_t component) {
    header(name, BTF_KIND_DECL_TAG, 0, false, type);
    word(static_cast<std::uint32_t>(component));
    return ++last_id_;
  }
  std::uint32_t array(std::uint32_t element, std::uint32_t index, std::uint32_t count) {
    header("", BTF_KIND_ARRAY, 0, false, 0);
    word(element);
    word(index);
    word(count);
    return ++last_id_;
  }
  std::uint32_t composite(std::uint32_t kind, const std::string& name, std::uint32_t size,
                          const std::vector<Member>& members) {
    header(name, kind, static_cast<std::uint32_t>(members.size()), true, size);
    for (const Member& member : members) {
      word(string(member.name));
      word(member.type);
      word(member.bitfield_size << 24 | member.bit_offset);
    }
    return ++last_id_;
  }
  std::uint32_t enumeration(const std::string& name, std::uint32_t size, bool is_signed,
                            const std::vector<std::pair<std::string, std::int32_t>>& values) {
    header(name, BTF_KIND_ENUM, static_cast<std::uint32_t>(values.size()), is_signed, size);
    for (const auto& [value_name, value] : values) {
      word(string(value_name));
      word(static_cast<std::uint32_t>(value));
    }
    return ++last_id_;
  }
  std::uint32_t enumeration64(const std::string& name, bool is_signed,
                              const std::vector<std::pair<std::string, std::uint64_t>>& values) {
    header(name, BTF_KIND_ENUM64, static_cast<std::uint32_t>(values.size()), is_signed, 8);
    for (const auto& [value_name, value] : values) {
      word(string(value_name));
      word(static_cast<std::uint32_t>(value));
      word(static_cast<std::uint32_t>(value >> 32));
    }
    return ++last_id_;
  }

  // A function that returns `result`, with parameters of these names and types.
  std::uint32_t function(const std::string& name, std::uint32_t result,
                         const std::vector<std::pair<std::string, std::uint32_t>>& parameters,
                         std::uint32_t linkage) {
    header("", BTF_KIND_FUNC_PROTO, static_cast<std::uint32_t>(parameters.size()), false, result);
    for (const auto& [parameter, type] : parameters) {
      word(string(parameter));
      word(type);
    }
    const std::uint32_t proto = ++last_id_;
    header(name, BTF_KIND_FUNC, linkage, false, proto);
    return ++last_id_;
  }

  // A global variable, and a section of such.
  std::uint32_t variable(const std::string& name, std::uint32_t type) {
    header(name, BTF_KIND_VAR, 0, false, type);
    word(BTF_VAR_GLOBAL_ALLOCATED);
    return ++last_id_;
  }
  struct Placed {
    std::uint32_t variable;
    std::uint32_t offset;
    std::uint32_t size;
  };
  std::uint32_t section(const std::string& name, std::uint32_t size,
                        const std::vector<Placed>& variables) {
    header(name, BTF_KIND_DATASEC, static_cast<std::uint32_t>(variables.size()), false, size);
    for (const Placed& placed : variables) {
      word(placed.variable);
      word(placed.offset);
      word(placed.size);
    }
    return ++last_id_;
  }

  std::vector<std::uint8_t> bytes() const {
    btf_header top;
    std::memset(&top, 0, sizeof top);
    top.magic = BTF_MAGIC;
    top.version = BTF_VERSION;
    top.hdr_len = sizeof top;
    top.type_len = static_cast<std::uint32_t>(words_.size() * 4);
    top.str_off = top.type_len;
    top.str_len = static_cast<std::uint32_t>(strings_.size());
    std::vector<std::uint8_t> out(sizeof top + top.type_len + top.str_len);
    std::memcpy(out.data(), &top, sizeof top);
    std::memcpy(out.data() + sizeof top, words_.data(), top.type_len);
    std::memcpy(out.data() + sizeof top + top.str_off, strings_.data(), top.str_len);
    return out;
  }

 private:
  void word(std::uint32_t value) { words_.push_back(value); }
  std::uint32_t string(const std::string& text) {
    if (text.empty()) return 0;
    const auto at = static_cast<std::uint32_t>(strings_.size());
    strings_ += text;
    strings_ += '\0';
    return at;
  }
  void header(const std::string& name, std::uint32_t kind, std::uint32_t vlen, bool kind_flag,
              std::uint32_t size_or_type) {
    word(string(name));
    word((kind_flag ? 1u << 31 : 0) | kind << 24 | vlen);
    word(size_or_type);
  }

  std::vector<std::uint32_t> words_;
  std::string strings_ = std::string(1, '\0');
  std::uint32_t last_id_ = 0;
};

}  // namespace lmn
