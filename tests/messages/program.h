// SPDX-License-Identifier: Apache-2.0
//
// What the broken programs of this folder have in common: the headers, the licence and the first
// lines of every XDP program.
#pragma once

// clang-format off: the kernel's types come first
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
// clang-format on

#define DATA(ctx) ((void*)(long)(ctx)->data)
#define DATA_END(ctx) ((void*)(long)(ctx)->data_end)

#ifndef LICENSE
#define LICENSE "GPL"
#endif
char _license[] SEC("license") = LICENSE;
