// SPDX-License-Identifier: Apache-2.0
//
// Goal: dumps of a map whose bytes and BTF do not fit each other end without reading on, and the
// shapes that bpftool prints stay as they are without bpftool at hand. Method: small maps and a BTF
// blob with types larger than the values. tests/contract/maps_dump_test.cc compares with bpftool.
#include "maps/map_dump.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/btf.h>

#include <array>
#include <cstring>

#include "maps/value_dump.h"

namespace lmn {
namespace {

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

std::unique_ptr<Map> make_map(std::uint32_t type, std::uint32_t value_size,
                              std::uint32_t value_type, std::uint32_t cpu_count = 1) {
  static NoHost host;
  MapSpec spec;
  spec.name = "m";
  spec.type = type;
  spec.key_size = 4;
  spec.value_size = value_size;
  spec.max_entries = 1;
  spec.btf_value_type_id = value_type;
  auto map = create_map(spec, {.cpu_count = cpu_count}, host);
  EXPECT_TRUE(map.has_value());
  return std::move(*map);
}

// int (1), int[1000] (2), struct { int x; int far at byte 400 } (3), zero[2^31] of empty struct (4,
// 5)
std::shared_ptr<const Btf> make_btf() {
  const std::array<std::uint32_t, 32> words = {1,       BTF_KIND_INT << 24,
                                               4,       BTF_INT_SIGNED << 24 | 32,  // 1
                                               0,       BTF_KIND_ARRAY << 24,
                                               0,       1,
                                               1,       1000,  // 2
                                               5,       BTF_KIND_STRUCT << 24 | 2,
                                               404,     5,
                                               1,       0,
                                               7,       1,
                                               400 * 8,  // 3
                                               5,       BTF_KIND_STRUCT << 24,
                                               0,  // 4
                                               0,       BTF_KIND_ARRAY << 24,
                                               0,       4,
                                               1,       0x7fffffff};  // 5
  const std::size_t type_words = 28;
  const char strings[] = "\0int\0x\0far";
  btf_header top;
  std::memset(&top, 0, sizeof top);
  top.magic = BTF_MAGIC;
  top.version = BTF_VERSION;
  top.hdr_len = sizeof top;
  top.type_len = type_words * 4;
  top.str_off = top.type_len;
  top.str_len = sizeof strings;
  std::vector<std::uint8_t> bytes(sizeof top + top.type_len + top.str_len);
  std::memcpy(bytes.data(), &top, sizeof top);
  std::memcpy(bytes.data() + sizeof top, words.data(), top.type_len);
  std::memcpy(bytes.data() + sizeof top + top.type_len, strings, sizeof strings);
  auto btf = parse_btf(bytes);
  EXPECT_TRUE(btf.has_value()) << btf.error().to_string();
  return btf ? *btf : nullptr;
}

TEST(MapDump, ShapesOfBpftool) {
  auto array = make_map(BPF_MAP_TYPE_ARRAY, 2, 0);
  EXPECT_EQ(dump_map_text(*array, nullptr), "key: 00 00 00 00  value: 00 00\nFound 1 element\n");
  EXPECT_EQ(dump_map_json(*array, nullptr),
            R"([{"key":["0x00","0x00","0x00","0x00"],"value":["0x00","0x00"]}])");
  auto empty = make_map(BPF_MAP_TYPE_HASH, 2, 0);
  EXPECT_EQ(dump_map_text(*empty, nullptr), "Found 0 elements\n");
  EXPECT_EQ(dump_map_json(*empty, nullptr), "[]");
  auto percpu = make_map(BPF_MAP_TYPE_PERCPU_ARRAY, 2, 0, 2);
  EXPECT_EQ(dump_map_text(*percpu, nullptr),
            "key:\n00 00 00 00\nvalue (CPU 00): 00 00\nvalue (CPU 01): 00 00\nFound 1 element\n");
  auto typed = make_map(BPF_MAP_TYPE_ARRAY, 4, 1);
  EXPECT_EQ(dump_map_text(*typed, make_btf().get()), "[{\n        \"value\": 0\n    }\n]\n");
}

TEST(BpftoolJson, EscapesWhatBpftoolDoes) {
  BpftoolJson json(false);
  json.begin_array();
  json.string("a\tb\nc\rd\fe\bf\"g\\h/");
  json.string("");
  json.end_array();
  EXPECT_EQ(json.text(), R"(["a\tb\nc\rd\fe\bf\"g\nh/",""])");
}

TEST(MapDump, TypesLargerThanTheirBytesEndTheValue) {
  const auto btf = make_btf();
  ASSERT_NE(btf, nullptr);
  const std::array<std::uint8_t, 6> bytes{1, 0, 0, 0, 2, 0};
  struct Case {
    std::uint32_t type;
    bool is_shown;
    const char* text;
  };
  const Case cases[] = {{1, true, "1"},    {2, false, "[1]"},  {3, false, R"({"x":1,"far":null})"},
                        {5, true, "[{}]"},  // elements without size do not go on for 2^31
                        {0, true, "null"}, {99, false, "null"}};
  for (const Case& c : cases) {
    BpftoolJson json(false);
    EXPECT_EQ(dump_typed_value(json, *btf, c.type, bytes), c.is_shown) << c.type;
    EXPECT_EQ(json.text(), c.text) << c.type;
  }
}

}  // namespace
}  // namespace lmn
