// SPDX-License-Identifier: Apache-2.0
//
// Kfuncs of the packet: pulling its bytes together.
//
// Packets are one stretch of memory, so all their bytes are where bpf_xdp_pull_data would put them.
// Tested by kfuncs_test.cc. Source: Linux 6.18, net/core/filter.c (bpf_xdp_pull_data).
#include <cerrno>

#include "kfuncs/bodies.h"

namespace lmn {

LMN_KFUNC_BODY(bpf_xdp_pull_data) {
  const XdpBuff& buff = *context->buff;
  const auto available = static_cast<std::uint64_t>(buff.data_end - buff.data);
  return kfunc::as_u32(r2) > available ? kfunc::failure(EINVAL) : 0;
}

}  // namespace lmn
