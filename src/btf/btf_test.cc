// SPDX-License-Identifier: Apache-2.0
//
// Goal: every invariant of btf.h is one that parsing enforces, and answers about real type graphs
// are right. Method: a small assembler of BTF bytes makes each malformed graph by hand; the
// kernel's own BTF, where there is one, is the large well-formed example.
#include "btf/btf.h"

#include <gtest/gtest.h>
#include <linux/btf.h>

#include <string>
#include <string_view>
#include <vector>

#include "abi/limits.h"
#include "base/file.h"
#include "btf/btf_ext.h"

namespace lmn {
namespace {

// Assembles BTF: each add() appends one type record, name() interns a string.
class BtfBytes {
 public:
  explicit BtfBytes(std::string strings = std::string(1, '\0'), std::uint32_t string_base = 0)
      : strings_(std::move(strings)), string_base_(string_base) {}

  std::uint32_t name(std::string_view text) {
    const auto at = static_cast<std::uint32_t>(strings_.size()) + string_base_;
    strings_.append(text);
    strings_.push_back('\0');
    return at;
  }
  BtfBytes& add(std::uint32_t name_off, std::uint32_t kind, std::uint32_t vlen,
                std::uint32_t size_or_type, std::vector<std::uint32_t> rows = {},
                bool kind_flag = false) {
    word(name_off);
    word(kind << 24 | vlen | (kind_flag ? 1u << 31 : 0));
    word(size_or_type);
    for (const std::uint32_t row : rows) word(row);
    return *this;
  }
  BtfBytes& add_int(std::string_view text = "int") {
    return add(name(text), BTF_KIND_INT, 0, 4, {1u << 24 | 32});
  }
  std::vector<std::uint8_t> bytes() const {
    std::vector<std::uint8_t> out;
    const auto put = [&out](std::uint32_t value) {
      for (int i = 0; i < 4; ++i) out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
    };
    put(0x0001eb9f);
    put(24);
    put(0);
    put(static_cast<std::uint32_t>(types_.size()));
    put(static_cast<std::uint32_t>(types_.size()));
    put(static_cast<std::uint32_t>(strings_.size()));
    out.insert(out.end(), types_.begin(), types_.end());
    out.insert(out.end(), strings_.begin(), strings_.end());
    return out;
  }

