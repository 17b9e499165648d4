// SPDX-License-Identifier: Apache-2.0
//
// Goal: pages of an arena are given, reserved and taken back as they should, whoever touches them,
// and nothing outside of them has an address. Method: arenas of a few pages beside a plain list of
// what each page is, under random operations; edges one by one.
#include "maps/arena_map.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <vector>

namespace lmn {
namespace {

constexpr std::uint64_t kPageBytes = 4096;

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

MapSpec arena_spec(std::uint32_t pages, std::uint64_t user_start = 0) {
  MapSpec spec;
  spec.name = "arena";
  spec.type = BPF_MAP_TYPE_ARENA;
  spec.max_entries = pages;
  spec.map_flags = BPF_F_MMAPABLE;
  spec.map_extra = user_start;
  return spec;
}

std::unique_ptr<Map> make_map(const MapSpec& spec) {
  NoHost host;
  auto map = create_map(spec, {}, host);
  EXPECT_TRUE(map.has_value()) << map.error().to_string();
  return map ? std::move(*map) : nullptr;
}

int create_error(const MapSpec& spec) {
  NoHost host;
  const auto map = create_map(spec, {}, host);
  return map ? 0 : -map.error().errno_value;
}

class Arena : public testing::Test {
 protected:
  void make(std::uint32_t pages) {
    map_ = make_map(arena_spec(pages));
    ASSERT_NE(map_, nullptr);
    arena_ = static_cast<ArenaMap*>(map_.get());
  }
  // As user space does: in its own mapping, of which the arena is not told.
  void touch(std::uint64_t page, std::uint8_t byte = 1) {
    reinterpret_cast<std::uint8_t*>(arena_->user_start())[page * kPageBytes] = byte;
  }

