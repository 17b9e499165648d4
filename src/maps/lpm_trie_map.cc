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

#include "base/assert.h"
#include "maps/map_checks.h"

namespace lmn {
namespace {

constexpr std::uint32_t kLengthBytes = 4;  // of the prefix length in front of the data
constexpr std::uint32_t kDataBytesMax = 256;
constexpr std::uint32_t kPrefixLengthMax = kDataBytesMax * 8;
constexpr std::uint32_t kManyEntries = 1u << 17;  // more than caches hold
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

void* lookup_anywhere(const LpmMapDescriptor& table, const void* key) noexcept {
  return lpm_lookup(table, key);
}

LMN_BIT_INSTRUCTIONS void* lookup_by_bit_instructions(const LpmMapDescriptor& table,
                                                      const void* key) noexcept {
  return lpm_lookup(table, key);
}

}  // namespace

Result<std::unique_ptr<Map>> create_lpm_trie_map(const MapSpec& spec, const MapOptions& options,
                                                 MapHost&) {
  return LpmTrieMap::create(spec, options);
}

Result<LpmTrieMap::Memory> LpmTrieMap::reserve_memory(const MapSpec& spec, Epoch* epoch) {
  const std::uint64_t entry_stride = entry_bytes(spec.key_size - kLengthBytes);
  const std::uint64_t value_stride = round_up_to_8(spec.value_size);
  // n entries need at most n - 1 forks; an entry in the place of a fork is taken before it goes.
  const auto count = [](std::uint64_t wanted, std::uint64_t stride) {
    const std::uint64_t most =
        std::min<std::uint64_t>(MapMemory::size_bytes_max() / stride, kForkBit - 1);
    return static_cast<std::uint32_t>(std::min(wanted, most));
  };
  Memory memory;
  memory.entry_count = count(std::uint64_t{spec.max_entries} + 1, entry_stride);
  memory.fork_count = count(std::uint64_t{spec.max_entries} + 1, sizeof(Node));
  memory.value_count = count(std::uint64_t{spec.max_entries} + kWaitingValues, value_stride);
  LMN_TRY(memory.entries, MapMemory::create(memory.entry_count * entry_stride));
  LMN_TRY(memory.forks, MapMemory::create(memory.fork_count * sizeof(Node)));
  LMN_TRY(memory.values, MapMemory::create(memory.value_count * value_stride));
  if (spec.max_entries >= kManyEntries) memory.values.prefer_huge_pages();
  LMN_TRY(memory.released, Limbo::create(memory.value_count, epoch));
  return memory;
}

Result<std::unique_ptr<Map>> LpmTrieMap::create(const MapSpec& spec, const MapOptions& options) {
  LMN_CHECK_OK(check_spec(spec));
  auto memory = reserve_memory(spec, options.epoch);
  if (!memory) return make_error(std::move(memory.error()).with_context(spec.name));
  auto index = LpmIndex::create(spec.key_size - kLengthBytes, spec.max_entries);
  if (!index) return make_error(std::move(index.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new LpmTrieMap(spec, options, std::move(*memory), std::move(*index)));
}

LpmTrieMap::LpmTrieMap(const MapSpec& spec, const MapOptions& options, Memory memory,
                       LpmIndex index)
    : Map(spec, options),
      memory_(std::move(memory)),
      data_size_(spec.key_size - kLengthBytes),
      entry_stride_(entry_bytes(data_size_)),
      value_stride_(static_cast<std::size_t>(round_up_to_8(spec.value_size))),
      lookup_(has_bit_instructions() ? lookup_by_bit_instructions : lookup_anywhere),
      index_(std::move(index)),
      fast_{.index = index_.descriptor(),
            .values = memory_.values.data() - value_stride_,
            .stride = value_stride_} {}

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
    if (!is_fork(number)) found = number;
    if (matched == data_size_ * 8) break;
    number = here.child[bit_of(key.data, here.prefix_length)];
  }
  return found;
}

void* LpmTrieMap::lookup(const void* key, std::uint32_t) noexcept {
  if (lpm_is_whole(fast_, key)) return lookup_(fast_, key);
  const SpinGuard guard(lock_);
  const std::uint32_t found = find_longest(parse(key));
  return found == kNone ? nullptr : value_at(node(found).value);
}

int LpmTrieMap::copy_value(const void* key, std::span<std::uint8_t> out, std::uint64_t) noexcept {
  const SpinGuard guard(lock_);
  const std::uint32_t found = find_longest(parse(key));
  if (found == kNone) return -ENOENT;
  load_value(out.data(), value_at(node(found).value), spec().value_size);
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
  if (is_same && !is_fork(*slot)) {
    return flags == BPF_NOEXIST ? -EEXIST : replace_value(*slot, key, value);
  }
  const int error = check_add(flags);
  if (error != 0) return error;

  std::uint32_t fresh = kNone;
  std::uint32_t fork = kNone;
  if (!take_nodes(!is_same && *slot != kNone && matched != key.length, fresh, fork)) return -ENOMEM;
  node(fresh).prefix_length = key.length;
  std::memcpy(data_of(fresh), key.data, data_size_);
  store_value(value_at(node(fresh).value), value, spec().value_size);
  if (!index_.put(key.data, key.length, node(fresh).value)) {
    if (fork != kNone) release_node(fork);
    release_value(node(fresh).value);
    release_node(fresh);
    return -ENOMEM;
  }

  if (is_same) {
    const std::uint32_t old = *slot;
    node(fresh).child[0] = node(old).child[0];
    node(fresh).child[1] = node(old).child[1];
    *slot = fresh;
    release_node(old);
  } else if (*slot == kNone) {
    *slot = fresh;
  } else {
    part(slot, fresh, fork, matched);
  }
  ++entry_count_;
  return 0;
}

