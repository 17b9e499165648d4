// SPDX-License-Identifier: Apache-2.0
//
// Structs of the kernel. Tested by lmn_selftest_retval.
#include "guests/kernel_structs.h"

#include <linux/bpf.h>

#include <algorithm>
#include <cstring>

#include "base/file.h"

namespace lmn::guests {

std::shared_ptr<const Btf> kernel_types() {
  static const std::shared_ptr<const Btf> types = []() -> std::shared_ptr<const Btf> {
    constexpr std::size_t kBytesMax = std::size_t{64} << 20;
    const auto bytes = read_file("/sys/kernel/btf/vmlinux", kBytesMax);
    if (!bytes) return nullptr;
    auto btf = parse_btf(*bytes);
    return btf ? *btf : nullptr;
  }();
  return types;
}

std::optional<KernelImage> KernelImage::of(std::string_view name) {
  std::shared_ptr<const Btf> types = kernel_types();
  if (types == nullptr) return std::nullopt;
  const auto id = types->find_by_name(name, BtfKind::kStruct);
  if (!id) return std::nullopt;
  const BtfType& type = types->type(*id);
  return KernelImage(std::move(types), type);
}

void KernelImage::set(std::string_view member, std::uint64_t value) {
  const auto found = types_->find_member(*type_, member);
  if (!found || found->bit_offset % 8 != 0) return;
  const auto size_bytes = types_->resolve_size(found->type);
  const std::size_t offset = found->bit_offset / 8;
  if (!size_bytes || *size_bytes > sizeof value || offset + *size_bytes > bytes_.size()) return;
  std::memcpy(bytes_.data() + offset, &value, *size_bytes);
}

std::optional<KernelImage> map_image(const Map& map) {
  const MapSpec& spec = map.spec();
  auto image = KernelImage::of("bpf_map");
  if (!image) return std::nullopt;
  // Where a map's functions are nobody is told; that there are some is seen.
  image->set("ops", reinterpret_cast<std::uintptr_t>(&map));
  image->set("map_type", spec.type);
  image->set("key_size", spec.key_size);
  image->set("value_size", spec.value_size);
  image->set("max_entries", spec.max_entries);
  image->set("map_flags", spec.map_flags);
  image->set("map_extra", spec.map_extra);
  image->set("id", map.id());
  return image;
}

}  // namespace lmn::guests
