// SPDX-License-Identifier: Apache-2.0
//
// Helpers that read memory by address: probe_read_kernel, probe_read_user and their string forms.
//
// In the kernel the address may be anything: a program that may call these may read the machine.
// Here it may be anything too, but what can be read is the program's own memory (its stack, packet,
// maps), which the executing engine knows: RunContext::read_guest. All else is a fault, as a bad
// address is in the kernel: -EFAULT, or -ERANGE for what is no address of the kernel's, and a
// zeroed destination. There is no user memory at all. Tested by helpers_test.cc. Source:
// Linux 6.18, kernel/trace/bpf_trace.c (bpf_probe_read_kernel_common), mm/maccess.c.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "helpers/bodies.h"

namespace lmn {
namespace {

std::span<std::uint8_t> destination(std::uint64_t r1, std::uint64_t r2) {
  return {helper::as_pointer<std::uint8_t>(r1), helper::as_u32(r2)};
}

// x86-64's halves of the address space: numbers that are no pointers fall into the lower one or
// between them, and Linux tells them apart from pointers that lead nowhere.
constexpr std::uint64_t kUserEnd = (1ull << 47) - 4096;
constexpr std::uint64_t kKernelBegin = 0xffff800000000000;

std::uint64_t fault(std::span<std::uint8_t> out, int error) {
  if (!out.empty()) std::memset(out.data(), 0, out.size());
  return helper::failure(error);
}

bool is_readable(const RunContext& context, std::uint64_t address) {
  std::uint8_t byte = 0;
  return guest::read_guest_all(context, address, {&byte, 1});
}

// What reading as the kernel's memory says where something could not be read.
int kernel_error(const RunContext& context, std::uint64_t address) {
  return address < kKernelBegin && !is_readable(context, address) ? ERANGE : EFAULT;
}

}  // namespace

LMN_HELPER_BODY(probe_read_kernel) {
  const std::span<std::uint8_t> out = destination(r1, r2);
  if (out.empty()) {
    return kernel_error(*context, r3) == ERANGE ? helper::failure(ERANGE) : 0;
  }
  if (helper::read_guest(*context, r3, out) != out.size()) {
    return fault(out, kernel_error(*context, r3));
  }
  return 0;
}

// The string with its zero, cut to the destination; its length counts the zero. What lies behind
// the zero in the destination stays as it is.
LMN_HELPER_BODY(probe_read_kernel_str) {
  constexpr std::size_t kStepBytes = 64;
  const std::span<std::uint8_t> out = destination(r1, r2);
  std::array<std::uint8_t, kStepBytes> step;
  for (std::size_t done = 0; done < out.size();) {
    const std::span<std::uint8_t> room(step.data(), std::min(kStepBytes, out.size() - done));
    const std::size_t readable = helper::read_guest(*context, r3 + done, room);
    const auto* end = static_cast<const std::uint8_t*>(std::memchr(step.data(), 0, readable));
    if (end == nullptr && readable < room.size()) {
      return fault(out, kernel_error(*context, r3));
    }
    const std::size_t count =
        end == nullptr ? readable : static_cast<std::size_t>(end - step.data()) + 1;
    std::memcpy(out.data() + done, step.data(), count);
    done += count;
    if (end != nullptr) return done;
  }
  if (!out.empty()) out.back() = 0;
  return out.size();
}

LMN_HELPER_BODY(probe_read_user) {
  const std::span<std::uint8_t> out = destination(r1, r2);
  return out.empty() && r3 < kUserEnd ? 0 : fault(out, EFAULT);
}

LMN_HELPER_BODY(probe_read_user_str) {
  const std::span<std::uint8_t> out = destination(r1, r2);
  return out.empty() ? 0 : fault(out, EFAULT);
}

}  // namespace lmn
