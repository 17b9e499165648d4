// SPDX-License-Identifier: Apache-2.0
//
// ObjectRunner: one XDP object loaded somewhere, and what a test does with it: fill maps, run
// packets one by one, read maps.
//
// There are two: the kernel of this machine (libbpf and BPF_PROG_TEST_RUN) and LMN's engine. A test
// written against this interface states what a program must do once, and both are held to it; a
// differential test runs both side by side.
//
//   LMN_TRY(auto runner, open_runner(RunnerKind::kKernel, path, {}));
//   LMN_CHECK_OK(runner->set_entry("cnt", key, value));
//   LMN_TRY(PacketResult result, runner->run(packet, {}));
//
// Map values are in the form of user space: per-CPU values of all possible CPUs, each rounded up to
// 8 bytes. Programs run on CPU 0 in both, so that per-CPU values compare.
// Threads: a value of the thread that made it (the kernel runner pins that thread to CPU 0).
// Tested by tests/examples/examples_test.cc, which holds both to known answers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lmn {

class Clock;          // base/clock.h
class Engine;         // engine/engine.h
class TraceListener;  // exec/interp/trace.h

struct PacketResult {
  std::uint32_t verdict = 0;
  std::vector<std::uint8_t> packet;  // as the program left it
  bool operator==(const PacketResult&) const = default;
};

struct MapEntry {
  std::vector<std::uint8_t> key;
  std::vector<std::uint8_t> value;
  auto operator<=>(const MapEntry&) const = default;
};

struct MapShape {
  std::string name;
  std::uint32_t id =
      0;  // as its owner numbers maps: what `bpftool map dump id` takes, for the kernel
  std::uint32_t type = 0;
  std::uint32_t key_size = 0;
  std::uint32_t value_size = 0;
  std::uint32_t max_entries = 0;
  std::size_t user_value_bytes = 0;
};

class ObjectRunner {
 public:
  virtual ~ObjectRunner() = default;
  // "kernel" or "interpreter", for messages.
  virtual std::string_view name() const = 0;
  virtual std::vector<MapShape> maps() const = 0;
  // An ifindex that a devmap entry may hold.
  virtual std::uint32_t redirect_ifindex() const = 0;
  // Runs the program once, as if the packet had come in by the loopback device's ifindex (1).
  virtual Result<PacketResult> run(std::span<const std::uint8_t> packet) = 0;
  // The same, as if it had come in by `ifindex`: for the kernel a device that has a receive queue
  // of its own, such as a TAP device that is open.
  virtual Result<PacketResult> run_from(std::uint32_t ifindex,
                                        std::span<const std::uint8_t> packet) = 0;
  virtual Result<void> set_entry(std::string_view map, std::span<const std::uint8_t> key,
                                 std::span<const std::uint8_t> value) = 0;
  // The entry's value, or nothing when the map has no such key.
  virtual Result<std::optional<std::vector<std::uint8_t>>> entry(
      std::string_view map, std::span<const std::uint8_t> key) = 0;
  // All entries, sorted by key bytes.
  virtual Result<std::vector<MapEntry>> entries(std::string_view map) = 0;
  // A new inner map with these entries, in the slot `key` of a map of maps.
  virtual Result<void> set_inner_map(std::string_view map, std::span<const std::uint8_t> key,
                                     std::span<const MapEntry> contents) = 0;
  // The finished records of a RINGBUF in order, which are thereby read.
  virtual Result<std::vector<std::vector<std::uint8_t>>> records(std::string_view ring) = 0;
  // The descriptor of the kernel's program, for what the kernel does with it besides; -1 for ours.
  virtual int program_fd() const { return -1; }
  // The engine of the interpreter's runner, for what the kernel has of itself (routes, sockets);
  // null for the kernel's.
  virtual Engine* engine() { return nullptr; }
};

enum class RunnerKind : std::uint8_t { kKernel, kInterpreter };
// Nothing when runners of that kind work here; else a sentence for GTEST_SKIP.
std::optional<std::string> why_no_runner(RunnerKind kind);

// Loads the object at `path` and chooses its program `program`; empty chooses the first.
// Nothing stays behind in the kernel: maps are not pinned, whatever the object asks.
Result<std::unique_ptr<ObjectRunner>> open_runner(RunnerKind kind, const std::string& path,
                                                  const std::string& program);

// The two by themselves. `trace`, if any, is told of every instruction before it runs; `clock`, if
// any, is the engine's, and outlives it.
Result<std::unique_ptr<ObjectRunner>> open_kernel_runner(const std::string& path,
                                                         const std::string& program);
Result<std::unique_ptr<ObjectRunner>> open_engine_runner(const std::string& path,
                                                         const std::string& program,
                                                         TraceListener* trace,
                                                         const Clock* clock = nullptr);

}  // namespace lmn
