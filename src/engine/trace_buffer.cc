// SPDX-License-Identifier: Apache-2.0
//
// The ring behind bpf_trace_printk. Tested by engine_test.cc.
#include "engine/trace_buffer.h"

#include <algorithm>
#include <cstring>

namespace lmn {
namespace {

constexpr std::size_t kHeaderBytes = sizeof(std::uint16_t);

}  // namespace

void TraceBuffer::put(std::uint64_t at, const char* from, std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; ++i) bytes_[(at + i) % kCapacityBytes] = from[i];
}

void TraceBuffer::get(std::uint64_t at, char* to, std::size_t count) const noexcept {
  for (std::size_t i = 0; i < count; ++i) to[i] = bytes_[(at + i) % kCapacityBytes];
}

void TraceBuffer::print(std::string_view text) noexcept {
  text = text.substr(0, kLineBytesMax);
  const SpinGuard guard(writers_);
  const std::uint64_t head = head_.load(std::memory_order_relaxed);
  const std::uint64_t used = head - tail_.load(std::memory_order_acquire);
  if (used + kHeaderBytes + text.size() > kCapacityBytes) {
    lost_.store(lost_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return;
  }
  const auto length = static_cast<std::uint16_t>(text.size());
  std::array<char, kHeaderBytes> header;
  std::memcpy(header.data(), &length, kHeaderBytes);
  put(head, header.data(), kHeaderBytes);
  put(head + kHeaderBytes, text.data(), text.size());
  head_.store(head + kHeaderBytes + text.size(), std::memory_order_release);
}

void TraceBuffer::drain(const std::function<void(std::string_view)>& line) {
  std::array<char, kLineBytesMax> text;
  std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  const std::uint64_t head = head_.load(std::memory_order_acquire);
  while (tail != head) {
    std::uint16_t length = 0;
    std::array<char, kHeaderBytes> header;
    get(tail, header.data(), kHeaderBytes);
    std::memcpy(&length, header.data(), kHeaderBytes);
    get(tail + kHeaderBytes, text.data(), length);
    tail += kHeaderBytes + length;
    tail_.store(tail, std::memory_order_release);
    line(std::string_view(text.data(), length));
  }
}

}  // namespace lmn
