// SPDX-License-Identifier: Apache-2.0
//
// Goal: a flow is found by all of its key and by nothing less, and its image has the fields where
// the layout says. Method: tables.
#include "packet/flow_table.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <cstring>

namespace lmn {
namespace {

constexpr std::string_view kText =
    "tcp 10.0.0.1:40000 192.0.2.1:80 iif 2 oif 3 smac 02:00:00:00:00:03 dmac 02:00:00:00:00:09\n"
    "udp [fd00::1]:53 [fd00::2]:99 iif 3 mtu 1400   # a resolver\n";

FlowKey key_of_first() {
  FlowKey key;
  key.ingress = 2;
  key.tuple.source = {10, 0, 0, 1};
  key.tuple.destination = {192, 0, 2, 1};
  key.tuple.source_port = htons(40000);
  key.tuple.destination_port = htons(80);
  key.tuple.protocol = 6;
  return key;
}

template <typename T>
T read(const std::uint8_t* image, std::uint32_t offset) {
  T value;
  std::memcpy(&value, image + offset, sizeof value);
  return value;
}

TEST(FlowTableTest, FlowsAreFoundByTheWholeKey) {
  FlowTable table;
  ASSERT_TRUE(table.read_text(kText).has_value());
  EXPECT_EQ(table.size(), 2u);
  const FlowKey key = key_of_first();
  ASSERT_NE(table.find(key), nullptr);
  FlowKey other = key;
  other.ingress = 3;
  EXPECT_EQ(table.find(other), nullptr);
  other = key;
  other.tuple.protocol = 17;
  EXPECT_EQ(table.find(other), nullptr);
  other = key;
  other.tuple = key.tuple.reversed();
  EXPECT_EQ(table.find(other), nullptr) << "the way back is a flow of its own";
}

TEST(FlowTableTest, ImagesFollowTheLayout) {
  FlowTable table;
  ASSERT_TRUE(table.read_text(kText).has_value());
  const std::uint8_t* image = table.find(key_of_first());
  EXPECT_EQ(read<std::uint32_t>(image, 8), htonl(0x0a000001));
  EXPECT_EQ(read<std::uint16_t>(image, 42), htons(80));
  EXPECT_EQ(read<std::uint32_t>(image, 44), 2u);
  EXPECT_EQ(read<std::uint16_t>(image, 60), 1500);
  EXPECT_EQ(read<std::uint32_t>(image, 64), 3u);
  EXPECT_EQ(image[77], 3) << "last byte of the source address";
  FlowLayout layout;
  layout.size_bytes = 16;
  layout = {16, {}, {}, {}, {}, {}, {}, {}, 4, 0, {}, {}};
  table.set_layout(layout);
  image = table.find(key_of_first());
  EXPECT_EQ(read<std::uint32_t>(image, 0), 3u);
  EXPECT_EQ(read<std::uint16_t>(image, 4), 1500);
}

TEST(FlowTableTest, WrongTextIsRefusedWithItsLine) {
  struct Case {
    std::string_view text;
    std::string_view words;
  };
  const Case cases[] = {
      {"icmp 1.1.1.1:1 2.2.2.2:2 iif 1", "'icmp' is not known here"},
      {"tcp 1.1.1.1:1 2.2.2.2:2", "'iif' is missing"},
      {"tcp 1.1.1.1:1 [::1]:2 iif 1", "two ends of different families"},
      {"\ntcp 1.1.1.1:1 2.2.2.2:2 iif 1 via 3", "line 2: 'via' is not known here"},
  };
  for (const Case& c : cases) {
    FlowTable table;
    const auto result = table.read_text(c.text);
    ASSERT_FALSE(result.has_value()) << c.text;
    EXPECT_NE(result.error().message.find(c.words), std::string::npos) << result.error().message;
  }
}

}  // namespace
}  // namespace lmn
