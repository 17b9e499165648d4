// SPDX-License-Identifier: Apache-2.0
//
// Goal: a consumer (and a producer) that was written for the kernel's ring buffers reads (and
// fills) ours unchanged. Method: libbpf itself, statically linked, maps our rings' files. Only the
// places where it asks the kernel about the descriptor are answered here (link option --wrap): what
// kind of map it is, that epoll shall watch it, and for perf the making of an event. libbpf's own
// words then go over the same bytes that a program's output goes into, over many wraps of the ring.
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "maps/perf_ring.h"
#include "maps/ringbuf_map.h"
#include "maps/user_ringbuf_map.h"

namespace {
// What the wrapped calls answer for: our files, each with the type of its ring and its size.
std::map<int, bpf_map_info>& known_rings() {
  static std::map<int, bpf_map_info> rings;
  return rings;
}
// The file that the next perf event is.
int& perf_file() {
  static int fd = -1;
  return fd;
}
constexpr int kPerfMap = 1 << 20;  // stands for the descriptor of a perf event array
}  // namespace

extern "C" {
// A memfd cannot be watched; readers of an engine's rings watch the ring's bell instead.
int __wrap_epoll_ctl(int, int, int, epoll_event*) { return 0; }
int __wrap_bpf_obj_get_info_by_fd(int fd, void* info, unsigned* length) {
  const auto found = known_rings().find(fd);
  if (found == known_rings().end()) return -EBADF;
  std::memcpy(info, &found->second, std::min<std::size_t>(*length, sizeof(found->second)));
  return 0;
}
// perf_event_open: the only system call that libbpf makes by number here.
long __wrap_syscall(long, ...) { return ::dup(perf_file()); }
int __wrap_ioctl(int, unsigned long, ...) { return 0; }  // PERF_EVENT_IOC_ENABLE
int __wrap_bpf_map_update_elem(int fd, const void*, const void*, __u64) {
  return fd == kPerfMap ? 0 : -EBADF;
}
}

