// SPDX-License-Identifier: Apache-2.0
//
// RingReader: prints the records of ring buffers as programs write them: --read-ring MAP of `lmn
// run` and `lmn test`.
//
//   drops: 0a0b0c...                                    one line per record, its bytes in hex
//   {"map":"drops","record":"0a0b0c..."}                the same with --json
//
// A record has no type, so its bytes are all that is known of it. What found no room in the ring is
// in the summary: a reader that cannot keep up is told so.
// Threads: one; between start() and stop() the records are read by a thread of its own, which the
// ring's bell wakes (engine/reader_bells.h). Tested by tests/inspect/ring_command_test.cc.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "maps/ringbuf_map.h"

namespace lmn {

class RingReader {
 public:
  // REQUIRES: nothing runs. Errors: kNotFound, kInvalidArgument for maps that are no ring buffer.
  static Result<std::unique_ptr<RingReader>> create(Engine& engine, const LoadedObject& object,
                                                    const std::vector<std::string>& names,
                                                    bool is_json);
  ~RingReader() { stop(); }

  void start();
  // Ends the thread and prints what it left.
  void stop();
  // Prints the records that are there. REQUIRES: no thread.
  void drain();
  // How many records were read and lost, a line for each ring; of all rings of the object that lost
  // some, also those that nobody reads.
  std::string summary() const;

 private:
  struct Ring {
    std::string name;
    RingbufMap* map;
    int bell = -1;
    bool is_read = false;
    std::uint64_t read_count = 0;
  };
  void read_until_stopped();

  std::vector<Ring> rings_;
  bool is_json_ = false;
  std::atomic<bool> is_stopping_{false};
  std::jthread thread_;
};

}  // namespace lmn
