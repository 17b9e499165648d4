// SPDX-License-Identifier: Apache-2.0
//
// Goal: the text of bpf_snprintf_btf for each kind of type, where no kernel can be asked.
// Method: types made for it, values in memory that the program may read, texts as Linux 6.18 writes
// them (btf_show_test.cc asks it for thousands of its own types).
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "btf/btf.h"
#include "contract/btf_builder.h"
#include "helpers/test_run.h"

namespace lmn {
namespace {

class BtfShowText : public testing::Test {
 protected:
  void SetUp() override {
    u8_ = builder_.integer("unsigned char", 1, 0);
    s8_ = builder_.integer("char", 1, BTF_INT_SIGNED);
    u16_ = builder_.integer("unsigned short", 2, 0);
    s16_ = builder_.integer("short", 2, BTF_INT_SIGNED);
    u32_ = builder_.integer("unsigned int", 4, 0);
    s32_ = builder_.integer("int", 4, BTF_INT_SIGNED);
    u64_ = builder_.integer("unsigned long", 8, 0);
    s64_ = builder_.integer("long", 8, BTF_INT_SIGNED);
    u128_ = builder_.integer("unsigned __int128", 16, 0);
  }
  // The text of a value of that type; "error N" instead when the helper fails.
  template <typename Value>
  std::string show(std::uint32_t type, const Value& value, std::uint64_t flags = 0,
                   std::uint32_t room = 512) {
    auto parsed = parse_btf(builder_.bytes());
    EXPECT_TRUE(parsed.has_value()) << parsed.error().to_string();
    if (!parsed) return {};
    TestRun run(packet_);
    run.context.kernel_types = parsed->get();
    run.allow_read({reinterpret_cast<const std::uint8_t*>(&value), sizeof value});
    struct btf_ptr request = {};
    request.ptr = const_cast<Value*>(&value);
    request.type_id = type;
    std::array<char, 512> text{};
    const std::int64_t result =
        run.call(BPF_FUNC_snprintf_btf, text.data(), room, &request, sizeof request, flags);
    length_ = result;
    return result < 0 ? "error " + std::to_string(-result) : std::string(text.data());
  }

