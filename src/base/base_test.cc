// SPDX-License-Identifier: Apache-2.0
//
// Goal: the small parts everything stands on say the truth at their edges. Method: tables of inputs
// at, before and past each edge.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/byte_reader.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json_writer.h"
#include "base/platform_simd.h"
#include "base/result.h"
#include "base/shared_memory.h"

namespace lmn {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return make_error(ErrorCode::kInvalidArgument, "odd", "give an even one");
  return value / 2;
}
Result<int> quarter(int value) {
  LMN_TRY(const int once, half(value));
  LMN_TRY(const int twice, half(once));
  return twice;
}

TEST(Result, TryPassesValueAndError) {
  EXPECT_EQ(quarter(8).value(), 2);
  ASSERT_FALSE(quarter(6).has_value());
  EXPECT_EQ(quarter(6).error().to_string(), "odd (give an even one)");
}

TEST(Error, ContextIsPutBefore) {
  Error error = system_error("open 'x'", ENOENT);
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_EQ(std::move(error).with_context("a.o").to_string(),
            "a.o: open 'x': No such file or directory");
  EXPECT_EQ(error_code_name(ErrorCode::kInvalidArgument), "invalid_argument");
}

TEST(EqualBytes, EveryByteInEveryPlaceAndTheFormsAgree) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    for (unsigned place = 0; place < 16; ++place) {
      // Neighbours one off in either direction: where a carry would show.
      for (const unsigned other : {byte + 1, byte - 1, byte ^ 0x80, 0u, 1u}) {
        std::array<std::uint8_t, 16> bytes;
        bytes.fill(static_cast<std::uint8_t>(other));
        bytes[place] = static_cast<std::uint8_t>(byte);
        std::uint64_t low = 0;
        std::uint64_t high = 0;
        std::memcpy(&low, bytes.data(), 8);
        std::memcpy(&high, bytes.data() + 8, 8);
        std::uint32_t expected = 0;
        for (unsigned i = 0; i < 16; ++i) expected |= (bytes[i] == byte ? 1u : 0u) << i;
        const auto wanted = static_cast<std::uint8_t>(byte);
        ASSERT_EQ(equal_bytes_portable(low, high, wanted), expected) << byte << " " << place;
        ASSERT_EQ(equal_bytes(low, high, wanted), expected) << byte << " " << place;
      }
    }
  }
}

TEST(ByteReader, NeverReadsPastTheEnd) {
  const std::array<std::uint8_t, 5> bytes{1, 2, 3, 4, 5};
  ByteReader little(bytes);
  EXPECT_EQ(little.u32(), 0x04030201u);
  EXPECT_EQ(little.u16(), std::nullopt);
  EXPECT_EQ(little.remaining(), 1u);
  ByteReader big(bytes, std::endian::big);
  EXPECT_EQ(big.u32(), 0x01020304u);
  EXPECT_FALSE(big.sub(4, ~0ull).has_value());
  EXPECT_FALSE(big.sub(~0ull, 1).has_value());
  EXPECT_TRUE(big.sub(5, 0).has_value());
  EXPECT_FALSE(big.seek(6));
}

TEST(ByteReader, StringNeedsItsZero) {
  const std::array<std::uint8_t, 5> bytes{'a', 'b', 0, 'c', 'd'};
  EXPECT_EQ(string_at(bytes, 0), "ab");
  EXPECT_EQ(string_at(bytes, 2), "");
  EXPECT_EQ(string_at(bytes, 3), std::nullopt);
  EXPECT_EQ(string_at(bytes, 5), std::nullopt);
}

TEST(JsonWriter, CompactAndIndented) {
  for (int indent : {0, 2}) {
    JsonWriter json(indent);
    json.begin_object();
    json.field("a", 1);
    json.key("b");
    json.begin_array();
    json.string("x\"\n\x01");
    json.raw("true");
    json.end_array();
    json.key("c");
    json.begin_array();
    json.end_array();
    json.end_object();
    EXPECT_EQ(json.text(), indent == 0 ? "{\"a\":1,\"b\":[\"x\\\"\\n\\u0001\",true],\"c\":[]}"
                                       : "{\n  \"a\": 1,\n  \"b\": [\n    \"x\\\"\\n\\u0001\",\n   "
                                         " true\n  ],\n  \"c\": []\n}");
  }
}

TEST(SharedMemory, IsZeroedAndSealed) {
  auto memory = SharedMemory::create("lmn-test", 5000);
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->size(), 8192u);
  EXPECT_EQ(memory->data()[8191], 0);
  EXPECT_NE(::ftruncate(memory->fd(), 0), 0) << "a sealed file must not shrink";
}

TEST(File, CapHolds) {
  EXPECT_EQ(read_file("/nonexistent/file", 10).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(read_file("/", 10).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(read_file("/proc/self/maps", 10).error().code, ErrorCode::kLimitExceeded);
  EXPECT_GT(read_file("/proc/self/maps", 1 << 20)->size(), 10u);
}

TEST(Clock, FakeMovesOnlyWhenTold) {
  FakeClock clock(5);
  EXPECT_EQ(clock.monotonic_ns(), 5u);
  clock.advance_ns(7);
  EXPECT_EQ(clock.boot_ns(), 12u);
  SystemClock system;
  const std::uint64_t before = system.monotonic_ns();
  EXPECT_LE(before, system.monotonic_ns());
}

}  // namespace
}  // namespace lmn
