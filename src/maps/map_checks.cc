// SPDX-License-Identifier: Apache-2.0
//
// The kernel's creation checks, in its order. Tested by tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/syscall.c, arraymap.c, hashtab.c; sizes measured on 6.18 x86-64.
#include "maps/map_checks.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <cerrno>
#include <climits>

#include "maps/map_memory.h"

namespace lmn {
namespace {

static_assert(kAccessFlags == (BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG),
              "the kernel's BPF_F_ACCESS_MASK");

// The largest per-CPU value: the kernel's per-CPU allocator gives no more (PCPU_MIN_UNIT_SIZE).
constexpr std::uint64_t kPercpuValueBytesMax = 32u << 10;
// Key plus value of a hash must stay below KMALLOC_MAX_SIZE less its element header.
constexpr std::uint64_t kHashElementBytesEnd = (4u << 20) - 48;
// 2^32 / sizeof(struct bucket), and so the largest table whose size in bytes fits 32 bits.
constexpr std::uint32_t kHashEntriesMax = 1u << 27;

bool is_percpu_type(std::uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}
bool is_lru_type(std::uint32_t type) {
  return type == BPF_MAP_TYPE_LRU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

Result<void> check_percpu_value(const MapSpec& spec) {
  if (!is_percpu_type(spec.type)) return {};
  if (round_up_to_8(spec.value_size) <= kPercpuValueBytesMax) return {};
  return map_error(spec, E2BIG,
                   fmt::format("value of {} bytes: a per-CPU value has at most {}", spec.value_size,
                               kPercpuValueBytesMax));
}

Result<void> check_not_zero(const MapSpec& spec) {
  if (spec.max_entries == 0) return map_error(spec, EINVAL, "max_entries is 0");
  if (spec.key_size == 0) return map_error(spec, EINVAL, "key_size is 0");
  if (spec.value_size == 0) return map_error(spec, EINVAL, "value_size is 0");
  return {};
}

}  // namespace

std::unexpected<Error> map_error(const MapSpec& spec, int errno_value, const std::string& message) {
  ErrorCode code = ErrorCode::kInvalidArgument;
  if (errno_value == E2BIG || errno_value == ENOMEM) code = ErrorCode::kLimitExceeded;
  if (errno_value == EPERM) code = ErrorCode::kPermission;
  if (errno_value == kErrnoNotSupp || errno_value == EOPNOTSUPP) code = ErrorCode::kNotSupported;
  return make_errno_error(code, errno_value, fmt::format("map \"{}\": {}", spec.name, message));
}

bool is_program_access_ok(std::uint32_t map_flags) {
  constexpr std::uint32_t kBoth = BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
  return (map_flags & kBoth) != kBoth;
}

Result<void> check_common_spec(const MapSpec& spec, const MapOptions& options) {
  if (spec.btf_key_type_id != 0 && spec.btf_value_type_id == 0) {
    return map_error(spec, EINVAL, "a BTF key type without a BTF value type");
  }
  const bool takes_extra =
      spec.type == BPF_MAP_TYPE_BLOOM_FILTER || spec.type == BPF_MAP_TYPE_ARENA;
  if (spec.map_extra != 0 && !takes_extra) {
    return map_error(spec, EINVAL,
                     fmt::format("map_extra is {:#x}: this type has none", spec.map_extra));
  }
  constexpr std::uint32_t kBothOnly = BPF_F_RDONLY | BPF_F_WRONLY;
  if ((spec.map_flags & kBothOnly) == kBothOnly) {
    return map_error(spec, EINVAL, "BPF_F_RDONLY and BPF_F_WRONLY exclude each other");
  }
  if ((spec.map_flags & BPF_F_NUMA_NODE) != 0 && spec.numa_node >= options.numa_node_count) {
    // The kernel compares as int, and takes -1 for "no node".
    if (spec.numa_node != UINT32_MAX) {
      return map_error(spec, EINVAL,
                       fmt::format("numa_node is {}: there are {} nodes", spec.numa_node,
                                   options.numa_node_count));
    }
  }
  return {};
}

Result<void> check_array_spec(const MapSpec& spec) {
  constexpr std::uint32_t kFlags =
      BPF_F_NUMA_NODE | BPF_F_MMAPABLE | kAccessFlags | BPF_F_PRESERVE_ELEMS | BPF_F_INNER_MAP;
  const bool has_node = (spec.map_flags & BPF_F_NUMA_NODE) != 0 && spec.numa_node != UINT32_MAX;
  LMN_CHECK_OK(check_not_zero(spec));
  if (spec.key_size != 4) {
    return map_error(spec, EINVAL, fmt::format("key_size is {}: an index has 4", spec.key_size));
  }
  if ((spec.map_flags & ~kFlags) != 0 || !is_program_access_ok(spec.map_flags)) {
    return map_error(spec, EINVAL, fmt::format("map_flags {:#x}: not for arrays", spec.map_flags));
  }
  if (is_percpu_type(spec.type) && has_node) {
    return map_error(spec, EINVAL, "a per-CPU map has no NUMA node of its own");
  }
  if (spec.type != BPF_MAP_TYPE_ARRAY &&
      (spec.map_flags & (BPF_F_MMAPABLE | BPF_F_INNER_MAP)) != 0) {
    return map_error(spec, EINVAL, "BPF_F_MMAPABLE and BPF_F_INNER_MAP are for plain arrays");
  }
  if (spec.type != BPF_MAP_TYPE_PERF_EVENT_ARRAY && (spec.map_flags & BPF_F_PRESERVE_ELEMS) != 0) {
    return map_error(spec, EINVAL, "BPF_F_PRESERVE_ELEMS is for perf event arrays");
  }
  if (spec.value_size > INT_MAX) {
    return map_error(spec, E2BIG, fmt::format("value of {} bytes", spec.value_size));
  }
  return check_percpu_value(spec);
}

Result<void> check_handle_array_spec(const MapSpec& spec) {
  if (spec.value_size != 4) {
    return map_error(spec, EINVAL,
                     fmt::format("value_size is {}: a descriptor has 4", spec.value_size));
  }
  if ((spec.map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)) != 0) {
    return map_error(spec, EINVAL, "no BPF_F_RDONLY_PROG or BPF_F_WRONLY_PROG on this type");
  }
  return check_array_spec(spec);
}

Result<void> check_hash_spec(const MapSpec& spec) {
  constexpr std::uint32_t kFlags =
      BPF_F_NO_PREALLOC | BPF_F_NO_COMMON_LRU | BPF_F_NUMA_NODE | kAccessFlags | BPF_F_ZERO_SEED;
  const bool is_percpu_lru = (spec.map_flags & BPF_F_NO_COMMON_LRU) != 0;
  const bool has_node = (spec.map_flags & BPF_F_NUMA_NODE) != 0 && spec.numa_node != UINT32_MAX;
  if ((spec.map_flags & ~kFlags) != 0 || !is_program_access_ok(spec.map_flags)) {
    return map_error(spec, EINVAL, fmt::format("map_flags {:#x}: not for hashes", spec.map_flags));
  }
  if (!is_lru_type(spec.type) && is_percpu_lru) {
    return map_error(spec, EINVAL, "BPF_F_NO_COMMON_LRU is for LRU hashes");
  }
  if (is_lru_type(spec.type) && (spec.map_flags & BPF_F_NO_PREALLOC) != 0) {
    return map_error(spec, kErrnoNotSupp, "an LRU hash has all its elements from the start");
  }
  if (has_node && (is_percpu_type(spec.type) || is_percpu_lru)) {
    return map_error(spec, EINVAL, "a per-CPU map has no NUMA node of its own");
  }
  LMN_CHECK_OK(check_not_zero(spec));
  if (std::uint64_t{spec.key_size} + spec.value_size >= kHashElementBytesEnd) {
    return map_error(spec, E2BIG,
                     fmt::format("key of {} and value of {} bytes: together less than {}",
                                 spec.key_size, spec.value_size, kHashElementBytesEnd));
  }
  LMN_CHECK_OK(check_percpu_value(spec));
  if (spec.max_entries > kHashEntriesMax) {
    return map_error(
        spec, E2BIG,
        fmt::format("max_entries is {}: at most {}", spec.max_entries, kHashEntriesMax));
  }
  return {};
}

Result<void> check_devmap_spec(const MapSpec& spec) {
  constexpr std::uint32_t kFlags = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;
  LMN_CHECK_OK(check_not_zero(spec));
  if (spec.key_size != 4) {
    return map_error(spec, EINVAL, fmt::format("key_size is {}: an index has 4", spec.key_size));
  }
  if (spec.value_size != 4 && spec.value_size != 8) {
    return map_error(
        spec, EINVAL,
        fmt::format("value_size is {}: 4 (ifindex) or 8 (ifindex, program)", spec.value_size));
  }
  if ((spec.map_flags & ~kFlags) != 0) {
    return map_error(spec, EINVAL, fmt::format("map_flags {:#x}: not for devmaps", spec.map_flags));
  }
  constexpr std::uint32_t kHashEntriesPowerMax = 1u << 31;
  if (spec.type == BPF_MAP_TYPE_DEVMAP_HASH && spec.max_entries > kHashEntriesPowerMax) {
    return map_error(
        spec, EINVAL,
        fmt::format("max_entries is {}: at most {}", spec.max_entries, kHashEntriesPowerMax));
  }
  return {};
}

}  // namespace lmn
