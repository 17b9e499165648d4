// SPDX-License-Identifier: Apache-2.0
//
// Goal: which types a map may be made with, and what is found in its value, is what the kernel
// says. Method: every map type is made with value types of every kind of field, good and bad, on
// both sides, and the errnos are compared. What is found in random structs shows from outside: a
// map with a record cannot be frozen (-ENOTSUPP), and a lookup gives zeros where the fields are.
//
// LMN_CONTRACT_SEED sets the seed.
#include "btf/map_fields.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "abi/map_type_info.h"
#include "contract/map_under_test.h"
#include "contract/maps_world.h"
#include "contract/value_types.h"
#include "maps/deferred_calls.h"

namespace lmn {
namespace {

using Random = std::mt19937_64;

class MapFieldsContract : public testing::Test {
 protected:
  void SetUp() override {
    auto world = MapsWorld::create();
    if (!world) GTEST_SKIP() << world.error().to_string();
    world_ = std::move(*world);
  }

  int our_create_error(const MapSpec& spec) {
    const auto map = create_map(spec, {.cpu_count = kernel_possible_cpus()}, *world_);
    return map ? 0 : -map.error().errno_value;
  }

  std::unique_ptr<MapsWorld> world_;
};

struct Named {
  const char* name;
  std::uint32_t id;
  std::uint32_t size;
};

// A value with one member of each given type, a plain word before and behind each.
Named value_of(BtfBuilder& btf, const FieldTypes& f, const char* name,
               const std::vector<std::pair<std::uint32_t, std::uint32_t>>& members,
               const char* contains = nullptr) {
  StructBuilder made(btf, std::string("value_") + name);
  std::vector<std::int32_t> numbers;
  for (const auto& [type, size] : members) {
    made.add(f.u32, 4, 4);
    numbers.push_back(made.add(type, size, size % 8 == 0 ? 8 : 4));
  }
  made.add(f.u32, 4, 4);
  const std::uint32_t id = made.finish();
  for (std::size_t i = 0; contains != nullptr && i < members.size(); ++i) {
    const bool is_graph = members[i].first == f.list_head || members[i].first == f.tree_root;
    if (is_graph) btf.declaration_tag(contains, id, numbers[i]);
  }
  return {name, id, made.size()};
}

std::vector<Named> values_of(BtfBuilder& btf, const FieldTypes& f) {
  const std::uint32_t lock = f.spin_lock;
  return {
      value_of(btf, f, "plain", {}),
      value_of(btf, f, "lock", {{lock, 4}}),
      value_of(btf, f, "res_lock", {{f.resilient_lock, 4}}),
      value_of(btf, f, "timer", {{f.timer, 16}}),
      value_of(btf, f, "wq", {{f.work, 16}}),
      value_of(btf, f, "task_work", {{f.task_work, 8}}),
      value_of(btf, f, "kptr", {{f.kptr, 8}}),
      value_of(btf, f, "kptr_untrusted", {{f.kptr_untrusted, 8}}),
      value_of(btf, f, "percpu_kptr", {{f.percpu_kptr, 8}}),
      value_of(btf, f, "list", {{lock, 4}, {f.list_head, 16}}, "contains:lmn_object:node"),
      value_of(btf, f, "tree", {{lock, 4}, {f.tree_root, 16}}, "contains:lmn_object:tree"),
      value_of(btf, f, "refcount", {{f.refcount, 4}}),
      value_of(btf, f, "list_node", {{f.list_node, 24}}),
      value_of(btf, f, "tree_node", {{f.tree_node, 32}}),
      value_of(btf, f, "uptr", {{f.user_pointer, 8}}),
      value_of(btf, f, "all",
               {{lock, 4}, {f.timer, 16}, {f.work, 16}, {f.kptr, 8}, {f.kptr_untrusted, 8}}),
  };
}

MapSpec typical_spec(std::uint32_t type, std::uint32_t value_size) {
  MapSpec spec;
  spec.type = type;
  spec.key_size = 4;
  spec.value_size = value_size;
  spec.max_entries = 4;
  switch (type) {
    case BPF_MAP_TYPE_LPM_TRIE:
      spec.key_size = 8;
      spec.map_flags = BPF_F_NO_PREALLOC;
      break;
    case BPF_MAP_TYPE_QUEUE:
    case BPF_MAP_TYPE_STACK:
    case BPF_MAP_TYPE_BLOOM_FILTER:
      spec.key_size = 0;
      break;
    case BPF_MAP_TYPE_RINGBUF:
    case BPF_MAP_TYPE_USER_RINGBUF:
    case BPF_MAP_TYPE_ARENA:
      spec.key_size = spec.value_size = 0;
      spec.max_entries = 4096;
      if (type == BPF_MAP_TYPE_ARENA) spec.map_flags = BPF_F_MMAPABLE;
      break;
    default:
      break;
  }
  return spec;
}

TEST_F(MapFieldsContract, EveryTypeOfMapTakesWhatTheKernelTakes) {
  BtfBuilder btf;
  const FieldTypes f(btf);
  std::vector<Named> values = values_of(btf, f);
  values.push_back({"u32", f.u32, 4});
  values.push_back({"u64", f.u64, 8});
  const std::uint32_t empty = btf.composite(BTF_KIND_STRUCT, "empty", 0, {});
  values.push_back({"empty", empty, 0});
  const std::uint32_t pair = btf.composite(BTF_KIND_STRUCT, "pair", 4, {{"word", f.u32, 0}});
  const std::uint32_t half = btf.part_of_integer("half", 4, 0, 16);
  const std::uint32_t high = btf.part_of_integer("high", 4, 8, 24);
  const std::uint32_t global = btf.variable("global", f.u64);
  const std::uint32_t section = btf.section(".data", 8, {{global, 0, 8}});
  values.push_back({"section", section, 8});
  const std::uint32_t function = btf.function("call", f.u32, {}, 0);
  const std::uint32_t trie_key =
      btf.composite(BTF_KIND_STRUCT, "trie_key", 8, {{"length", f.u32, 0}, {"data", f.u32, 32}});
  auto types = ValueTypes::load(btf.bytes());
  ASSERT_TRUE(types.has_value()) << types.error().to_string();
  int made = 0;
  int refused = 0;
  for (const MapTypeInfo& info : map_type_infos()) {
    int inner_fd = 0;
    MapSpec base = typical_spec(info.type, 0);
    if ((info.flags & kMapHoldsMaps) != 0) {
      inner_fd = static_cast<int>(world_->map_handles()[0]);
      base.inner = world_->map_template(0);
    }
    for (const Named& value : values) {
      for (const std::uint32_t key :
           {f.u32, f.u64, trie_key, f.u8, 0u, empty, pair, half, high, function, 4000u}) {
        for (const std::uint32_t flags : {0u, unsigned{BPF_F_RDONLY_PROG},
                                          unsigned{BPF_F_NO_PREALLOC}, unsigned{BPF_F_MMAPABLE}}) {
          MapSpec spec = base;
          spec.value_size = typical_spec(info.type, value.size).value_size;
          spec.map_flags |= flags;
          if (value.id == section) spec.max_entries = 1;
          types->describe(spec, key, value.id);
          const int ours = our_create_error(spec);
          ASSERT_EQ(ours, kernel_create_error(spec, inner_fd, types->fd()))
              << info.name << ", value " << value.name << ", key type " << key << ", flags "
              << flags;
          ++(ours == 0 ? made : refused);
        }
      }
    }
  }
  std::cout << "made " << made << ", refused " << refused << "\n";
  EXPECT_GT(made, 100);
}

// Draws structs that go wrong in every way that a BTF can which the kernel loads.
class StructDrawer {
 public:
  StructDrawer(BtfBuilder& btf, const FieldTypes& types, Random& random)
      : btf_(btf), f_(types), random_(random) {}

