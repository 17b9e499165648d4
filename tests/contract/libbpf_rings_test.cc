// SPDX-License-Identifier: Apache-2.0
//
// Goal: a consumer (and a producer) that was written for the kernel's ring buffers reads (and
// fills) ours unchanged. Method: libbpf itself, statically linked, maps our rings' files. Only the
// two places where it asks the kernel about the descriptor are answered here (link option --wrap):
// what kind of map it is, and that epoll shall watch it. libbpf's own words then go over the same
// bytes that a program's output goes into, over many wraps of the ring.
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/epoll.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "maps/ringbuf_map.h"
#include "maps/user_ringbuf_map.h"

namespace {
// What the wrapped calls answer for: our files, each with the type of its ring and its size.
std::map<int, bpf_map_info>& known_rings() {
  static std::map<int, bpf_map_info> rings;
  return rings;
}
}  // namespace

extern "C" {
int __real_epoll_ctl(int epoll, int operation, int fd, epoll_event* event);
int __wrap_epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  // A memfd cannot be watched; the readers of an engine's rings watch the bell instead.
  if (known_rings().contains(fd)) return 0;
  return __real_epoll_ctl(epoll, operation, fd, event);
}
int __wrap_bpf_obj_get_info_by_fd(int fd, void* info, unsigned* length) {
  const auto found = known_rings().find(fd);
  if (found == known_rings().end()) return -EBADF;
  std::memcpy(info, &found->second, std::min<std::size_t>(*length, sizeof(found->second)));
  return 0;
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
    if (random() % 4 == 0) ASSERT_GE(ring_buffer__consume(reader.get()), 0);
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

TEST(LibbpfRings, ARingIsNotTakenForTheOther) {
  const auto ring = make_ring<RingbufMap>(BPF_MAP_TYPE_RINGBUF);
  EXPECT_EQ(user_ring_buffer__new(ring->mapped_memory()->fd(), nullptr), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

}  // namespace
}  // namespace lmn
