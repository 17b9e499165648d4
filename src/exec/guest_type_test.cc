// SPDX-License-Identifier: Apache-2.0
//
// Goal: a program of a guest type sees the context that its table describes and nothing else of it,
// and reads packets in the classic way where the type has that. Method: a small context with a
// field of every kind, programs with a known answer or a known trap.
#include "exec/interp/guest_type.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

#include "exec/lab_for_tests.h"

namespace lmn {
namespace {

using lab::Lab;
using lab::Outcome;

struct Context {
  std::uint32_t number = 0xfff1f2f3;
  std::uint32_t writable = 5;
  std::uint32_t length = 0;
  std::uint32_t data = 0;
  std::uint32_t data_end = 0;
  std::uint32_t data_meta = 0;
  std::uint64_t memory = 0;
  std::uint64_t nothing = 0;
  std::uint32_t whole_only = 9;
  std::uint32_t scratch[2] = {};
  std::uint32_t small = 0x0102;
};
constexpr std::uint32_t kTargetBytes = 12;

constexpr GuestField kFields[] = {
    {.name = "number",
     .offset = offsetof(Context, number),
     .size_bytes = 4,
     .parts = GuestField::Parts::kLoaded},
    {.name = "writable",
     .offset = offsetof(Context, writable),
     .size_bytes = 4,
     .is_writable = true,
     .parts = GuestField::Parts::kLoaded},
    {"length", offsetof(Context, length), 4, GuestField::Kind::kLength},
    {"data", offsetof(Context, data), 4, GuestField::Kind::kPacketData},
    {"data_end", offsetof(Context, data_end), 4, GuestField::Kind::kPacketEnd},
    {"data_meta", offsetof(Context, data_meta), 4, GuestField::Kind::kPacketMeta},
    {.name = "memory",
     .offset = offsetof(Context, memory),
     .size_bytes = 8,
     .kind = GuestField::Kind::kMemory,
     .target_bytes = kTargetBytes},
    {.name = "nothing",
     .offset = offsetof(Context, nothing),
     .size_bytes = 8,
     .kind = GuestField::Kind::kMemory,
     .target_bytes = kTargetBytes},
    {"whole_only", offsetof(Context, whole_only), 4},
    {.name = "scratch",
     .offset = offsetof(Context, scratch),
     .size_bytes = 8,
     .is_writable = true,
     .parts = GuestField::Parts::kLoadedAndStored},
    {.name = "small",
     .offset = offsetof(Context, small),
     .size_bytes = 4,
     .parts = GuestField::Parts::kLoaded,
     .stored_bytes = 2},
};

class GuestTypes : public ::testing::Test {
 protected:
  void SetUp() override {
    context_ = {};
    context_.memory = reinterpret_cast<std::uintptr_t>(target_);
    lab_.options.guest = &kType;
    for (std::size_t i = 0; i < lab_.packet.size(); ++i) {
      lab_.packet[i] = static_cast<std::uint8_t>(i);
    }
  }
  std::uint32_t verdict_of(std::string_view text) {
    const Outcome outcome = lab_.run(text);
    EXPECT_FALSE(outcome.trapped()) << outcome.summary();
    return outcome.verdict;
  }
  std::string summary_of(std::string_view text) { return lab_.run(text).summary(); }

  static std::uint8_t* context_of(XdpBuff&) noexcept {
    return reinterpret_cast<std::uint8_t*>(&context_);
  }
  static bool read_packet(const XdpBuff& buff, std::int32_t offset,
                          std::span<std::uint8_t> out) noexcept {
    if (offset < 0 || std::size_t(offset) + out.size() > buff.length()) return false;
    std::memcpy(out.data(), buff.data + offset, out.size());
    return true;
  }

  static std::span<const std::uint8_t> map_bytes(XdpBuff&, const Map& map) noexcept {
    static const std::uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8};
    return map.spec().max_entries == 1 ? bytes : std::span<const std::uint8_t>();
  }

