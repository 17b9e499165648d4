// SPDX-License-Identifier: Apache-2.0
//
// Goal: our map dumps are bpftool's, byte for byte. Method: the same entries are written into a map
// of LMN and a map of the kernel of this machine, with the same BTF loaded into both; bpftool
// prints the kernel's, in both of its forms, and the texts are compared. Hashes hold one entry at
// most, since their order is each side's own. Skips without bpftool or the rights.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>

#include "base/unique_fd.h"
#include "contract/btf_builder.h"
#include "contract/map_under_test.h"
#include "contract/maps_world.h"
#include "maps/map_dump.h"
#include "maps/value_dump.h"

namespace lmn {
namespace {

int bpf_call(enum bpf_cmd command, union bpf_attr& attr) {
  return static_cast<int>(::syscall(__NR_bpf, command, &attr, sizeof attr));
}

union bpf_attr empty_attr() {
  union bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  return attr;
}

std::string output_of(const std::string& command) {
  std::string out;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return "popen failed";
  std::array<char, 4096> chunk;
  std::size_t size = 0;
  while ((size = std::fread(chunk.data(), 1, chunk.size(), pipe)) > 0) {
    out.append(chunk.data(), size);
  }
  ::pclose(pipe);
  return out;
}

// The types of the test: what a map's key and value may be made of.
struct TestTypes {
  BtfBuilder builder;
  std::uint32_t u32 = builder.integer("unsigned int", 4, 0);
  std::uint32_t s32 = builder.integer("int", 4, BTF_INT_SIGNED);
  std::uint32_t u64 = builder.integer("unsigned long long", 8, 0);
  std::uint32_t s64 = builder.integer("long", 8, BTF_INT_SIGNED);
  std::uint32_t u16 = builder.integer("unsigned short", 2, 0);
  std::uint32_t s16 = builder.integer("short", 2, BTF_INT_SIGNED);
  std::uint32_t u8 = builder.integer("unsigned char", 1, 0);
  std::uint32_t plain_char = builder.integer("char", 1, BTF_INT_SIGNED);
  std::uint32_t char_encoded = builder.integer("letter", 1, BTF_INT_CHAR);
  std::uint32_t boolean = builder.integer("_Bool", 1, BTF_INT_BOOL);
  std::uint32_t u128 = builder.integer("unsigned __int128", 16, 0);
  std::uint32_t pointer = builder.reference(BTF_KIND_PTR, u32);
  std::uint32_t alias = builder.reference(BTF_KIND_TYPEDEF, u32, "alias");
  std::uint32_t constant = builder.reference(BTF_KIND_CONST, alias);
  std::uint32_t char_alias = builder.reference(BTF_KIND_TYPEDEF, plain_char, "char_alias");
  std::uint32_t text8 = builder.array(plain_char, u32, 8);
  std::uint32_t no_text4 = builder.array(char_alias, u32, 4);
  std::uint32_t letters4 = builder.array(char_encoded, u32, 4);
  std::uint32_t row = builder.array(s32, u32, 2);
  std::uint32_t matrix = builder.array(row, u32, 2);
  std::uint32_t nothing = builder.array(u32, u32, 0);
  std::uint32_t color =
      builder.enumeration("color", 4, true, {{"RED", 1}, {"GREEN", 200}, {"BLUE", -3}});
  std::uint32_t wide = builder.enumeration64("wide", false, {{"HUGE", 0x123456789abcull}});
  std::uint32_t inner =
      builder.composite(BTF_KIND_STRUCT, "inner", 4, {{"a", u8, 0}, {"b", s16, 16}});
  std::uint32_t either =
      builder.composite(BTF_KIND_UNION, "either", 4, {{"w", u32, 0}, {"i", inner, 0}});
  std::uint32_t inners = builder.array(inner, u32, 2);
  std::uint32_t small_key = builder.composite(BTF_KIND_STRUCT, "small_key", 8,
                                              {{"number", u32, 0}, {"color", color, 32}});
  std::uint32_t everything = builder.composite(
      BTF_KIND_STRUCT, "everything", 160,
      {{"u", u64, 0},           {"s", s64, 64},           {"f3", u32, 128, 3},
       {"f7", u32, 131, 7},     {"f5", s32, 138, 5},      {"f40", u64, 192, 40},
       {"color", color, 256},   {"text", text8, 288},     {"no_text", no_text4, 352},
       {"c", plain_char, 384},  {"l", char_encoded, 392}, {"b", boolean, 400},
       {"h", u16, 416},         {"alias", constant, 448}, {"p", pointer, 512},
       {"inners", inners, 576}, {"either", either, 640},  {"letters", letters4, 672},
       {"big", u128, 768},      {"matrix", matrix, 896},  {"nothing", nothing, 1024},
       {"wide", wide, 1024},    {"null", pointer, 1088},  {"", inner, 1152},
       {"tail", u8, 1272}});
  std::uint32_t floating = builder.reference(BTF_KIND_FLOAT, 8, "double");
  std::uint32_t moving = builder.reference(BTF_KIND_VOLATILE, u32);
  std::uint32_t alone = builder.reference(BTF_KIND_RESTRICT, pointer);
  std::uint32_t high_bits = builder.part_of_integer("high_bits", 4, 4, 20);
  std::uint32_t odd_bits = builder.part_of_integer("odd_bits", 4, 0, 24);
  std::uint32_t rare =
      builder.composite(BTF_KIND_STRUCT, "rare", 16, {{"moving", moving, 0}, {"alone", alone, 64}});
  std::uint32_t first_variable = builder.variable("first", u32);
  std::uint32_t second_variable = builder.variable("second", s32);
  std::uint32_t section =
      builder.section(".data", 12, {{first_variable, 0, 4}, {second_variable, 4, 4}});
  std::uint32_t forward = builder.reference(BTF_KIND_FWD, 0, "elsewhere");
  std::uint32_t function = builder.function("call", u32, {}, 0);
  std::uint32_t property = builder.declaration_tag("property", rare, -1);
  std::uint32_t tagged = builder.reference(BTF_KIND_TYPE_TAG, u32, "tag");
};

class MapsDump : public testing::Test {
 protected:
  void SetUp() override {
    auto world = MapsWorld::create();
    if (!world) GTEST_SKIP() << world.error().to_string();
    world_ = std::move(*world);
    if (output_of("bpftool version").find("bpftool v") == std::string::npos) {
      GTEST_SKIP() << "bpftool is not installed";
    }
    const auto bytes = types_.builder.bytes();
    auto btf = parse_btf(bytes);
    ASSERT_TRUE(btf.has_value()) << btf.error().to_string();
    btf_ = *btf;
    union bpf_attr attr = empty_attr();
    std::string log(65536, '\0');
    attr.btf = reinterpret_cast<std::uintptr_t>(bytes.data());
    attr.btf_size = static_cast<std::uint32_t>(bytes.size());
    attr.btf_log_buf = reinterpret_cast<std::uintptr_t>(log.data());
    attr.btf_log_size = static_cast<std::uint32_t>(log.size());
    attr.btf_log_level = 1;
    btf_fd_.reset(bpf_call(BPF_BTF_LOAD, attr));
    ASSERT_TRUE(btf_fd_.is_open()) << log.c_str();
  }

