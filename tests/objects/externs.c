// SPDX-License-Identifier: Apache-2.0
//
// Things of the kernel that a program names: settings of each type, variables with and without a
// type, functions.
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

extern unsigned LINUX_KERNEL_VERSION __kconfig;
extern unsigned long CONFIG_HZ __kconfig __weak;
extern bool CONFIG_NET __kconfig __weak;
extern enum libbpf_tristate CONFIG_TUN __kconfig __weak;
extern char CONFIG_DEFAULT_HOSTNAME[8] __kconfig __weak;
extern short CONFIG_NOT_THERE __kconfig __weak;

extern const void bpf_prog_fops_absent __ksym __weak;
extern const int bpf_prog_active_absent __ksym __weak;
extern int bpf_xdp_metadata_rx_timestamp(const struct xdp_md* ctx, __u64* time) __ksym __weak;
extern int bpf_no_such_kfunc(int value) __ksym __weak;

unsigned long result;

SEC("xdp")
int settings(struct xdp_md* ctx) {
  result = LINUX_KERNEL_VERSION + CONFIG_HZ + CONFIG_NET + CONFIG_TUN + CONFIG_DEFAULT_HOSTNAME[1] +
           CONFIG_NOT_THERE;
  return XDP_PASS;
}

SEC("xdp")
int symbols(struct xdp_md* ctx) {
  __u64 time = 0;
  if (&bpf_prog_fops_absent) result++;
  if (&bpf_prog_active_absent) result++;
  if (bpf_no_such_kfunc) return bpf_no_such_kfunc(3);
  return bpf_xdp_metadata_rx_timestamp(ctx, &time);
}

char _license[] SEC("license") = "GPL";
