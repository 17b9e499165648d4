// SPDX-License-Identifier: Apache-2.0
//
// Goal: the texts are what btf_text.h and btf_c.h promise where no compiler leads: graphs that C
// cannot say, that nest or repeat without end, and texts at their limit; and one graph with every
// kind, written down here. Method: BTF bytes made by hand. That the texts are bpftool's is for
// tests/inspect/btf_dump_test.cc to show, on real graphs.
#include "btf/btf_text.h"

#include <gtest/gtest.h>
#include <linux/btf.h>

#include <string>
#include <string_view>
#include <vector>

#include "abi/limits.h"
#include "btf/btf_c.h"
#include "btf/btf_c_layout.h"

namespace lmn {
namespace {

using Words = std::vector<std::uint32_t>;

// Assembles BTF; ids count from 1 in the order of add().
class Graph {
 public:
  std::uint32_t name(std::string_view text) {
    if (text.empty()) return 0;
    const auto at = static_cast<std::uint32_t>(strings_.size());
    strings_.append(text);
    strings_.push_back('\0');
    return at;
  }
  std::uint32_t add(std::string_view text, std::uint32_t kind, std::uint32_t vlen,
                    std::uint32_t size_or_type, const Words& rows = {}, bool kind_flag = false) {
    const Words head = {name(text), kind << 24 | vlen | (kind_flag ? 1u << 31 : 0), size_or_type};
    words_.insert(words_.end(), head.begin(), head.end());
    words_.insert(words_.end(), rows.begin(), rows.end());
    return ++last_id_;
  }
  std::uint32_t add_int(std::string_view text, std::uint32_t size) {
    return add(text, BTF_KIND_INT, 0, size, {BTF_INT_SIGNED << 24 | size * 8});
  }
  std::uint32_t point_to(std::uint32_t id) { return add("", BTF_KIND_PTR, 0, id); }

  std::shared_ptr<const Btf> parse() const {
    const auto type_bytes = static_cast<std::uint32_t>(words_.size() * 4);
    Words all = {0x0001eb9f, 24,         0,
                 type_bytes, type_bytes, static_cast<std::uint32_t>(strings_.size())};
    all.insert(all.end(), words_.begin(), words_.end());
    std::vector<std::uint8_t> bytes;
    for (const std::uint32_t word : all) {
      for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<std::uint8_t>(word >> (8 * i)));
    }
    bytes.insert(bytes.end(), strings_.begin(), strings_.end());
    auto btf = parse_btf(bytes);
    EXPECT_TRUE(btf) << btf.error().to_string();
    return btf ? *btf : nullptr;
  }

