// SPDX-License-Identifier: Apache-2.0
//
// Goal: ring buffers keep their records whole and in order, wrap as the kernel's, count what they
// lose, and believe nothing that is in shared memory. Method: a reader (and a writer) that knows
// the memory only as a client would, by mapping the map's file; hostile positions and lengths; a
// thread that reads while another writes.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "maps/perf_event_array_map.h"
#include "maps/perf_ring.h"
#include "maps/ringbuf_map.h"
#include "maps/user_ringbuf_map.h"

namespace lmn {
namespace {

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

template <typename T>
std::unique_ptr<T> make_ring(std::uint32_t type, std::uint32_t size_bytes) {
  NoHost host;  // rings keep none
  MapSpec spec;
  spec.name = "ring";
  spec.type = type;
  spec.max_entries = size_bytes;
  auto map = create_map(spec, {}, host);
  EXPECT_TRUE(map.has_value()) << map.error().to_string();
  return std::unique_ptr<T>(static_cast<T*>(map->release()));
}
std::unique_ptr<RingbufMap> make_ringbuf(std::uint32_t size_bytes) {
  return make_ring<RingbufMap>(BPF_MAP_TYPE_RINGBUF, size_bytes);
}

// The other side: the map's file as a client maps it.
class Client {
 public:
  explicit Client(const Map& map) : size_(map.mapped_memory()->size()) {
    void* at =
        ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, map.mapped_memory()->fd(), 0);
    EXPECT_NE(at, MAP_FAILED);
    base_ = static_cast<std::uint8_t*>(at);
  }
  ~Client() { ::munmap(base_, size_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  std::uint64_t& consumer() { return *reinterpret_cast<std::uint64_t*>(base_); }
  std::uint64_t& producer() { return *reinterpret_cast<std::uint64_t*>(base_ + 4096); }
  std::uint8_t* data() { return base_ + 8192; }
  std::uint64_t mask() const { return (size_ - 8192) / 2 - 1; }
  std::uint32_t& header(std::uint64_t position) {
    return *reinterpret_cast<std::uint32_t*>(data() + (position & mask()));
  }

  // The next record as libbpf reads it, or false.
  bool read(std::vector<std::uint8_t>& record) {
    while (consumer() < producer()) {
      const std::uint32_t word = header(consumer());
      if ((word & BPF_RINGBUF_BUSY_BIT) != 0) return false;
      const std::uint32_t size = word & ~BPF_RINGBUF_DISCARD_BIT;
      const std::uint8_t* at = data() + (consumer() & mask()) + 8;
      record.assign(at, at + size);
      consumer() += (size + 8 + 7) / 8 * 8;
      if ((word & BPF_RINGBUF_DISCARD_BIT) == 0) return true;
    }
    return false;
  }
  // As libbpf: behind a header in the ring's last 8 bytes the record begins at the data's start.
  void write(std::uint32_t word, std::span<const std::uint8_t> record) {
    std::ranges::copy(record, data() + ((producer() + 8) & mask()));
    header(producer()) = word;
    producer() += (record.size() + 8 + 7) / 8 * 8;
  }

 private:
  std::size_t size_;
  std::uint8_t* base_ = nullptr;
};

std::vector<std::uint8_t> make_record(std::mt19937& random, std::size_t size_max) {
  std::vector<std::uint8_t> record(random() % size_max);
  for (std::uint8_t& byte : record) byte = static_cast<std::uint8_t>(random());
  return record;
}

TEST(RingbufMap, AClientReadsEveryRecordAlsoWrappedOnes) {
  auto ring = make_ringbuf(4096);
  Client client(*ring);
  std::mt19937 random(1);
  std::vector<std::vector<std::uint8_t>> expected;
  std::size_t next = 0;
  std::uint64_t refused = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      const auto record = make_record(random, 700);
      if (void* sample = ring->reserve(record.size())) {
        std::ranges::copy(record, static_cast<std::uint8_t*>(sample));
        const bool is_kept = random() % 4 != 0;
        if (is_kept) {
          ring->submit(sample, 0);
          expected.push_back(record);
        } else {
          ring->discard(sample, 0);
        }
      } else {
        ++refused;
      }
    }
    std::vector<std::uint8_t> got;
    if (random() % 2 == 0 && client.read(got)) {
      ASSERT_LT(next, expected.size());
      ASSERT_EQ(got, expected[next++]) << step;
    }
  }
  std::vector<std::uint8_t> got;
  while (client.read(got)) ASSERT_EQ(got, expected[next++]);
  EXPECT_EQ(next, expected.size());
  EXPECT_EQ(ring->lost_count(), refused);
  EXPECT_GT(next, 4000u);
  // Wrapped bytes are where aliased pages would have them.
  EXPECT_EQ(ring->query(BPF_RB_AVAIL_DATA), 0u);
}

// Two rings, one written by the map's functions and one by the fast path, which asks the map where
// it declines: everything that a client sees of them is the same.
TEST(RingbufMap, TheFastPathWritesTheSameOrDeclines) {
  auto ring = make_ringbuf(4096);
  auto fast_ring = make_ringbuf(4096);
  const auto& fast = *static_cast<const RingbufDescriptor*>(fast_ring->fast_path().descriptor);
  Client client(*ring);
  Client fast_client(*fast_ring);
  std::mt19937 random(4);
  int declined = 0;
  for (int step = 0; step < 20'000; ++step) {
    const auto record = make_record(random, random() % 100 == 0 ? 5000 : 700);
    const std::uint64_t flags =
        std::array<std::uint64_t, 3>{0, BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP}[random() % 3];
    const bool is_kept = random() % 4 != 0;
    void* sample = ring->reserve(record.size());
    void* fast_sample = nullptr;
    ASSERT_TRUE(ringbuf_try_reserve(fast, record.size(), fast_sample));
    ASSERT_EQ(sample == nullptr, fast_sample == nullptr);
    if (sample != nullptr) {
      std::ranges::copy(record, static_cast<std::uint8_t*>(sample));
      std::ranges::copy(record, static_cast<std::uint8_t*>(fast_sample));
      const std::uint32_t bits = is_kept ? 0 : kRingbufDiscardBit;
      is_kept ? ring->submit(sample, flags) : ring->discard(sample, flags);
      if (!ringbuf_try_commit(fast, fast_sample, flags, bits)) {
        ++declined;
        is_kept ? fast_ring->submit(fast_sample, flags) : fast_ring->discard(fast_sample, flags);
      }
    }
    ASSERT_EQ(client.producer(), fast_client.producer());
    ASSERT_EQ(ring->lost_count(), fast_ring->lost_count());
    ASSERT_EQ(ring->wakeup_count(), fast_ring->wakeup_count());
    std::vector<std::uint8_t> got;
    std::vector<std::uint8_t> fast_got;
    if (random() % 4 == 0) continue;
    ASSERT_EQ(client.read(got), fast_client.read(fast_got));
    ASSERT_EQ(got, fast_got);
  }
  EXPECT_GT(declined, 100) << "no record ran over the end";
  EXPECT_GT(ring->lost_count(), 100u);
}

TEST(RingbufMap, TheFastPathDoesNotWait) {
  auto ring = make_ringbuf(4096);
  const auto& fast = *static_cast<const RingbufDescriptor*>(ring->fast_path().descriptor);
  void* sample = nullptr;
  {
    const SpinGuard guard(fast.state->lock);
    EXPECT_FALSE(ringbuf_try_reserve(fast, 8, sample));
  }
  EXPECT_TRUE(ringbuf_try_reserve(fast, 8, sample));
  EXPECT_NE(sample, nullptr);
}

TEST(RingbufMap, RoomIsCountedAsInTheKernel) {
  auto ring = make_ringbuf(4096);
  EXPECT_EQ(ring->query(BPF_RB_RING_SIZE), 4096u);
  EXPECT_EQ(ring->reserve(4096), nullptr);  // the header has no room
  EXPECT_EQ(ring->reserve(4081), nullptr);  // 4096 bytes would make it look empty
  EXPECT_EQ(ring->reserve(1ull << 32), nullptr);
  EXPECT_EQ(ring->reserve(~0ull), nullptr);
  void* first = ring->reserve(4080);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(ring->reserve(0), nullptr);
  EXPECT_EQ(ring->lost_count(), 5u);
  EXPECT_EQ(ring->query(BPF_RB_PROD_POS), 4088u);
  ring->submit(first, 0);
  EXPECT_EQ(ring->wakeup_count(), 1u);  // the reader had caught up
  EXPECT_EQ(ring->consume([](auto record) { EXPECT_EQ(record.size(), 4080u); }), 1u);
  EXPECT_EQ(ring->query(BPF_RB_CONS_POS), 4088u);
  const std::array<std::uint8_t, 3> bytes{1, 2, 3};
  EXPECT_EQ(ring->output(bytes, 4), -EINVAL);
  EXPECT_EQ(ring->output(bytes, BPF_RB_NO_WAKEUP), 0);
  EXPECT_EQ(ring->wakeup_count(), 1u);
  EXPECT_EQ(ring->output(bytes, 0), 0);  // the reader is behind: it will see this one too
  EXPECT_EQ(ring->wakeup_count(), 1u);
  EXPECT_EQ(ring->output(bytes, BPF_RB_FORCE_WAKEUP), 0);
  EXPECT_EQ(ring->wakeup_count(), 2u);
}

TEST(RingbufMap, AHostileConsumerCannotMakeReservationsOverlap) {
  auto ring = make_ringbuf(4096);
  Client client(*ring);
  void* held = ring->reserve(3000);
  ASSERT_NE(held, nullptr);
  std::memset(held, 0xaa, 3000);
  // "All read", though the first record is not even committed (CVE-2024-41009); its header too.
  client.consumer() = 3008;
  client.header(0) = 0;
  EXPECT_EQ(ring->reserve(3000), nullptr);
  client.consumer() = 1ull << 63;
  EXPECT_EQ(ring->reserve(8), nullptr);
  client.consumer() = 0;
  client.producer() = 0;      // shown, not believed
  client.consumer() = ~0ull;  // a lie about what is read costs the liar's own records at most
  void* second = ring->reserve(1000);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(static_cast<std::uint8_t*>(second) - static_cast<std::uint8_t*>(held), 3008);
  // A length from the client decides nothing when the record is committed.
  client.header(0) = 0x3fffffff;
  ring->submit(held, 0);
  EXPECT_EQ(client.header(0), 3000u);
  ring->submit(second, 0);
  client.consumer() = 0;
  EXPECT_EQ(ring->consume([](auto) {}), 2u);
}

TEST(RingbufMap, AConsumerPositionBetweenRecordsIsNotFollowed) {
  auto ring = make_ringbuf(4096);
  Client client(*ring);
  const std::vector<std::uint8_t> record(24, 1);
  ASSERT_EQ(ring->output(record, 0), 0);
  client.consumer() = 3;  // no record begins there, nor at any such place
  EXPECT_EQ(ring->consume([](auto) {}), 0u);
  EXPECT_EQ(client.consumer(), 3u);
}

TEST(RingbufMap, AnUncommittedRecordHoldsBackLaterOnes) {
  auto ring = make_ringbuf(4096);
  void* first = ring->reserve(8);
  void* second = ring->reserve(8);
  ring->submit(second, 0);
  EXPECT_EQ(ring->consume([](auto) {}), 0u);
  ring->discard(first, 0);
  EXPECT_EQ(ring->consume([](auto) {}), 1u);
}

TEST(RingbufMap, AReaderAndTwoWritersMayMeet) {
  auto ring = make_ringbuf(4096);
  constexpr std::uint64_t kRecords = 20'000;
  std::atomic<int> writing{2};
  auto write = [&](std::uint64_t writer) {
    for (std::uint64_t i = 0; i < kRecords;) {
      auto* sample = static_cast<std::uint64_t*>(ring->reserve(16));
      if (sample == nullptr) {
        std::this_thread::yield();
        continue;
      }
      sample[0] = writer;
      sample[1] = i++;
      ring->submit(sample, 0);
    }
    --writing;
  };
  std::thread first(write, 0);
  std::thread second(write, 1);
  std::array<std::uint64_t, 2> seen{};
  auto read = [&] {
    return ring->consume([&](std::span<const std::uint8_t> record) {
      std::array<std::uint64_t, 2> words;
      std::memcpy(words.data(), record.data(), sizeof words);
      EXPECT_EQ(words[1], seen[words[0]]++);  // in order, none missing
    });
  };
  while (writing > 0) {
    if (read() == 0) std::this_thread::yield();
  }
  first.join();
  second.join();
  read();
  EXPECT_EQ(seen, (std::array<std::uint64_t, 2>{kRecords, kRecords}));
}

TEST(UserRingbufMap, GivesWhatAClientWrote) {
  auto ring = make_ring<UserRingbufMap>(BPF_MAP_TYPE_USER_RINGBUF, 4096);
  Client client(*ring);
  std::mt19937 random(2);
  ASSERT_TRUE(ring->begin_drain());
  EXPECT_FALSE(ring->begin_drain());
  for (int step = 0; step < 2000; ++step) {
    const auto record = make_record(random, 1500);
    const auto size = static_cast<std::uint32_t>(record.size());
    const bool is_discarded = step % 5 == 0;
    client.write(is_discarded ? size | BPF_RINGBUF_DISCARD_BIT : size, record);
    std::span<std::uint8_t> sample;
    if (is_discarded) {
      EXPECT_EQ(ring->next_sample(sample), -EAGAIN);
    } else {
      ASSERT_EQ(ring->next_sample(sample), 0);
      EXPECT_TRUE(std::ranges::equal(sample, record)) << step;
      ring->finish_sample(sample);
    }
    EXPECT_EQ(ring->next_sample(sample), -ENODATA);
    EXPECT_EQ(client.consumer(), client.producer());
  }
  ring->end_drain();
  EXPECT_TRUE(ring->begin_drain());
}

TEST(UserRingbufMap, ARecordBehindAHeaderInTheLastBytesIsAtTheStart) {
  auto ring = make_ring<UserRingbufMap>(BPF_MAP_TYPE_USER_RINGBUF, 4096);
  Client client(*ring);
  std::span<std::uint8_t> sample;
  const std::vector<std::uint8_t> first(4096 - 16, 1);  // up to the last 8 bytes
  const std::vector<std::uint8_t> second(100, 2);
  client.write(static_cast<std::uint32_t>(first.size()), first);
  ASSERT_EQ(ring->next_sample(sample), 0);
  ring->finish_sample(sample);
  client.write(static_cast<std::uint32_t>(second.size()), second);
  ASSERT_EQ(ring->next_sample(sample), 0);
  EXPECT_TRUE(std::ranges::equal(sample, second));
}

TEST(UserRingbufMap, ChecksEveryWordOfAClient) {
  struct Case {
    std::uint64_t producer;
    std::uint32_t header;
    int error;
  };
  const Case cases[] = {{4, 0, -EINVAL},
                        {8, 1, -EINVAL},        // 16 bytes of 8 advertised
                        {16, 9, -EINVAL},       // 24 of 16
                        {~7ull, 4096, -E2BIG},  // more than the ring
                        {~7ull, 0x3fffffff, -E2BIG},
                        {16, 8 | BPF_RINGBUF_BUSY_BIT, -ENODATA},
                        {8, 0, 0},
                        {16, 8, 0}};
  for (const Case& c : cases) {
    auto ring = make_ring<UserRingbufMap>(BPF_MAP_TYPE_USER_RINGBUF, 4096);
    Client client(*ring);
    client.producer() = c.producer;
    client.header(0) = c.header;
    client.consumer() = 0x1234;  // not the client's to write: it does not matter
    std::span<std::uint8_t> sample;
    EXPECT_EQ(ring->next_sample(sample), c.error) << c.producer << " " << c.header;
  }
}

// Reads a perf ring as a reader of the kernel's does: head, records that may wrap, tail.
class PerfClient {
 public:
  explicit PerfClient(const PerfRing& ring) : memory_(*ring.memory()) {
    page_ = reinterpret_cast<perf_event_mmap_page*>(memory_.data());
  }
  bool read(perf_event_header& header, std::vector<std::uint8_t>& body) {
    if (page_->data_tail == page_->data_head) return false;
    copy(page_->data_tail, &header, sizeof header);
    body.resize(header.size - sizeof header);
    copy(page_->data_tail + sizeof header, body.data(), body.size());
    page_->data_tail += header.size;
    return true;
  }
  perf_event_mmap_page* page() { return page_; }

