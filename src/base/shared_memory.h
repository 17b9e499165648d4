// SPDX-License-Identifier: Apache-2.0
//
// SharedMemory: zeroed memory behind a memfd that can later be mapped by another process.
//
// Frame pools and mmapable maps live in such memory from the start: handing them out later then
// moves no byte. The file is sealed against growing and shrinking at birth, so that no holder of
// the descriptor can make our own accesses fault. Owner: whoever created it; memory goes with it.
// Move-only. Threads: the memory's users agree among themselves. Tested by base_test.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace lmn {

class SharedMemory {
 public:
  // `name` is seen in /proc/PID/maps ("bpf-map"). Size is rounded up to whole pages.
  // Errors: kIo with ENOMEM/EINVAL of the system.
  static Result<SharedMemory> create(const std::string& name, std::size_t size_bytes);

  SharedMemory() = default;
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_bytes_; }
  std::span<std::uint8_t> bytes() const { return {data_, size_bytes_}; }
  int fd() const { return fd_.get(); }

 private:
  void unmap();
  UniqueFd fd_;
  std::uint8_t* data_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace lmn