// Of an entry of just this prefix; the bits of its key beyond the prefix are the new ones.
int LpmTrieMap::replace_value(std::uint32_t number, const Prefix& key, const void* value) noexcept {
  const std::uint32_t fresh = take_value();
  if (fresh == kNone) return -ENOMEM;
  store_value(value_at(fresh), value, spec().value_size);
  if (!index_.put(key.data, key.length, fresh)) {
    release_value(fresh);
    return -ENOMEM;
  }
  release_value(node(number).value);
  node(number).value = fresh;
  std::memcpy(data_of(number), key.data, data_size_);
  return 0;
}

// Puts `fresh` above the node in `slot`, or both under `fork`, which parts them behind the
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
  node(fork) = {{kNone, kNone}, matched, fresh};
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
  if (*link == kNone || is_fork(*link)) return -ENOENT;
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
  return {.element = node(parent).value, .length = node(parent).prefix_length};
}

// Takes the entry out that `link` points to; `parent_link` points to its parent, or is null.
void LpmTrieMap::remove(std::uint32_t* link, std::uint32_t* parent_link) noexcept {
  const std::uint32_t gone = *link;
  const std::uint32_t parent = parent_link == nullptr ? kNone : *parent_link;
  const Node& here = node(gone);
  release_value(here.value);
  const bool is_leaf = here.child[0] == kNone && here.child[1] == kNone;
  if (here.child[0] != kNone && here.child[1] != kNone) {
    *link = fork_in_place_of(gone);
    rename_in_forks(gone, entry_of(*link));
  } else if (is_leaf && is_fork(parent)) {
    // The fork above has one child left: that one takes its place.
    const Node& above = node(parent);
    *parent_link = above.child[0] == gone ? above.child[1] : above.child[0];
    release_node(parent);
    rename_in_forks(gone, entry_of(*parent_link));
  } else {
    *link = here.child[0] != kNone ? here.child[0] : here.child[1];
    rename_in_forks(gone, *link == kNone ? parent : entry_of(*link));
  }
  release_node(gone);
}

// A fork with the children of an entry that has two.
std::uint32_t LpmTrieMap::fork_in_place_of(std::uint32_t number) noexcept {
  const std::uint32_t fork = take_fork();
  LMN_ASSERT(fork != kNone);  // there are fewer forks than entries, and as many places
  node(fork) = node(number);
  node(fork).value = entry_of(node(number).child[0]);
  return fork;
}

// Forks above an entry that is taken out may name it: they name `other` then, which is below them
// too.
void LpmTrieMap::rename_in_forks(std::uint32_t gone, std::uint32_t other) noexcept {
  const Prefix prefix = {node(gone).prefix_length, data_of(gone)};
  std::uint32_t number = root_;
  while (number != kNone && node(number).prefix_length < prefix.length) {
    Node& here = node(number);
    if (is_fork(number) && here.value == gone) here.value = other;
    number = here.child[bit_of(prefix.data, here.prefix_length)];
  }
}

// The first entry of the subtree in the order of get_next_key.
std::uint32_t LpmTrieMap::leftmost(std::uint32_t number) const noexcept {
  std::uint32_t found = kNone;
  while (number != kNone) {
    const Node& here = node(number);
    if (!is_fork(number)) found = number;
    const bool goes_right = !is_fork(number) && here.child[0] == kNone;
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
  if (number == kNone || is_fork(number)) return leftmost(root_);
  for (; depth > 1; --depth) {
    const std::uint32_t below = path[depth - 1];
    const Node& above = node(path[depth - 2]);
    if (above.child[0] == below && above.child[1] != kNone) return leftmost(above.child[1]);
    if (!is_fork(path[depth - 2])) return path[depth - 2];
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

bool LpmTrieMap::take_nodes(bool needs_fork, std::uint32_t& fresh, std::uint32_t& fork) noexcept {
  const std::uint32_t value = take_value();
  fresh = value == kNone ? kNone : take_entry();
  fork = needs_fork && fresh != kNone ? take_fork() : kNone;
  if (fresh != kNone && (fork != kNone || !needs_fork)) {
    node(fresh) = {{kNone, kNone}, 0, value};
    return true;
  }
  if (fresh != kNone) release_node(fresh);
  if (value != kNone) release_value(value);
  return false;
}

std::uint32_t LpmTrieMap::take_node(FreeNodes& free, std::uint32_t kind,
                                    std::uint32_t count) noexcept {
  if (free.released != kNone) {
    const std::uint32_t number = free.released;
    free.released = node(number).child[0];
    return number;
  }
  return free.untouched < count ? ++free.untouched | kind : kNone;
}

void LpmTrieMap::release_node(std::uint32_t number) noexcept {
  FreeNodes& free = is_fork(number) ? free_forks_ : free_entries_;
  node(number).child[0] = free.released;
  free.released = number;
}

std::uint32_t LpmTrieMap::take_value() noexcept {
  const std::uint32_t value = memory_.released.pop();
  if (value != kNone) return value;
  if (untouched_value_ < memory_.value_count) return ++untouched_value_;
  return options().epoch == nullptr ? memory_.released.pop_anyway() : kNone;
}

void LpmTrieMap::release_value(std::uint32_t value) noexcept { memory_.released.push(value); }

}  // namespace lmn
