// SPDX-License-Identifier: Apache-2.0
//
// HostWatch: tells that something of the host's routing has changed: a device, address, route,
// rule, neighbour or the forwarding of a device.
//
// It says that, and not what: who follows the host reads the tables again (RouteTable::from_host),
// which is right whatever the kernel's messages leave out, and costs one dump however many changes
// came together. When the kernel could not keep up with telling (ENOBUFS), that counts as a change
// too. Sockets are not among what the kernel tells of; they are read at intervals.
// Threads: one control thread; the namespace is that of the thread that created it.
// Tested by tests/differential/host_tables_test.cc. Source: rtnetlink(7).
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace lmn {

class HostWatch {
 public:
  // Errors: kIo, kPermission.
  static Result<HostWatch> create();

  // Readable when there is something to take.
  int fd() const { return fd_.get(); }
  // Whether anything has changed since the last call; takes all messages, never waits.
  bool take_changes() noexcept;
  // How often the kernel could not keep up with telling.
  std::uint64_t overflow_count() const noexcept { return overflow_count_; }

 private:
  explicit HostWatch(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  std::uint64_t overflow_count_ = 0;
};

}  // namespace lmn
