// SPDX-License-Identifier: Apache-2.0
//
// Goal: the tables of kfuncs.def, and every kfunc body at its edges.
// Method: bodies are called directly, on a frame as a driver would make it and with this process's
// own memory as the program's.
#include "kfuncs/kfuncs.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kfuncs/lab_for_tests.h"
#include "maps/arena_map.h"
#include "maps/deferred_calls.h"
#include "maps/map.h"
#include "maps/object_heap.h"
#include "packet/dynptr.h"

namespace lmn {
namespace {

// --- the tables

TEST(KfuncTable, RowsHaveABodyOrAReasonOrAnEngine) {
  constexpr std::uint32_t kByEngine = kKfThrows | kKfRcuLock | kKfRcuUnlock | kKfPreemptDisable |
                                      kKfPreemptEnable | kKfIrqSave | kKfIrqRestore | kKfTrap;
  std::size_t offered = 0;
  for (const KfuncProto& proto : kfunc_protos()) {
    // Locks are taken by a body; the engine only sees to the interrupt state that comes with them.
    const bool is_lock = (proto.flags & (kKfSpinLock | kKfSpinUnlock)) != 0;
    const bool is_by_engine = (proto.flags & kByEngine) != 0 && !is_lock;
    const bool has_body = kfunc_function(proto.name) != nullptr;
    EXPECT_EQ(has_body, proto.refusal.empty() && !is_by_engine) << proto.name;
    offered += proto.refusal.empty();
  }
  EXPECT_GT(offered, 40u);
  EXPECT_LT(offered, kfunc_protos().size());
  EXPECT_EQ(kfunc_function("bpf_no_such_function"), nullptr);
}

TEST(KfuncTable, FlagsFitResults) {
  for (const KfuncProto& proto : kfunc_protos()) {
    const bool returns_number = proto.ret == KfuncRet::kScalar;
    EXPECT_EQ(returns_number || proto.ret == KfuncRet::kMem, proto.ret_size != 0) << proto.name;
    if ((proto.flags & kKfAcquire) != 0) {
      EXPECT_FALSE(returns_number || proto.ret == KfuncRet::kVoid) << proto.name;
    }
    if ((proto.flags & kKfIterNext) != 0) {
      EXPECT_NE(proto.flags & kKfRetNull, 0u) << proto.name;
    }
    if ((proto.flags & (kKfIterNew | kKfIterNext | kKfIterDestroy)) != 0) {
      EXPECT_EQ(proto.args[0].kind, KfuncArgKind::kIterator) << proto.name;
      EXPECT_EQ((proto.args[0].flags & kKfuncArgUninit) != 0, (proto.flags & kKfIterNew) != 0);
    }
  }
}

// --- iterators

TEST(Iterators, NumbersOfARange) {
  Lab lab;
  std::array<std::int32_t, 2> it{};
  ASSERT_EQ(lab.call("bpf_iter_num_new", at(&it), static_cast<std::uint64_t>(-2), 1), 0);
  for (const int expected : {-2, -1, 0}) {
    ASSERT_EQ(lab.call_long("bpf_iter_num_next", at(&it)), at(&it));
    EXPECT_EQ(it[0], expected);
  }
  EXPECT_EQ(lab.call_long("bpf_iter_num_next", at(&it)), 0u);
  EXPECT_EQ(lab.call_long("bpf_iter_num_next", at(&it)), 0u) << "the end stays the end";
}

TEST(Iterators, RangesThatAreNone) {
  Lab lab;
  std::array<std::int32_t, 2> it{};
  const auto as_arg = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
  EXPECT_EQ(lab.call("bpf_iter_num_new", at(&it), 5, 4), -EINVAL);
  EXPECT_EQ(lab.call_long("bpf_iter_num_next", at(&it)), 0u);
  EXPECT_EQ(lab.call("bpf_iter_num_new", at(&it), 4, 4), 0);
  EXPECT_EQ(lab.call_long("bpf_iter_num_next", at(&it)), 0u);
  constexpr std::int64_t kMax = 8 << 20;
  EXPECT_EQ(lab.call("bpf_iter_num_new", at(&it), 0, as_arg(kMax)), 0);
  EXPECT_EQ(lab.call("bpf_iter_num_new", at(&it), 0, as_arg(kMax + 1)), -E2BIG);
  EXPECT_EQ(lab.call("bpf_iter_num_new", at(&it), as_arg(INT32_MIN), as_arg(INT32_MAX)), -E2BIG);
}

TEST(Iterators, RangesAtTheEndsOfInt) {
  Lab lab;
  std::array<std::int32_t, 2> it{};
  const auto lowest = static_cast<std::uint64_t>(std::int64_t{INT32_MIN});
  ASSERT_EQ(lab.call("bpf_iter_num_new", at(&it), lowest, lowest + 1), 0);
  EXPECT_EQ(lab.call_long("bpf_iter_num_next", at(&it)), at(&it));
  EXPECT_EQ(it[0], INT32_MIN);
  EXPECT_EQ(lab.call_long("bpf_iter_num_next", at(&it)), 0u);
}

std::vector<int> bits_of(Lab& lab, std::span<const std::uint64_t> words) {
  struct {
    std::uint64_t words;
    std::int32_t count;
    std::int32_t current;
  } it{};
  const auto address = lab.add(
      {reinterpret_cast<const std::uint8_t*>(words.data()), words.size() * sizeof(std::uint64_t)});
  EXPECT_EQ(lab.call("bpf_iter_bits_new", at(&it), address, words.size()), 0);
  std::vector<int> bits;
  while (lab.call_long("bpf_iter_bits_next", at(&it)) != 0) bits.push_back(it.current);
  EXPECT_EQ(lab.call_long("bpf_iter_bits_next", at(&it)), 0u) << "the end stays the end";
  lab.call_long("bpf_iter_bits_destroy", at(&it));
  return bits;
}

TEST(Iterators, BitsOfWords) {
  Lab lab;
  EXPECT_EQ(bits_of(lab, std::array<std::uint64_t, 1>{0}), (std::vector<int>{}));
  EXPECT_EQ(bits_of(lab, std::array<std::uint64_t, 1>{1ull << 63 | 5}),
            (std::vector<int>{0, 2, 63}));
  EXPECT_EQ(bits_of(lab, std::array<std::uint64_t, 3>{1ull << 63, 0, 3}),
            (std::vector<int>{63, 128, 129}));
}

TEST(Iterators, BitsThatCannotBeHad) {
  Lab lab;
  std::array<std::uint64_t, 2> it{};
  const std::array<std::uint64_t, 1> word = {1};
  EXPECT_EQ(lab.call("bpf_iter_bits_new", at(&it), 0, 1), -EINVAL);
  EXPECT_EQ(lab.call("bpf_iter_bits_new", at(&it), 8, 0), -EINVAL);
  EXPECT_EQ(lab.call("bpf_iter_bits_new", at(&it), 8, 512), -E2BIG);
  const auto address = lab.add({reinterpret_cast<const std::uint8_t*>(word.data()), sizeof word});
  EXPECT_EQ(lab.call("bpf_iter_bits_new", at(&it), address, 2), -EFAULT);
  EXPECT_EQ(lab.call_long("bpf_iter_bits_next", at(&it)), 0u) << "nothing after a failure";
}

// --- dynptrs

TEST(Dynptrs, OfAPacketAreSlicesOfItAsItIsNow) {
  Lab lab(64);
  Dynptr dynptr;
  ASSERT_EQ(lab.call("bpf_dynptr_from_xdp", 0, 0, at(&dynptr)), 0);
  EXPECT_EQ(lab.call("bpf_dynptr_size", at(&dynptr)), 64);
  EXPECT_EQ(lab.call_long("bpf_dynptr_slice", at(&dynptr), 14, 0, 20), at(&lab.packet[14]));
  EXPECT_EQ(lab.call_long("bpf_dynptr_slice_rdwr", at(&dynptr), 44, 0, 20), at(&lab.packet[44]));
  EXPECT_EQ(lab.call_long("bpf_dynptr_slice", at(&dynptr), 45, 0, 20), 0u);
  lab.buff.data_end -= 10;
  EXPECT_EQ(lab.call_long("bpf_dynptr_slice", at(&dynptr), 44, 0, 20), 0u);
  std::uint8_t byte = 9;
  EXPECT_EQ(dynptr.write(60, &byte, 1), -EINVAL) << "as bpf_xdp_store_bytes past the end";
  EXPECT_EQ(dynptr.write(64, &byte, 1), -E2BIG);
}

TEST(Dynptrs, FlagsMakeANullOne) {
  Lab lab(64);
  Dynptr dynptr = Dynptr::make(8, 8, Dynptr::kTypeLocal);
  EXPECT_EQ(lab.call("bpf_dynptr_from_xdp", 0, 1, at(&dynptr)), -EINVAL);
  EXPECT_EQ(lab.call("bpf_dynptr_is_null", at(&dynptr)), 1);
  EXPECT_EQ(lab.call("bpf_dynptr_is_rdonly", at(&dynptr)), 0);
  EXPECT_EQ(lab.call("bpf_dynptr_size", at(&dynptr)), -EINVAL);
  EXPECT_EQ(lab.call("bpf_dynptr_adjust", at(&dynptr), 0, 0), -EINVAL);
  EXPECT_EQ(lab.call_long("bpf_dynptr_slice", at(&dynptr), 0, 0, 1), 0u);
  Dynptr clone = Dynptr::make(8, 8, Dynptr::kTypeLocal);
  EXPECT_EQ(lab.call("bpf_dynptr_clone", at(&dynptr), at(&clone)), -EINVAL);
  EXPECT_TRUE(clone.is_null());
}

TEST(Dynptrs, AdjustAndClone) {
  Lab lab;
  std::array<std::uint8_t, 32> memory{};
  Dynptr dynptr = Dynptr::make(at(memory.data()), 32, Dynptr::kTypeLocal);
  Dynptr clone;
  ASSERT_EQ(lab.call("bpf_dynptr_clone", at(&dynptr), at(&clone)), 0);
  EXPECT_EQ(lab.call("bpf_dynptr_adjust", at(&clone), 4, 20), 0);
  EXPECT_EQ(lab.call("bpf_dynptr_size", at(&clone)), 16);
  EXPECT_EQ(lab.call("bpf_dynptr_size", at(&dynptr)), 32);
  EXPECT_EQ(lab.call_long("bpf_dynptr_slice", at(&clone), 2, 0, 14), at(&memory[6]));
  EXPECT_EQ(lab.call_long("bpf_dynptr_slice", at(&clone), 2, 0, 15), 0u);
  EXPECT_EQ(lab.call("bpf_dynptr_adjust", at(&clone), 5, 4), -EINVAL);
  EXPECT_EQ(lab.call("bpf_dynptr_adjust", at(&clone), 0, 17), -ERANGE);
}

TEST(Dynptrs, CopyAndFill) {
  Lab lab(64);
  std::array<std::uint8_t, 32> memory{};
  Dynptr packet;
  lab.call("bpf_dynptr_from_xdp", 0, 0, at(&packet));
  Dynptr local = Dynptr::make(at(memory.data()), 32, Dynptr::kTypeLocal);
  EXPECT_EQ(lab.call("bpf_dynptr_copy", at(&local), 2, at(&packet), 10, 4), 0);
  EXPECT_EQ(memory[1], 0);
  EXPECT_EQ(memory[2], 11);
  EXPECT_EQ(memory[5], 14);
  EXPECT_EQ(memory[6], 0);
  EXPECT_EQ(lab.call("bpf_dynptr_copy", at(&local), 30, at(&packet), 10, 4), -E2BIG);
  EXPECT_EQ(lab.call("bpf_dynptr_copy", at(&local), 0, at(&packet), 62, 4), -E2BIG);
  EXPECT_EQ(lab.call("bpf_dynptr_memset", at(&packet), 60, 4, 0x1ff), 0);
  EXPECT_EQ(lab.packet[59], 60);
  EXPECT_EQ(lab.packet[63], 0xff);
  EXPECT_EQ(lab.call("bpf_dynptr_memset", at(&packet), 61, 4, 1), -E2BIG);
  local.size_and_type |= Dynptr::kReadOnly;
  EXPECT_EQ(lab.call("bpf_dynptr_memset", at(&local), 0, 4, 1), -EINVAL);
  EXPECT_EQ(lab.call("bpf_dynptr_copy", at(&local), 0, at(&packet), 0, 4), -EINVAL);
  EXPECT_EQ(lab.call_long("bpf_dynptr_slice_rdwr", at(&local), 0, 0, 1), 0u);
  EXPECT_EQ(lab.call("bpf_dynptr_is_rdonly", at(&local)), 1);
}

TEST(Dynptrs, FilledFromMemoryByAddress) {
  Lab lab;
  std::array<std::uint8_t, 8> memory{};
  Dynptr dynptr = Dynptr::make(at(memory.data()), 8, Dynptr::kTypeLocal);
  const std::string text = "abc";
  const std::uint64_t source = lab.add(text);
  EXPECT_EQ(lab.call("bpf_probe_read_kernel_dynptr", at(&dynptr), 1, 3, source), 0);
  EXPECT_EQ(memory[3], 'c');
  EXPECT_EQ(lab.call("bpf_probe_read_kernel_dynptr", at(&dynptr), 1, 5, source), -EFAULT);
  EXPECT_EQ(lab.call("bpf_probe_read_kernel_dynptr", at(&dynptr), 5, 4, source), -E2BIG);
  EXPECT_EQ(lab.call("bpf_probe_read_kernel_str_dynptr", at(&dynptr), 0, 8, source), 4);
  EXPECT_EQ(lab.call("bpf_probe_read_kernel_str_dynptr", at(&dynptr), 0, 3, source), 3);
  EXPECT_EQ(memory[2], 0);
  EXPECT_EQ(lab.call("bpf_probe_read_user_dynptr", at(&dynptr), 0, 8, source), -EFAULT);
  EXPECT_EQ(lab.call("bpf_probe_read_user_str_dynptr", at(&dynptr), 0, 9, source), -E2BIG);
}

// --- strings

TEST(Strings, LengthsAndPositions) {
  Lab lab;
  const std::string text = "hello world";
  const std::uint64_t s = lab.add(text);
  EXPECT_EQ(lab.call("bpf_strlen", s), 11);
  EXPECT_EQ(lab.call("bpf_strnlen", s, 5), 5);
  EXPECT_EQ(lab.call("bpf_strnlen", s, 12), 11);
  EXPECT_EQ(lab.call("bpf_strchr", s, 'o'), 4);
  EXPECT_EQ(lab.call("bpf_strchr", s, 0), 11);
  EXPECT_EQ(lab.call("bpf_strchr", s, 'x'), -ENOENT);
  EXPECT_EQ(lab.call("bpf_strnchr", s, 4, 'o'), -ENOENT);
  EXPECT_EQ(lab.call("bpf_strnchr", s, 5, 'o'), 4);
  EXPECT_EQ(lab.call("bpf_strchrnul", s, 'x'), 11);
  EXPECT_EQ(lab.call("bpf_strchrnul", s, 'w'), 6);
  EXPECT_EQ(lab.call("bpf_strrchr", s, 'o'), 7);
  EXPECT_EQ(lab.call("bpf_strrchr", s, 'x'), -ENOENT);
}

TEST(Strings, Comparing) {
  Lab lab;
  const std::string a = "Abc";
  const std::string b = "abd";
  const std::string high = "ab\xff";
  const std::uint64_t sa = lab.add(a);
  const std::uint64_t sb = lab.add(b);
  const std::uint64_t sh = lab.add(high);
  EXPECT_EQ(lab.call("bpf_strcmp", sa, sb), -1);
  EXPECT_EQ(lab.call("bpf_strcmp", sb, sa), 1);
  EXPECT_EQ(lab.call("bpf_strcmp", sa, sa), 0);
  EXPECT_EQ(lab.call("bpf_strcmp", sh, sb), 1) << "characters are unsigned";
  EXPECT_EQ(lab.call("bpf_strcasecmp", sa, sb), -1);
  EXPECT_EQ(lab.call("bpf_strncasecmp", sa, sb, 2), 0);
  EXPECT_EQ(lab.call("bpf_strncasecmp", sa, sb, 3), -1);
}

TEST(Strings, SetsAndParts) {
  Lab lab;
  const std::string text = "hello world";
  const std::string set = "leho";
  const std::string space = " ";
  const std::string part = "o wo";
  const std::string upper = "WORLD";
  const std::string empty;
  const std::uint64_t s = lab.add(text);
  EXPECT_EQ(lab.call("bpf_strspn", s, lab.add(set)), 5);
  EXPECT_EQ(lab.call("bpf_strcspn", s, lab.add(space)), 5);
  EXPECT_EQ(lab.call("bpf_strcspn", s, lab.add(empty)), 11);
  EXPECT_EQ(lab.call("bpf_strspn", s, lab.add(empty)), 0);
  EXPECT_EQ(lab.call("bpf_strstr", s, lab.add(part)), 4);
  EXPECT_EQ(lab.call("bpf_strstr", s, lab.add(upper)), -ENOENT);
  EXPECT_EQ(lab.call("bpf_strcasestr", s, lab.add(upper)), 6);
  EXPECT_EQ(lab.call("bpf_strnstr", s, lab.add(part), 8), 4);
  EXPECT_EQ(lab.call("bpf_strnstr", s, lab.add(part), 7), -ENOENT);
  EXPECT_EQ(lab.call("bpf_strncasestr", s, lab.add(upper), 10), -ENOENT);
  EXPECT_EQ(lab.call("bpf_strstr", s, lab.add(empty)), 0);
}

TEST(Strings, AddressesThatCannotBeRead) {
  Lab lab;
  const std::string text = "abc";
  const std::uint64_t s = lab.add(text);
  EXPECT_EQ(lab.call("bpf_strlen", 0), -ERANGE);
  EXPECT_EQ(lab.call("bpf_strcmp", s, 8), -ERANGE);
  EXPECT_EQ(lab.call("bpf_strlen", 0xffffffff00000000), -EFAULT);
  const std::array<std::uint8_t, 3> open_end = {'a', 'b', 'c'};
  const std::uint64_t o = lab.add(open_end);
  EXPECT_EQ(lab.call("bpf_strlen", o), -EFAULT);
  EXPECT_EQ(lab.call("bpf_strnlen", o, 3), 3);
  EXPECT_EQ(lab.call("bpf_strchr", o, 'c'), 2);
}

TEST(Strings, AreFollowedFor65536Bytes) {
  Lab lab;
  const std::string longest(65535, 'a');
  const std::string longer(65536, 'a');
  EXPECT_EQ(lab.call("bpf_strlen", lab.add(longest)), 65535);
  const std::uint64_t s = lab.add(longer);
  EXPECT_EQ(lab.call("bpf_strlen", s), -E2BIG);
  EXPECT_EQ(lab.call("bpf_strchr", s, 'b'), -E2BIG);
  EXPECT_EQ(lab.call("bpf_strcmp", s, s), -E2BIG);
}

// --- packets and maps

// Two letters, and behind them nothing that could be read.
TEST(Strings, EndWhereTheirMemoryDoes) {
  Lab lab;
  const std::array<std::uint8_t, 2> letters = {'a', 'b'};
  const std::uint64_t cut = lab.add(letters);
  const std::string abc = "abc";
  const std::string z = "z";
  const std::uint64_t whole = lab.add(abc);
  const std::uint64_t other = lab.add(z);
  EXPECT_EQ(lab.call("bpf_strlen", cut), -EFAULT);
  EXPECT_EQ(lab.call("bpf_strcmp", cut, whole), -EFAULT);
  EXPECT_EQ(lab.call("bpf_strcmp", whole, cut), -EFAULT);
  EXPECT_EQ(lab.call("bpf_strcasecmp", cut, whole), -EFAULT);
  EXPECT_EQ(lab.call("bpf_strchr", cut, 'z'), -EFAULT);
  EXPECT_EQ(lab.call("bpf_strchr", cut, 'b'), 1);
  EXPECT_EQ(lab.call("bpf_strchrnul", cut, 'z'), -EFAULT);
  EXPECT_EQ(lab.call("bpf_strrchr", cut, 'a'), -EFAULT);
  EXPECT_EQ(lab.call("bpf_strspn", cut, whole), -EFAULT);
  EXPECT_EQ(lab.call("bpf_strspn", other, cut), -EFAULT);
  EXPECT_EQ(lab.call("bpf_strcspn", other, cut), -EFAULT);
  EXPECT_EQ(lab.call("bpf_strstr", whole, cut), -EFAULT);
  EXPECT_EQ(lab.call("bpf_strstr", cut, whole), -EFAULT);
  // A set that goes on for longer than a string may.
  const std::vector<std::uint8_t> many(70'000, 'a');
  EXPECT_EQ(lab.call("bpf_strspn", other, lab.add(many)), -E2BIG);
}

TEST(Dynptrs, WhatCannotBeReachedIsAnErrno) {
  Lab lab(64);
  std::array<std::uint8_t, 32> memory{};
  Dynptr local = Dynptr::make(at(memory.data()), 32, Dynptr::kTypeLocal);
  Dynptr fixed = local;
  fixed.size_and_type |= Dynptr::kReadOnly;
  Dynptr packet;
  ASSERT_EQ(lab.call("bpf_dynptr_from_xdp", 0, 0, at(&packet)), 0);
  lab.buff.data_end -= 32;  // the dynptr still says 64
  EXPECT_EQ(lab.call("bpf_dynptr_memset", at(&packet), 40, 4, 1), -EINVAL);
  EXPECT_EQ(lab.call("bpf_dynptr_copy", at(&fixed), 0, at(&packet), 40, 4), -EINVAL);
  EXPECT_EQ(lab.call("bpf_dynptr_copy", at(&fixed), 30, at(&packet), 40, 4), -E2BIG);
  EXPECT_EQ(lab.call("bpf_dynptr_copy", at(&fixed), 0, at(&packet), 62, 4), -E2BIG);
  Dynptr none;
  EXPECT_EQ(lab.call("bpf_dynptr_copy", at(&fixed), 0, at(&none), 0, 0), 0);
  // By address: memory of nobody, in either half; no place to put it; a text without an end.
  const std::array<std::uint8_t, 2> letters = {'a', 'b'};
  const std::uint64_t cut = lab.add(letters);
  constexpr std::uint64_t kKernelAddress = 0xffff'9000'0000'0000;
  const char* const kBytes = "bpf_probe_read_kernel_dynptr";
  const char* const kText = "bpf_probe_read_kernel_str_dynptr";
  for (const char* const name : {kBytes, kText}) {
    EXPECT_EQ(lab.call(name, at(&local), 0, 4, kKernelAddress), -EFAULT) << name;
    EXPECT_EQ(lab.call(name, at(&local), 0, 4, 4096), -ERANGE) << name;
    EXPECT_EQ(lab.call(name, at(&fixed), 0, 2, cut), -EINVAL) << name;
    EXPECT_EQ(lab.call(name, at(&local), 30, 4, cut), -E2BIG) << name;
  }
  EXPECT_EQ(lab.call(kText, at(&local), 0, 2, cut), 2);
  EXPECT_EQ(memory[0], 'a');
  EXPECT_EQ(memory[1], 0) << "cut to the room, with its zero";
  memory[0] = 7;
  EXPECT_EQ(lab.call(kText, at(&local), 0, 8, cut), -EFAULT);
  EXPECT_EQ(memory[0], 0);
}

TEST(Packet, PullingNeedsNothingInOneStretch) {
  Lab lab(64);
  EXPECT_EQ(lab.call("bpf_xdp_pull_data", 0, 64), 0);
  EXPECT_EQ(lab.call("bpf_xdp_pull_data", 0, 65), -EINVAL);
  std::uint64_t out = 0;
  EXPECT_EQ(lab.call("bpf_xdp_metadata_rx_timestamp", 0, at(&out)), -EOPNOTSUPP);
  EXPECT_EQ(lab.call("bpf_xdp_metadata_rx_hash", 0, at(&out), at(&out)), -EOPNOTSUPP);
  EXPECT_EQ(lab.call("bpf_xdp_metadata_rx_vlan_tag", 0, at(&out), at(&out)), -EOPNOTSUPP);
}

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

TEST(Maps, ElementsOfHashesAreCounted) {
  Lab lab;
  NoHost host;
  MapSpec spec;
  spec.name = "numbers";
  spec.type = BPF_MAP_TYPE_HASH;
  spec.key_size = 4;
  spec.value_size = 4;
  spec.max_entries = 8;
  auto hash = create_map(spec, {}, host);
  ASSERT_TRUE(hash.has_value());
  for (std::uint32_t key : {1u, 2u, 3u, 2u}) ASSERT_EQ((*hash)->update(&key, &key, 0, 0), 0);
  EXPECT_EQ(lab.call_long("bpf_map_sum_elem_count", at(hash->get())), 3u);
  spec.type = BPF_MAP_TYPE_ARRAY;
  auto array = create_map(spec, {}, host);
  ASSERT_TRUE(array.has_value());
  EXPECT_EQ(lab.call_long("bpf_map_sum_elem_count", at(array->get())), 0u);
}

// --- pages of arenas

TEST(Arenas, PagesAreGivenTakenBackAndReserved) {
  Lab lab;
  NoHost host;
  MapSpec spec;
  spec.name = "arena";
  spec.type = BPF_MAP_TYPE_ARENA;
  spec.max_entries = 4;
  spec.map_flags = BPF_F_MMAPABLE;
  auto map = create_map(spec, {}, host);
  ASSERT_TRUE(map.has_value()) << map.error().to_string();
  const std::uint64_t start = static_cast<ArenaMap&>(**map).user_start();
  const std::uint64_t arena = at(map->get());
  constexpr std::uint64_t kPage = 4096;
  const auto allocate = [&](std::uint64_t wanted, std::uint64_t pages, std::uint64_t flags = 0) {
    return lab.call_long("bpf_arena_alloc_pages", arena, wanted, pages, 0, flags);
  };
  EXPECT_EQ(allocate(0, 1, 1), 0u) << "there are no flags";
  EXPECT_EQ(allocate(start + 8, 1), 0u) << "no page begins there";
  EXPECT_EQ(allocate(0, 5), 0u);
  EXPECT_EQ(allocate(0, 0), 0u);
  EXPECT_EQ(allocate(start + kPage, 2), start + kPage);
  EXPECT_EQ(allocate(start + kPage, 1), 0u) << "given already";
  lab.call("bpf_arena_free_pages", arena, start + kPage, 0);
  lab.call("bpf_arena_free_pages", arena, 0, 2);
  EXPECT_EQ(allocate(start + kPage, 1), 0u) << "nothing was given back";
  lab.call("bpf_arena_free_pages", arena, start + kPage + 100, 2);
  EXPECT_EQ(allocate(start + kPage, 2), start + kPage) << "the page of an address was";
  EXPECT_EQ(lab.call("bpf_arena_reserve_pages", arena, start + kPage, 1), -EBUSY);
  EXPECT_EQ(lab.call("bpf_arena_reserve_pages", arena, start, 1), 0);
  EXPECT_EQ(lab.call("bpf_arena_reserve_pages", arena, start + 3 * kPage, 2), -EINVAL);
  EXPECT_EQ(lab.call("bpf_arena_reserve_pages", arena, start + 3 * kPage, 0), 0);
  EXPECT_EQ(lab.call("bpf_arena_reserve_pages", arena, start + 1, 1), 0);
  EXPECT_EQ(allocate(start, 1), 0u) << "reserved";
  spec.type = BPF_MAP_TYPE_ARRAY;
  spec.key_size = spec.value_size = 4;
  auto array = create_map(spec, {}, host);
  ASSERT_TRUE(array.has_value());
  EXPECT_EQ(lab.call_long("bpf_arena_alloc_pages", at(array->get()), 0, 1), 0u);
  EXPECT_EQ(lab.call("bpf_arena_free_pages", at(array->get()), start, 1), 0);
  EXPECT_EQ(lab.call("bpf_arena_reserve_pages", at(array->get()), start, 1), -EINVAL);
}

// --- objects that are where they do not belong

class Objects : public testing::Test {
 protected:
  void SetUp() override {
    heap_ = std::move(*ObjectHeap::create());
    lab_.context.objects = heap_.get();
    layout_.size_bytes = 72;
    layout_.node_count = 2;
    layout_.node_offsets = {0, 32};
  }
  std::uint64_t make() { return lab_.call_long("bpf_obj_new_impl", at(&layout_), 0); }
  std::uint64_t list() { return at(list_.data()); }
  std::uint64_t tree() { return at(tree_.data()); }

  Lab lab_;
  std::unique_ptr<ObjectHeap> heap_;
  ObjectLayout layout_;
  std::array<std::uint64_t, 2> list_{};
  std::array<std::uint64_t, 2> tree_{};
};

TEST_F(Objects, AHeadOfTheOtherKindHasNothingAndTakesNothing) {
  const std::uint64_t in_list = make();
  ASSERT_EQ(lab_.call("bpf_list_push_back", list(), in_list), 0);
  ASSERT_EQ(lab_.call_long("bpf_rbtree_first", tree()), 0u);  // the tree is one from now on
  EXPECT_EQ(lab_.call_long("bpf_rbtree_first", list()), 0u);
  EXPECT_EQ(lab_.call_long("bpf_rbtree_root", list()), 0u);
  EXPECT_EQ(lab_.call_long("bpf_rbtree_left", list(), in_list), 0u);
  EXPECT_EQ(lab_.call_long("bpf_rbtree_right", list(), in_list), 0u);
  EXPECT_EQ(lab_.call_long("bpf_rbtree_remove", list(), in_list), 0u);
  EXPECT_EQ(lab_.call_long("bpf_list_front", tree()), 0u);
  EXPECT_EQ(lab_.call_long("bpf_list_back", tree()), 0u);
  EXPECT_EQ(lab_.call_long("bpf_list_pop_front", tree()), 0u);
  EXPECT_EQ(lab_.call_long("bpf_list_pop_back", tree()), 0u);
  // What cannot be added is dropped.
  EXPECT_EQ(heap_->object_count(), 1u);
  EXPECT_EQ(lab_.call("bpf_list_push_front", tree(), make()), -EINVAL);
  EXPECT_EQ(lab_.call("bpf_rbtree_add", list(), make() + 32), -EINVAL);
  EXPECT_EQ(heap_->object_count(), 1u);
}

TEST_F(Objects, ANodeIsInOneListOnly) {
  layout_.is_refcounted = true;
  const std::uint64_t object = make();
  ASSERT_EQ(lab_.call_long("bpf_refcount_acquire", object), object);
  EXPECT_EQ(lab_.call_long("bpf_refcount_acquire", object + 8), 0u);
  ASSERT_EQ(lab_.call("bpf_list_push_front_impl", list(), object), 0);
  EXPECT_EQ(lab_.call("bpf_list_push_back_impl", list(), object), -EINVAL);
  EXPECT_EQ(heap_->object_count(), 1u) << "the list still has it";
  EXPECT_EQ(lab_.call_long("bpf_list_front", list()), object);
  EXPECT_EQ(lab_.call_long("bpf_list_back", list()), object);
  EXPECT_EQ(lab_.call_long("bpf_list_pop_back", list()), object);
  lab_.call("bpf_obj_drop", object);
  EXPECT_EQ(heap_->object_count(), 0u);
}

// --- locks and works

TEST(ResilientLocks, SayDeadlockAndGiveUp) {
  Lab lab;
  std::uint32_t word = 0;
  unsigned long flags = 0;
  EXPECT_EQ(lab.call("bpf_res_spin_lock", at(&word)), 0);
  EXPECT_EQ(lab.call("bpf_res_spin_lock", at(&word)), -EDEADLK);
  lab.call("bpf_res_spin_unlock", at(&word));
  EXPECT_EQ(word, 0u);
  EXPECT_EQ(lab.call("bpf_res_spin_lock_irqsave", at(&word), at(&flags)), 0);
  lab.call("bpf_res_spin_unlock_irqrestore", at(&word), at(&flags));
  // As many as a run may hold, and one.
  std::array<std::uint32_t, 64> words{};
  int taken = 0;
  while (lab.call("bpf_res_spin_lock", at(&words[static_cast<std::size_t>(taken)])) == 0) {
    ASSERT_LT(++taken, 63);
  }
  EXPECT_EQ(lab.call("bpf_res_spin_lock", at(&words[static_cast<std::size_t>(taken)])), -ETIMEDOUT);
  EXPECT_GT(taken, 7);
}

TEST(Works, AreRefusedWhereNobodyDoesThem) {
  Lab lab;
  std::array<std::uint64_t, 2> field{};
  NoHost host;
  MapSpec spec;
  spec.name = "plain";
  spec.type = BPF_MAP_TYPE_ARRAY;
  spec.key_size = spec.value_size = 4;
  spec.max_entries = 1;
  auto map = create_map(spec, {}, host);
  ASSERT_TRUE(map.has_value());
  EXPECT_EQ(lab.call("bpf_wq_init", at(field.data()), at(map->get()), 0), -EINVAL);
  EXPECT_EQ(lab.call("bpf_wq_set_callback", at(field.data()), 0, 0), -EINVAL);
  EXPECT_EQ(lab.call("bpf_wq_start", at(field.data()), 0), -EINVAL);
  auto calls = std::move(*DeferredCalls::create());
  lab.context.deferred = calls.get();
  EXPECT_EQ(lab.call("bpf_wq_init", at(field.data()), at(map->get()), 1), -EINVAL) << "flags";
  EXPECT_EQ(lab.call("bpf_wq_init", at(field.data()), at(map->get()), 0), -EINVAL)
      << "a value without a work";
  EXPECT_EQ(lab.call("bpf_wq_set_callback_impl", at(field.data()), 0, 1), -EINVAL);
  EXPECT_EQ(lab.call("bpf_wq_set_callback_impl", at(field.data()), 0, 0), -EINVAL);
  EXPECT_EQ(lab.call("bpf_wq_start", at(field.data()), 1), -EINVAL);
}

}  // namespace
}  // namespace lmn
