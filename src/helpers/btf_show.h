// SPDX-License-Identifier: Apache-2.0
//
// BtfShow: a value in words, by its type: what bpf_snprintf_btf writes.
//
//   (struct sk_buff){
//    .len = (unsigned int)60,
//    .protocol = (__be16)8,
//   }
//
// Members that are zero are left out unless asked for, and so are structs and arrays of nothing but
// zeroes: those are walked twice, once to see whether anything would be shown. The form is the
// kernel's to the letter, its peculiarities included: elements that are pointers or arrays
// themselves have no size of their own in it, so that the first is shown each time; a type's words
// end after 79 characters; an enumerator is shown even if it is 0.
//
// The value is read through a function that may fail (memory that the program may not read), 32
// bytes at a time; then its part is left out, and status() says -EFAULT as long as nothing could be
// read after it. Nothing here allocates; depth is bounded by what Btf guarantees.
//
// Internal to helpers; the public API is helpers.h. Threads: a value of one call.
// Tested by tests/differential/btf_show_test.cc. Source: Linux 6.18, kernel/bpf/btf.c (btf_*_show).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "btf/btf.h"
#include "packet/run_context.h"

namespace lmn {

class BtfShow {
 public:
  // Writes into `out`, zero-terminated, as much as fits. `flags` are BTF_F_*.
  BtfShow(const Btf& btf, const RunContext& context, std::span<char> out, std::uint64_t flags)
      : btf_(btf), context_(context), out_(out), flags_(flags) {}

  // Shows the value of that type at `address`. 0 or -errno; the length that would have been
  // written, without the zero, is length(). REQUIRES: a type that can be shown (is_showable).
  int show(std::uint32_t type_id, std::uint64_t address) noexcept;
  std::uint64_t length() const noexcept { return length_; }

 private:
  static constexpr std::size_t kSafeBytes = 32;
  static constexpr std::size_t kBaseTypeBytes = 16;
  static constexpr std::size_t kNameBytes = 80;

  // One value being shown.
  struct Value {
    std::uint32_t type_id = 0;  // as it was named, typedefs and all
    std::uint64_t address = 0;
    std::uint32_t bit_offset = 0;
  };

  void show_type(const BtfType& type, const Value& value) noexcept;
  void show_int(const BtfType& type, const Value& value) noexcept;
  void show_bits(const std::uint8_t* bytes, std::uint32_t bit_offset, std::uint32_t bits) noexcept;
  void show_wide(std::uint64_t high, std::uint64_t low) noexcept;
  void show_byte(std::uint8_t byte, bool is_signed) noexcept;
  void show_pointer(const BtfType& type, const Value& value) noexcept;
  void show_enum(const BtfType& type, const Value& value) noexcept;
  void show_members(const BtfType& type, const Value& value) noexcept;
  void show_elements(const BtfType& type, const Value& value) noexcept;
  void show_nested(const BtfType& type, const Value& value,
                   void (BtfShow::*show_all)(const BtfType&, const Value&) noexcept) noexcept;

  const std::uint8_t* start(const BtfType& type, std::uint32_t type_id,
                            std::uint64_t address) noexcept;
  void end() noexcept;
  const std::uint8_t* start_nested(const BtfType& type, const Value& value) noexcept;
  void end_nested(std::string_view closing) noexcept;
  const std::uint8_t* readable(std::uint32_t type_id, std::uint64_t address) noexcept;

  void put_value(std::string_view text, bool is_zero) noexcept;
  void put_number(std::uint64_t magnitude, bool is_negative) noexcept;
  void put(std::string_view text) noexcept;
  std::string_view name() noexcept;
  std::string_view indent() const noexcept;
  std::string_view delimiter() const noexcept;
  std::string_view newline() const noexcept;
  bool has(std::uint64_t flag) const noexcept { return (flags_ & flag) != 0; }

  const Btf& btf_;
  const RunContext& context_;
  std::span<char> out_;
  std::uint64_t flags_;
  std::uint64_t length_ = 0;
  int status_ = 0;

  // Where we are.
  const BtfType* type_ = nullptr;
  std::uint32_t type_id_ = 0;
  const BtfMember* member_ = nullptr;
  std::uint32_t depth_ = 0;
  std::uint32_t depth_check_ = 0;    // not 0: nothing is written, it is only looked for
  std::uint32_t depth_to_show_ = 0;  // how deep something to show was found
  bool is_array_member_ = false;
  bool is_char_array_ = false;
  bool is_array_terminated_ = false;
  std::array<char, kNameBytes> name_{};

  // The part of the object that was copied last.
  std::uint64_t object_address_ = 0;
  std::uint64_t object_bytes_ = 0;
  std::uint64_t safe_address_ = 0;
  bool has_safe_ = false;
  // With room behind for a bit field that ends further on than its type says.
  std::array<std::uint8_t, kSafeBytes + kBaseTypeBytes> safe_{};
};

}  // namespace lmn
