// SPDX-License-Identifier: Apache-2.0
//
// One eventfd per ring. Tested by reader_bells_test.cc.
#include "engine/reader_bells.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "maps/ringbuf_map.h"

namespace lmn {

Result<int> ReaderBells::add(const RingbufMap& ring) {
  const auto found = std::ranges::find(bells_, &ring, &Bell::ring);
  if (found != bells_.end()) return found->fd.get();
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.is_open()) return make_error(system_error("eventfd", errno));
  bells_.push_back({&ring, std::move(fd), ring.wakeup_count()});
  return bells_.back().fd.get();
}

void ReaderBells::ring() noexcept {
  for (Bell& bell : bells_) {
    const std::uint64_t count = bell.ring->wakeup_count();
    if (count == bell.rung_count) continue;
    bell.rung_count = count;
    // It can only fail when the bell has been rung and not been answered 2^64 - 2 times.
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(bell.fd.get(), &one, sizeof one);
  }
}

void ReaderBells::refresh(RunContext& context) noexcept {
  ring();
  if (next_ != nullptr) next_->refresh(context);
}

}  // namespace lmn
