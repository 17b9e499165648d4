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
// Threads: add() while nothing runs; refresh() the worker; the descriptors are the readers'.
// Tested by reader_bells_test.cc.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "packet/run_context.h"

namespace lmn {

class RingbufMap;

class ReaderBells final : public TableSource {
 public:
  // The descriptor of this ring's bell, an eventfd; the same one when it is asked for again. It
  // belongs to the bells. Errors: kIo.
  Result<int> add(const RingbufMap& ring);
  // Who else is to be asked before a round; may be null.
  void set_next(TableSource* next) { next_ = next; }

  void ring() noexcept;
  void refresh(RunContext& context) noexcept override;

 private:
  struct Bell {
    const RingbufMap* ring;
    UniqueFd fd;
    std::uint64_t rung_count;
  };
  std::vector<Bell> bells_;
  TableSource* next_ = nullptr;
};

}  // namespace lmn
