// SPDX-License-Identifier: Apache-2.0
//
// Goal: bpf_perf_event_output answers as the kernel's and leaves the same records in its ring.
// Method: HelperCaller with a PERF_EVENT_ARRAY on either side, the kernel's slot holding a perf
// event of this CPU, ours a PerfRing of the same size. After every call the new records of both
// rings are compared byte for byte; nobody reads for a while, so that both rings also fill up.
#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <set>

#include "base/byte_reader.h"
#include "base/unique_fd.h"
#include "differential/helper_caller.h"
#include "maps/perf_event_array_map.h"

namespace lmn {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kSampleHeaderBytes = 12;  // of the record, and the size of the sample
constexpr std::uint32_t kDataPages = 2;
constexpr std::uint32_t kSlots = 3;  // 0: the ring; the others are empty

// The reading end of a ring in perf's layout.
class RingReader {
 public:
  explicit RingReader(std::uint8_t* memory) : memory_(memory) {}
  // All records since the last call, one after the other, with samples of these sizes. Cleared is
  // what the kernel has of its own: the id in a record of lost samples, the mode that the CPU was
  // in, and the padding, where it leaves old bytes.
  std::vector<std::uint8_t> read(std::span<const std::uint64_t> sample_sizes) {
    auto* page = reinterpret_cast<perf_event_mmap_page*>(memory_);
    const std::uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
    std::vector<std::uint8_t> bytes;
    for (std::uint64_t at = page->data_tail; at < head; ++at) {
      bytes.push_back(memory_[kPageBytes + at % (kDataPages * kPageBytes)]);
    }
    __atomic_store_n(&page->data_tail, head, __ATOMIC_RELEASE);
    std::size_t sample = 0;
    for (std::size_t at = 0; at + kSampleHeaderBytes <= bytes.size();) {
      const auto type = load_unaligned<std::uint32_t>(&bytes[at]);
      const auto size = load_unaligned<std::uint16_t>(&bytes[at + 6]);
      if (size == 0 || at + size > bytes.size()) break;
      std::memset(&bytes[at + 4], 0, 2);
      if (type == PERF_RECORD_LOST) {
        std::memset(&bytes[at + 8], 0, 8);
      } else if (sample < sample_sizes.size()) {
        const std::size_t end = kSampleHeaderBytes + sample_sizes[sample++];
        if (end < size) std::memset(&bytes[at + end], 0, size - end);
      }
      at += size;
    }
    EXPECT_EQ(sample, sample_sizes.size()) << "every call that succeeded left a sample";
    return bytes;
  }

 private:
  std::uint8_t* memory_;
};

class OneRing final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
  PerfRing* acquire_event(std::uint32_t) noexcept override { return ring.get(); }
  std::unique_ptr<PerfRing> ring;
};

// A software event for programs' output on CPU 0, and its memory.
struct KernelEvent {
  UniqueFd fd;
  std::uint8_t* memory = nullptr;