 private:
  Words words_;
  std::string strings_ = std::string(1, '\0');
  std::uint32_t last_id_ = 0;
};

std::string c_of(const Graph& graph, const BtfTextOptions& options = {}) {
  const auto text = btf_c_text(*graph.parse(), options);
  return text ? *text : text.error().to_string();
}

Graph every_kind() {
  Graph graph;
  const auto number = graph.add_int("int", 4);
  const auto pointer = graph.point_to(number);
  graph.add("", BTF_KIND_ARRAY, 0, 0, {number, number, 3});
  graph.add("s", BTF_KIND_STRUCT, 2, 8, {graph.name("a"), number, 3u << 24, 0, pointer, 0}, true);
  graph.add("e", BTF_KIND_ENUM, 1, 4, {graph.name("E"), 0xfffffff0});
  graph.add("n", BTF_KIND_ENUM, 1, 4, {graph.name("N"), 0xfffffff0}, true);
  graph.add("f", BTF_KIND_FWD, 0, 0, {}, true);
  const auto tag = graph.add("user", BTF_KIND_TYPE_TAG, 0, number);
  graph.add("t", BTF_KIND_TYPEDEF, 0, tag);
  const auto proto = graph.add("", BTF_KIND_FUNC_PROTO, 2, 0, {graph.name("x"), number, 0, 0});
  const auto function = graph.add("fn", BTF_KIND_FUNC, BTF_FUNC_EXTERN, proto);
  const auto variable = graph.add("v", BTF_KIND_VAR, 0, number, {0});
  graph.add(".data", BTF_KIND_DATASEC, 1, 4, {variable, 0, 4});
  graph.add("double", BTF_KIND_FLOAT, 0, 8);
  graph.add("tag", BTF_KIND_DECL_TAG, 0, function, {0xffffffff});
  graph.add("w", BTF_KIND_ENUM64, 1, 8, {graph.name("W"), 1, 0xffffffff});
  return graph;
}

TEST(BtfText, EveryKindAsRecords) {
  const auto text = btf_raw_text(*every_kind().parse());
  ASSERT_TRUE(text);
  EXPECT_EQ(*text,
            "[1] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED\n"
            "[2] PTR '(anon)' type_id=1\n"
            "[3] ARRAY '(anon)' type_id=1 index_type_id=1 nr_elems=3\n"
            "[4] STRUCT 's' size=8 vlen=2\n"
            "\t'a' type_id=1 bits_offset=0 bitfield_size=3\n"
            "\t'(anon)' type_id=2 bits_offset=0\n"
            "[5] ENUM 'e' encoding=UNSIGNED size=4 vlen=1\n"
            "\t'E' val=4294967280\n"
            "[6] ENUM 'n' encoding=SIGNED size=4 vlen=1\n"
            "\t'N' val=-16\n"
            "[7] FWD 'f' fwd_kind=union\n"
            "[8] TYPE_TAG 'user' type_id=1\n"
            "[9] TYPEDEF 't' type_id=8\n"
            "[10] FUNC_PROTO '(anon)' ret_type_id=0 vlen=2\n"
            "\t'x' type_id=1\n"
            "\t'(anon)' type_id=0\n"
            "[11] FUNC 'fn' type_id=10 linkage=extern\n"
            "[12] VAR 'v' type_id=1, linkage=static\n"
            "[13] DATASEC '.data' size=4 vlen=1\n"
            "\ttype_id=12 offset=0 size=4 (VAR 'v')\n"
            "[14] FLOAT 'double' size=8\n"
            "[15] DECL_TAG 'tag' type_id=11 component_idx=-1\n"
            "[16] ENUM64 'w' encoding=UNSIGNED size=8 vlen=1\n"
            "\t'W' val=18446744069414584321ULL\n");
}

TEST(BtfText, ChosenRecordsAndJson) {
  const auto btf = every_kind().parse();
  const std::vector<std::uint32_t> ids = {13, 6};
  const BtfTextOptions options{.ids = ids};
  EXPECT_EQ(btf_raw_text(*btf, options).value_or(""),
            "[13] DATASEC '.data' size=4 vlen=1\n"
            "\ttype_id=12 offset=0 size=4 (VAR 'v')\n"
            "[6] ENUM 'n' encoding=SIGNED size=4 vlen=1\n"
            "\t'N' val=-16\n");
  JsonWriter json;
  ASSERT_TRUE(write_btf_json(json, *btf, options));
  EXPECT_EQ(json.text(),
            R"({"types":[{"id":13,"kind":"DATASEC","name":".data","size":4,"vlen":1,"vars":)"
            R"([{"type_id":12,"offset":0,"size":4}]},{"id":6,"kind":"ENUM","name":"n",)"
            R"("encoding":"SIGNED","size":4,"vlen":1,"values":[{"name":"N","val":-16}]}]})");
}

TEST(BtfText, IdsThatAreNotThere) {
  const auto btf = every_kind().parse();
  for (const std::uint32_t id : {0u, 17u}) {
    const std::vector<std::uint32_t> ids = {1, id};
    EXPECT_EQ(btf_raw_text(*btf, {.ids = ids}).error().code, ErrorCode::kNotFound) << id;
    EXPECT_EQ(btf_c_text(*btf, {.ids = ids}).error().code, ErrorCode::kNotFound) << id;
  }
}

TEST(BtfText, LengthAtItsLimitAndPastIt) {
  const auto btf = every_kind().parse();
  const std::size_t raw = btf_raw_text(*btf)->size();
  EXPECT_TRUE(btf_raw_text(*btf, {.bytes_max = raw}));
  EXPECT_EQ(btf_raw_text(*btf, {.bytes_max = raw - 1}).error().code, ErrorCode::kLimitExceeded);
  const std::size_t c = btf_c_text(*btf)->size();
  EXPECT_TRUE(btf_c_text(*btf, {.bytes_max = c}));
  EXPECT_EQ(btf_c_text(*btf, {.bytes_max = c - 1}).error().code, ErrorCode::kLimitExceeded);
  JsonWriter json;
  EXPECT_EQ(write_btf_json(json, *btf, {.bytes_max = 300}).error().code, ErrorCode::kLimitExceeded);
}

TEST(BtfC, EveryKind) {
  EXPECT_EQ(c_of(every_kind()),
            "struct s {\n"
            "\tint a: 3;\n"
            "\tint *;\n"
            "};\n\n"
            "enum e {\n\tE = 4294967280,\n};\n\n"
            "enum n {\n\tN = -16,\n};\n\n"
            "union f;\n\n"
            "typedef int __attribute__((btf_type_tag(\"user\"))) t;\n\n"
            "enum w {\n\tW = 18446744069414584321ULL,\n};\n\n");
}

TEST(BtfC, ChosenTypesBringWhatTheyNeed) {
  Graph graph;
  const auto number = graph.add_int("int", 4);
  const auto inner = graph.add("inner", BTF_KIND_STRUCT, 1, 4, {graph.name("x"), number, 0});
  const auto other = graph.add("other", BTF_KIND_STRUCT, 1, 4, {graph.name("y"), number, 0});
  const auto pointer = graph.point_to(other);
  const auto outer = graph.add("outer", BTF_KIND_STRUCT, 2, 16,
                               {graph.name("p"), pointer, 0, graph.name("in"), inner, 64});
  EXPECT_EQ(c_of(graph, {.ids = std::vector<std::uint32_t>{outer}}),
            "struct inner {\n\tint x;\n};\n\n"
            "struct other;\n\n"
            "struct outer {\n\tstruct other *p;\n\tstruct inner in;\n};\n\n");
}

TEST(BtfC, NamesThatOccurTwiceGetAFlavour) {
  Graph graph;
  const auto number = graph.add_int("int", 4);
  for (int i = 0; i < 2; ++i) {
    graph.add("s", BTF_KIND_STRUCT, 1, 4, {graph.name("x"), number, 0});
    graph.add("t", BTF_KIND_TYPEDEF, 0, number);
    graph.add("", BTF_KIND_ENUM, 1, 4, {graph.name("t"), 1});
  }
  EXPECT_EQ(c_of(graph),
            "struct s {\n\tint x;\n};\n\ntypedef int t;\n\nenum {\n\tt___2 = 1,\n};\n\n"
            "struct s___2 {\n\tint x;\n};\n\ntypedef int t___3;\n\nenum {\n\tt___4 = 1,\n};\n\n");
}

TEST(BtfC, DeclaratorsOfFunctionsAndArrays) {
  Graph graph;
  const auto number = graph.add_int("int", 4);
  const auto constant = graph.add("", BTF_KIND_CONST, 0, number);
  const auto to_constant = graph.point_to(constant);
  const auto proto = graph.add("", BTF_KIND_FUNC_PROTO, 1, to_constant, {graph.name("a"), number});
  const auto function = graph.point_to(proto);
  const auto array = graph.add("", BTF_KIND_ARRAY, 0, 0, {function, number, 2});
  const auto table = graph.add("", BTF_KIND_ARRAY, 0, 0, {array, number, 3});
  graph.add("table_t", BTF_KIND_TYPEDEF, 0, table);
  graph.add("to_table", BTF_KIND_TYPEDEF, 0, graph.point_to(table));
  EXPECT_EQ(c_of(graph),
            "typedef const int * (*table_t[3][2])(int a);\n\n"
            "typedef const int * (*(*to_table)[3][2])(int a);\n\n");
}

TEST(BtfC, WhatCCannotSayIsAnErrorWithItsNumber) {
  Graph anonymous;  // struct { <itself>* next; }
  anonymous.add("", BTF_KIND_STRUCT, 1, 8, {anonymous.name("next"), 2, 0});
  anonymous.point_to(1);
  EXPECT_NE(c_of(anonymous).find("type [1]: struct '' contains itself"), std::string::npos);

  Graph function_member;
  const auto proto = function_member.add("", BTF_KIND_FUNC_PROTO, 0, 0);
  const auto function = function_member.add("fn", BTF_KIND_FUNC, 1, proto);
  function_member.add("s", BTF_KIND_STRUCT, 1, 8, {function_member.name("m"), function, 0});
  EXPECT_NE(c_of(function_member).find("type [2]: func 'fn' is no type"), std::string::npos);
}

// A chain of pointers, `count` long.
Graph pointers(std::size_t count) {
  Graph graph;
  std::uint32_t at = graph.add_int("int", 4);
  for (std::size_t i = 0; i < count; ++i) at = graph.point_to(at);
  graph.add("deep", BTF_KIND_TYPEDEF, 0, at);
  return graph;
}

TEST(BtfC, DepthAtItsLimitAndPastIt) {
  // Beside the pointers there are the typedef and the int.
  const std::size_t most = limits::kBtfTextDepthMax - 2;
  const std::vector<std::uint32_t> fits = {static_cast<std::uint32_t>(most + 2)};
  EXPECT_TRUE(btf_c_text(*pointers(most).parse(), {.ids = fits}));
  const std::vector<std::uint32_t> too_deep = {static_cast<std::uint32_t>(most + 3)};
  const auto text = btf_c_text(*pointers(most + 1).parse(), {.ids = too_deep});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kLimitExceeded);
}

