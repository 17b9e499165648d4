// SPDX-License-Identifier: Apache-2.0
//
// SharedMemory over memfd_create(2), F_ADD_SEALS and mmap(2). Tested by base_test.cc.
#include "base/shared_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace lmn {

Result<SharedMemory> SharedMemory::create(const std::string& name, std::size_t size_bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  if (size_bytes > SIZE_MAX / 2) {
    return make_errno_error(ErrorCode::kLimitExceeded, ENOMEM,
                            fmt::format("memory '{}' of {} bytes: too large", name, size_bytes));
  }
  SharedMemory memory;
  memory.size_bytes_ = (std::max<std::size_t>(size_bytes, 1) + page - 1) / page * page;
  memory.fd_.reset(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.fd_.is_open()) return make_error(system_error("memfd_create", errno));
  if (::ftruncate(memory.fd(), static_cast<off_t>(memory.size_bytes_)) != 0) {
    return make_error(
        system_error(fmt::format("memory '{}' of {} bytes", name, size_bytes), errno));
  }
  if (::fcntl(memory.fd(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    return make_error(system_error("seal memory", errno));
  }
  void* at =
      ::mmap(nullptr, memory.size_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd(), 0);
  if (at == MAP_FAILED) {
    return make_error(system_error(fmt::format("map '{}' of {} bytes", name, size_bytes), errno));
  }
  memory.data_ = static_cast<std::uint8_t*>(at);
  return memory;
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : fd_(std::move(other.fd_)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  if (this != &other) {
    unmap();
    fd_ = std::move(other.fd_);
    data_ = std::exchange(other.data_, nullptr);
    size_bytes_ = std::exchange(other.size_bytes_, 0);
  }
  return *this;
}

SharedMemory::~SharedMemory() { unmap(); }

void SharedMemory::unmap() {
  if (data_ != nullptr) ::munmap(data_, size_bytes_);
  data_ = nullptr;
}

}  // namespace lmn
