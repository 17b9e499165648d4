// SPDX-License-Identifier: Apache-2.0
//
// Helpers that ask about a device: check_mtu.
//
// A packet fits when its bytes from the network header on are no more than the MTU; the helper
// counts the 14 bytes of Ethernet on both sides. The MTU is written back in both cases. The
// question can be asked of another length than the packet's, and of what it will be after a change
// of `len_diff` bytes; sums are the kernel's, of 32 signed bits, so that absurd values wrap alike.
// Tested by tests/differential/device_helpers_test.cc.
// Source: Linux 6.18, net/core/filter.c (bpf_xdp_check_mtu).
#include <linux/bpf.h>

#include <cerrno>

#include "abi/limits.h"
#include "base/byte_reader.h"
#include "helpers/bodies.h"

namespace lmn {

LMN_HELPER_BODY(check_mtu) {
  const XdpBuff& buff = *context->buff;
  auto* mtu_inout = helper::as_pointer<std::uint8_t>(r3);
  if (r5 != 0) return helper::failure(EINVAL);
  const std::uint32_t own = buff.rxq != nullptr ? buff.rxq->ifindex : 0;
  const std::uint32_t ifindex = helper::as_u32(r2) != 0 ? helper::as_u32(r2) : own;
  const std::optional<std::uint32_t> mtu =
      context->ports != nullptr ? context->ports->find_mtu(ifindex) : std::nullopt;
  if (!mtu) return helper::failure(ENODEV);

  constexpr std::uint32_t kLinkHeader = limits::kPacketBytesMin;
  const auto stated = load_unaligned<std::uint32_t>(mtu_inout);
  const std::uint32_t length = stated != 0 ? stated + kLinkHeader : buff.length();
  const std::uint32_t changed = length + helper::as_u32(r4);
  const bool is_too_long =
      static_cast<std::int32_t>(changed) > static_cast<std::int32_t>(*mtu + kLinkHeader);
  store_unaligned<std::uint32_t>(mtu_inout, *mtu);
  return is_too_long ? BPF_MTU_CHK_RET_FRAG_NEEDED : BPF_MTU_CHK_RET_SUCCESS;
}

}  // namespace lmn
