// SPDX-License-Identifier: Apache-2.0
//
// Dynptr: the 16 bytes of a struct bpf_dynptr, and what it is a slice of.
//
// A dynptr is a slice whose bounds are checked when it is used, not when the program is verified.
// It lies on the program's stack, where the program itself can neither read nor write it. The
// layout is the kernel's, so that dumps of a stack mean the same: address, size with type and
// read-only bit above its 24 bits, offset. A dynptr of a packet does not hold the packet's address
// but that of the buff, and its bounds are looked at again with every use: the packet may have
// moved or shrunk.
//
// Shared by the helpers and the kfuncs that work on dynptrs. Threads: a plain value.
// Tested by helpers_test.cc and kfuncs_test.cc.
// Source: Linux 6.18, include/linux/bpf.h (struct bpf_dynptr_kern, enum bpf_dynptr_type).
#pragma once

#include <linux/bpf.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "packet/xdp_buff.h"

namespace lmn {

struct Dynptr {
  static constexpr std::uint32_t kSizeMask = (1u << 24) - 1;
  static constexpr std::uint32_t kReadOnly = 1u << 31;
  static constexpr std::uint32_t kTypeShift = 28;
  static constexpr std::uint32_t kTypeLocal = 1;
  static constexpr std::uint32_t kTypeRingbuf = 2;
  static constexpr std::uint32_t kTypeXdp = 4;

  std::uint64_t address = 0;  // of the memory, or of the buff; 0: null
  std::uint32_t size_and_type = 0;
  std::uint32_t offset = 0;

  static Dynptr make(std::uint64_t address, std::uint32_t size, std::uint32_t type) {
    return {address, size | type << kTypeShift, 0};
  }

  bool is_null() const { return address == 0; }
  bool is_read_only() const { return (size_and_type & kReadOnly) != 0; }
  std::uint32_t size() const { return size_and_type & kSizeMask; }
  void set_size(std::uint32_t size) { size_and_type = (size_and_type & ~kSizeMask) | size; }
  bool covers(std::uint32_t at, std::uint32_t length) const {
    return length <= size() && at <= size() - length;
  }
  // Memory of its own, as opposed to a packet.
  bool is_memory() const { return type() == kTypeLocal || type() == kTypeRingbuf; }
  bool is_packet() const { return type() == kTypeXdp; }

  // The address of [at, at + length), or null: the packet does not have these bytes any more.
  // REQUIRES: not null; covers(at, length).
  std::uint8_t* bytes(std::uint32_t at, std::uint32_t length) const {
    auto* base = reinterpret_cast<std::uint8_t*>(static_cast<std::uintptr_t>(address));
    if (is_memory()) return base + offset + at;
    if (!is_packet()) return nullptr;
    const auto& buff = *reinterpret_cast<const XdpBuff*>(base);
    const auto available = static_cast<std::uint64_t>(buff.data_end - buff.data);
    const std::uint64_t from = std::uint64_t{offset} + at;
    return from + length <= available ? buff.data + from : nullptr;
  }

  // Copies between the slice and host memory, which may overlap it: 0 or -errno.
  int read(void* out, std::uint32_t at, std::uint32_t length) const {
    if (is_null()) return -EINVAL;
    if (!covers(at, length)) return -E2BIG;
    const std::uint8_t* from = bytes(at, length);
    if (from == nullptr) return is_packet() ? -EINVAL : -EFAULT;
    if (length != 0) std::memmove(out, from, length);
    return 0;
  }
  int write(std::uint32_t at, const void* in, std::uint32_t length) const {
    if (is_null() || is_read_only()) return -EINVAL;
    if (!covers(at, length)) return -E2BIG;
    std::uint8_t* to = bytes(at, length);
    if (to == nullptr) return is_packet() ? -EINVAL : -EFAULT;
    if (length != 0) std::memmove(to, in, length);
    return 0;
  }

 private:
  std::uint32_t type() const { return (size_and_type & ~kReadOnly) >> kTypeShift; }
};
static_assert(sizeof(Dynptr) == sizeof(struct bpf_dynptr));

// The dynptr at a guest's address. REQUIRES: the caller has checked that there is one.
inline Dynptr& dynptr_at(std::uint64_t address) {
  return *reinterpret_cast<Dynptr*>(static_cast<std::uintptr_t>(address));
}

}  // namespace lmn