  // Ids and sizes of the values; the tags of graphs come last, as in compiled BTF.
  Named draw(int number) {
    StructBuilder made(btf_, "drawn" + std::to_string(number));
    std::vector<std::int32_t> graphs;
    const int count = 1 + static_cast<int>(random_() % 5);
    if (random_() % 2 == 0) made.add(f_.spin_lock, 4, 4);
    for (int i = 0; i < count; ++i) add(made, graphs);
    const std::uint32_t id = made.finish();
    for (const std::int32_t member : graphs) {
      constexpr const char* kTags[] = {"contains:lmn_object:node", "contains:lmn_object:tree",
                                       "contains:lmn_object:none", "contains:nothing:node",
                                       "contains:lmn_object:",     "contains"};
      const std::size_t chosen = random_() % 4 != 0 ? random_() % 2 : random_() % std::size(kTags);
      btf_.declaration_tag(kTags[chosen], id, member);
    }
    return {"drawn", id, made.size()};
  }

 private:
  void add(StructBuilder& made, std::vector<std::int32_t>& graphs) {
    switch (random_() % 14) {
      case 0:
        made.add(f_.u64, 8, 8);
        return;
      case 1:
        made.add(f_.timer, 16, 8);
        return;
      case 2:
        made.add(f_.work, 16, 8);
        return;
      case 3:
        made.add(f_.spin_lock, 4, 4);
        return;
      case 4:
        made.add(f_.kptr, 8, 8);
        return;
      case 5:
        made.add(f_.kptr_untrusted, 8, random_() % 4 == 0 ? 4 : 8);
        return;
      case 6:
        graphs.push_back(made.add(f_.tree_root, 16, 8));
        return;
      case 7:
        made.add(array_of(f_.kptr), 8 * last_count_, 8);
        return;
      case 8:
        made.add(nested(), nested_size_, 8);
        return;
      case 9:
        made.add(array_of(nested()), nested_size_ * last_count_, 8);
        return;
      case 10:
        made.add(odd_pointer(), 8, 8);
        return;
      case 11:
        made.add(f_.task_work, 8, 8);
        return;
      default:
        made.add(f_.u32, 4, 4);
        return;
    }
  }