 private:
  void word(std::uint32_t value) {
    for (int i = 0; i < 4; ++i) types_.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  }
  std::string strings_;
  std::uint32_t string_base_;
  std::vector<std::uint8_t> types_;
};

std::string error_of(const std::vector<std::uint8_t>& bytes) {
  auto btf = parse_btf(bytes);
  return btf ? "no error" : btf.error().message;
}

TEST(BtfTest, AnswersAboutAStruct) {
  BtfBytes in;
  in.add_int();                                                 // 1
  in.add(0, BTF_KIND_STRUCT, 1, 8, {in.name("inner"), 1, 32});  // 2, anonymous
  in.add(in.name("pair"), BTF_KIND_STRUCT, 3, 16,
         {in.name("first"), 1, 0, 0, 2, 64, in.name("bits"), 1, 3u << 24 | 32}, true);  // 3
  in.add(0, BTF_KIND_CONST, 0, 3);                                                      // 4
  in.add(in.name("pair_t"), BTF_KIND_TYPEDEF, 0, 4);                                    // 5
  in.add(0, BTF_KIND_ARRAY, 0, 0, {5, 1, 7});                                           // 6
  const auto bytes = in.bytes();
  auto btf = parse_btf(bytes);
  ASSERT_TRUE(btf) << btf.error().to_string();
  EXPECT_EQ((*btf)->type_count(), 7u);
  EXPECT_EQ((*btf)->find_by_name("pair", BtfKind::kStruct), 3u);
  EXPECT_EQ((*btf)->find_by_name("pair", BtfKind::kUnion), std::nullopt);
  EXPECT_EQ((*btf)->skip_modifiers_and_typedefs(5), 3u);
  EXPECT_EQ((*btf)->skip_modifiers(5), 5u);
  EXPECT_EQ(*(*btf)->resolve_size(6), 7u * 16);
  EXPECT_EQ((*btf)->align_of(6), 4u);
  const auto inner = (*btf)->find_member((*btf)->type(3), "inner");
  ASSERT_TRUE(inner);
  EXPECT_EQ(inner->bit_offset, 96u);  // 64 for the anonymous struct, 32 in it
  const auto bits = (*btf)->find_member((*btf)->type(3), "bits");
  ASSERT_TRUE(bits);
  EXPECT_EQ(bits->bitfield_size, 3u);
  EXPECT_EQ((*btf)->find(7), nullptr);
}

TEST(BtfTest, EnumValuesKeepTheirSign) {
  BtfBytes in;
  in.add(in.name("u"), BTF_KIND_ENUM, 1, 4, {in.name("BIG"), 0xffffffffu});
  in.add(in.name("s"), BTF_KIND_ENUM, 1, 4, {in.name("MINUS"), 0xffffffffu}, true);
  in.add(in.name("w"), BTF_KIND_ENUM64, 1, 8, {in.name("WIDE"), 5, 1});
  auto btf = parse_btf(in.bytes());
  ASSERT_TRUE(btf) << btf.error().to_string();
  EXPECT_EQ((*btf)->enumerators((*btf)->type(1))[0].value, 0xffffffffll);
  EXPECT_EQ((*btf)->enumerators((*btf)->type(2))[0].value, -1);
  EXPECT_EQ((*btf)->enumerators((*btf)->type(3))[0].value, (1ll << 32) + 5);
}

TEST(BtfTest, SplitGoesOnWhereTheBaseEnds) {
  BtfBytes base_in;
  base_in.add_int();
  base_in.add(base_in.name("s"), BTF_KIND_STRUCT, 1, 4, {base_in.name("m"), 1, 0});
  auto base = parse_btf(base_in.bytes());
  ASSERT_TRUE(base);
  // Strings of the base: "", "int", "s", "m": 1 + 4 + 2 + 2 bytes.
  BtfBytes split_in("", 9);
  split_in.add(split_in.name("t"), BTF_KIND_STRUCT, 2, 8, {split_in.name("n"), 2, 0, 0, 1, 32});
  auto split = parse_btf(split_in.bytes(), *base);
  ASSERT_TRUE(split) << split.error().to_string();
  EXPECT_EQ((*split)->type_count(), 4u);
  EXPECT_EQ((*split)->find_by_name("t", BtfKind::kStruct), 3u);
  EXPECT_EQ((*split)->find_by_name("s", BtfKind::kStruct), 2u);
  EXPECT_EQ((*split)->members((*split)->type(2))[0].name, "m");
  EXPECT_EQ((*split)->members((*split)->type(3))[0].name, "n");
}

TEST(BtfTest, EditsReachTheBytes) {
  BtfBytes in;
  in.add_int();
  in.add(in.name("a"), BTF_KIND_VAR, 0, 1, {1});
  in.add(in.name("b"), BTF_KIND_VAR, 0, 1, {1});
  in.add(in.name(".data"), BTF_KIND_DATASEC, 2, 0, {2, 0, 4, 3, 0, 4});
  auto btf = parse_editable_btf(in.bytes());
  ASSERT_TRUE(btf);
  const BtfVariable sorted[] = {{3, 0, 4}, {2, 4, 4}};
  (*btf)->set_datasec(4, 8, sorted);
  (*btf)->set_linkage(2, BtfLinkage::kStatic);
  auto again = parse_btf((*btf)->raw());
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ((*again)->type(4).size, 8u);
  EXPECT_EQ((*again)->variables((*again)->type(4))[1].type, 2u);
  EXPECT_EQ((*again)->variables((*again)->type(4))[1].offset, 4u);
  EXPECT_EQ((*again)->type(2).linkage(), BtfLinkage::kStatic);
  EXPECT_EQ((*again)->type(3).linkage(), BtfLinkage::kGlobal);
}

TEST(BtfTest, RefusesMalformedGraphsByTypeNumber) {
  struct Case {
    const char* what;
    BtfBytes bytes;
    const char* message;
  };
  std::vector<Case> cases;
  cases.push_back({"id out of range", BtfBytes().add(0, BTF_KIND_PTR, 0, 2),
                   "type [1]: ptr refers to type [2] of 2"});
  cases.push_back({"circle", BtfBytes().add(1, BTF_KIND_TYPEDEF, 0, 1), "outside the strings"});
  cases.push_back({"modifier circle",
                   BtfBytes().add(0, BTF_KIND_CONST, 0, 2).add(0, BTF_KIND_VOLATILE, 0, 1),
                   "round in a circle"});
  cases.push_back(
      {"array of itself", BtfBytes().add(0, BTF_KIND_ARRAY, 0, 0, {1, 1, 3}), "round in a circle"});
  cases.push_back({"struct in itself",
                   BtfBytes().add(0, BTF_KIND_STRUCT, 1, 8, {0, 2, 0}).add(0, BTF_KIND_CONST, 0, 1),
                   "contains itself"});
  cases.push_back({"kind", BtfBytes().add(0, 25, 0, 0), "kind 25 is not known"});
  cases.push_back({"func of no proto", BtfBytes().add_int().add(0, BTF_KIND_FUNC, 0, 1),
                   "is of type [1], a int"});
  cases.push_back({"datasec of int", BtfBytes().add_int().add(0, BTF_KIND_DATASEC, 1, 4, {1, 0, 4}),
                   "no variable"});
  cases.push_back({"member past the end",
                   BtfBytes().add_int().add(0, BTF_KIND_STRUCT, 1, 4, {0, 1, 33}), "at bit 33"});
  cases.push_back(
      {"cut rows", BtfBytes().add(0, BTF_KIND_STRUCT, 2, 4, {0, 0, 0}), "member 1 is cut off"});
  cases.push_back({"int too wide", BtfBytes().add(0, BTF_KIND_INT, 0, 4, {33}), "33 bits"});
  for (const Case& c : cases) {
    EXPECT_NE(error_of(c.bytes.bytes()).find(c.message), std::string::npos)
        << c.what << ": " << error_of(c.bytes.bytes());
  }
}

TEST(BtfTest, ChainsAndNestingAtTheLimitAndOnePast) {
  for (const std::uint32_t over : {0u, 1u}) {
    BtfBytes chain;
    chain.add_int();
    for (std::uint32_t i = 0; i < limits::kBtfDepthMax + over; ++i)
      chain.add(0, BTF_KIND_CONST, 0, 1 + i);
    EXPECT_EQ(parse_btf(chain.bytes()).has_value(), over == 0);
    BtfBytes nest;
    nest.add(0, BTF_KIND_STRUCT, 0, 0);
    for (std::uint32_t i = 1; i < limits::kBtfNestingMax + over; ++i) {
      nest.add(0, BTF_KIND_STRUCT, 1, 0, {0, i, 0});
    }
    EXPECT_EQ(parse_btf(nest.bytes()).has_value(), over == 0);
  }
}

TEST(BtfTest, DoublingStructsCostBoundedTime) {
  BtfBytes in;
  in.add_int();
  for (std::uint32_t i = 1; i <= 40; ++i) in.add(0, BTF_KIND_STRUCT, 2, 4, {0, i, 0, 0, i, 0});
  auto btf = parse_btf(in.bytes());
  ASSERT_TRUE(btf) << btf.error().to_string();
  EXPECT_EQ((*btf)->align_of(41), 0u);  // given up, not 2^40 visits
  EXPECT_FALSE((*btf)->find_member((*btf)->type(41), "missing"));
}

TEST(BtfTest, HeaderErrorsNameTheCause) {
  EXPECT_NE(error_of({}).find("too few"), std::string::npos);
  auto swapped = BtfBytes().bytes();
  std::swap(swapped[0], swapped[1]);
  auto btf = parse_btf(swapped);
  ASSERT_FALSE(btf);
  EXPECT_EQ(btf.error().code, ErrorCode::kNotSupported);
  EXPECT_NE(btf.error().message.find("big-endian"), std::string::npos);
  auto cut = BtfBytes().add_int().bytes();
  cut.pop_back();
  EXPECT_NE(error_of(cut).find("past the end"), std::string::npos);
  auto endless = BtfBytes().add_int().bytes();
  endless.back() = 'x';
  EXPECT_NE(error_of(endless).find("no end"), std::string::npos);
}

TEST(BtfTest, EveryPrefixAndEveryByteIsSurvived) {
  BtfBytes in;
  in.add_int();
  in.add(in.name("s"), BTF_KIND_STRUCT, 1, 4, {in.name("m"), 1, 0});
  in.add(0, BTF_KIND_ARRAY, 0, 0, {2, 1, 4});
  in.add(in.name("e"), BTF_KIND_ENUM, 1, 4, {in.name("A"), 3});
  in.add(0, BTF_KIND_FUNC_PROTO, 1, 0, {in.name("p"), 3});
  in.add(in.name("f"), BTF_KIND_FUNC, 1, 5);
  in.add(in.name("v"), BTF_KIND_VAR, 0, 2, {1});
  in.add(in.name(".bss"), BTF_KIND_DATASEC, 1, 4, {7, 0, 4});
  const auto whole = in.bytes();
  ASSERT_TRUE(parse_btf(whole)) << error_of(whole);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(parse_btf(ByteSpan(whole).first(size))) << size;
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const unsigned flip : {0x01u, 0x80u, 0xffu}) {
      auto bytes = whole;
      bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ flip);
      auto btf = parse_btf(bytes);  // either answer is right; both sanitizers watch
      if (!btf) continue;
      for (std::uint32_t id = 0; id < (*btf)->type_count(); ++id) {
        (void)(*btf)->resolve_size(id);
        (void)(*btf)->align_of(id);
      }
    }
  }
}

