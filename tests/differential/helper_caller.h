// SPDX-License-Identifier: Apache-2.0
//
// HelperCaller: one call of one helper, in the kernel and in ours, on equal memory.
//
// The kernel's side is a small XDP program: it takes its arguments from a map that this process has
// mapped, calls the helper, and leaves the result there. So a sweep over a million arguments loads
// one program and writes two words per run. The other side calls the body directly on a frame of
// the same geometry.
//
//   HelperCaller caller(BPF_FUNC_xdp_adjust_head, {context(), word()});
//   const Comparison c = caller.compare(packet, {0, delta});
//   EXPECT_EQ(c.ours.result, c.kernel.result);
//
// The map's value is: five argument words, the result, then kMemoryBytes that memory arguments
// point into.
// Tested by what uses it: the suites fail when the kernel's side does not load or run.
#pragma once

#include <linux/bpf.h>

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/compared_calls.h"
#include "harness/kernel_oracle.h"
#include "helpers/test_run.h"

namespace lmn {

// What an argument is made from.
struct CallArgument {
  enum class Kind : std::uint8_t {
    kContext,  // the program's context
    kWord,     // the argument word
    kMemory,   // the memory area's byte `word & mask`
    kSize,     // the argument word, 1 or `minimum` to `maximum`
    kMap,      // a map: descriptor in the kernel, lmn::Map in ours
    kValue,    // address of the first value of a map (a frozen string); `ours` here
    kNull,
  };
  Kind kind = Kind::kWord;
  std::uint32_t mask = 0;
  std::uint32_t minimum = 0;
  std::uint32_t maximum = 0;
  int map_fd = -1;
  const void* ours = nullptr;
};

inline CallArgument context() { return {.kind = CallArgument::Kind::kContext}; }
inline CallArgument word() { return {.kind = CallArgument::Kind::kWord}; }
inline CallArgument null() { return {.kind = CallArgument::Kind::kNull}; }
inline CallArgument memory(std::uint32_t mask) {
  return {.kind = CallArgument::Kind::kMemory, .mask = mask};
}
inline CallArgument size(std::uint32_t minimum, std::uint32_t maximum) {
  return {.kind = CallArgument::Kind::kSize, .minimum = minimum, .maximum = maximum};
}
inline CallArgument map(const KernelMap& kernel, const void* ours) {
  return {.kind = CallArgument::Kind::kMap, .map_fd = kernel.fd(), .ours = ours};
}
inline CallArgument value(const KernelMap& kernel, const void* ours) {
  return {.kind = CallArgument::Kind::kValue, .map_fd = kernel.fd(), .ours = ours};
}

// Everything that can be seen of a call.
struct CallOutcome {
  std::int64_t result = 0;
  std::vector<std::uint8_t> packet;  // metadata first
  std::uint32_t metadata_bytes = 0;
  std::vector<std::uint8_t> memory;
  bool operator==(const CallOutcome&) const = default;
};

struct Comparison {
  std::string_view helper;  // its name
  CallOutcome kernel;
  CallOutcome ours;
  // Asking it is comparing: the call is counted.
  bool is_equal() const {
    count();
    return kernel == ours;
  }
  // For what is compared in another way (harness/compared_calls.h).
  void count() const { ComparedCalls::instance().add(helper); }
  // Both results, and the first byte that differs, in words.
  std::string difference() const;
};

class HelperCaller {
 public:
  static constexpr std::size_t kMemoryBytes = 12288;

  // A call of `id` with up to five arguments. `error()` tells when the kernel refused the program.
  HelperCaller(std::uint32_t id, std::vector<CallArgument> arguments);
  ~HelperCaller();
  HelperCaller(const HelperCaller&) = delete;
  HelperCaller& operator=(const HelperCaller&) = delete;

  int error() const { return program_.error(); }
  const std::string& log() const { return program_.log(); }

  // The memory area before the next compare(), for both sides.
  std::span<std::uint8_t> memory_in() { return memory_in_; }
  // Called before each of our runs, for what the kernel's side has of itself (its devices).
  std::function<void(TestRun&)> prepare_ours;
  // Runs both sides. `packet` begins with `metadata_bytes` of metadata.
  Comparison compare(std::span<const std::uint8_t> packet, std::array<std::uint64_t, 5> words,
                     std::uint32_t metadata_bytes = 0);

 private:
  CallOutcome run_kernel(std::span<const std::uint8_t> packet, std::span<const std::uint64_t> words,
                         std::uint32_t metadata_bytes);
  CallOutcome run_ours(std::span<const std::uint8_t> packet, std::span<const std::uint64_t> words,
                       std::uint32_t metadata_bytes);

  std::uint32_t id_;
  std::vector<CallArgument> arguments_;
  KernelMap shared_;
  std::uint8_t* shared_memory_ = nullptr;
  KernelProgram program_;
  std::vector<std::uint8_t> memory_in_;
};

}  // namespace lmn
