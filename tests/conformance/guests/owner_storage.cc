// SPDX-License-Identifier: Apache-2.0
//
// Values by owner. Tested by lmn_selftest_retval.
#include "guests/owner_storage.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace lmn::guests {
namespace {

constexpr MapTypeInfo kTypes[] = {
    {BPF_MAP_TYPE_CGROUP_STORAGE, "cgroup_storage", 0},
    {BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, "percpu_cgroup_storage", kMapPerCpu},
    {BPF_MAP_TYPE_SK_STORAGE, "sk_storage", 0},
};

}  // namespace

bool OwnerStorage::is_type(std::uint32_t map_type) {
  return std::ranges::find(kTypes, map_type, &MapTypeInfo::type) != std::end(kTypes);
}

bool OwnerStorage::is_per_cpu() const { return spec().type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE; }

Result<std::unique_ptr<Map>> OwnerStorage::create(const MapSpec& spec, const MapOptions& options) {
  const bool is_of_socket = spec.type == BPF_MAP_TYPE_SK_STORAGE;
  constexpr std::uint32_t kCgroupKeyBytes = sizeof(struct bpf_cgroup_storage_key);
  const bool has_good_key =
      is_of_socket ? spec.key_size == 4
                   : spec.key_size == kCgroupKeyBytes || spec.key_size == sizeof(std::uint64_t);
  if (!has_good_key || spec.value_size == 0 || spec.max_entries != 0) {
    return make_errno_error(
        ErrorCode::kInvalidArgument, EINVAL,
        fmt::format("storage with keys of {} and values of {} bytes and {} entries", spec.key_size,
                    spec.value_size, spec.max_entries));
  }
  return std::unique_ptr<Map>(new OwnerStorage(spec, options));
}

void* OwnerStorage::find(const void* owner, std::uint32_t cpu) {
  const auto found = values_.find(owner);
  if (found == values_.end()) return nullptr;
  return found->second.data() + (is_per_cpu() ? cpu * stride_bytes() / 8 : 0);
}

void* OwnerStorage::find_or_create(const void* owner, const void* initial, std::uint32_t cpu) {
  if (void* found = find(owner, cpu); found != nullptr) return found;
  const std::size_t copies = is_per_cpu() ? cpu_count() : 1;
  auto& value = values_[owner];
  value.resize(copies * stride_bytes() / 8);
  if (initial != nullptr) std::memcpy(value.data(), initial, spec().value_size);
  return find(owner, cpu);
}

int OwnerStorage::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EOPNOTSUPP;
}
int OwnerStorage::erase(const void*) noexcept { return -EOPNOTSUPP; }
int OwnerStorage::copy_value(const void*, std::span<std::uint8_t>, std::uint64_t) noexcept {
  return -EOPNOTSUPP;
}
int OwnerStorage::next_key(const void*, void*) noexcept { return -EOPNOTSUPP; }

std::span<const MapTypeInfo> map_type_infos() {
  static const std::vector<MapTypeInfo> all = [] {
    const auto product = lmn::map_type_infos();
    std::vector<MapTypeInfo> types(product.begin(), product.end());
    for (const MapTypeInfo& one : kTypes) {
      if (lmn::find_map_type_info(one.type) == nullptr) types.push_back(one);
    }
    std::ranges::sort(types, {}, &MapTypeInfo::type);
    return types;
  }();
  return all;
}

}  // namespace lmn::guests
