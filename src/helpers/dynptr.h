// SPDX-License-Identifier: Apache-2.0
//
// Dynptr: a slice of memory whose bounds are checked when it is used, not when the program is
// verified. Internal to helpers.
//
// It lives in 16 bytes of the program's stack that the program itself can neither read nor write.
// The layout is the kernel's, so that dumps of a stack mean the same: address, size with type and
// read-only bit above its 24 bits, offset. All zeros is the null dynptr.
// A dynptr of the packet (kfunc bpf_dynptr_from_xdp) will be of another type and hold no address.
// Threads: a plain value. Tested by tests/differential/dynptr_test.cc.
// Source: Linux 6.18, include/linux/bpf.h (bpf_dynptr_kern), kernel/bpf/helpers.c.
#pragma once

#include <linux/bpf.h>

#include <cstdint>

#include "helpers/bodies.h"

namespace lmn::helper {

struct Dynptr {
  static constexpr std::uint32_t kSizeMax = (1u << 24) - 1;
  static constexpr std::uint32_t kTypeShift = 28;
  static constexpr std::uint32_t kReadOnly = 1u << 31;
  // The kernel's enum bpf_dynptr_type.
  static constexpr std::uint32_t kLocal = 1;
  static constexpr std::uint32_t kRingbuf = 2;

  std::uint64_t address = 0;  // 0: null
  std::uint32_t size_and_type = 0;
  std::uint32_t offset = 0;

  static Dynptr of_memory(std::uint64_t address, std::uint32_t size, std::uint32_t type) {
    return {address, size | type << kTypeShift, 0};
  }
  bool is_null() const { return address == 0; }
  std::uint32_t size() const { return size_and_type & kSizeMax; }
  bool is_read_only() const { return (size_and_type & kReadOnly) != 0; }
  // Whether it is a slice of memory, rather than of a packet.
  bool is_memory() const {
    const std::uint32_t type = (size_and_type & ~kReadOnly) >> kTypeShift;
    return type == kLocal || type == kRingbuf;
  }
  bool covers(std::uint32_t at, std::uint32_t length) const {
    return length <= size() && at <= size() - length;
  }
  std::uint8_t* bytes(std::uint32_t at) const {
    return as_pointer<std::uint8_t>(address) + offset + at;
  }
};
static_assert(sizeof(Dynptr) == sizeof(struct bpf_dynptr));

}  // namespace lmn::helper
