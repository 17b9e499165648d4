// SPDX-License-Identifier: Apache-2.0
//
// Helpers that read memory by address: probe_read_kernel, probe_read_user and their string forms.
//
// In the kernel the address may be anything: a program that may call these may read the machine.
// Here it may be anything too, but what can be read is the program's own memory (its stack, packet,
// maps), which the executing engine knows: RunContext::read_guest. All else is a fault, as a bad
// address is in the kernel: -EFAULT and a zeroed destination. There is no user memory at all.
// Tested by helpers_test.cc.
// Source: Linux 6.18, kernel/trace/bpf_trace.c (bpf_probe_read_kernel_common), mm/maccess.c.
#include <cerrno>
#include <cstring>
#include <span>

#include "helpers/bodies.h"

namespace lmn {
namespace {

std::span<std::uint8_t> destination(std::uint64_t r1, std::uint64_t r2) {
  return {helper::as_pointer<std::uint8_t>(r1), helper::as_u32(r2)};
}

std::uint64_t fault(std::span<std::uint8_t> out) {
  if (!out.empty()) std::memset(out.data(), 0, out.size());
  return helper::failure(EFAULT);
}

}  // namespace

LMN_HELPER_BODY(probe_read_kernel) {
  const std::span<std::uint8_t> out = destination(r1, r2);
  if (out.empty()) return 0;
  if (helper::read_guest(*context, r3, out) != out.size()) return fault(out);
  return 0;
}

// The string with its zero, cut to the destination; its length counts the zero.
LMN_HELPER_BODY(probe_read_kernel_str) {
  const std::span<std::uint8_t> out = destination(r1, r2);
  if (out.empty()) return 0;
  const std::size_t readable = helper::read_guest(*context, r3, out);
  const void* end = std::memchr(out.data(), 0, readable);
  if (end == nullptr && readable < out.size()) return fault(out);
  const std::size_t length =
      end == nullptr
          ? out.size()
          : static_cast<std::size_t>(static_cast<const std::uint8_t*>(end) - out.data()) + 1;
  out[length - 1] = 0;
  return length;
}

LMN_HELPER_BODY(probe_read_user) {
  const std::span<std::uint8_t> out = destination(r1, r2);
  return out.empty() ? 0 : fault(out);
}

LMN_HELPER_BODY(probe_read_user_str) {
  const std::span<std::uint8_t> out = destination(r1, r2);
  return out.empty() ? 0 : fault(out);
}

}  // namespace lmn
