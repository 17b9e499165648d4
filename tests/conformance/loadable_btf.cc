// SPDX-License-Identifier: Apache-2.0
//
// Patching raw BTF records in place. Tested by its users.
#include "loadable_btf.h"

#include <linux/btf.h>

#include <cstring>

namespace lmn {
namespace {

class Patch {
 public:
  explicit Patch(const Btf& btf) : btf_(btf), bytes_(btf.raw().begin(), btf.raw().end()) {
    for (std::uint32_t id = 1; id < btf.type_count() && variable_ == 0; ++id) {
      if (btf.type(id).kind == BtfKind::kVar) variable_ = id;
    }
  }

  std::vector<std::uint8_t> run() {
    for (std::uint32_t id = 1; id < btf_.type_count(); ++id) {
      const BtfType& type = btf_.type(id);
      const bool is_extern = type.kind == BtfKind::kFunc && type.linkage() == BtfLinkage::kExtern;
      if (is_extern) make_global(type);
      if (type.kind == BtfKind::kDatasec && type.name == ".ksyms") fill_section(type);
    }
    return std::move(bytes_);
  }

 private:
  std::uint32_t get(std::size_t at) const {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes_.data() + at, sizeof word);
    return word;
  }
  void set(std::size_t at, std::uint32_t word) {
    std::memcpy(bytes_.data() + at, &word, sizeof word);
  }

  // A record begins with its name, its kind and length, and its size or type.
  void make_global(const BtfType& function) {
    const std::size_t at = function.raw_offset;
    set(at + 4, (get(at + 4) & ~0xffffu) | BTF_FUNC_GLOBAL);
    const BtfType& proto = btf_.type(function.type);
    std::size_t parameter = proto.raw_offset + sizeof(struct btf_type);
    for (std::uint16_t i = 0; i < proto.vlen; ++i, parameter += sizeof(struct btf_param)) {
      if (get(parameter) == 0) set(parameter, get(at));  // any name will do
    }
  }

  void fill_section(const BtfType& section) {
    constexpr std::uint32_t kBytes = 4096;  // of each: enough for any variable
    std::size_t entry = section.raw_offset + sizeof(struct btf_type);
    for (std::uint16_t i = 0; i < section.vlen; ++i, entry += sizeof(struct btf_var_secinfo)) {
      set(entry, variable_);
      set(entry + 4, i * kBytes);
      set(entry + 8, kBytes);
    }
    set(section.raw_offset + 8, section.vlen * kBytes);
  }

  const Btf& btf_;
  std::vector<std::uint8_t> bytes_;
  std::uint32_t variable_ = 0;
};

}  // namespace

std::vector<std::uint8_t> loadable_btf(const Btf& btf) { return Patch(btf).run(); }

}  // namespace lmn
