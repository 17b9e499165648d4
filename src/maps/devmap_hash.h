// SPDX-License-Identifier: Apache-2.0
//
// DEVMAP_HASH: a devmap under any 32-bit key, so that ifindexes themselves can be keys.
//
// The slot is DEVMAP's (devmap.h), kept in a ChainTable: the order of get_next_key is then the
// kernel's. A new value is a new element, so that a program that has looked the old one up goes on
// reading it; a search finds the one or the other.
// Unlike DEVMAP, an ifindex of 0 is an error, and BPF_EXIST does not ask for an entry to be there.
// Threads: Map's, by one lock; programs look up and redirect to one key without it.
// Tested by maps_test.cc, redirect_readers_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/devmap.c.
#pragma once

#include "base/mutex.h"
#include "maps/chain_table.h"
#include "maps/devmap.h"

namespace lmn {

class DevmapHash final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options,
                                             MapHost& host);
  ~DevmapHash() override;

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  bool find_redirect_target(std::uint64_t key, RedirectTarget& target) noexcept override;
  bool next_redirect_target(std::uint64_t& cursor, RedirectTarget& target) noexcept override
      LMN_EXCLUDES(lock_);
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  int next_key(const void* key, void* next) noexcept override LMN_EXCLUDES(lock_);
  void forget_sink(const FrameSink& sink) noexcept override LMN_EXCLUDES(lock_);
  bool accept_program(const ProgramEntry& entry) noexcept override {
    return owner_.accept(entry, false);
  }

 protected:
  int update_from_user(const void* key, std::span<const std::uint8_t> value,
                       std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  int erase_from_user(const void* key) noexcept override LMN_EXCLUDES(lock_);

 private:
  DevmapHash(const MapSpec& spec, const MapOptions& options, MapHost& host, ChainTable table)
      : Map(with_readonly_programs(spec), options),
        host_(host),
        table_(std::move(table)),
        reader_(table_.reader()) {}
  DevmapSlot* slot(std::uint32_t element) LMN_REQUIRES(lock_) {
    return reinterpret_cast<DevmapSlot*>(table_.payload_at(element));
  }
  int place(std::uint32_t key, const DevmapSlot& fresh, std::uint64_t flags,
            const ProgramEntry*& old_program) noexcept LMN_EXCLUDES(lock_);
  void release(const ProgramEntry* program) noexcept {
    if (program != nullptr) host_.release_program(program);
  }

  // A walk looks at this many buckets under the lock at once: a control thread that walks a large
  // empty table must not stop packets.
  static constexpr std::uint32_t kBucketsPerLook = 256;

  MapHost& host_;
  ProgramOwner owner_;
  mutable SpinLock lock_;
  ChainTable table_ LMN_GUARDED_BY(lock_);
  const ChainReader reader_;  // what is read without the lock
};

}  // namespace lmn