  BtfBuilder builder_;
  std::uint32_t u8_ = 0, s8_ = 0, u16_ = 0, s16_ = 0, u32_ = 0, s32_ = 0, u64_ = 0, s64_ = 0;
  std::uint32_t u128_ = 0;
  std::int64_t length_ = 0;
  const std::vector<std::uint8_t> packet_ = std::vector<std::uint8_t>(60);
  TestRun run_{packet_};
};

TEST_F(BtfShowText, Numbers) {
  EXPECT_EQ(show(u8_, std::uint8_t{200}), "(unsigned char)200\n");
  EXPECT_EQ(show(s8_, std::int8_t{-5}), "(char)-5\n");
  EXPECT_EQ(show(u16_, std::uint16_t{60000}), "(unsigned short)60000\n");
  EXPECT_EQ(show(s16_, std::int16_t{-60}), "(short)-60\n");
  EXPECT_EQ(show(u32_, std::uint32_t{0}), "(unsigned int)0\n") << "the whole value is shown";
  EXPECT_EQ(show(s32_, std::int32_t{-1}), "(int)-1\n");
  EXPECT_EQ(show(u64_, ~std::uint64_t{0}), "(unsigned long)18446744073709551615\n");
  EXPECT_EQ(show(s64_, std::int64_t{INT64_MIN}), "(long)-9223372036854775808\n");
  EXPECT_EQ(show(u128_, std::array<std::uint64_t, 2>{5, 0}), "(unsigned __int128)0x5\n");
  EXPECT_EQ(show(u128_, std::array<std::uint64_t, 2>{5, 1}),
            "(unsigned __int128)0x10000000000000005\n");
  EXPECT_EQ(show(s32_, std::int32_t{7}, BTF_F_NONAME | BTF_F_COMPACT), "7");
}

TEST_F(BtfShowText, NamesPointersAndEnumerations) {
  const auto pointer = builder_.reference(BTF_KIND_PTR, builder_.reference(BTF_KIND_CONST, s8_));
  const auto word = builder_.reference(BTF_KIND_TYPEDEF, u32_, "word");
  const auto name = builder_.reference(BTF_KIND_TYPEDEF, word, "name");
  const auto colour = builder_.enumeration("colour", 4, false, {{"RED", 0}, {"BLUE", 4}});
  const auto sign = builder_.enumeration("sign", 4, true, {{"MINUS", -1}});
  const auto wide = builder_.enumeration64("wide", false, {{"BIG", 1ull << 40}});
  EXPECT_EQ(show(pointer, std::uint64_t{0}), "(char *)0x0000000000000000\n");
  EXPECT_EQ(show(pointer, std::uint64_t{0x1234}, BTF_F_PTR_RAW), "(char *)0x0000000000001234\n");
  EXPECT_EQ(show(name, std::uint32_t{9}), "(name)9\n");
  EXPECT_EQ(show(colour, std::uint32_t{0}), "(enum colour)RED\n");
  EXPECT_EQ(show(colour, std::uint32_t{5}), "(enum colour)5\n");
  EXPECT_EQ(show(sign, std::int32_t{-1}), "(enum sign)MINUS\n");
  EXPECT_EQ(show(sign, std::int32_t{-2}), "(enum sign)-2\n");
  EXPECT_EQ(show(wide, std::uint64_t{1} << 40), "(enum wide)BIG\n");
  EXPECT_EQ(show(wide, std::uint64_t{3}), "(enum wide)3\n");
}

struct Nested {
  std::uint32_t first;
  std::uint32_t bits;
  char text[8];
  std::uint32_t numbers[2];
  std::uint32_t inner[2];
};

class BtfShowNested : public BtfShowText {
 protected:
  void SetUp() override {
    BtfShowText::SetUp();
    const auto inner =
        builder_.composite(BTF_KIND_UNION, "inner", 8, {{"a", u32_, 0}, {"b", u64_, 0}});
    const auto text = builder_.array(s8_, u32_, 8);
    const auto numbers = builder_.array(u32_, u32_, 2);
    type_ = builder_.composite(BTF_KIND_STRUCT, "nested", sizeof(Nested),
                               {{"first", u32_, 0},
                                {"low", u32_, 32, 4},
                                {"high", u32_, 36, 28},
                                {"text", text, 64},
                                {"numbers", numbers, 128},
                                {"", inner, 192}});
  }
  std::uint32_t type_ = 0;
};

TEST_F(BtfShowNested, ZeroesAreLeftOut) {
  Nested value = {};
  EXPECT_EQ(show(type_, value), "(struct nested){\n}\n");
  value.first = 3;
  value.bits = 0x21;
  std::memcpy(value.text, "a\n", 2);
  value.numbers[1] = 7;
  value.inner[0] = 5;
  EXPECT_EQ(show(type_, value),
            "(struct nested){\n"
            " .first = (unsigned int)3,\n"
            " .low = (unsigned int)0x1,\n"
            " .high = (unsigned int)0x2,\n"
            " .text = (char[])[\n"
            "  'a',\n"
            "  10,\n"
            " ],\n"
            " .numbers = (unsigned int[])[\n"
            "  7,\n"
            " ],\n"
            " (union inner){\n"
            "  .a = (unsigned int)5,\n"
            "  .b = (unsigned long)5,\n"
            " },\n"
            "}\n");
  EXPECT_EQ(show(type_, value, BTF_F_COMPACT | BTF_F_NONAME), "{3,0x1,0x2,['a',10,],[7,],{5,5,},}");
}

TEST_F(BtfShowNested, ZeroesAreShownWhenAskedFor) {
  const Nested value = {};
  EXPECT_EQ(show(type_, value, BTF_F_COMPACT | BTF_F_NONAME | BTF_F_ZERO),
            "{0,0x0,0x0,[],[0,0,],{0,0,},}");
}

TEST_F(BtfShowNested, CutToTheRoomAndFullLength) {
  Nested value = {};
  value.first = 3;
  const std::string whole = show(type_, value);
  const std::int64_t length = length_;
  EXPECT_EQ(length, static_cast<std::int64_t>(whole.size()));
  for (std::uint32_t room = 1; room < whole.size(); ++room) {
    EXPECT_EQ(show(type_, value, 0, room), whole.substr(0, room - 1));
    EXPECT_EQ(length_, length);
  }
}

TEST_F(BtfShowNested, WhatCannotBeReadOrShown) {
  const auto declared = builder_.reference(BTF_KIND_FWD, 0, "declared");
  auto parsed = parse_btf(builder_.bytes());
  ASSERT_TRUE(parsed.has_value()) << parsed.error().to_string();
  run_.context.kernel_types = parsed->get();
  std::array<char, 64> text{};
  struct btf_ptr request = {};
  request.ptr = text.data();  // memory that the program may not read
  const auto call = [&](std::uint32_t type, std::uint64_t size, std::uint64_t flags) {
    request.type_id = type;
    return run_.call(BPF_FUNC_snprintf_btf, text.data(), text.size(), &request, size, flags);
  };
  EXPECT_EQ(call(type_, sizeof request, 0), -EFAULT);
  EXPECT_EQ(call(u32_, sizeof request, 0), -EFAULT);
  EXPECT_EQ(call(declared, sizeof request, 0),
            static_cast<std::int64_t>(std::strlen("<unsupported kind:7>")));
  EXPECT_STREQ(text.data(), "<unsupported kind:7>");
  EXPECT_EQ(call(u32_, sizeof request - 1, 0), -EINVAL);
  EXPECT_EQ(call(u32_, sizeof request, 16), -EINVAL);
  EXPECT_EQ(call(0, sizeof request, 0), -EINVAL);
  EXPECT_EQ(call(999, sizeof request, 0), -ENOENT);
  run_.context.kernel_types = nullptr;
  EXPECT_EQ(call(u32_, sizeof request, 0), -EINVAL);
}

}  // namespace
}  // namespace lmn
