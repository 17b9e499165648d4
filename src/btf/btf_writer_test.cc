// SPDX-License-Identifier: Apache-2.0
//
// Goal: what BtfWriter writes parses, and says what was written. Method: one graph with every kind
// of record, read back by the parser of btf.h and written as C.
#include "btf/btf_writer.h"

#include <gtest/gtest.h>

namespace lmn {
namespace {

TEST(BtfWriterTest, EveryRecordComesBack) {
  BtfWriter writer;
  const auto u32 = writer.add_int("unsigned int", 4, 0);
  const auto s64 = writer.add_int("long", 8, 1);
  const auto word = writer.add_reference(BtfKind::kTypedef, "word", u32);
  const auto constant = writer.add_reference(BtfKind::kConst, {}, word);
  const auto pointer = writer.add_reference(BtfKind::kPtr, {}, constant);
  const auto array = writer.add_array({u32, u32, 3});
  const auto color = writer.add_enum("color", {{"RED", 1}, {"BLUE", 7}});
  const auto inner =
      writer.add_composite(BtfKind::kUnion, {}, 8, {{"whole", s64, 0}, {"half", u32, 0}});
  const auto record = writer.add_composite(
      BtfKind::kStruct, "record", 40,
      {{"at", pointer, 0}, {"words", array, 64}, {"", inner, 192}, {"tint", color, 256}});
  const auto bits =
      writer.add_composite(BtfKind::kStruct, "bits", 4, {{"low", u32, 0, 3}, {"high", u32, 3, 29}});
  const auto self = writer.add_reference(BtfKind::kPtr, {}, record);
  const auto function = writer.add_function("measure", s64, {{"it", self}, {"flags", u32}});

  const auto btf = parse_btf(writer.finish());
  ASSERT_TRUE(btf.has_value()) << btf.error().to_string();
  const Btf& graph = **btf;
  const BtfType& found = graph.type(record);
  EXPECT_EQ(found.name, "record");
  EXPECT_EQ(found.size, 40u);
  ASSERT_EQ(graph.members(found).size(), 4u);
  EXPECT_EQ(graph.members(found)[1].bit_offset, 64u);
  EXPECT_EQ(graph.type(array).array().count, 3u);
  EXPECT_EQ(graph.find_member(found, "half")->bit_offset, 192u) << "through the unnamed union";
  EXPECT_EQ(graph.members(graph.type(bits))[1].bitfield_size, 29u);
  EXPECT_EQ(graph.enumerators(graph.type(color))[1].value, 7);
  EXPECT_EQ(graph.skip_modifiers_and_typedefs(constant), u32);
  EXPECT_EQ(graph.find_by_name("measure", BtfKind::kFunc), function);
  const BtfType& proto = graph.type(graph.type(function).type);
  EXPECT_EQ(proto.type, s64);
  ASSERT_EQ(graph.params(proto).size(), 2u);
  EXPECT_EQ(graph.params(proto)[1].name, "flags");
}

TEST(BtfWriterTest, AnEmptyGraphIsOneToo) {
  const auto btf = parse_btf(BtfWriter().finish());
  ASSERT_TRUE(btf.has_value()) << btf.error().to_string();
  EXPECT_EQ((*btf)->type_count(), 1u);
}

}  // namespace
}  // namespace lmn