  KernelEvent() {
    struct perf_event_attr attributes = {};
    attributes.type = PERF_TYPE_SOFTWARE;
    attributes.size = sizeof attributes;
    attributes.config = PERF_COUNT_SW_BPF_OUTPUT;
    attributes.sample_type = PERF_SAMPLE_RAW;
    attributes.sample_period = 1;
    attributes.wakeup_events = 1;
    fd.reset(static_cast<int>(
        ::syscall(SYS_perf_event_open, &attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
    if (!fd.is_open()) return;
    void* mapped = ::mmap(nullptr, (kDataPages + 1) * kPageBytes, PROT_READ | PROT_WRITE,
                          MAP_SHARED, fd.get(), 0);
    if (mapped != MAP_FAILED) memory = static_cast<std::uint8_t*>(mapped);
  }
  ~KernelEvent() {
    if (memory != nullptr) ::munmap(memory, (kDataPages + 1) * kPageBytes);
  }
  KernelEvent(const KernelEvent&) = delete;
  KernelEvent& operator=(const KernelEvent&) = delete;
};

TEST(PerfEventDifferential, ResultsAndRecords) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(0, &cpus);
  if (::sched_setaffinity(0, sizeof cpus, &cpus) != 0) GTEST_SKIP() << "cannot stay on CPU 0";
  KernelEvent event;
  if (event.memory == nullptr) GTEST_SKIP() << "no perf events for programs here";
  auto kernel_map = KernelMap::create({.type = BPF_MAP_TYPE_PERF_EVENT_ARRAY,
                                       .key_size = 4,
                                       .value_size = 4,
                                       .max_entries = kSlots});
  ASSERT_TRUE(kernel_map.is_created());
  OneRing host;
  auto ring = PerfRing::create(kDataPages);
  ASSERT_TRUE(ring.has_value()) << ring.error().to_string();
  host.ring = std::move(*ring);
  MapSpec spec;
  spec.name = "events";
  spec.type = BPF_MAP_TYPE_PERF_EVENT_ARRAY;
  spec.key_size = spec.value_size = 4;
  spec.max_entries = kSlots;
  auto our_map = create_map(spec, {}, host);
  ASSERT_TRUE(our_map.has_value()) << our_map.error().to_string();
  const std::array<std::uint8_t, 4> slot{};
  std::array<std::uint8_t, 4> handle{};
  store_unaligned<std::uint32_t>(handle.data(), static_cast<std::uint32_t>(event.fd.get()));
  ASSERT_EQ(kernel_map.update(slot, handle), 0);
  ASSERT_EQ((*our_map)->user_update(slot.data(), handle, 0), 0);

  HelperCaller caller(BPF_FUNC_perf_event_output, {context(), map(kernel_map, our_map->get()),
                                                   word(), memory(1023), size(0, 4000)});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  RingReader kernel_records(event.memory);
  RingReader our_records(host.ring->memory()->data());
  std::mt19937_64 random(20251120);
  for (auto& byte : caller.memory_in()) byte = static_cast<std::uint8_t>(random());
  std::vector<std::uint8_t> packet(300);
  for (auto& byte : packet) byte = static_cast<std::uint8_t>(random());
  const std::uint64_t slots[] = {
      BPF_F_CURRENT_CPU, BPF_F_CURRENT_CPU, BPF_F_CURRENT_CPU, 0, 1, 2, kSlots, 0xfffffffe};
  std::set<std::int64_t> seen;
  std::vector<std::uint64_t> sample_sizes;
  for (int i = 0; i < 4'000; ++i) {
    std::uint64_t flags = slots[random() % std::size(slots)];
    const std::uint64_t packet_bytes = random() % 2 == 0 ? random() % 320 : 0;
    flags |= packet_bytes << 32;
    if (random() % 16 == 0) flags |= 1ull << (52 + random() % 12);
    const std::uint64_t own_bytes = random() % 4 == 0 ? random() % 4001 : random() % 40;
    const Comparison c = caller.compare(packet, {0, 0, flags, random(), own_bytes});
    ASSERT_TRUE(c.is_equal()) << "call " << i << ", flags " << flags << ": " << c.difference();
    seen.insert(c.kernel.result);
    if (c.kernel.result == 0) sample_sizes.push_back(own_bytes + packet_bytes);
    if (random() % 32 != 0) continue;
    const auto theirs = kernel_records.read(sample_sizes);
    const auto ours = our_records.read(sample_sizes);
    sample_sizes.clear();
    ASSERT_EQ(theirs.size(), ours.size()) << "call " << i;
    ASSERT_TRUE(theirs == ours) << "call " << i << ": byte "
                                << std::ranges::mismatch(theirs, ours).in1 - theirs.begin();
  }
  EXPECT_EQ(seen, (std::set<std::int64_t>{0, -EINVAL, -EFAULT, -E2BIG, -ENOENT, -ENOSPC}));
}

}  // namespace
}  // namespace lmn
