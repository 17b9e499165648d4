// SPDX-License-Identifier: Apache-2.0
//
// BLOOM_FILTER. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/bloom_filter.c.
#include "maps/bloom_filter_map.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <bit>
#include <cerrno>

#include "maps/jenkins_hash.h"
#include "maps/map_checks.h"

namespace lmn {
namespace {

constexpr std::uint32_t kFunctionCountDefault = 5;

Result<void> check_spec(const MapSpec& spec) {
  constexpr std::uint32_t kFlags = BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | kAccessFlags;
  constexpr std::uint32_t kValueBytesMax = 4u << 20;  // KMALLOC_MAX_SIZE
  if (spec.value_size > kValueBytesMax) {
    return map_error(spec, E2BIG,
                     fmt::format("value_size is {}: at most {}", spec.value_size, kValueBytesMax));
  }
  if (spec.key_size != 0) return map_error(spec, EINVAL, "key_size is not 0: there are no keys");
  if (spec.value_size == 0) return map_error(spec, EINVAL, "value_size is 0");
  if (spec.max_entries == 0) return map_error(spec, EINVAL, "max_entries is 0");
  if ((spec.map_flags & ~kFlags) != 0 || !is_program_access_ok(spec.map_flags)) {
    return map_error(spec, EINVAL,
                     fmt::format("map_flags {:#x}: not for Bloom filters", spec.map_flags));
  }
  if (spec.map_extra > 15) {
    return map_error(spec, EINVAL,
                     fmt::format("map_extra is {}: at most 15 hash functions", spec.map_extra));
  }
  return {};
}

// The number of bits: entries * functions / ln 2, as a power of two of 64 at least and 2^32 at
// most. In 64 bits: the product of the first two does not fit 32.
std::uint64_t bit_count_for(std::uint64_t entry_count, std::uint64_t function_count) {
  const std::uint64_t product = entry_count * function_count;
  const std::uint64_t wanted = product / 5 * 7;
  if (product > UINT32_MAX || wanted > 1ull << 31) return 1ull << 32;
  return wanted <= 64 ? 64 : std::bit_ceil(wanted);
}

}  // namespace

Result<std::unique_ptr<Map>> create_bloom_filter_map(const MapSpec& spec, const MapOptions& options,
                                                     MapHost&) {
  return BloomFilterMap::create(spec, options);
}

Result<std::unique_ptr<Map>> BloomFilterMap::create(const MapSpec& spec,
                                                    const MapOptions& options) {
  LMN_CHECK_OK(check_spec(spec));
  const auto function_count =
      spec.map_extra == 0 ? kFunctionCountDefault : static_cast<std::uint32_t>(spec.map_extra);
  const std::uint64_t bit_count = bit_count_for(spec.max_entries, function_count);
  auto bits = MapMemory::create(bit_count / 8);
  if (!bits) return make_error(std::move(bits.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new BloomFilterMap(
      spec, options, std::move(*bits), static_cast<std::uint32_t>(bit_count - 1), function_count));
}

BloomFilterMap::BloomFilterMap(const MapSpec& spec, const MapOptions& options, MapMemory bits,
                               std::uint32_t bit_mask, std::uint32_t function_count)
    : Map(spec, options),
      bits_(std::move(bits)),
      bit_mask_(bit_mask),
      function_count_(function_count),
      seed_((spec.map_flags & BPF_F_ZERO_SEED) != 0
                ? 0
                : static_cast<std::uint32_t>(options.hash_seed ^ (options.hash_seed >> 32))) {}

std::uint64_t BloomFilterMap::bit_index(const void* value, std::uint32_t function) const noexcept {
  const std::span<const std::uint8_t> bytes(static_cast<const std::uint8_t*>(value),
                                            spec().value_size);
  return JenkinsHash::hash(bytes, seed_ + function) & bit_mask_;
}

void* BloomFilterMap::lookup(const void*, std::uint32_t) noexcept { return nullptr; }
int BloomFilterMap::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EINVAL;
}
int BloomFilterMap::erase(const void*) noexcept { return -EOPNOTSUPP; }
int BloomFilterMap::next_key(const void*, void*) noexcept { return -EOPNOTSUPP; }

int BloomFilterMap::push(const void* value, std::uint64_t flags) noexcept {
  if (flags != BPF_ANY) return -EINVAL;
  for (std::uint32_t function = 0; function < function_count_; ++function) {
    const std::uint64_t bit = bit_index(value, function);
    __atomic_fetch_or(word_of(bit), 1ull << (bit % 64), __ATOMIC_RELAXED);
  }
  return 0;
}

int BloomFilterMap::peek(void* value) noexcept {
  for (std::uint32_t function = 0; function < function_count_; ++function) {
    const std::uint64_t bit = bit_index(value, function);
    const std::uint64_t word = __atomic_load_n(word_of(bit), __ATOMIC_RELAXED);
    if ((word >> (bit % 64) & 1) == 0) return -ENOENT;
  }
  return 0;
}

int BloomFilterMap::copy_value(const void*, std::span<std::uint8_t> out, std::uint64_t) noexcept {
  return peek(out.data());
}

int BloomFilterMap::update_from_user(const void*, std::span<const std::uint8_t> value,
                                     std::uint64_t flags) noexcept {
  return push(value.data(), flags);
}

}  // namespace lmn