TEST(BtfTest, EssentialNames) {
  EXPECT_EQ(essential_name("task_struct___old"), "task_struct");
  EXPECT_EQ(essential_name("a___b___c"), "a___b");
  EXPECT_EQ(essential_name("plain"), "plain");
  EXPECT_EQ(essential_name("___x"), "___x");
  EXPECT_EQ(essential_name("a____b"), "a____b");
  EXPECT_EQ(essential_name(""), "");
}

TEST(BtfTest, ReadsTheKernelsOwn) {
  auto bytes = read_file("/sys/kernel/btf/vmlinux", 64u << 20);
  if (!bytes) GTEST_SKIP() << "no kernel BTF: " << bytes.error().to_string();
  auto btf = parse_btf(*bytes);
  ASSERT_TRUE(btf) << btf.error().to_string();
  const auto id = (*btf)->find_by_name("xdp_buff", BtfKind::kStruct);
  ASSERT_TRUE(id);
  EXPECT_TRUE((*btf)->find_member((*btf)->type(*id), "data_hard_start"));
  EXPECT_EQ(*(*btf)->resolve_size(*(*btf)->find_by_name("u64", BtfKind::kTypedef)), 8u);
}

// --- .BTF.ext

std::vector<std::uint8_t> ext_bytes(std::vector<std::uint32_t> words) {
  std::vector<std::uint8_t> out;
  for (const std::uint32_t word : words) {
    for (int i = 0; i < 4; ++i) out.push_back(static_cast<std::uint8_t>(word >> (8 * i)));
  }
  return out;
}

