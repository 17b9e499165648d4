// SPDX-License-Identifier: Apache-2.0
//
// Log: where notices for a person go (not results, not per-packet events: those are counters).
//
// A Log is passed down from its owner, an Engine or a tool; there is no global one. The default
// writes "lmn: text" lines to standard error; tests collect them. Threads: write() from any control
// thread; never from the data path.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lmn {

class Log {
 public:
  virtual ~Log() = default;
  virtual void write(std::string_view line) = 0;
};

class StderrLog final : public Log {
 public:
  void write(std::string_view line) override;
};

class MemoryLog final : public Log {
 public:
  void write(std::string_view line) override { lines.emplace_back(line); }
  std::vector<std::string> lines;
};

}  // namespace lmn
