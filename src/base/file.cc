// SPDX-License-Identifier: Apache-2.0
//
// read_file with a cap that holds for pipes and /proc files too (their size is not known
// beforehand).
#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/unique_fd.h"

namespace lmn {

Result<std::vector<std::uint8_t>> read_file(const std::string& path, std::size_t size_max) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) return make_error(system_error(fmt::format("open '{}'", path), errno));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0)
    return make_error(system_error(fmt::format("stat '{}'", path), errno));
  if (S_ISDIR(info.st_mode)) {
    return make_error(ErrorCode::kInvalidArgument, fmt::format("'{}' is a directory", path));
  }
  std::vector<std::uint8_t> bytes;
  bytes.reserve(static_cast<std::size_t>(info.st_size > 0 ? info.st_size : 0) + 1);
  std::size_t used = 0;
  while (true) {
    if (used == bytes.size())
      bytes.resize(used + std::max<std::size_t>(65536, bytes.capacity() - used));
    const ssize_t got = ::read(fd.get(), bytes.data() + used, bytes.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return make_error(system_error(fmt::format("read '{}'", path), errno));
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
    if (used > size_max) {
      return make_error(ErrorCode::kLimitExceeded,
                        fmt::format("'{}' has more than {} bytes", path, size_max));
    }
  }
  bytes.resize(used);
  return bytes;
}

}  // namespace lmn
