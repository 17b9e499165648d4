// SPDX-License-Identifier: Apache-2.0
//
// Helpers that copy packet bytes: xdp_load_bytes and xdp_store_bytes.
//
// Unlike a pointer into the packet they need no bounds check by the program: a range outside is an
// error code. The order of the two errors is the kernel's: an offset or length that no packet can
// have (over 16 bits) is EFAULT even when it is also out of range, which is EINVAL. A failed load
// leaves the destination as it was.
// Tested by helpers_test.cc and tests/differential/helpers_test.cc.
// Source: Linux 6.18, net/core/filter.c (bpf_xdp_pointer).
#include <cerrno>
#include <cstring>

#include "helpers/bodies.h"

namespace lmn {
namespace {

constexpr std::uint32_t kOffsetMax = 0xffff;

// 0, or the failure for these bytes of the packet.
std::uint64_t range_failure(const XdpBuff& buff, std::uint32_t offset, std::uint32_t length) {
  if (offset > kOffsetMax || length > kOffsetMax) return helper::failure(EFAULT);
  if (offset + length > buff.length()) return helper::failure(EINVAL);
  return 0;
}

}  // namespace

LMN_HELPER_BODY(xdp_load_bytes) {
  const XdpBuff& buff = *context->buff;
  const std::uint32_t offset = helper::as_u32(r2);
  const std::uint32_t length = helper::as_u32(r4);
  if (const std::uint64_t failure = range_failure(buff, offset, length)) return failure;
  std::memmove(helper::as_pointer<void>(r3), buff.data + offset, length);
  return 0;
}

LMN_HELPER_BODY(xdp_store_bytes) {
  const XdpBuff& buff = *context->buff;
  const std::uint32_t offset = helper::as_u32(r2);
  const std::uint32_t length = helper::as_u32(r4);
  if (const std::uint64_t failure = range_failure(buff, offset, length)) return failure;
  std::memmove(buff.data + offset, helper::as_pointer<const void>(r3), length);
  return 0;
}

}  // namespace lmn
