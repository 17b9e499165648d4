// SPDX-License-Identifier: Apache-2.0
//
// A frame and a RunContext to call helper bodies with, for the tests of helpers: internal to them.
//
// The frame is what a driver or BPF_PROG_TEST_RUN makes: 4096 bytes, 256 of head-room, 320 of
// tail-room. Memory that a helper may read by address (the %s of a print) is what allow_read() was
// given.
// Threads: a value of one test.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "abi/limits.h"
#include "base/clock.h"
#include "helpers/helpers.h"

namespace lmn {

class RecordingTrace final : public TraceSink {
 public:
  void print(std::string_view text) noexcept override { lines.emplace_back(text); }
  std::vector<std::string> lines;
};

class TestRun {
 public:
  // What a frame holds before the packet is put in.
  enum FrameBytes : std::uint8_t {
    kZeroedFrame = 0,   // as BPF_PROG_TEST_RUN
    kUsedFrame = 0xa5,  // so that what ought to be zeroed shows
  };

  explicit TestRun(std::span<const std::uint8_t> packet, FrameBytes old_bytes = kUsedFrame) {
    frame_.fill(old_bytes);
    buff.hard_start = frame_.data();
    buff.data = buff.data_meta = frame_.data() + limits::kHeadroomBytes;
    buff.data_end = buff.data + packet.size();
    buff.frame_bytes = limits::kFrameBytes;
    std::copy(packet.begin(), packet.end(), buff.data);
    context.buff = &buff;
    context.clock = &clock;
    context.trace = &trace;
    context.engine_state = this;
    context.read_guest = [](void* state, std::uint64_t address,
                            std::span<std::uint8_t> out) noexcept {
      return static_cast<TestRun*>(state)->read(address, out);
    };
  }
  TestRun(const TestRun&) = delete;
  TestRun& operator=(const TestRun&) = delete;

  // Calls helper `id`; arguments may be integers or pointers.
  template <typename... Args>
  std::int64_t call(std::uint32_t id, Args... args) {
    std::array<std::uint64_t, 5> r{};
    std::size_t i = 0;
    ((r[i++] = to_register(args)), ...);
    return static_cast<std::int64_t>(helper_function(id)(r[0], r[1], r[2], r[3], r[4], &context));
  }

  void allow_read(std::span<const std::uint8_t> memory) { readable_.push_back(memory); }
  std::vector<std::uint8_t> packet() const { return {buff.data, buff.data_end}; }
  std::vector<std::uint8_t> metadata() const { return {buff.data_meta, buff.data}; }

  XdpBuff buff;
  RunContext context;
  FakeClock clock;
  RecordingTrace trace;

 private:
  template <typename T>
  static std::uint64_t to_register(T value) {
    if constexpr (std::is_pointer_v<T>) {
      return reinterpret_cast<std::uintptr_t>(value);
    } else {
      return static_cast<std::uint64_t>(value);
    }
  }

  std::size_t read(std::uint64_t address, std::span<std::uint8_t> out) const {
    for (const std::span<const std::uint8_t> memory : readable_) {
      const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
      if (address < begin || address - begin >= memory.size()) continue;
      const std::size_t count = std::min(out.size(), memory.size() - (address - begin));
      std::memcpy(out.data(), memory.data() + (address - begin), count);
      return count;
    }
    return 0;
  }

  std::array<std::uint8_t, limits::kFrameBytes> frame_;
  std::vector<std::span<const std::uint8_t>> readable_;
};

}  // namespace lmn
