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

std::span<const std::shared_ptr<ReaderBells::Bell>> ReaderBells::bells() const noexcept {
  const Bells* bells = bells_.load(std::memory_order_acquire);
  if (bells == nullptr) return {};
  return *bells;
}

void ReaderBells::publish(std::unique_ptr<const Bells> fresh) {
  bells_.store(fresh.get(), std::memory_order_release);
  std::unique_ptr<const Bells> before = std::exchange(owned_, std::move(fresh));
  if (before != nullptr) epoch_.retire([old = std::move(before)] {});
}

Result<int> ReaderBells::add(const RingbufMap& ring) {
  auto fresh = std::make_unique<Bells>(bells().begin(), bells().end());
  const auto found = std::ranges::find(*fresh, &ring, [](const auto& bell) { return bell->ring; });
  if (found != fresh->end()) return (*found)->fd.get();
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.is_open()) return make_error(system_error("eventfd", errno));
  const int number = fd.get();
  fresh->push_back(std::make_shared<Bell>(&ring, std::move(fd), ring.wakeup_count()));
  publish(std::move(fresh));
  return number;
}

void ReaderBells::remove(const Map& map) {
  auto fresh = std::make_unique<Bells>(bells().begin(), bells().end());
  if (std::erase_if(*fresh, [&](const auto& bell) { return bell->ring == &map; }) == 0) return;
  publish(std::move(fresh));
}

void ReaderBells::ring() noexcept {
  for (const std::shared_ptr<Bell>& bell : bells()) {
    const std::uint64_t count = bell->ring->wakeup_count();
    if (count == bell->rung_count) continue;
    bell->rung_count = count;
    // It can only fail when the bell has been rung and not been answered 2^64 - 2 times.
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(bell->fd.get(), &one, sizeof one);
  }
}

void ReaderBells::refresh(RunContext& context) noexcept {
  ring();
  if (next_ != nullptr) next_->refresh(context);
}

}  // namespace lmn
