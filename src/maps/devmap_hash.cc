// SPDX-License-Identifier: Apache-2.0
//
// DEVMAP_HASH. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/devmap.c.
#include "maps/devmap_hash.h"

#include <linux/bpf.h>

#include <algorithm>
#include <cerrno>

#include "base/assert.h"
#include "maps/map_checks.h"

namespace lmn {

Result<std::unique_ptr<Map>> create_devmap_hash(const MapSpec& spec, const MapOptions& options,
                                                MapHost& host) {
  return DevmapHash::create(spec, options, host);
}

Result<std::unique_ptr<Map>> DevmapHash::create(const MapSpec& spec, const MapOptions& options,
                                                MapHost& host) {
  LMN_CHECK_OK(check_devmap_spec(spec));
  auto table = ChainTable::create({.payload_bytes = sizeof(DevmapSlot),
                                   .max_entries = spec.max_entries,
                                   .epoch = options.epoch});
  if (!table) return make_error(std::move(table.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new DevmapHash(spec, options, host, std::move(*table)));
}

DevmapHash::~DevmapHash() {
  const SpinGuard guard(lock_);
  for (std::uint32_t bucket = 0; table_.count() > 0; ++bucket) {
    std::uint32_t element = ChainTable::kNone;
    while ((element = table_.first_in_buckets(bucket, bucket + 1)) != ChainTable::kNone) {
      release(slot(element)->program);
      table_.unlink(element);
      table_.release(element);
    }
  }
}

void* DevmapHash::lookup(const void* key, std::uint32_t) noexcept {
  DevmapSlot* found = nullptr;
  const bool is_there = reader_.read(load_key32(key), [&](std::uint8_t* payload) {
    found = reinterpret_cast<DevmapSlot*>(payload);
  });
  return is_there ? &found->value : nullptr;
}

int DevmapHash::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EOPNOTSUPP;
}
int DevmapHash::erase(const void*) noexcept { return -EOPNOTSUPP; }

bool DevmapHash::find_redirect_target(std::uint64_t key, RedirectTarget& target) noexcept {
  if (key > UINT32_MAX) return false;
  DevmapSlot found{};
  const bool is_there =
      reader_.read(static_cast<std::uint32_t>(key),
                   [&](const std::uint8_t* payload) { load_value(&found, payload, sizeof found); });
  if (is_there) target = devmap_target(found);
  return is_there;
}

// The cursor is bucket << 32 | place in its chain: a change between two calls may show an entry
// twice or not at all, as a walk in the kernel does.
bool DevmapHash::next_redirect_target(std::uint64_t& cursor, RedirectTarget& target) noexcept {
  const SpinGuard guard(lock_);
  auto bucket = static_cast<std::uint32_t>(cursor >> 32);
  auto place = static_cast<std::uint32_t>(cursor);
  for (; bucket < table_.bucket_count(); ++bucket, place = 0) {
    std::uint32_t element = table_.first_in_buckets(bucket, bucket + 1);
    for (std::uint32_t i = 0; i < place && element != ChainTable::kNone; ++i) {
      element = table_.next_in_chain(element);
    }
    if (element == ChainTable::kNone) continue;
    target = devmap_target(*slot(element));
    cursor = std::uint64_t{bucket} << 32 | (place + 1);
    return true;
  }
  return false;
}

int DevmapHash::copy_value(const void* key, std::span<std::uint8_t> out, std::uint64_t) noexcept {
  const SpinGuard guard(lock_);
  const std::uint32_t element = table_.find(load_key32(key));
  if (element == ChainTable::kNone) return -ENOENT;
  load_value(out.data(), &slot(element)->value, spec().value_size);
  return 0;
}

int DevmapHash::update_from_user(const void* key, std::span<const std::uint8_t> value,
                                 std::uint64_t flags) noexcept {
  if (flags > BPF_EXIST || load_key32(value.data()) == 0) return -EINVAL;
  {
    // An entry in the way is told before a bad port, as in the kernel.
    const SpinGuard guard(lock_);
    const bool is_there = table_.find(load_key32(key)) != ChainTable::kNone;
    if (is_there && flags == BPF_NOEXIST) return -EEXIST;
  }
  // As in Devmap: until forget_sink finds it.
  const EpochScope scope(options().epoch);
  DevmapSlot fresh;
  int error = make_devmap_slot(host_, owner_, value, fresh);
  if (error != 0) return error;
  const ProgramEntry* old_program = nullptr;
  error = place(load_key32(key), fresh, flags, old_program);
  release(error == 0 ? old_program : fresh.program);
  return error;
}

// Puts a slot under the key: 0, -EEXIST or -E2BIG. The program that was there is the caller's to
// release.
int DevmapHash::place(std::uint32_t key, const DevmapSlot& fresh, std::uint64_t flags,
                      const ProgramEntry*& old_program) noexcept {
  const SpinGuard guard(lock_);
  const std::uint32_t old = table_.find(key);
  if (old != ChainTable::kNone && flags == BPF_NOEXIST) return -EEXIST;
  if (old == ChainTable::kNone && table_.count() == spec().max_entries) return -E2BIG;
  const std::uint32_t element = table_.take();
  LMN_ASSERT(element != ChainTable::kNone);
  store_value(slot(element), &fresh, sizeof fresh);
  table_.link(element, key);
  if (old == ChainTable::kNone) return 0;
  old_program = slot(old)->program;
  table_.unlink(old);
  table_.release(old);
  return 0;
}

int DevmapHash::erase_from_user(const void* key) noexcept {
  const ProgramEntry* old_program = nullptr;
  {
    const SpinGuard guard(lock_);
    const std::uint32_t element = table_.find(load_key32(key));
    if (element == ChainTable::kNone) return -ENOENT;
    old_program = slot(element)->program;
    table_.unlink(element);
    table_.release(element);
  }
  release(old_program);
  return 0;
}

void DevmapHash::forget_sink(const FrameSink& sink) noexcept {
  for (std::uint32_t bucket = 0;;) {
    const ProgramEntry* program = nullptr;
    {
      const SpinGuard guard(lock_);
      if (bucket == table_.bucket_count()) return;
      std::uint32_t element = table_.first_in_buckets(bucket, bucket + 1);
      while (element != ChainTable::kNone && slot(element)->sink != &sink) {
        element = table_.next_in_chain(element);
      }
      if (element == ChainTable::kNone) {
        ++bucket;
        continue;
      }
      program = slot(element)->program;
      table_.unlink(element);
      table_.release(element);
    }
    release(program);
  }
}

int DevmapHash::next_key(const void* key, void* next) noexcept {
  std::uint32_t bucket = 0;
  if (key != nullptr) {
    const SpinGuard guard(lock_);
    const std::uint32_t element = table_.find(load_key32(key));
    if (element != ChainTable::kNone) {
      const std::uint32_t follower = table_.next_in_chain(element);
      if (follower != ChainTable::kNone) return store_key32(next, table_.key_of(follower)), 0;
      bucket = table_.bucket_of(element) + 1;
    }
  }
  for (std::uint32_t end = 0;; bucket = end) {
    const SpinGuard guard(lock_);
    if (bucket >= table_.bucket_count()) return -ENOENT;
    end = bucket + std::min(kBucketsPerLook, table_.bucket_count() - bucket);
    const std::uint32_t element = table_.first_in_buckets(bucket, end);
    if (element != ChainTable::kNone) return store_key32(next, table_.key_of(element)), 0;
  }
}

}  // namespace lmn