TEST(BtfExtTest, RecordsAreCheckedAgainstTheGraph) {
  BtfBytes in;
  const std::uint32_t section = in.name("xdp");
  const std::uint32_t file = in.name("a.c");
  in.add(0, BTF_KIND_FUNC_PROTO, 0, 0);
  in.add(in.name("f"), BTF_KIND_FUNC, 1, 1);
  auto btf = parse_btf(in.bytes());
  ASSERT_TRUE(btf);
  const std::vector<std::uint32_t> good = {
      0x0001eb9f, 24,      0, 20, 20,   28,                     // header: func table, line table
      8,          section, 1, 8,  2,                            // func
      16,         section, 1, 16, file, file, (7u << 10) | 3};  // line
  auto ext = parse_btf_ext(ext_bytes(good), **btf);
  ASSERT_TRUE(ext) << ext.error().to_string();
  ASSERT_EQ(ext->functions.size(), 1u);
  EXPECT_EQ(ext->functions[0].name, "xdp");
  EXPECT_EQ(ext->functions[0].records[0].type_id, 2u);
  ASSERT_EQ(ext->lines.size(), 1u);
  EXPECT_EQ(ext->lines[0].records[0].line, 7u);
  EXPECT_EQ(ext->lines[0].records[0].column, 3u);
  EXPECT_EQ(ext->lines[0].records[0].file, "a.c");
  struct Case {
    std::size_t word;
    std::uint32_t value;
    const char* message;
  };
  for (const Case& c :
       {Case{10, 1, "is no func"}, Case{10, 99, "is no func"}, Case{9, 4, "not an instruction"},
        Case{8, 9, "9 records"}, Case{6, 4, "records of 4 bytes"}, Case{7, 999, "without a name"},
        Case{3, 9999, "past the end"}, Case{15, 999, "outside the table"},
        Case{0, 0x00019feb, "big-endian"}, Case{1, 12, "header of 12"}}) {
    auto words = good;
    words[c.word] = c.value;
    auto bad = parse_btf_ext(ext_bytes(words), **btf);
    ASSERT_FALSE(bad) << c.message;
    EXPECT_NE(bad.error().message.find(c.message), std::string::npos) << bad.error().message;
  }
}

}  // namespace
}  // namespace lmn
