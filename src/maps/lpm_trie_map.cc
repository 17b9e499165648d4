// SPDX-License-Identifier: Apache-2.0
//
// LPM_TRIE. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/lpm_trie.c; sizes measured on 6.18 x86-64.
#include "maps/lpm_trie_map.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "maps/map_checks.h"

namespace lmn {
namespace {

constexpr std::uint32_t kLengthBytes = 4;  // of the prefix length in front of the data
constexpr std::uint32_t kDataBytesMax = 256;
constexpr std::uint32_t kPrefixLengthMax = kDataBytesMax * 8;
constexpr std::uint32_t kValueBytesMax = (4u << 20) - kDataBytesMax - 24;

Result<void> check_spec(const MapSpec& spec) {
  constexpr std::uint32_t kFlags = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | kAccessFlags;
  if (spec.max_entries == 0) return map_error(spec, EINVAL, "max_entries is 0");
  if ((spec.map_flags & BPF_F_NO_PREALLOC) == 0) {
    return map_error(spec, EINVAL, "this type is made with BPF_F_NO_PREALLOC only");
  }
  if ((spec.map_flags & ~kFlags) != 0 || !is_program_access_ok(spec.map_flags)) {
    return map_error(spec, EINVAL, fmt::format("map_flags {:#x}: not for tries", spec.map_flags));
  }
  if (spec.key_size <= kLengthBytes || spec.key_size > kLengthBytes + kDataBytesMax) {
    return map_error(
        spec, EINVAL,
        fmt::format("key_size is {}: 4 and 1 to {} bytes", spec.key_size, kDataBytesMax));
  }
  if (spec.value_size == 0 || spec.value_size > kValueBytesMax) {
    return map_error(spec, EINVAL,
                     fmt::format("value_size is {}: 1 to {}", spec.value_size, kValueBytesMax));
  }
  return {};
}

// Bit `index` of data, the most significant bit of the first byte being 0.
std::uint32_t bit_of(const std::uint8_t* data, std::uint32_t index) noexcept {
  return (data[index / 8] >> (7 - index % 8)) & 1u;
}

std::uint32_t find_anywhere(const LpmDescriptor& table, const std::uint8_t* data) noexcept {
  return lpm_find(table, data);
}

LMN_BIT_INSTRUCTIONS std::uint32_t find_by_bit_instructions(const LpmDescriptor& table,
                                                            const std::uint8_t* data) noexcept {
  return lpm_find(table, data);
}

}  // namespace

Result<std::unique_ptr<Map>> create_lpm_trie_map(const MapSpec& spec, const MapOptions& options,
                                                 MapHost&) {
  return LpmTrieMap::create(spec, options);
}

Result<std::unique_ptr<Map>> LpmTrieMap::create(const MapSpec& spec, const MapOptions& options) {
  LMN_CHECK_OK(check_spec(spec));
  const std::uint64_t stride =
      sizeof(Node) + round_up_to_8(spec.key_size - kLengthBytes) + round_up_to_8(spec.value_size);
  // n entries need at most n - 1 intermediate nodes.
  const std::uint64_t wanted = 2 * std::uint64_t{spec.max_entries} + kQuarantine;
  const std::uint64_t capacity =
      std::min({wanted, MapMemory::size_bytes_max() / stride, std::uint64_t{UINT32_MAX - 1}});
  auto memory = MapMemory::create(capacity * stride);
  if (!memory) return make_error(std::move(memory.error()).with_context(spec.name));
  auto index = LpmIndex::create(spec.key_size - kLengthBytes, spec.max_entries);
  if (!index) return make_error(std::move(index.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new LpmTrieMap(
      spec, options, std::move(*memory), static_cast<std::uint32_t>(capacity), std::move(*index)));
}

LpmTrieMap::LpmTrieMap(const MapSpec& spec, const MapOptions& options, MapMemory memory,
                       std::uint32_t node_capacity, LpmIndex index)
    : Map(spec, options),
      memory_(std::move(memory)),
      data_size_(spec.key_size - kLengthBytes),
      data_stride_(static_cast<std::size_t>(round_up_to_8(data_size_))),
      stride_(sizeof(Node) + data_stride_ +
              static_cast<std::size_t>(round_up_to_8(spec.value_size))),
      node_capacity_(node_capacity),
      find_(has_bit_instructions() ? find_by_bit_instructions : find_anywhere),
      index_(std::move(index)),
      fast_(index_.descriptor()) {}

LpmTrieMap::Prefix LpmTrieMap::parse(const void* key) noexcept {
  return {load_key32(key), static_cast<const std::uint8_t*>(key) + kLengthBytes};
}

std::uint32_t LpmTrieMap::match_length(std::uint32_t number, const Prefix& key) const noexcept {
  const std::uint32_t limit = std::min(node(number).prefix_length, key.length);
  const std::uint8_t* data = data_of(number);
  std::uint32_t matched = 0;
  for (std::uint32_t i = 0; i < data_size_ && matched < limit; ++i) {
    const auto difference = static_cast<std::uint8_t>(data[i] ^ key.data[i]);
    matched += static_cast<std::uint32_t>(std::countl_zero(difference));
    if (difference != 0) break;
  }
  return std::min(matched, limit);
}

std::uint32_t LpmTrieMap::find_longest(const Prefix& key) const noexcept {
  if (key.length > data_size_ * 8) return kNone;
  std::uint32_t found = kNone;
  std::uint32_t number = root_;
  while (number != kNone) {
    const Node& here = node(number);
    const std::uint32_t matched = match_length(number, key);
    if (matched < here.prefix_length) break;
    if (here.is_intermediate == 0) found = number;
    if (matched == data_size_ * 8) break;
    number = here.child[bit_of(key.data, here.prefix_length)];
  }
  return found;
}

void* LpmTrieMap::lookup(const void* key, std::uint32_t) noexcept {
  const Prefix prefix = parse(key);
  if (prefix.length == data_size_ * 8) {
    const std::uint32_t found = find_(fast_, prefix.data);
    return found == kNone ? nullptr : value_of(found);
  }
  const SpinGuard guard(lock_);
  const std::uint32_t found = find_longest(prefix);
  return found == kNone ? nullptr : value_of(found);
}

int LpmTrieMap::copy_value(const void* key, std::span<std::uint8_t> out, std::uint64_t) noexcept {
  const SpinGuard guard(lock_);
  const std::uint32_t found = find_longest(parse(key));
  if (found == kNone) return -ENOENT;
  load_value(out.data(), value_of(found), spec().value_size);
  return 0;
}

int LpmTrieMap::update(const void* key, const void* value, std::uint64_t flags,
                       std::uint32_t) noexcept {
  const Prefix prefix = parse(key);
  if (flags > BPF_EXIST) return -EINVAL;
  if (prefix.length > data_size_ * 8) return -EINVAL;
  const SpinGuard guard(lock_);
  return insert(prefix, value, flags);
}

int LpmTrieMap::check_add(std::uint64_t flags) const noexcept {
  if (flags == BPF_EXIST) return -ENOENT;
  return entry_count_ == spec().max_entries ? -ENOSPC : 0;
}

// Three places for a new prefix: where nothing is, on a node of just this prefix, or above a node
// that goes on differently.
int LpmTrieMap::insert(const Prefix& key, const void* value, std::uint64_t flags) noexcept {
  std::uint32_t* slot = &root_;
  std::uint32_t matched = 0;
  while (*slot != kNone) {
    Node& here = node(*slot);
    matched = match_length(*slot, key);
    if (here.prefix_length != matched || here.prefix_length == key.length) break;
    slot = &here.child[bit_of(key.data, here.prefix_length)];
  }
  const bool is_same = *slot != kNone && node(*slot).prefix_length == matched;
  const bool is_replacement = is_same && node(*slot).is_intermediate == 0;
  if (is_replacement && flags == BPF_NOEXIST) return -EEXIST;
  const int error = is_replacement ? 0 : check_add(flags);
  if (error != 0) return error;

  const bool is_fork_needed = !is_same && *slot != kNone && matched != key.length;
  const std::uint32_t fresh = take();
  const std::uint32_t fork = fresh != kNone && is_fork_needed ? take() : kNone;
  const bool has_nodes = fresh != kNone && (!is_fork_needed || fork != kNone);
  if (has_nodes) {
    node(fresh) = {{kNone, kNone}, key.length, 0};
    std::memcpy(data_of(fresh), key.data, data_size_);
    store_value(value_of(fresh), value, spec().value_size);
  }
  if (!has_nodes || !index_.put(key.data, key.length, fresh)) {
    if (fork != kNone) release(fork);
    if (fresh != kNone) release(fresh);
    return -ENOMEM;
  }

  if (is_same) {
    const std::uint32_t old = *slot;
    node(fresh).child[0] = node(old).child[0];
    node(fresh).child[1] = node(old).child[1];
    *slot = fresh;
    release(old);
  } else if (*slot == kNone) {
    *slot = fresh;
  } else {
    part(slot, fresh, fork, matched);
  }
  if (!is_replacement) ++entry_count_;
  return 0;
}

// Puts `fresh` above the node in `slot`, or both under `fork`, an intermediate node of the
// `matched` bits.
void LpmTrieMap::part(std::uint32_t* slot, std::uint32_t fresh, std::uint32_t fork,
                      std::uint32_t matched) noexcept {
  const std::uint32_t old = *slot;
  if (fork == kNone) {
    node(fresh).child[bit_of(data_of(old), matched)] = old;
    *slot = fresh;
    return;
  }
  const std::uint32_t side = bit_of(data_of(fresh), matched);
  node(fork) = {{kNone, kNone}, matched, 1};
  std::memcpy(data_of(fork), data_of(old), data_size_);
  node(fork).child[side] = fresh;
  node(fork).child[1 - side] = old;
  *slot = fork;
}

int LpmTrieMap::erase(const void* key) noexcept {
  const Prefix prefix = parse(key);
  if (prefix.length > data_size_ * 8) return -EINVAL;
  const SpinGuard guard(lock_);
  std::uint32_t* link = &root_;
  std::uint32_t* parent_link = nullptr;
  while (*link != kNone) {
    Node& here = node(*link);
    const std::uint32_t matched = match_length(*link, prefix);
    if (here.prefix_length != matched) return -ENOENT;
    if (here.prefix_length == prefix.length) break;
    parent_link = link;
    link = &here.child[bit_of(prefix.data, here.prefix_length)];
  }
  if (*link == kNone || node(*link).is_intermediate != 0) return -ENOENT;
  index_.remove(prefix.data, prefix.length, parent_of(*link));
  remove(link, parent_link);
  --entry_count_;
  return 0;
}

// The longest prefix that the entry's prefix lies in, if any.
LpmIndex::Parent LpmTrieMap::parent_of(std::uint32_t number) const noexcept {
  const std::uint32_t length = node(number).prefix_length;
  if (length == 0) return {};
  const std::uint32_t parent = find_longest({length - 1, data_of(number)});
  if (parent == kNone) return {};
  return {.element = parent, .length = node(parent).prefix_length};
}

// Takes the entry out that `link` points to; `parent_link` points to its parent, or is null.
void LpmTrieMap::remove(std::uint32_t* link, std::uint32_t* parent_link) noexcept {
  const std::uint32_t gone = *link;
  Node& here = node(gone);
  if (here.child[0] != kNone && here.child[1] != kNone) {
    here.is_intermediate = 1;
    return;
  }
  const bool is_leaf = here.child[0] == kNone && here.child[1] == kNone;
  if (is_leaf && parent_link != nullptr && node(*parent_link).is_intermediate != 0) {
    // The fork above has one child left: that one takes its place.
    const std::uint32_t fork = *parent_link;
    const Node& above = node(fork);
    *parent_link = above.child[0] == gone ? above.child[1] : above.child[0];
    release(fork);
  } else {
    *link = here.child[0] != kNone ? here.child[0] : here.child[1];
  }
  release(gone);
}

// The first entry of the subtree in the order of get_next_key.
std::uint32_t LpmTrieMap::leftmost(std::uint32_t number) const noexcept {
  std::uint32_t found = kNone;
  while (number != kNone) {
    const Node& here = node(number);
    if (here.is_intermediate == 0) found = number;
    const bool goes_right = here.is_intermediate == 0 && here.child[0] == kNone;
    number = here.child[goes_right ? 1 : 0];
  }
  return found;
}

// The entry after that of `key`; the first one when there is no such key; kNone after the last.
std::uint32_t LpmTrieMap::find_successor(const Prefix& key) const noexcept {
  // A path has a node for each prefix length, 0 included (CVE-2024-50262 was one place too few).
  std::array<std::uint32_t, kPrefixLengthMax + 1> path;
  std::size_t depth = 0;
  std::uint32_t number = root_;
  while (number != kNone) {
    path[depth++] = number;
    const Node& here = node(number);
    if (here.prefix_length != match_length(number, key)) return leftmost(root_);
    if (here.prefix_length == key.length) break;
    number = here.child[bit_of(key.data, here.prefix_length)];
  }
  if (number == kNone || node(number).is_intermediate != 0) return leftmost(root_);
  for (; depth > 1; --depth) {
    const std::uint32_t below = path[depth - 1];
    const Node& above = node(path[depth - 2]);
    if (above.child[0] == below && above.child[1] != kNone) return leftmost(above.child[1]);
    if (above.is_intermediate == 0) return path[depth - 2];
  }
  return kNone;
}

int LpmTrieMap::next_key(const void* key, void* next) noexcept {
  const SpinGuard guard(lock_);
  const bool is_walk = key != nullptr && load_key32(key) <= data_size_ * 8;
  const std::uint32_t found = is_walk ? find_successor(parse(key)) : leftmost(root_);
  if (found == kNone) return -ENOENT;
  store_key32(next, node(found).prefix_length);
  std::memcpy(static_cast<std::uint8_t*>(next) + kLengthBytes, data_of(found), data_size_);
  return 0;
}

std::uint32_t LpmTrieMap::take() noexcept {
  const bool has_untouched = untouched_index_ < node_capacity_;
  if (released_count_ <= kQuarantine && has_untouched) return ++untouched_index_;
  if (released_first_ == kNone) return kNone;
  const std::uint32_t number = released_first_;
  released_first_ = node(number).child[0];
  if (released_first_ == kNone) released_last_ = kNone;
  --released_count_;
  return number;
}

void LpmTrieMap::release(std::uint32_t number) noexcept {
  node(number).child[0] = kNone;
  if (released_last_ == kNone) {
    released_first_ = number;
  } else {
    node(released_last_).child[0] = number;
  }
  released_last_ = number;
  ++released_count_;
}

}  // namespace lmn
