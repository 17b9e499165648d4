// SPDX-License-Identifier: Apache-2.0
//
// Helpers about the current task: fixed answers.
//
// In the kernel a packet interrupts whatever task is running, so what these return there says
// nothing of the packet; on an idle machine it is the idle task. That is the answer here, always:
// process 0 of user 0, named after its CPU, in the root cgroup. Namespaces are matched by device
// and inode, of which an engine has none.
// Tested by helpers_test.cc. Source: Linux 6.18, kernel/bpf/helpers.c, net/core/filter.c.
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "helpers/bodies.h"

namespace lmn {
namespace {

constexpr std::uint64_t kRootCgroupId = 1;

}  // namespace

LMN_HELPER_BODY(get_current_pid_tgid) { return 0; }

LMN_HELPER_BODY(get_current_uid_gid) { return 0; }

LMN_HELPER_BODY(get_cgroup_classid) { return 0; }

LMN_HELPER_BODY(get_current_cgroup_id) { return kRootCgroupId; }

LMN_HELPER_BODY(get_current_ancestor_cgroup_id) {
  return helper::as_s32(r1) == 0 ? kRootCgroupId : 0;
}

LMN_HELPER_BODY(get_current_comm) {
  auto* out = helper::as_pointer<char>(r1);
  const std::size_t out_bytes = helper::as_u32(r2);
  std::memset(out, 0, out_bytes);
  std::snprintf(out, out_bytes, "swapper/%u", context->cpu);
  return 0;
}

LMN_HELPER_BODY(get_ns_current_pid_tgid) {
  std::memset(helper::as_pointer<void>(r3), 0, helper::as_u32(r4));
  return helper::failure(EINVAL);
}

}  // namespace lmn
