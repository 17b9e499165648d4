// SPDX-License-Identifier: Apache-2.0
//
// Goal: a reader that waits in poll(2) is woken when the ring has something for it, and not else.
// Method: records are put into a ring by hand, rounds of a worker are calls of refresh().
#include "engine/reader_bells.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <poll.h>
#include <unistd.h>

#include <array>

#include "maps/ringbuf_map.h"

namespace lmn {
namespace {

class CountingSource final : public TableSource {
 public:
  void refresh(RunContext&) noexcept override { ++count; }
  int count = 0;
};

class ReaderBellsTest : public testing::Test {
 protected:
  void SetUp() override {
    MapSpec spec;
    spec.name = "events";
    spec.type = BPF_MAP_TYPE_RINGBUF;
    spec.max_entries = 4096;
    auto made = RingbufMap::create(spec, {});
    ASSERT_TRUE(made.has_value()) << made.error().to_string();
    map_ = std::move(*made);
    auto fd = bells_.add(ring());
    ASSERT_TRUE(fd.has_value()) << fd.error().to_string();
    fd_ = *fd;
  }
  RingbufMap& ring() { return static_cast<RingbufMap&>(*map_); }
  void put(std::uint64_t flags = 0) {
    const std::array<std::uint8_t, 8> record{};
    ASSERT_EQ(ring().output(record, flags), 0);
  }
  // One round; whether the reader was woken, who then answers the bell.
  bool is_woken() {
    bells_.refresh(context_);
    pollfd wait{fd_, POLLIN, 0};
    if (::poll(&wait, 1, 0) != 1) return false;
    std::uint64_t count = 0;
    EXPECT_EQ(::read(fd_, &count, sizeof count), static_cast<ssize_t>(sizeof count));
    EXPECT_EQ(count, 1u) << "once per round";
    return true;
  }
  std::size_t consume() {
    return ring().consume([](std::span<const std::uint8_t>) {});
  }

  std::unique_ptr<Map> map_;
  Epoch epoch_;
  ReaderBells bells_{epoch_};
  RunContext context_;
  int fd_ = -1;
};

TEST_F(ReaderBellsTest, AReaderThatHasCaughtUpIsWokenOnce) {
  EXPECT_FALSE(is_woken());
  put();
  put();
  EXPECT_TRUE(is_woken());
  EXPECT_FALSE(is_woken());
  put();
  EXPECT_FALSE(is_woken()) << "it has not read the first yet: it will come by itself";
  EXPECT_EQ(consume(), 3u);
  put();
  EXPECT_TRUE(is_woken());
}

TEST_F(ReaderBellsTest, ProgramsMayForbidAndForceIt) {
  put(BPF_RB_NO_WAKEUP);
  EXPECT_FALSE(is_woken());
  put(BPF_RB_FORCE_WAKEUP);
  EXPECT_TRUE(is_woken());
}

TEST_F(ReaderBellsTest, TheNextSourceIsAskedToo) {
  CountingSource next;
  bells_.set_next(&next);
  bells_.refresh(context_);
  EXPECT_EQ(next.count, 1);
  EXPECT_EQ(bells_.add(ring()).value(), fd_) << "one bell per ring";
}

TEST_F(ReaderBellsTest, ABellGoesWithItsRing) {
  auto other = std::move(*RingbufMap::create(map_->spec(), {}));
  const int other_fd = *bells_.add(static_cast<RingbufMap&>(*other));
  bells_.remove(*map_);
  bells_.remove(*map_);
  EXPECT_EQ(::fcntl(fd_, F_GETFD), -1) << "nothing runs: it is closed at once";
  map_.reset();
  bells_.refresh(context_);
  EXPECT_NE(::fcntl(other_fd, F_GETFD), -1);
}

}  // namespace
}  // namespace lmn