 private:
  void copy(std::uint64_t from, void* to, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
      static_cast<std::uint8_t*>(to)[i] =
          memory_.data()[page_->data_offset + (from + i) % page_->data_size];
    }
  }
  const SharedMemory& memory_;
  perf_event_mmap_page* page_;
};

TEST(PerfRing, SamplesComeOutInOrderAndLossIsTold) {
  auto ring = PerfRing::create(1);
  ASSERT_TRUE(ring.has_value());
  PerfClient client(**ring);
  EXPECT_EQ(client.page()->data_size, 4096u);
  std::mt19937 random(4);
  std::vector<std::vector<std::uint8_t>> expected;
  std::size_t next = 0;
  std::uint64_t lost = 0;
  std::uint64_t told = 0;
  auto read_one = [&] {
    perf_event_header header;
    std::vector<std::uint8_t> body;
    if (!client.read(header, body)) return false;
    if (header.type == PERF_RECORD_LOST) {
      std::uint64_t count = 0;
      std::memcpy(&count, body.data() + 8, sizeof count);
      told += count;
      return true;
    }
    EXPECT_EQ(header.type, std::uint32_t{PERF_RECORD_SAMPLE});
    std::uint32_t size = 0;
    std::memcpy(&size, body.data(), sizeof size);
    EXPECT_EQ(size, body.size() - 4);
    EXPECT_EQ((size + 4) % 8, 0u);
    const auto& wanted = expected[next++];
    EXPECT_GE(size, wanted.size());
    EXPECT_LT(size, wanted.size() + 8);
    EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), body.begin() + 4));
    return true;
  };
  for (int step = 0; step < 10'000; ++step) {
    auto record = make_record(random, 300);
    const std::size_t cut = record.empty() ? 0 : random() % record.size();
    const std::span<const std::uint8_t> all(record);
    const int error = (*ring)->output(all.first(cut), all.subspan(cut));
    if (error == 0) {
      expected.push_back(record);
    } else {
      ASSERT_EQ(error, -ENOSPC);
      ++lost;
    }
    if (random() % 10 < 4) read_one();
  }
  while (read_one()) {
  }
  EXPECT_EQ(next, expected.size());
  EXPECT_EQ((*ring)->lost_count(), lost);
  EXPECT_GT(lost, 100u);
  EXPECT_EQ((*ring)->output({}, {}), 0);  // carries the last loss
  read_one();
  EXPECT_EQ(told, lost);
}

