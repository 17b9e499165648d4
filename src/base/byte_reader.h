// SPDX-License-Identifier: Apache-2.0
//
// ByteReader: the only way to read untrusted bytes.
//
// It walks a span and gives integers of a stated byte order; reading past the end gives nullopt and
// moves nothing. Objects (ELF, BTF), captures and messages are never cast to structs: alignment,
// length and byte order would all be assumptions.
//
//   ByteReader reader(bytes, std::endian::little);
//   auto magic = reader.u32();            // std::optional<std::uint32_t>
//   auto body = reader.bytes(*length);    // std::optional<std::span<const std::uint8_t>>
//
// Counter-example: reader.at(offset + size) with a wrapped sum: sub() takes offset and size apart
// and checks them in 64 bits. Invariant: position() <= size(). Threads: a plain value. Tested by
// base_test.cc.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace lmn {

using ByteSpan = std::span<const std::uint8_t>;

// An unsigned integer read from unaligned memory in the given byte order.
// REQUIRES: sizeof(T) readable bytes at `from`.
template <typename T>
T load_unaligned(const std::uint8_t* from, std::endian order = std::endian::native) {
  static_assert(std::is_unsigned_v<T>);
  T value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (sizeof(T) > 1) {
    if (order != std::endian::native) {
      if constexpr (sizeof(T) == 2) value = __builtin_bswap16(value);
      if constexpr (sizeof(T) == 4) value = __builtin_bswap32(value);
      if constexpr (sizeof(T) == 8) value = __builtin_bswap64(value);
    }
  }
  return value;
}

template <typename T>
void store_unaligned(std::uint8_t* to, T value, std::endian order = std::endian::native) {
  static_assert(std::is_unsigned_v<T>);
  value = load_unaligned<T>(reinterpret_cast<const std::uint8_t*>(&value), order);
  std::memcpy(to, &value, sizeof value);
}

class ByteReader {
 public:
  explicit ByteReader(ByteSpan bytes, std::endian order = std::endian::little)
      : bytes_(bytes), order_(order) {}

  std::size_t size() const { return bytes_.size(); }
  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }
  std::endian order() const { return order_; }

  std::optional<std::uint8_t> u8() { return take<std::uint8_t>(); }
  std::optional<std::uint16_t> u16() { return take<std::uint16_t>(); }
  std::optional<std::uint32_t> u32() { return take<std::uint32_t>(); }
  std::optional<std::uint64_t> u64() { return take<std::uint64_t>(); }

  // The next `count` bytes, as a view into the source.
  std::optional<ByteSpan> bytes(std::uint64_t count) {
    if (count > remaining()) return std::nullopt;
    ByteSpan out = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += static_cast<std::size_t>(count);
    return out;
  }

  bool skip(std::uint64_t count) { return bytes(count).has_value(); }

  // Moves to an absolute position; false (and no move) when it lies past the end.
  bool seek(std::uint64_t position) {
    if (position > bytes_.size()) return false;
    position_ = static_cast<std::size_t>(position);
    return true;
  }

  // [offset, offset + count) of the whole source, independent of the position.
  std::optional<ByteSpan> sub(std::uint64_t offset, std::uint64_t count) const {
    if (offset > bytes_.size()) return std::nullopt;
    if (count > bytes_.size() - offset) return std::nullopt;
    return bytes_.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(count));
  }

 private:
  template <typename T>
  std::optional<T> take() {
    if (remaining() < sizeof(T)) return std::nullopt;
    T value = load_unaligned<T>(bytes_.data() + position_, order_);
    position_ += sizeof(T);
    return value;
  }

  ByteSpan bytes_;
  std::endian order_;
  std::size_t position_ = 0;
};

// The zero-terminated string at `offset` of a string table, without its zero; nullopt when the
// offset is outside or no zero follows.
inline std::optional<std::string_view> string_at(ByteSpan table, std::uint64_t offset) {
  if (offset >= table.size()) return std::nullopt;
  const ByteSpan rest = table.subspan(static_cast<std::size_t>(offset));
  const void* end = std::memchr(rest.data(), 0, rest.size());
  if (end == nullptr) return std::nullopt;
  const auto* begin = reinterpret_cast<const char*>(rest.data());
  return std::string_view(begin, static_cast<std::size_t>(static_cast<const char*>(end) - begin));
}

}  // namespace lmn
