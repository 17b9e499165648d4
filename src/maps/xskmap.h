// SPDX-License-Identifier: Apache-2.0
//
// XSKMAP: numbered slots for AF_XDP sockets: bpf_redirect_map takes frames to an application.
//
// User space writes socket handles and cannot read them back; a program may look whether a slot is
// taken. Whether the socket is bound to the queue a frame came from is the socket's own check.
// Invariant: a slot holds one reference from MapHost::acquire_socket.
// Threads: Map's. A redirect loads one atomic pointer; updates are serialised by a lock.
// Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, net/xdp/xskmap.c.
#pragma once

#include "base/mutex.h"
#include "maps/map.h"
#include "maps/slot_array.h"

namespace lmn {

class Xskmap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options,
                                             MapHost& host);
  ~Xskmap() override;

  // The socket's sink, for programs that ask whether there is one, or null.
  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  bool find_redirect_target(std::uint64_t key, RedirectTarget& target) noexcept override;
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override;
  int next_key(const void* key, void* next) noexcept override;
  void forget_sink(const FrameSink& sink) noexcept override LMN_EXCLUDES(lock_);

 protected:
  int update_from_user(const void* key, std::span<const std::uint8_t> value,
                       std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  int erase_from_user(const void* key) noexcept override LMN_EXCLUDES(lock_);

 private:
  Xskmap(const MapSpec& spec, const MapOptions& options, MapHost& host, SlotArray<FrameSink> slots)
      : Map(spec, options), host_(host), slots_(std::move(slots)) {}

  MapHost& host_;
  SlotArray<FrameSink> slots_;
  SpinLock lock_;  // of updates: the presence flags and the exchange belong together
};

}  // namespace lmn
