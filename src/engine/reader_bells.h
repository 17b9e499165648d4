// SPDX-License-Identifier: Apache-2.0
//
// ReaderBells: wakes those who wait for records of a RINGBUF in poll(2).
//
// Whether a reader wants to be woken is decided record by record, as in Linux: it has caught up, or
// the program forces it. The map only counts that, for a system call per record would cost more
// than the record. Here the bell of each map is rung at most once per round of the worker: before
// its next one, which comes at once when the last brought packets. So a reader waits for a batch at
// most.
//
//   LMN_TRY(int fd, engine->reader_bell(*object->find_map("events")));
//   poll on fd; read its 8 bytes; consume what the ring has
//
// The list of bells is immutable and replaced as a whole, so that rings come and go while packets
// go through; what a round still sees of it is freed after a grace period.
// Threads: add(), remove() and set_next() control, one at a time; refresh() and ring() the worker,
// or a test run while none runs; the descriptors are the readers'. Tested by reader_bells_test.cc.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/epoch.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "packet/run_context.h"

namespace lmn {

class Map;
class RingbufMap;

class ReaderBells final : public TableSource {
 public:
  // `epoch` is that of the worker.
  explicit ReaderBells(Epoch& epoch) : epoch_(epoch) {}
  // The descriptor of this ring's bell, an eventfd; the same one when it is asked for again. It
  // belongs to the bells. Errors: kIo.
  Result<int> add(const RingbufMap& ring);
  // The map goes: its bell, if it has one, is rung no more and closed.
  void remove(const Map& map);
  // Who else is to be asked before a round; may be null.
  void set_next(TableSource* next) { next_ = next; }

  void ring() noexcept;
  void refresh(RunContext& context) noexcept override;

 private:
  struct Bell {
    Bell(const RingbufMap* of, UniqueFd descriptor, std::uint64_t count)
        : ring(of), fd(std::move(descriptor)), rung_count(count) {}
    const RingbufMap* ring;
    UniqueFd fd;
    std::uint64_t rung_count;  // the ringing thread's
  };
  // Shared by a list and the one that replaces it.
  using Bells = std::vector<std::shared_ptr<Bell>>;
  std::span<const std::shared_ptr<Bell>> bells() const noexcept;
  void publish(std::unique_ptr<const Bells> fresh);

  Epoch& epoch_;
  std::unique_ptr<const Bells> owned_;        // what bells_ points to
  std::atomic<const Bells*> bells_{nullptr};  // what the worker loads
  TableSource* next_ = nullptr;
};

}  // namespace lmn
