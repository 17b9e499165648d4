// SPDX-License-Identifier: Apache-2.0
//
// Open-coded iterators: numbers of a range, and the set bits of words.
//
// The state lies on the program's stack, in the kernel's layout; the program can neither read nor
// write it. After the end `next` gives 0 again and again.
//
// The kernel copies the words of a bit iterator into memory of its own when it starts, unless it is
// one word. Bodies here do not allocate: of more words the address is kept, and they are read anew
// with each step. So a program that changes them while it iterates sees its changes, which in the
// kernel it does not (docs/kernel-differences.md).
// Tested by kfuncs_test.cc.
// Source: Linux 6.18, kernel/bpf/bpf_iter.c (bpf_iter_num_*), kernel/bpf/helpers.c
// (bpf_iter_bits_*).
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "abi/limits.h"
#include "kfuncs/bodies.h"

namespace lmn {
namespace {

struct NumberIterator {
  std::int32_t current = 0;  // the last number that was given, begin - 1 before the first
  std::int32_t end = 0;
};
static_assert(sizeof(NumberIterator) == 8, "struct bpf_iter_num is one stack slot");

struct BitIterator {
  std::uint64_t words = 0;  // one word, or the address of more
  std::int32_t bit_count = 0;
  std::int32_t current = -1;
};
static_assert(sizeof(BitIterator) == 16, "struct bpf_iter_bits is two stack slots");

constexpr std::uint32_t kBitWordsMax = 511;
constexpr std::int32_t kWordBits = 64;

// The word that holds bit `bit`; 0 when its memory is gone.
std::uint64_t word_at(const RunContext& context, const BitIterator& it, std::int32_t bit) {
  if (it.bit_count == kWordBits) return it.words;
  std::uint8_t bytes[8];
  const std::uint64_t address = it.words + static_cast<std::uint64_t>(bit / kWordBits) * 8;
  if (!kfunc::read_guest_all(context, address, bytes)) return 0;
  std::uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

std::int32_t next_set_bit(const RunContext& context, const BitIterator& it) {
  std::int32_t bit = it.current + 1;
  while (bit < it.bit_count) {
    const std::uint64_t rest = word_at(context, it, bit) >> (bit % kWordBits);
    if (rest != 0) return bit + std::countr_zero(rest);
    bit += kWordBits - bit % kWordBits;
  }
  return it.bit_count;
}

}  // namespace

LMN_KFUNC_BODY(bpf_iter_num_new) {
  auto& it = *kfunc::as_pointer<NumberIterator>(r1);
  const std::int32_t start = kfunc::as_s32(r2);
  const std::int32_t end = kfunc::as_s32(r3);
  it = {};
  if (start > end) return kfunc::failure(EINVAL);
  if (std::int64_t{end} - start > std::int64_t{limits::kLoopIterationsMax}) {
    return kfunc::failure(E2BIG);
  }
  // Wraps for the smallest number: next adds the one back.
  it.current = static_cast<std::int32_t>(static_cast<std::uint32_t>(start) - 1);
  it.end = end;
  return 0;
}

LMN_KFUNC_BODY(bpf_iter_num_next) {
  auto& it = *kfunc::as_pointer<NumberIterator>(r1);
  const auto next = static_cast<std::int32_t>(static_cast<std::uint32_t>(it.current) + 1);
  if (next >= it.end) {
    it = {};
    return 0;
  }
  it.current = next;
  return r1;
}

LMN_KFUNC_BODY(bpf_iter_num_destroy) {
  *kfunc::as_pointer<NumberIterator>(r1) = {};
  return 0;
}

LMN_KFUNC_BODY(bpf_iter_bits_new) {
  auto& it = *kfunc::as_pointer<BitIterator>(r1);
  const std::uint32_t count = kfunc::as_u32(r3);
  it = {};
  if (r2 == 0 || count == 0) return kfunc::failure(EINVAL);
  if (count > kBitWordsMax) return kfunc::failure(E2BIG);
  std::uint8_t bytes[kBitWordsMax * 8];
  if (!kfunc::read_guest_all(*context, r2, {bytes, count * std::size_t{8}})) {
    return kfunc::failure(EFAULT);
  }
  it.words = r2;
  if (count == 1) std::memcpy(&it.words, bytes, sizeof it.words);
  it.bit_count = static_cast<std::int32_t>(count) * kWordBits;
  return 0;
}

LMN_KFUNC_BODY(bpf_iter_bits_next) {
  auto& it = *kfunc::as_pointer<BitIterator>(r1);
  if (it.bit_count == 0 || it.current >= it.bit_count) return 0;
  it.current = next_set_bit(*context, it);
  if (it.current >= it.bit_count) return 0;
  return reinterpret_cast<std::uintptr_t>(&it.current);
}

LMN_KFUNC_BODY(bpf_iter_bits_destroy) {
  *kfunc::as_pointer<BitIterator>(r1) = {};
  return 0;
}

}  // namespace lmn