  // A map on both sides.
  void make(MapSpec spec) {
    spec.name = "dump";
    union bpf_attr attr = empty_attr();
    attr.map_type = spec.type;
    attr.key_size = spec.key_size;
    attr.value_size = spec.value_size;
    attr.max_entries = spec.max_entries;
    attr.map_flags = spec.map_flags;
    attr.inner_map_fd = inner_fd_ >= 0 ? static_cast<std::uint32_t>(inner_fd_) : 0;
    if (spec.btf_value_type_id != 0) {
      attr.btf_fd = static_cast<std::uint32_t>(btf_fd_.get());
      attr.btf_key_type_id = spec.btf_key_type_id;
      attr.btf_value_type_id = spec.btf_value_type_id;
    }
    fd_.reset(bpf_call(BPF_MAP_CREATE, attr));
    ASSERT_TRUE(fd_.is_open()) << std::strerror(errno);
    auto map = create_map(spec, {.cpu_count = kernel_possible_cpus()}, *world_);
    ASSERT_TRUE(map.has_value()) << map.error().to_string();
    map_ = std::move(*map);
  }

  void update(const Bytes& key, const Bytes& value) {
    union bpf_attr attr = empty_attr();
    attr.map_fd = static_cast<std::uint32_t>(fd_.get());
    attr.key = reinterpret_cast<std::uintptr_t>(key.data());
    attr.value = reinterpret_cast<std::uintptr_t>(value.data());
    ASSERT_EQ(bpf_call(BPF_MAP_UPDATE_ELEM, attr), 0) << std::strerror(errno);
    ASSERT_EQ(map_->user_update(key.data(), value, BPF_ANY), 0);
  }

  Bytes random_bytes(std::size_t size) {
    Bytes bytes(size);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random_());
    return bytes;
  }