  static inline Context context_;
  static constexpr GuestType kType = {kFields, sizeof(Context), context_of, read_packet, map_bytes};
  std::uint8_t target_[kTargetBytes] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  Lab lab_;
};

TEST_F(GuestTypes, FieldsAreWhatTheTableSays) {
  EXPECT_EQ(verdict_of("r0 = *(u32 *)(r1 +0)\nexit"), 0xfff1f2f3u);
  EXPECT_EQ(verdict_of("r0 = *(u16 *)(r1 +2)\nexit"), 0xfff1u);
  EXPECT_EQ(verdict_of("r0 = *(u8 *)(r1 +1)\nexit"), 0xf2u);
  EXPECT_EQ(verdict_of("r0 = *(s8 *)(r1 +0)\nr0 += 14\nexit"), 1u);
  EXPECT_EQ(verdict_of("r0 = *(u32 *)(r1 +8)\nexit"), 64u);
  EXPECT_EQ(verdict_of("r2 = *(u32 *)(r1 +12)\nr3 = *(u32 *)(r1 +16)\nr4 = *(u32 *)(r1 +20)\n"
                       "r0 = r3\nr0 -= r4\nr5 = *(u8 *)(r2 +3)\nr0 += r5\nexit"),
            67u);
}

TEST_F(GuestTypes, PartsAreOfWhatIsStored) {
  EXPECT_EQ(verdict_of("r0 = *(u16 *)(r1 +52)\nexit"), 0x0102u);
  EXPECT_EQ(verdict_of("r0 = *(u16 *)(r1 +54)\nexit"), 0x0102u);
  EXPECT_EQ(verdict_of("r0 = *(u8 *)(r1 +53)\nexit"), 1u);
  EXPECT_EQ(verdict_of("r0 = *(u8 *)(r1 +54)\nexit"), 0u);
}

TEST_F(GuestTypes, NumbersAreWrittenWhereTheTableAllowsIt) {
  EXPECT_EQ(verdict_of("r2 = 77\n*(u32 *)(r1 +4) = r2\nr0 = *(u32 *)(r1 +4)\nexit"), 77u);
  EXPECT_EQ(context_.writable, 77u);
  EXPECT_EQ(verdict_of("*(u32 *)(r1 +4) = 78\nr0 = 0\nexit"), 0u);
  EXPECT_EQ(context_.writable, 78u);
  EXPECT_EQ(summary_of("*(u32 *)(r1 +0) = 1\nr0 = 0\nexit"), "kContextWrite@0");
  EXPECT_EQ(summary_of("*(u16 *)(r1 +4) = 1\nr0 = 0\nexit"), "kContextWrite@0");
  EXPECT_EQ(context_.writable, 78u);
  EXPECT_EQ(verdict_of("*(u16 *)(r1 +46) = 0x102\nr0 = *(u8 *)(r1 +47)\nexit"), 1u);
  EXPECT_EQ(context_.scratch[0], 0x01020000u);
  EXPECT_EQ(summary_of("*(u16 *)(r1 +45) = 1\nr0 = 0\nexit"), "kContextWrite@0");
  EXPECT_EQ(summary_of("*(u64 *)(r1 +48) = 1\nr0 = 0\nexit"), "kContextWrite@0");
}

TEST_F(GuestTypes, MemoryBehindAFieldIsReadWithinItsBounds) {
  EXPECT_EQ(verdict_of("r2 = *(u64 *)(r1 +24)\nr0 = *(u32 *)(r2 +8)\nexit"), 0x0c0b0a09u);
  EXPECT_EQ(verdict_of("r0 = *(u64 *)(r1 +32)\nexit"), 0u);
  EXPECT_EQ(summary_of("r2 = *(u64 *)(r1 +24)\nr0 = *(u32 *)(r2 +10)\nexit"), "kOutOfBounds@1");
  EXPECT_EQ(summary_of("r2 = *(u64 *)(r1 +24)\n*(u32 *)(r2 +0) = 1\nr0 = 0\nexit"), "kReadOnly@1");
  EXPECT_EQ(summary_of("r2 = *(u64 *)(r1 +32)\nr0 = *(u8 *)(r2 +0)\nexit"), "kNotAPointer@1");
}

TEST_F(GuestTypes, NothingElseOfTheContextIsThere) {
  for (const char* text :
       {"r0 = *(u16 *)(r1 +40)\nexit", "r0 = *(u32 *)(r1 +2)\nexit", "r0 = *(u64 *)(r1 +0)\nexit",
        "r0 = *(u32 *)(r1 +24)\nexit", "r0 = *(u32 *)(r1 +56)\nexit", "r0 = *(u32 *)(r1 -4)\nexit",
        "r0 = *(s32 *)(r1 +12)\nexit", "r0 = *(u16 *)(r1 +1)\nexit"}) {
    EXPECT_EQ(summary_of(text), "kContextAccess@0") << text;
  }
}

TEST_F(GuestTypes, BehindAMapPointerLiesWhatTheTypeSays) {
  lab_.add_map({.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1});
  lab_.add_map({.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 2});
  EXPECT_EQ(verdict_of("r1 = map[idx:0]\nr0 = *(u32 *)(r1 +4)\nexit"), 0x08070605u);
  EXPECT_EQ(summary_of("r1 = map[idx:0]\nr0 = *(u32 *)(r1 +5)\nexit"), "kNotAccessible@2");
  EXPECT_EQ(summary_of("r1 = map[idx:0]\n*(u32 *)(r1 +4) = 1\nr0 = 0\nexit"), "kNotAccessible@2");
  EXPECT_EQ(summary_of("r1 = map[idx:1]\nr0 = *(u32 *)(r1 +0)\nexit"), "kNotAccessible@2");
}

TEST_F(GuestTypes, ClassicLoadsReadThePacketInNetworkOrder) {
  EXPECT_EQ(verdict_of("r6 = r1\nr0 = *(u8 *)skb[7]\nexit"), 7u);
  EXPECT_EQ(verdict_of("r6 = r1\nr0 = *(u16 *)skb[7]\nexit"), 0x0708u);
  EXPECT_EQ(verdict_of("r6 = r1\nr7 = 4\nr0 = *(u32 *)skb[r7 + 3]\nexit"), 0x0708090au);
  // What is not there ends the function, not the program.
  EXPECT_EQ(verdict_of("r6 = r1\nr0 = *(u32 *)skb[61]\nr0 = 5\nexit"), 0u);
  EXPECT_EQ(verdict_of("call inner\nr0 += 3\nexit\ninner:\nr6 = r1\nr0 = *(u32 *)skb[61]\n"
                       "r0 = 5\nexit"),
            3u);
  EXPECT_EQ(summary_of("r6 = r1\nr0 = *(u8 *)skb[7]\nr0 = r1\nexit"), "kUninitRegister@2");
  EXPECT_EQ(summary_of("r6 = 1\nr0 = *(u8 *)skb[7]\nexit"), "kArgument@1");
}

}  // namespace
}  // namespace lmn