  std::uint32_t array_of(std::uint32_t element) {
    last_count_ = static_cast<std::uint32_t>(random_() % 5);
    return btf_.array(element, f_.u32, last_count_);
  }
  // Fields that may stand several times only: of the others the kernel warns in its log.
  std::uint32_t nested() {
    StructBuilder made(btf_, "nested");
    made.add(f_.u64, 8, 8);
    if (random_() % 2 == 0) made.add(f_.kptr, 8, 8);
    if (random_() % 2 == 0) made.add(f_.kptr_untrusted, 8, 8);
    if (random_() % 4 == 0) made.add(f_.u8, 1, 1);
    nested_size_ = made.size();
    return made.finish();
  }
  std::uint32_t odd_pointer() {
    const auto tagged = [&](const char* tag, std::uint32_t to) {
      return btf_.reference(BTF_KIND_TYPE_TAG, to, tag);
    };
    switch (random_() % 6) {
      case 0:
        return btf_.reference(BTF_KIND_PTR, tagged("user", f_.object));
      case 1:
        return btf_.reference(BTF_KIND_PTR, tagged("kptr", tagged("kptr", f_.object)));
      case 2:
        return btf_.reference(BTF_KIND_PTR, tagged("kptr_untrusted", f_.u32));
      case 3:
        return btf_.reference(BTF_KIND_VOLATILE, f_.kptr_untrusted);
      case 4:
        return btf_.reference(BTF_KIND_PTR,
                              tagged("kptr_untrusted", btf_.reference(BTF_KIND_CONST, f_.object)));
      default:
        return btf_.reference(BTF_KIND_PTR, f_.object);
    }
  }

