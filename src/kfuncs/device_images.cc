// SPDX-License-Identifier: Apache-2.0
//
// Writing the images. Tested by tests/differential/kernel_objects_test.cc.
#include "kfuncs/device_images.h"

#include <algorithm>
#include <cstring>

#include "kfuncs/bodies.h"

namespace lmn {
namespace {

constexpr std::size_t kNameBytes = 16;  // IFNAMSIZ

std::uint64_t address_of(const void* bytes) { return reinterpret_cast<std::uintptr_t>(bytes); }

template <typename T>
void set(std::vector<std::uint8_t>& image, DeviceLayout::Offset at, T value) noexcept {
  if (!at || *at + sizeof value > image.size()) return;
  std::memcpy(image.data() + *at, &value, sizeof value);
}

}  // namespace

void DeviceImages::set_layout(const DeviceLayout& layout) {
  layout_ = layout;
  buffer_.assign(layout.buffer_bytes, 0);
  receive_queue_.assign(layout.receive_queue_bytes, 0);
  transmit_queue_.assign(layout.transmit_queue_bytes, 0);
  ingress_.assign(layout.device_bytes, 0);
  egress_.assign(layout.device_bytes, 0);
  net_.assign(layout.net_bytes, 0);
}

void DeviceImages::set_device(Bytes& device, const RunContext& context,
                              std::uint32_t ifindex) noexcept {
  set(device, layout_.ifindex, ifindex);
  set(device, layout_.device_net, address_of(net_.data()));
  std::string_view name;
  std::uint32_t mtu = 0;
  if (context.ports != nullptr) {
    name = context.ports->find_name(ifindex);
    mtu = context.ports->find_mtu(ifindex).value_or(0);
  }
  set(device, layout_.mtu, mtu);
  std::array<char, kNameBytes> text{};
  std::memcpy(text.data(), name.data(), std::min(name.size(), kNameBytes - 1));
  set(device, layout_.name, text);
}

std::uint64_t DeviceImages::refresh(const RunContext& context) noexcept {
  const XdpBuff* buff = context.buff;
  if (buff == nullptr || buffer_.empty()) return 0;
  const std::uint32_t ingress = buff->rxq != nullptr ? buff->rxq->ifindex : 0;
  set_device(ingress_, context, ingress);
  set(net_, layout_.inum, inum_);
  set(receive_queue_, layout_.receive_device, address_of(ingress_.data()));
  set(receive_queue_, layout_.queue_index, buff->rxq != nullptr ? buff->rxq->queue_index : 0u);
  std::uint64_t transmit_queue = 0;
  if (buff->egress_ifindex != 0) {
    set_device(egress_, context, buff->egress_ifindex);
    set(transmit_queue_, layout_.transmit_device, address_of(egress_.data()));
    transmit_queue = address_of(transmit_queue_.data());
  }
  set(buffer_, layout_.data, address_of(buff->data));
  set(buffer_, layout_.data_end, address_of(buff->data_end));
  set(buffer_, layout_.data_meta, address_of(buff->data_meta));
  set(buffer_, layout_.data_hard_start, address_of(buff->hard_start));
  set(buffer_, layout_.receive_queue, address_of(receive_queue_.data()));
  set(buffer_, layout_.transmit_queue, transmit_queue);
  set(buffer_, layout_.frame_size, buff->frame_bytes);
  return address_of(buffer_.data());
}

std::size_t DeviceImages::read(const RunContext& context, std::uint64_t address,
                               std::span<std::uint8_t> out) noexcept {
  if (refresh(context) == 0) return 0;
  for (const Bytes* image :
       {&buffer_, &receive_queue_, &transmit_queue_, &ingress_, &egress_, &net_}) {
    const std::uint64_t offset = address - address_of(image->data());
    if (offset >= image->size()) continue;
    const std::size_t count = std::min<std::size_t>(out.size(), image->size() - offset);
    std::memcpy(out.data(), image->data() + offset, count);
    return count;
  }
  return 0;
}

LMN_KFUNC_BODY(bpf_cast_to_kern_ctx) {
  return context->kernel_objects == nullptr ? 0 : context->kernel_objects->context_object(*context);
}

LMN_KFUNC_BODY(bpf_rdonly_cast) { return r1; }

}  // namespace lmn