  std::unique_ptr<Map> map_;
  ArenaMap* arena_ = nullptr;
};

TEST(ArenaSpec, IsJudged) {
  struct Case {
    MapSpec spec;
    int error;
  };
  std::vector<Case> cases = {{arena_spec(4), 0},
                             {arena_spec(4, 0x7000'0000'0000), 0},
                             {arena_spec(1u << 20), 0},
                             {arena_spec((1u << 20) + 1), -E2BIG},
                             {arena_spec(0), -EINVAL},
                             {arena_spec(4, 0x7000'0000'0001), -EINVAL},
                             {arena_spec(4, 0x7000'ffff'f000), -ERANGE}};
  cases.push_back({arena_spec(4), -EINVAL});
  cases.back().spec.map_flags = 0;
  cases.push_back({arena_spec(4), -EINVAL});
  cases.back().spec.map_flags |= BPF_F_NO_PREALLOC;
  cases.push_back({arena_spec(4), -EINVAL});
  cases.back().spec.value_size = 8;
  cases.push_back({arena_spec(4), -EINVAL});
  cases.back().spec.key_size = 4;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(create_error(cases[i].spec), cases[i].error) << "case " << i;
  }
}

// The place that was asked for is somebody else's: the arena is there, its mapping is not.
TEST(ArenaSpec, ATakenPlaceIsLeftAlone) {
  void* taken =
      ::mmap(nullptr, 4 * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(taken, MAP_FAILED);
  std::memset(taken, 7, 4 * kPageBytes);
  const auto start = reinterpret_cast<std::uintptr_t>(taken);
  const auto map = make_map(arena_spec(2, start));
  ASSERT_NE(map, nullptr);
  auto& arena = static_cast<ArenaMap&>(*map);
  EXPECT_EQ(arena.user_start(), start);
  const auto page = arena.allocate_pages(1, std::nullopt);
  ASSERT_TRUE(page.has_value());
  std::memset(arena.address_of(*page, kPageBytes), 9, kPageBytes);
  EXPECT_EQ(static_cast<std::uint8_t*>(taken)[0], 7);
  ::munmap(taken, 4 * kPageBytes);
}

TEST_F(Arena, PagesAreGivenWhereThereIsRoom) {
  make(8);
  EXPECT_FALSE(arena_->allocate_pages(0, std::nullopt).has_value());
  EXPECT_FALSE(arena_->allocate_pages(9, std::nullopt).has_value());
  EXPECT_FALSE(arena_->allocate_pages(1, kPageBytes + 8).has_value()) << "no page begins there";
  EXPECT_FALSE(arena_->allocate_pages(1, 8 * kPageBytes).has_value()) << "behind the end";
  EXPECT_FALSE(arena_->allocate_pages(2, 7 * kPageBytes).has_value()) << "over the end";
  EXPECT_FALSE(arena_->allocate_pages(1, ~0ull - 4095).has_value());
  EXPECT_EQ(arena_->allocate_pages(2, 3 * kPageBytes), 3 * kPageBytes);
  EXPECT_FALSE(arena_->allocate_pages(1, 4 * kPageBytes).has_value()) << "given already";
  EXPECT_FALSE(arena_->allocate_pages(4, std::nullopt).has_value()) << "no four in a row";
  // Both rooms of three, in whatever order.
  const auto one = arena_->allocate_pages(3, std::nullopt);
  const auto other = arena_->allocate_pages(3, std::nullopt);
  ASSERT_TRUE(one.has_value());
  ASSERT_TRUE(other.has_value());
  EXPECT_EQ(std::min(*one, *other), 0u);
  EXPECT_EQ(std::max(*one, *other), 5 * kPageBytes);
  EXPECT_FALSE(arena_->allocate_pages(1, std::nullopt).has_value());
}

TEST_F(Arena, PagesThatUserSpaceTouchedAreThereAndNotGiven) {
  make(6);
  touch(0, 0x11);
  touch(3, 0x33);
  EXPECT_EQ(arena_->allocate_pages(2, std::nullopt), kPageBytes);
  EXPECT_FALSE(arena_->allocate_pages(1, 3 * kPageBytes).has_value());
  std::uint8_t* byte = arena_->address_of(3 * kPageBytes, 1);
  ASSERT_NE(byte, nullptr);
  EXPECT_EQ(*byte, 0x33);
  EXPECT_EQ(arena_->reserve_pages(0, 1), -EBUSY);
  arena_->free_pages(3 * kPageBytes, 1);
  EXPECT_EQ(arena_->address_of(3 * kPageBytes, 1), nullptr);
  EXPECT_EQ(arena_->allocate_pages(3, 3 * kPageBytes), 3 * kPageBytes);
  EXPECT_EQ(*arena_->address_of(3 * kPageBytes, 1), 0) << "a page that was given back is empty";
}

TEST_F(Arena, ReservedPagesAreNobodys) {
  make(4);
  EXPECT_EQ(arena_->reserve_pages(kPageBytes, 2), 0);
  EXPECT_EQ(arena_->reserve_pages(2 * kPageBytes, 1), -EBUSY);
  EXPECT_EQ(arena_->reserve_pages(3 * kPageBytes, 2), -EINVAL);
  EXPECT_EQ(arena_->reserve_pages(9 * kPageBytes, 1), -EINVAL);
  EXPECT_EQ(arena_->reserve_pages(~0ull - 4095, 1), -EINVAL);
  EXPECT_FALSE(arena_->allocate_pages(2, std::nullopt).has_value());
  EXPECT_EQ(arena_->address_of(kPageBytes, 1), nullptr);
  arena_->free_pages(kPageBytes, 2);
  EXPECT_EQ(arena_->allocate_pages(4, std::nullopt), 0u);
}

TEST_F(Arena, FreeingPassesOverWhatIsNotThere) {
  make(4);
  ASSERT_EQ(arena_->allocate_pages(4, std::nullopt), 0u);
  arena_->free_pages(0, 0);
  arena_->free_pages(4 * kPageBytes, 1);
  EXPECT_NE(arena_->address_of(0, 4 * kPageBytes), nullptr);
  arena_->free_pages(3 * kPageBytes, 100);
  EXPECT_EQ(arena_->address_of(3 * kPageBytes, 1), nullptr);
  arena_->free_pages(0, UINT32_MAX);
  EXPECT_EQ(arena_->allocate_pages(4, std::nullopt), 0u);
}

TEST_F(Arena, AddressesAreOfPagesThatAreThere) {
  make(4);
  ASSERT_EQ(arena_->allocate_pages(2, kPageBytes), kPageBytes);
  EXPECT_NE(arena_->address_of(kPageBytes, 2 * kPageBytes), nullptr);
  EXPECT_EQ(arena_->address_of(kPageBytes, 0), nullptr);
  EXPECT_EQ(arena_->address_of(kPageBytes, 2 * kPageBytes + 1), nullptr);
  EXPECT_EQ(arena_->address_of(3 * kPageBytes - 1, 2), nullptr) << "half of it is not there";
  EXPECT_EQ(arena_->address_of(4 * kPageBytes - 1, 2), nullptr) << "over the end";
  EXPECT_EQ(arena_->address_of(4 * kPageBytes, 1), nullptr);
  EXPECT_EQ(arena_->address_of(~0ull, 2), nullptr);
  const auto low = static_cast<std::uint32_t>(arena_->user_start());
  EXPECT_EQ(arena_->bytes_at(low + kPageBytes, 8, 4), arena_->address_of(kPageBytes + 8, 4));
  EXPECT_EQ(arena_->bytes_at(low, -1, 1), nullptr);
  EXPECT_EQ(arena_->offset_of(arena_->user_start() + 5), 5u);
}

TEST(ArenaContents, AreThereBeforeTheFirstRun) {
  MapSpec spec = arena_spec(3);
  spec.contents.assign(kPageBytes + 10, 0x42);
  const auto map = make_map(spec);
  ASSERT_NE(map, nullptr);
  auto& arena = static_cast<ArenaMap&>(*map);
  EXPECT_EQ(*arena.address_of(kPageBytes + 9, 1), 0x42);
  EXPECT_EQ(arena.allocate_pages(1, std::nullopt), 2 * kPageBytes);
  spec.contents.assign(3 * kPageBytes + 1, 1);
  EXPECT_EQ(create_error(spec), -E2BIG);
}

TEST_F(Arena, HasNoElements) {
  make(2);
  std::uint32_t key = 0;
  std::vector<std::uint8_t> nothing;
  EXPECT_EQ(map_->lookup(&key, 0), nullptr);
  EXPECT_EQ(map_->update(&key, &key, BPF_ANY, 0), -EOPNOTSUPP);
  EXPECT_EQ(map_->erase(&key), -EOPNOTSUPP);
  EXPECT_EQ(map_->copy_value(&key, nothing, 0), -EINVAL);
  EXPECT_EQ(map_->next_key(nullptr, &key), -EOPNOTSUPP);
}

// The model: what each page is.
TEST_F(Arena, RandomOperationsMatchAListOfPages) {
  constexpr std::uint32_t kPages = 24;
  enum class Page : std::uint8_t { kFree, kThere, kReserved };
  make(kPages);
  std::vector<Page> model(kPages, Page::kFree);
  std::mt19937 random(3);
  const auto all = [&](std::uint64_t first, std::uint64_t count, Page page) {
    for (std::uint64_t i = first; i < first + count; ++i) {
      if (model[i] != page) return false;
    }
    return true;
  };
  for (int i = 0; i < 5'000; ++i) {
    const std::uint64_t page = random() % kPages;
    const auto count = static_cast<std::uint32_t>(1 + random() % 4);
    const bool fits = page + count <= kPages;
    switch (random() % 5) {
      case 0: {
        const bool has_room = fits && all(page, count, Page::kFree);
        const auto given = arena_->allocate_pages(count, page * kPageBytes);
        ASSERT_EQ(given.has_value(), has_room) << "operation " << i;
        if (has_room) std::fill_n(model.begin() + static_cast<int>(page), count, Page::kThere);
        break;
      }
      case 1: {
        const auto given = arena_->allocate_pages(count, std::nullopt);
        if (!given) break;
        ASSERT_TRUE(all(*given / kPageBytes, count, Page::kFree)) << "operation " << i;
        std::fill_n(model.begin() + static_cast<int>(*given / kPageBytes), count, Page::kThere);
        break;
      }
      case 2: {
        const int wanted = !fits ? -EINVAL : all(page, count, Page::kFree) ? 0 : -EBUSY;
        ASSERT_EQ(arena_->reserve_pages(page * kPageBytes, count), wanted) << "operation " << i;
        if (wanted == 0) {
          std::fill_n(model.begin() + static_cast<int>(page), count, Page::kReserved);
        }
        break;
      }
      case 3:
        touch(page);
        // A reserved page that user space touches anyway is there, and still nobody's.
        model[page] = Page::kThere;
        break;
      default:
        if (!fits) break;
        arena_->free_pages(page * kPageBytes, count);
        std::fill_n(model.begin() + static_cast<int>(page), count, Page::kFree);
        break;
    }
    const std::uint64_t looked = random() % kPages;
    ASSERT_EQ(arena_->address_of(looked * kPageBytes, 1) != nullptr, model[looked] == Page::kThere)
        << "operation " << i << ", page " << looked;
  }
}

}  // namespace
}  // namespace lmn