TEST(BtfC, PointersInACircleEnd) {
  Graph graph;
  graph.point_to(1);
  const auto text = btf_c_text(*graph.parse());
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kLimitExceeded);
}

TEST(BtfC, RepetitionWithoutEndEnds) {
  // struct { <the one before> a, b; } forty times: 2^40 ints.
  Graph graph;
  std::uint32_t at = graph.add_int("int", 4);
  for (int i = 0; i < 40; ++i) {
    at = graph.add("", BTF_KIND_UNION, 2, 4, {graph.name("a"), at, 0, graph.name("b"), at, 0});
  }
  graph.add("bomb", BTF_KIND_TYPEDEF, 0, at);
  const auto text = btf_c_text(*graph.parse(), {.bytes_max = 1u << 20});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kLimitExceeded);
}

TEST(BtfC, AGapOfFourGibibytesEnds) {
  Graph graph;
  const auto number = graph.add_int("int", 4);
  graph.add("wide", BTF_KIND_STRUCT, 1, 0xfffffffc, {graph.name("x"), number, 0});
  const auto text = btf_c_text(*graph.parse(), {.bytes_max = 1u << 20});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kLimitExceeded);
}

// "long:0 int:32" for the fields of a gap.
std::string fields_of(const BtfCGap::Place& place) {
  BtfCGap gap(place);
  std::string out;
  while (const auto field = gap.next()) {
    out += (out.empty() ? "" : " ") + std::string(field->type) + ':' + std::to_string(field->bits);
  }
  return out;
}

