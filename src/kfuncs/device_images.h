// SPDX-License-Identifier: Apache-2.0
//
// DeviceImages: what a program finds behind its context: the kernel's struct xdp_buff, the queue
// and the device that it leads to, laid out as the BTF says that the program was relocated for.
//
//   struct xdp_buff *kernel = bpf_cast_to_kern_ctx(ctx);
//   int ifindex = kernel->rxq->dev->ifindex;
//
// These are images: LMN keeps a packet's state in XdpBuff, and writes it into them whenever a
// program looks (KernelStruct::refresh), so that they are right after a change of the packet too. A
// packet is at one queue at a time, so there is one image of each struct for each CPU. Kept up are:
// data, data_end, data_meta, data_hard_start, rxq, txq (of devmap programs), frame_sz and flags
// (never set: a buffer is one piece); of queues dev and queue_index; of a device ifindex, name, mtu
// and nd_net.net->ns.inum, which is that of the network namespace that the engine was made in.
//
// Threads: whoever runs programs on the CPU that these are for.
// Tested by tests/differential/kernel_objects_test.cc.
// Source: Linux 6.18, include/net/xdp.h, include/linux/netdevice.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "packet/run_context.h"

namespace lmn {

// Where the fields lie, in bytes from the beginning of their struct; none: the kernel has no such
// field.
struct DeviceLayout {
  using Offset = std::optional<std::uint32_t>;
  std::uint32_t buffer_bytes = 0;
  Offset data, data_end, data_meta, data_hard_start;
  Offset receive_queue, transmit_queue, frame_size;
  std::uint32_t receive_queue_bytes = 0;
  Offset receive_device, queue_index;
  std::uint32_t transmit_queue_bytes = 0;
  Offset transmit_device;
  std::uint32_t device_bytes = 0;
  Offset ifindex, mtu, name, device_net;
  std::uint32_t net_bytes = 0;
  Offset inum;
};

class DeviceImages {
 public:
  // REQUIRES: nothing runs.
  void set_layout(const DeviceLayout& layout);
  // The number of the network namespace.
  void set_namespace(std::uint32_t inum) noexcept { inum_ = inum; }

  // The struct xdp_buff, made to say what `context` has now; 0 where no packet is.
  std::uint64_t refresh(const RunContext& context) noexcept;
  // Copies what lies at `address` of any of the images, at most out.size() bytes; how many.
  std::size_t read(const RunContext& context, std::uint64_t address,
                   std::span<std::uint8_t> out) noexcept;

 private:
  using Bytes = std::vector<std::uint8_t>;
  void set_device(Bytes& device, const RunContext& context, std::uint32_t ifindex) noexcept;

  DeviceLayout layout_;
  std::uint32_t inum_ = 0;
  Bytes buffer_;
  Bytes receive_queue_;
  Bytes transmit_queue_;
  Bytes ingress_;
  Bytes egress_;
  Bytes net_;
};

}  // namespace lmn