TEST(PerfEventArrayMap, OutputFindsTheRingOfItsCpu) {
  class EventHost final : public MapHost {
   public:
    FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
    const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
    void release_program(const ProgramEntry*) noexcept override {}
    PerfRing* acquire_event(std::uint32_t handle) noexcept override {
      held += handle == 5;
      return handle == 5 ? ring.get() : nullptr;
    }
    void release_event(PerfRing*) noexcept override { --held; }
    std::unique_ptr<PerfRing> ring = *PerfRing::create(1);
    int held = 0;
  };
  for (const std::uint32_t flags : {0u, std::uint32_t{BPF_F_PRESERVE_ELEMS}}) {
    EventHost host;
    MapSpec spec;
    spec.type = BPF_MAP_TYPE_PERF_EVENT_ARRAY;
    spec.key_size = spec.value_size = 4;
    spec.max_entries = 2;
    spec.map_flags = flags;
    auto made = create_map(spec, {}, host);
    ASSERT_TRUE(made.has_value());
    auto& map = static_cast<PerfEventArrayMap&>(**made);
    const std::uint32_t key = 1;
    const std::array<std::uint8_t, 4> handle{5, 0, 0, 0};
    const std::array<std::uint8_t, 3> bytes{1, 2, 3};
    EXPECT_EQ(map.output(BPF_F_CURRENT_CPU, 1, bytes, {}), -ENOENT);
    EXPECT_EQ(map.user_update(&key, handle, BPF_ANY), 0);
    EXPECT_EQ(map.output(BPF_F_CURRENT_CPU, 1, bytes, {}), 0);
    EXPECT_EQ(map.output(BPF_F_CURRENT_CPU, 0, bytes, {}), -ENOENT);
    EXPECT_EQ(map.output(1, 0, bytes, bytes), 0);
    EXPECT_EQ(map.output(2, 0, bytes, {}), -E2BIG);
    EXPECT_EQ(host.ring->sample_count(), 2u);
    map.drop_user_references();
    EXPECT_EQ(host.held, flags == 0 ? 0 : 1);
    made->reset();
    EXPECT_EQ(host.held, 0);
  }
}

TEST(PerfRing, AHostileTailIsAFullRing) {
  auto ring = PerfRing::create(1);
  PerfClient client(**ring);
  const std::array<std::uint8_t, 8> bytes{};
  client.page()->data_tail = 1;  // beyond the head
  EXPECT_EQ((*ring)->output(bytes, {}), -ENOSPC);
  client.page()->data_tail = 0;
  client.page()->data_head = 12345;  // shown, not believed
  client.page()->data_size = 1;
  EXPECT_EQ((*ring)->output(bytes, {}), 0);
  const std::vector<std::uint8_t> huge(65536);
  EXPECT_EQ((*ring)->output(huge, {}), -E2BIG);
  EXPECT_FALSE(PerfRing::create(3).has_value());
}

}  // namespace
}  // namespace lmn