TEST(BtfCGap, Fields) {
  struct Case {
    BtfCGap::Place place;
    std::string_view fields;
  };
  const Case cases[] = {
      {{32, 32, 4, false}, ""},
      {{64, 32, 4, false}, ""},       // members that overlap
      {{8, 64, 8, false}, ""},        // the compiler does it
      {{8, 64, 1, false}, "long:0"},  // it would not for a char
      {{8, 32, 1, false}, "int:0"},
      {{3, 8, 1, true}, "char:5"},  // between bit-fields
      {{3, 5, 1, true}, "char:2"},  // inside of a byte
      {{0, 192, 8, false}, "long:64 long:64 long:64"},
      {{32, 128, 8, false}, "long:64"},       // 32 bits are skipped for the long
      {{32, 96, 4, false}, "long:0 int:32"},  // a field of 32 bits would fit before
      {{0, 24, 1, false}, "int:24"},
  };
  for (const Case& row : cases) {
    EXPECT_EQ(fields_of(row.place), row.fields) << row.place.from_bit << " to " << row.place.to_bit;
  }
}

TEST(BtfCLayout, PackedStructs) {
  Graph graph;
  const auto number = graph.add_int("int", 4);
  const auto letter = graph.add_int("char", 1);
  const auto natural = graph.add("natural", BTF_KIND_STRUCT, 2, 8,
                                 {graph.name("a"), letter, 0, graph.name("b"), number, 32});
  const auto misplaced = graph.add("misplaced", BTF_KIND_STRUCT, 2, 5,
                                   {graph.name("a"), letter, 0, graph.name("b"), number, 8});
  const auto cut = graph.add("cut", BTF_KIND_STRUCT, 2, 5,
                             {graph.name("b"), number, 0, graph.name("a"), letter, 32});
  const auto forward = graph.add("f", BTF_KIND_FWD, 0, 0);
  const auto btf = graph.parse();
  BtfCLayout layout(*btf);
  EXPECT_FALSE(layout.is_packed(btf->type(natural)));
  EXPECT_TRUE(layout.is_packed(btf->type(misplaced)));
  EXPECT_TRUE(layout.is_packed(btf->type(cut)));
  EXPECT_EQ(layout.align_of(natural), 4u);
  EXPECT_EQ(layout.align_of(misplaced), 1u);
  EXPECT_EQ(layout.align_of(forward), 0u);
}

}  // namespace
}  // namespace lmn
