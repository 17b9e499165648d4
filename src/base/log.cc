// SPDX-License-Identifier: Apache-2.0
//
// StderrLog: one write(2) per line, so that lines of several threads do not mix.
#include "base/log.h"

#include <fmt/format.h>
#include <unistd.h>

namespace lmn {

void StderrLog::write(std::string_view line) {
  const std::string text = fmt::format("lmn: {}\n", line);
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace lmn
