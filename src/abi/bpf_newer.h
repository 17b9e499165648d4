// SPDX-License-Identifier: Apache-2.0
//
// Guest-visible numbers newer than the UAPI headers in third_party (Linux 6.12), by their kernel
// names.
#pragma once

#include <linux/bpf.h>

#ifndef BPF_LOAD_ACQ
#define BPF_LOAD_ACQ 0x100   // Linux 6.15: dst = smp_load_acquire(src + off)
#define BPF_STORE_REL 0x110  // Linux 6.15: smp_store_release(dst + off, src)
#endif