  BtfBuilder& btf_;
  const FieldTypes& f_;
  Random& random_;
  std::uint32_t last_count_ = 0;
  std::uint32_t nested_size_ = 0;
};

TEST_F(MapFieldsContract, RandomStructsAreReadAsByTheKernel) {
  const char* text = std::getenv("LMN_CONTRACT_SEED");
  Random random(text == nullptr ? 1 : std::strtoull(text, nullptr, 0));
  int loaded = 0;
  int with_fields = 0;
  for (int round = 0; round < 3000; ++round) {
    BtfBuilder btf;
    const FieldTypes f(btf);
    StructDrawer drawer(btf, f, random);
    const Named value = drawer.draw(round);
    auto types = ValueTypes::load(btf.bytes());
    if (!types) continue;  // the kernel judges some structs when it loads them
    ++loaded;
    MapSpec spec =
        typical_spec(random() % 2 == 0 ? BPF_MAP_TYPE_ARRAY : BPF_MAP_TYPE_HASH, value.size);
    types->describe(spec, f.u32, value.id);
    const int ours = our_create_error(spec);
    ASSERT_EQ(ours, kernel_create_error(spec, 0, types->fd())) << "round " << round;
    if (ours != 0) continue;
    auto our_map = make_lmn_map(spec, *world_);
    auto their_map = make_kernel_map(spec, 0, types->fd());
    ASSERT_TRUE(our_map != nullptr && their_map != nullptr);
    const Bytes key(4, 0);
    const Bytes full(value.size, 0xff);
    ASSERT_EQ(our_map->update(key, full, 0), their_map->update(key, full, 0));
    Bytes ours_seen(value.size, 0xee);
    Bytes theirs_seen = ours_seen;
    ASSERT_EQ(our_map->lookup(key, ours_seen, 0), their_map->lookup(key, theirs_seen, 0));
    ASSERT_EQ(ours_seen, theirs_seen) << "round " << round;
    const int frozen = their_map->freeze();
    ASSERT_EQ(our_map->freeze(), frozen) << "round " << round;
    if (frozen != 0) ++with_fields;
  }
  std::cout << "structs loaded " << loaded << ", with fields " << with_fields << "\n";
  EXPECT_GT(loaded, 1000);
  EXPECT_GT(with_fields, 300);
}

// A field's place is known by its address alone: where an element of the map has one, and nowhere
// else.
TEST(MapPlaces, FieldsAreFoundWhereElementsHaveThem) {
  class NoHost final : public MapHost {
   public:
    FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
    const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
    void release_program(const ProgramEntry*) noexcept override {}
  } host;
  BtfBuilder btf;
  const FieldTypes f(btf);
  const Named value = value_of(btf, f, "timer", {{f.timer, 16}});
  constexpr std::uint32_t kTimerAt = 8;
  auto types = parse_btf(btf.bytes());
  ASSERT_TRUE(types.has_value()) << types.error().to_string();
  for (const std::uint32_t type : {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH}) {
    MapSpec spec = typical_spec(type, value.size);
    spec.btf = *types;
    spec.btf_key_type_id = f.u32;
    spec.btf_value_type_id = value.id;
    auto map = create_map(spec, {}, host);
    ASSERT_TRUE(map.has_value()) << map.error().to_string();
    const Bytes bytes(value.size, 1);
    for (std::uint32_t key = 0; key < spec.max_entries; ++key) {
      ASSERT_EQ((*map)->user_update(&key, bytes, BPF_ANY), 0);
      void* element = (*map)->lookup(&key, 0);
      ASSERT_NE(element, nullptr);
      const std::uint64_t at = reinterpret_cast<std::uintptr_t>(element);
      const auto place = place_of_field(**map, MapFieldKind::kTimer, at + kTimerAt);
      EXPECT_EQ(place.map, map->get());
      EXPECT_EQ(place.value, element);
      EXPECT_EQ(place.address, at + kTimerAt);
      for (const std::uint64_t wrong : {at, at + kTimerAt - 1, at + kTimerAt + 8, at - 4096 * 1024,
                                        std::uint64_t{0}, std::uint64_t{kTimerAt}}) {
        EXPECT_EQ(place_of_field(**map, MapFieldKind::kTimer, wrong).map, nullptr) << wrong - at;
      }
      EXPECT_EQ(place_of_field(**map, MapFieldKind::kWorkqueue, at + kTimerAt).map, nullptr);
    }
  }
  auto plain = create_map(typical_spec(BPF_MAP_TYPE_ARRAY, 8), {}, host);
  ASSERT_TRUE(plain.has_value());
  const std::uint32_t first = 0;
  const auto at = reinterpret_cast<std::uintptr_t>((*plain)->lookup(&first, 0));
  EXPECT_EQ(place_of_field(**plain, MapFieldKind::kTimer, at).map, nullptr);
}

}  // namespace
}  // namespace lmn