namespace lmn {
namespace {

constexpr std::uint32_t kRingBytes = 4096;  // small, so that it wraps often
constexpr int kRecords = 20'000;
using Bytes = std::vector<std::uint8_t>;

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

template <typename T>
std::unique_ptr<T> make_ring(std::uint32_t type) {
  NoHost host;  // rings keep none
  MapSpec spec;
  spec.name = "ring";
  spec.type = type;
  spec.max_entries = kRingBytes;
  auto map = create_map(spec, {}, host);
  EXPECT_TRUE(map.has_value()) << map.error().to_string();
  std::unique_ptr<T> ring(static_cast<T*>(map->release()));
  bpf_map_info info{};
  info.type = type;
  info.max_entries = kRingBytes;
  known_rings()[ring->mapped_memory()->fd()] = info;
  return ring;
}

Bytes make_record(std::mt19937& random) {
  Bytes record(random() % 700);
  for (std::uint8_t& byte : record) byte = static_cast<std::uint8_t>(random());
  return record;
}

int keep_record(void* records, void* data, std::size_t size) {
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  static_cast<std::vector<Bytes>*>(records)->emplace_back(bytes, bytes + size);
  return 0;
}

TEST(LibbpfRings, TheConsumerReadsWhatProgramsOutput) {
  const auto ring = make_ring<RingbufMap>(BPF_MAP_TYPE_RINGBUF);
  std::vector<Bytes> got;
  std::unique_ptr<ring_buffer, decltype(&ring_buffer__free)> reader(
      ring_buffer__new(ring->mapped_memory()->fd(), keep_record, &got, nullptr), ring_buffer__free);
  ASSERT_NE(reader, nullptr) << std::strerror(errno);

  std::mt19937 random(20261120);
  std::vector<Bytes> sent;
  std::size_t discarded = 0;
  for (int i = 0; i < kRecords; ++i) {
    const Bytes record = make_record(random);
    if (random() % 8 == 0) {  // a reservation that is given up: the consumer skips it
      void* place = ring->reserve(static_cast<std::uint32_t>(record.size()));
      if (place != nullptr) {
        ring->discard(place, 0);
        ++discarded;
      }
    } else if (ring->output(record, 0) == 0) {
      sent.push_back(record);
    } else {  // full: the consumer makes room, and there is some
      ASSERT_GT(ring_buffer__consume(reader.get()), 0);
      ASSERT_EQ(ring->output(record, 0), 0);
      sent.push_back(record);
    }
    if (random() % 4 == 0) {
      ASSERT_GE(ring_buffer__consume(reader.get()), 0);
    }
  }
  ASSERT_GE(ring_buffer__consume(reader.get()), 0);
  EXPECT_GT(discarded, 1000u);
  EXPECT_EQ(got.size(), sent.size());
  EXPECT_TRUE(got == sent);
}

TEST(LibbpfRings, TheProducerFillsWhatProgramsDrain) {
  const auto ring = make_ring<UserRingbufMap>(BPF_MAP_TYPE_USER_RINGBUF);
  std::unique_ptr<user_ring_buffer, decltype(&user_ring_buffer__free)> writer(
      user_ring_buffer__new(ring->mapped_memory()->fd(), nullptr), user_ring_buffer__free);
  ASSERT_NE(writer, nullptr) << std::strerror(errno);

  std::vector<Bytes> got;
  const auto drain = [&] {
    ASSERT_TRUE(ring->begin_drain());
    std::span<std::uint8_t> sample;
    for (int result = 0; (result = ring->next_sample(sample)) != -ENODATA;) {
      if (result == -EAGAIN) continue;  // discarded by the writer
      ASSERT_EQ(result, 0);
      got.emplace_back(sample.begin(), sample.end());
      ring->finish_sample(sample);
    }
    ring->end_drain();
  };
  std::mt19937 random(20261121);
  std::vector<Bytes> sent;
  for (int i = 0; i < kRecords; ++i) {
    const Bytes record = make_record(random);
    const auto size = static_cast<std::uint32_t>(record.size());
    void* place = user_ring_buffer__reserve(writer.get(), size);
    if (place == nullptr) {
      ASSERT_EQ(errno, ENOSPC);
      ASSERT_NO_FATAL_FAILURE(drain());
      place = user_ring_buffer__reserve(writer.get(), size);
      ASSERT_NE(place, nullptr) << std::strerror(errno);
    }
    if (random() % 8 == 0) {
      user_ring_buffer__discard(writer.get(), place);
      continue;
    }
    std::ranges::copy(record, static_cast<std::uint8_t*>(place));
    user_ring_buffer__submit(writer.get(), place);
    sent.push_back(record);
  }
  ASSERT_NO_FATAL_FAILURE(drain());
  EXPECT_EQ(got.size(), sent.size());
  EXPECT_TRUE(got == sent);
}

struct PerfReader {
  std::vector<Bytes> samples;
  std::uint64_t lost = 0;
};
void keep_sample(void* reader, int, void* data, __u32 size) {
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  static_cast<PerfReader*>(reader)->samples.emplace_back(bytes, bytes + size);
}
void count_lost(void* reader, int, __u64 count) { static_cast<PerfReader*>(reader)->lost += count; }

TEST(LibbpfRings, ThePerfReaderReadsSamplesAndIsToldOfLoss) {
  auto ring = PerfRing::create(1);
  ASSERT_TRUE(ring.has_value());
  bpf_map_info info{};
  info.type = BPF_MAP_TYPE_PERF_EVENT_ARRAY;
  info.max_entries = 1;  // one CPU's
  known_rings()[kPerfMap] = info;
  perf_file() = (*ring)->memory()->fd();
  PerfReader seen;
  std::unique_ptr<perf_buffer, decltype(&perf_buffer__free)> reader(
      perf_buffer__new(kPerfMap, 1, keep_sample, count_lost, &seen, nullptr), perf_buffer__free);
  ASSERT_NE(reader, nullptr) << std::strerror(errno);

  std::mt19937 random(20261122);
  std::vector<Bytes> sent;
  std::uint64_t refused = 0;
  for (int i = 0; i < kRecords; ++i) {
    Bytes record = make_record(random);
    const std::size_t cut = record.empty() ? 0 : random() % record.size();
    const std::span<const std::uint8_t> all(record);
    if ((*ring)->output(all.first(cut), all.subspan(cut)) == 0) {
      record.resize((record.size() + 4 + 7) / 8 * 8 - 4);  // perf's samples end on 8 bytes
      sent.push_back(record);
    } else {
      ++refused;
    }
    if (random() % 8 == 0) {
      ASSERT_EQ(perf_buffer__consume(reader.get()), 0);
    }
  }
  ASSERT_EQ(perf_buffer__consume(reader.get()), 0);
  ASSERT_EQ((*ring)->output({}, {}), 0);  // tells of what was lost last
  ASSERT_EQ(perf_buffer__consume(reader.get()), 0);
  sent.emplace_back(4);
  EXPECT_GT(refused, 100u);
  EXPECT_EQ(seen.lost, refused);
  EXPECT_EQ(seen.samples.size(), sent.size());
  EXPECT_TRUE(seen.samples == sent);
}

TEST(LibbpfRings, ARingIsNotTakenForTheOther) {
  const auto ring = make_ring<RingbufMap>(BPF_MAP_TYPE_RINGBUF);
  EXPECT_EQ(user_ring_buffer__new(ring->mapped_memory()->fd(), nullptr), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

}  // namespace
}  // namespace lmn
