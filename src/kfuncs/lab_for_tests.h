// SPDX-License-Identifier: Apache-2.0
//
// Lab: a frame, a run and a program's memory to call bodies of kernel functions with, for their
// tests: internal to them.
//
//   Lab lab(64);
//   EXPECT_EQ(lab.call("bpf_strlen", lab.add(text)), 5);
//
// Threads: a value of one test.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kfuncs/kfuncs.h"
#include "packet/run_context.h"
#include "packet/xdp_buff.h"

namespace lmn {

// A frame, a run, and memory that read_guest may read: what is registered, and nothing else.
class Lab {
 public:
  explicit Lab(std::size_t packet_size = 0) : packet(packet_size) {
    for (std::size_t i = 0; i < packet_size; ++i) packet[i] = static_cast<std::uint8_t>(i + 1);
    buff.data = packet.data();
    buff.data_end = packet.data() + packet.size();
    buff.data_meta = buff.data;
    context.buff = &buff;
    context.engine_state = this;
    context.read_guest = &read;
  }

  std::int32_t call(std::string_view name, std::uint64_t r1 = 0, std::uint64_t r2 = 0,
                    std::uint64_t r3 = 0, std::uint64_t r4 = 0, std::uint64_t r5 = 0) {
    return static_cast<std::int32_t>(call_long(name, r1, r2, r3, r4, r5));
  }
  std::uint64_t call_long(std::string_view name, std::uint64_t r1 = 0, std::uint64_t r2 = 0,
                          std::uint64_t r3 = 0, std::uint64_t r4 = 0, std::uint64_t r5 = 0) {
    const HelperFn body = kfunc_function(name);
    EXPECT_NE(body, nullptr) << name;
    return body == nullptr ? ~0ull : body(r1, r2, r3, r4, r5, &context);
  }
  // Makes the bytes readable for the program; they stay where they are.
  std::uint64_t add(std::span<const std::uint8_t> bytes) {
    readable.push_back(bytes);
    return reinterpret_cast<std::uintptr_t>(bytes.data());
  }
  std::uint64_t add(const std::string& text) {
    return add({reinterpret_cast<const std::uint8_t*>(text.c_str()), text.size() + 1});
  }

  std::vector<std::uint8_t> packet;
  std::vector<std::span<const std::uint8_t>> readable;
  XdpBuff buff;
  RunContext context;

 private:
  static std::size_t read(void* state, std::uint64_t address,
                          std::span<std::uint8_t> out) noexcept {
    for (const auto& bytes : static_cast<Lab*>(state)->readable) {
      const std::uint64_t offset = address - reinterpret_cast<std::uintptr_t>(bytes.data());
      if (offset >= bytes.size()) continue;
      const std::size_t count = std::min<std::size_t>(out.size(), bytes.size() - offset);
      std::memcpy(out.data(), bytes.data() + offset, count);
      return count;
    }
    return 0;
  }
};

inline std::uint64_t at(void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

}  // namespace lmn
