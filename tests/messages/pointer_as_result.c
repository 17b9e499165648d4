// SPDX-License-Identifier: Apache-2.0
//
// An address leaves as the verdict. Loaders without CAP_PERFMON may not.
// check: --untrusted
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  return (long)DATA(ctx);  // guilty
}