  void compare() {
    bpf_map_info info;
    std::memset(&info, 0, sizeof info);
    union bpf_attr attr = empty_attr();
    attr.info.bpf_fd = static_cast<std::uint32_t>(fd_.get());
    attr.info.info_len = sizeof info;
    attr.info.info = reinterpret_cast<std::uintptr_t>(&info);
    ASSERT_EQ(bpf_call(BPF_OBJ_GET_INFO_BY_FD, attr), 0);
    const std::string id = std::to_string(info.id);
    EXPECT_EQ(dump_map_text(*map_, btf_.get()), output_of("bpftool map dump id " + id));
    EXPECT_EQ(dump_map_json(*map_, btf_.get()) + "\n", output_of("bpftool -j map dump id " + id));
  }

  static Bytes index_key(std::uint32_t index) {
    Bytes key(4);
    std::memcpy(key.data(), &index, 4);
    return key;
  }

  std::unique_ptr<MapsWorld> world_;
  TestTypes types_;
  std::shared_ptr<const Btf> btf_;
  UniqueFd btf_fd_;
  UniqueFd fd_;
  int inner_fd_ = -1;
  std::unique_ptr<Map> map_;
  std::mt19937_64 random_{1};
};

MapSpec make_spec(std::uint32_t type, std::uint32_t key_size, std::uint32_t value_size,
                  std::uint32_t max_entries, std::uint32_t key_type = 0,
                  std::uint32_t value_type = 0) {
  MapSpec spec;
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  spec.btf_key_type_id = key_type;
  spec.btf_value_type_id = value_type;
  return spec;
}

TEST_F(MapsDump, RawBytesOfEveryLayout) {
  // Around every border of the one-line form: 16 bytes a line, 24 for key and value.
  const std::pair<std::uint32_t, std::uint32_t> sizes[] = {{4, 8},   {4, 16}, {4, 17},  {8, 16},
                                                           {9, 16},  {16, 8}, {17, 1},  {1, 1},
                                                           {20, 40}, {3, 33}, {16, 16}, {5, 64}};
  for (const auto& [key_size, value_size] : sizes) {
    make(make_spec(BPF_MAP_TYPE_HASH, key_size, value_size, 4));
    compare();
    update(random_bytes(key_size), random_bytes(value_size));
    compare();
  }
  for (const std::uint32_t value_size : {1u, 8u, 16u, 20u, 21u, 40u}) {
    make(make_spec(BPF_MAP_TYPE_ARRAY, 4, value_size, 3));
    update(index_key(1), random_bytes(value_size));
    compare();
  }
}

TEST_F(MapsDump, RawPercpuValues) {
  for (const std::uint32_t value_size : {1u, 5u, 8u, 16u, 17u, 40u}) {
    make(make_spec(BPF_MAP_TYPE_PERCPU_ARRAY, 4, value_size, 2));
    update(index_key(1), random_bytes(map_->user_value_bytes()));
    compare();
    make(make_spec(BPF_MAP_TYPE_PERCPU_HASH, 6, value_size, 2));
    compare();
    update(random_bytes(6), random_bytes(map_->user_value_bytes()));
    compare();
  }
}

TEST_F(MapsDump, ProgramsAndPorts) {
  make(make_spec(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 3));
  compare();
  update(index_key(1), index_key(world_->program_handles().front()));
  compare();
  make(make_spec(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 3, types_.u32, types_.u32));
  update(index_key(2), index_key(world_->program_handles().front()));
  compare();
  make(make_spec(BPF_MAP_TYPE_DEVMAP, 4, 4, 2));
  update(index_key(1), index_key(world_->ifindexes().front()));
  compare();
  make(make_spec(BPF_MAP_TYPE_DEVMAP, 4, 8, 2));
  update(index_key(0), {1, 0, 0, 0, 0, 0, 0, 0});
  compare();
}

TEST_F(MapsDump, MapsOfMaps) {
  inner_fd_ = static_cast<int>(world_->map_handles().front());
  for (const std::uint32_t type : {BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS}) {
    MapSpec spec = make_spec(type, 4, 4, 3);
    spec.inner = world_->map_template(0);
    make(spec);
    compare();
    update(index_key(1), index_key(world_->map_handles().front()));
    compare();
  }
}

TEST_F(MapsDump, TypedKeysAndValues) {
  make(make_spec(BPF_MAP_TYPE_ARRAY, 4, 160, 3, types_.u32, types_.everything));
  for (int round = 0; round < 20; ++round) {
    Bytes value = random_bytes(160);
    // Strings that end, and ones that do not; named and unnamed numbers.
    const char* texts[] = {"abc", "it's \"x\"", "\\", "12345678"};
    if (round % 2 == 0) std::memset(value.data() + 36, 0, 8);
    if (round % 2 == 0)
      std::memcpy(value.data() + 36, texts[round / 2 % 4], std::strlen(texts[round / 2 % 4]) & 7);
    if (round % 3 == 0) std::memcpy(value.data() + 32, "\xfd\xff\xff\xff", 4);
    if (round % 4 == 0) std::memcpy(value.data() + 128, "\xbc\x9a\x78\x56\x34\x12\0\0", 8);
    if (round % 5 == 0) std::memset(value.data() + 136, 0, 8);
    if (round % 5 == 0) std::memset(value.data() + 104, 0, 8);
    value[50] &= 1;
    if (round % 2 == 0) value[49] = static_cast<std::uint8_t>('a' + round);
    update(index_key(static_cast<std::uint32_t>(round % 3)), value);
    compare();
  }
  make(make_spec(BPF_MAP_TYPE_HASH, 8, 4, 4, types_.small_key, types_.color));
  compare();
  update({1, 0, 0, 0, 200, 0, 0, 0}, {1, 0, 0, 0});
  compare();
  make(make_spec(BPF_MAP_TYPE_HASH, 8, 8, 4, types_.small_key, types_.s64));
  update({1, 0, 0, 0, 0xfd, 0xff, 0xff, 0xff}, {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff});
  compare();
}

// Kinds that a compiler leaves in values now and then, compared with bpftool.
TEST_F(MapsDump, TypedValuesOfRareKinds) {
  for (const auto& [type, size] : {std::pair(types_.rare, 16u), std::pair(types_.odd_bits, 4u),
                                   std::pair(types_.high_bits, 4u)}) {
    make(make_spec(BPF_MAP_TYPE_HASH, 4, size, 2, types_.u32, type));
    compare();
    for (int round = 0; round < 4; ++round) {
      update(index_key(3), random_bytes(size));
      compare();
    }
  }
}

// Global data: a section of variables, under no key.
TEST_F(MapsDump, SectionsOfVariables) {
  make(make_spec(BPF_MAP_TYPE_ARRAY, 4, 12, 1, 0, types_.section));
  compare();
  update(index_key(0), {1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 9, 0, 0, 0});
  compare();
}

TEST_F(MapsDump, TypedPercpuValues) {
  make(make_spec(BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 2, types_.u32, types_.u64));
  update(index_key(1), random_bytes(map_->user_value_bytes()));
  compare();
  make(make_spec(BPF_MAP_TYPE_PERCPU_HASH, 8, 4, 2, types_.small_key, types_.inner));
  compare();
  update({7, 0, 0, 0, 1, 0, 0, 0}, random_bytes(map_->user_value_bytes()));
  compare();
}

// What bpftool says in words where it has no value would not be JSON: null there.
TEST(ValueDump, KindsWithoutAValueAreNamedInTextAndNullInJson) {
  const TestTypes types;
  const auto btf = parse_btf(types.builder.bytes());
  ASSERT_TRUE(btf.has_value()) << btf.error().to_string();
  struct Case {
    std::uint32_t type;
    bool is_shown;
    const char* text;
  };
  const Case cases[] = {{0, true, "(unknown)"},
                        {types.forward, false, "(fwd-kind-invalid)"},
                        {types.floating, false, "(unsupported-kind"},
                        {types.function, false, "(unsupported-kind"},
                        {types.function - 1, false, "(unsupported-kind"},
                        {types.property, false, "(unsupported-kind"},
                        {types.tagged, false, "(unsupported-kind"}};
  const Bytes bytes(16, 1);
  for (const Case& c : cases) {
    BpftoolJson text(true);
    EXPECT_EQ(dump_typed_value(text, **btf, c.type, bytes), c.is_shown) << c.type;
    EXPECT_EQ(text.text(), c.text) << c.type;
    BpftoolJson json(false);
    EXPECT_EQ(dump_typed_value(json, **btf, c.type, bytes), c.is_shown) << c.type;
    EXPECT_EQ(json.text(), "null") << c.type;
  }
}

// Every type on every number of bytes: what does not fit is null, and nothing is read behind the
// end (the address sanitizer watches).
TEST(ValueDump, ValuesEndWhereTheirBytesEnd) {
  const TestTypes types;
  const auto btf = parse_btf(types.builder.bytes());
  ASSERT_TRUE(btf.has_value()) << btf.error().to_string();
  for (std::uint32_t type = 1; type < (*btf)->type_count(); ++type) {
    const auto whole = (*btf)->resolve_size(type);
    for (std::size_t size = 0; size <= 161; ++size) {
      const Bytes bytes(size, 0x41);
      for (const bool is_indented : {false, true}) {
        BpftoolJson json(is_indented);
        const bool is_shown = dump_typed_value(json, **btf, type, bytes);
        if (is_shown && whole && *whole <= 161) {
          // A string may end before its array does; all else needs its bytes.
          EXPECT_FALSE(json.text().empty()) << type;
        }
        if (size == 0 && type == types.u32) {
          EXPECT_FALSE(is_shown);
        }
      }
    }
  }
}

}  // namespace
}  // namespace lmn
