// SPDX-License-Identifier: Apache-2.0
//
// Kfuncs of the packet: what its receiver found out about it, and pulling bytes together.
//
// No port of LMN tells hash, time stamp or VLAN tag of a frame yet: the answer is the one that
// Linux's own stubs give for a driver without them, which every program must expect. Packets are
// one stretch of memory, so all their bytes are where bpf_xdp_pull_data would put them. Tested by
// kfuncs_test.cc. Source: Linux 6.18, net/core/xdp.c (bpf_xdp_metadata_rx_*), net/core/filter.c
// (bpf_xdp_pull_data).
#include <cerrno>

#include "kfuncs/bodies.h"

namespace lmn {

LMN_KFUNC_BODY(bpf_xdp_metadata_rx_hash) { return kfunc::failure(EOPNOTSUPP); }
LMN_KFUNC_BODY(bpf_xdp_metadata_rx_timestamp) { return kfunc::failure(EOPNOTSUPP); }
LMN_KFUNC_BODY(bpf_xdp_metadata_rx_vlan_tag) { return kfunc::failure(EOPNOTSUPP); }

LMN_KFUNC_BODY(bpf_xdp_pull_data) {
  const XdpBuff& buff = *context->buff;
  const auto available = static_cast<std::uint64_t>(buff.data_end - buff.data);
  return kfunc::as_u32(r2) > available ? kfunc::failure(EINVAL) : 0;
}

}  // namespace lmn
