// SPDX-License-Identifier: Apache-2.0
//
// ProgramOwner: what the programs of one map have in common; the first program decides.
//
// A packet that tail-calls or is handed on through a map must meet programs of the same kind, or it
// would reach one that was never checked for what it is given.
// Threads: any. Tested by maps_test.cc.
// Source: Linux 6.18, kernel/bpf/core.c, __bpf_prog_map_compatible.
#pragma once

#include <optional>

#include "base/mutex.h"
#include "packet/program_entry.h"

namespace lmn {

class ProgramOwner {
 public:
  // True when `entry` agrees with the owner, or becomes it. PROG_ARRAYs also compare the expected
  // attach type; devmaps and cpumaps have demanded theirs before.
  bool accept(const ProgramEntry& entry, bool compares_attach_type) noexcept LMN_EXCLUDES(lock_) {
    const SpinGuard guard(lock_);
    if (!owner_) {
      owner_ = Traits{entry.type, entry.expected_attach_type, entry.has_frags};
      return true;
    }
    if (owner_->type != entry.type) return false;
    if (owner_->has_frags != entry.has_frags) return false;
    return !compares_attach_type || owner_->expected_attach_type == entry.expected_attach_type;
  }

 private:
  struct Traits {
    std::uint32_t type;
    std::uint32_t expected_attach_type;
    bool has_frags;
  };
  SpinLock lock_;
  std::optional<Traits> owner_ LMN_GUARDED_BY(lock_);
};

}  // namespace lmn
