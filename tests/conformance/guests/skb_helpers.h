// SPDX-License-Identifier: Apache-2.0
//
// Helpers and kernel functions that Linux offers to programs with an sk_buff and not to XDP
// programs, with the kernel's behaviour on an SkBuff; and those of the product beside them, as one
// table each.
//
// Kept apart from src/helpers on purpose: what is in its table may be called by XDP programs.
// Threads: as helpers. Tested by skb_test.cc and by lmn_selftest_retval.
// Source: Linux 6.18, net/core/filter.c, net/core/bpf_sk_storage.c, kernel/bpf/cgroup.c.
#pragma once

#include <span>
#include <string_view>

#include "abi/helper_proto.h"
#include "abi/kfunc_proto.h"
#include "packet/run_context.h"

namespace lmn::guests {

// The product's rows and the ones above, sorted by id.
std::span<const HelperProto> helper_protos();
HelperFn helper_function(std::uint32_t id) noexcept;
// The same of kernel functions.
std::span<const KfuncProto> kfunc_protos();
HelperFn kfunc_function(std::string_view name) noexcept;

}  // namespace lmn::guests
