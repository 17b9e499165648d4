// SPDX-License-Identifier: Apache-2.0
//
// popen() with standard error kept apart in a file.
#include "commands_for_tests.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace lmn {

CommandOutput run_command(const std::string& command) {
  CommandOutput result;
  char path[] = "/tmp/lmn-test-XXXXXX";
  const int fd = ::mkstemp(path);
  if (fd < 0) return result;
  ::close(fd);
  FILE* pipe = ::popen(("{ " + command + "; } 2>" + path).c_str(), "r");
  if (pipe != nullptr) {
    std::array<char, 65536> chunk;
    for (std::size_t n = 0; (n = std::fread(chunk.data(), 1, chunk.size(), pipe)) > 0;) {
      result.out.append(chunk.data(), n);
    }
    const int status = ::pclose(pipe);
    if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) result.status = 128 + WTERMSIG(status);
  }
  std::ifstream error(path, std::ios::binary);
  result.error.assign(std::istreambuf_iterator<char>(error), {});
  ::unlink(path);
  return result;
}

std::optional<std::string> why_no_bpftool() {
  const CommandOutput version = run_command("bpftool version");
  if (version.status == 0) return std::nullopt;
  return "bpftool does not run here: " + version.error;
}

}  // namespace lmn
