// SPDX-License-Identifier: Apache-2.0
//
// Goal: every port driver keeps the contract of port.h: frames go through intact, in order and each
// once; losses are counted by reason; no frame of the pool is lost or kept; states and ends are
// told. Method: one suite over all rows of port_drivers.def, with a rig per driver that stands on
// the other side (testing/port_rig.h). Kernel drivers run in a network namespace of their own and
// skip with the reason when there can be none.
#include <gtest/gtest.h>
#include <poll.h>

#include <cerrno>

#include "ports/port.h"
#include "ports/testing/netns.h"
#include "ports/testing/port_rig.h"

namespace lmn {
namespace {

using testing_support::Bytes;
using testing_support::find_rig_traits;
using testing_support::make_rig;
using testing_support::make_test_frame;
using testing_support::Netns;
using testing_support::PortRig;
using testing_support::RigTraits;

constexpr std::size_t kShortest = 14;
constexpr std::size_t kLongest = 1514;
constexpr Counter kLossCounters[] = {Counter::kRxNoFrame,    Counter::kRxOversize,
                                     Counter::kRxUndersize,  Counter::kRxTruncated,
                                     Counter::kRxBadOffload, Counter::kRxKernelDropped};

std::uint64_t losses(RxQueue& rx) {
  std::uint64_t sum = 0;
  for (const Counter counter : kLossCounters) sum += rx.counters().get(counter);
  return sum;
}

Bytes bytes_of(const XdpBuff& buff) { return Bytes(buff.data, buff.data_end); }

class PortsContract : public testing::TestWithParam<std::string> {
 protected:
  // Runs the test's body with a rig, in a namespace where the driver needs one.
  template <typename Body>
  void with_rig(std::size_t frame_count, Body body) {
    const RigTraits* traits = find_rig_traits(GetParam());
    if (traits == nullptr) {
      // A driver whose two sides nobody can feed and see (null), or one that still wants a rig: the
      // summary of a test run shows which.
      GTEST_SKIP() << "driver " << GetParam() << " has no rig in testing/port_rig.cc";
    }
    const auto whole = [&] {
      auto pool = FramePool::create(frame_count);
      ASSERT_TRUE(pool.has_value());
      PortResources resources;
      resources.pool = &*pool;
      resources.clock = &clock_;
      {
        auto rig = make_rig(GetParam(), resources);
        if (!rig && rig.error().code == ErrorCode::kPermission) {
          GTEST_SKIP() << rig.error().to_string();
        }
        ASSERT_TRUE(rig.has_value()) << rig.error().to_string();
        body(**rig, *pool);
      }
      EXPECT_EQ(pool->in_use(), 0u) << "frames were lost";
    };
    if (!traits->needs_netns) return whole();
    if (const auto why = Netns::refusal()) GTEST_SKIP() << *why;
    const auto world = Netns::create();
    ASSERT_TRUE(world.has_value()) << world.error().to_string();
    world->run(whole);
  }

  // Appends to `batch` until it has `count` frames; frames of a kernel may come a moment later.
  static void receive(RxQueue& rx, FrameBatch& batch, std::size_t count) {
    while (batch.count < count) {
      if (rx.receive(batch) > 0 || rx.poll_fd() < 0) {
        if (rx.poll_fd() < 0 && batch.count < count) return;
        continue;
      }
      pollfd ready{rx.poll_fd(), POLLIN, 0};
      if (::poll(&ready, 1, 2000) <= 0) return;
    }
  }

  static XdpFrame* make_frame(FramePool& pool, const Bytes& bytes, const RxQueueInfo& rxq) {
    XdpBuff buff = make_xdp_buff(pool, pool.allocate(), rxq);
    std::ranges::copy(bytes, buff.data);
    buff.data_end = buff.data + bytes.size();
    return to_frame(buff);
  }

  static void free_all(FrameBatch& batch, FramePool& pool) {
    for (std::size_t i = 0; i < batch.count; ++i) pool.free(batch.buffs[i].hard_start);
    batch.clear();
  }

  FakeClock clock_{5'000'000'000};
};

TEST_P(PortsContract, ReceivesEveryLengthIntactAndInOrder) {
  with_rig(256, [&](PortRig& rig, FramePool& pool) {
    RxQueue& rx = rig.port().rx_queue();
    FrameBatch batch;
    constexpr std::size_t kGroup = 32;
    for (std::size_t first = kShortest; first <= kLongest; first += kGroup) {
      const std::size_t end = std::min(first + kGroup, kLongest + 1);
      for (std::size_t length = first; length < end; ++length) {
        ASSERT_TRUE(rig.inject(make_test_frame(length, 1))) << length;
      }
      receive(rx, batch, end - first);
      ASSERT_EQ(batch.count, end - first) << "of the group at length " << first;
      for (std::size_t i = 0; i < batch.count; ++i) {
        const XdpBuff& buff = batch.buffs[i];
        ASSERT_EQ(bytes_of(buff), make_test_frame(first + i, 1)) << first + i;
        EXPECT_EQ(buff.data - buff.hard_start, static_cast<std::ptrdiff_t>(limits::kHeadroomBytes));
        EXPECT_EQ(buff.data_meta, buff.data);
        EXPECT_EQ(buff.rxq, &rx.info());
        EXPECT_EQ(buff.pool, &pool);
      }
      free_all(batch, pool);
    }
    EXPECT_EQ(rx.receive(batch), 0u) << "frames came that nobody sent";
    EXPECT_EQ(losses(rx), 0u);
    EXPECT_EQ(rx.info().ifindex, rig.port().info().ifindex);
  });
}

TEST_P(PortsContract, GivesNoMoreThanTheBatchHasRoomFor) {
  with_rig(256, [&](PortRig& rig, FramePool& pool) {
    RxQueue& rx = rig.port().rx_queue();
    constexpr std::size_t kFrames = 100;
    for (std::uint32_t i = 0; i < kFrames; ++i) ASSERT_TRUE(rig.inject(make_test_frame(60, i)));
    FrameBatch batch;
    batch.limit = 3;
    receive(rx, batch, 3);
    EXPECT_EQ(batch.count, 3u);
    EXPECT_EQ(rx.receive(batch), 0u) << "the batch is full";
    batch.limit = limits::kBatchSize;
    receive(rx, batch, limits::kBatchSize);
    ASSERT_EQ(batch.count, limits::kBatchSize);
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      EXPECT_EQ(bytes_of(batch.buffs[i]), make_test_frame(60, i)) << i;
    }
    free_all(batch, pool);
    receive(rx, batch, kFrames - limits::kBatchSize);
    EXPECT_EQ(batch.count, kFrames - limits::kBatchSize);
    free_all(batch, pool);
  });
}

TEST_P(PortsContract, SendsEveryLengthIntactAndInOrder) {
  with_rig(2048, [&](PortRig& rig, FramePool& pool) {
    TxQueue& tx = rig.port().tx_queue();
    // Within every driver's queue, as the world takes nothing before the end.
    constexpr std::size_t kStep = 2;
    std::vector<Bytes> sent;
    std::uint64_t byte_count = 0;
    for (std::size_t length = kShortest; length <= kLongest; length += kStep) {
      sent.push_back(make_test_frame(length, 2));
      byte_count += length;
      ASSERT_EQ(tx.check(static_cast<std::uint32_t>(length)), 0);
      tx.enqueue(make_frame(pool, sent.back(), rig.port().rx_queue().info()));
      if (sent.size() % limits::kBatchSize == 0) {
        tx.flush();
        rig.collect_some();
      }
    }
    tx.flush();
    EXPECT_EQ(tx.pending(), 0u);
    const std::vector<Bytes> arrived = rig.finish_and_collect(sent.size());
    ASSERT_EQ(arrived.size(), sent.size());
    for (std::size_t i = 0; i < sent.size(); ++i) ASSERT_EQ(arrived[i], sent[i]) << i;
    EXPECT_EQ(tx.counters().get(Counter::kTxPackets), sent.size());
    EXPECT_EQ(tx.counters().get(Counter::kTxBytes), byte_count);
    EXPECT_EQ(tx.counters().get(Counter::kTxDropped), 0u);
  });
}

TEST_P(PortsContract, SentAndHeadGrownFramesKeepTheirBytes) {
  with_rig(64, [&](PortRig& rig, FramePool& pool) {
    // A program may have moved the start up to where the header of a resting frame begins.
    XdpBuff buff = make_xdp_buff(pool, pool.allocate(), rig.port().rx_queue().info());
    buff.data -= limits::kHeadroomBytes - limits::kFrameHeaderBytes;
    buff.data_meta = buff.data;
    const Bytes bytes = make_test_frame(700, 3);
    std::ranges::copy(bytes, buff.data);
    buff.data_end = buff.data + bytes.size();
    rig.port().tx_queue().enqueue(to_frame(buff));
    rig.port().tx_queue().flush();
    const std::vector<Bytes> arrived = rig.finish_and_collect(1);
    ASSERT_EQ(arrived.size(), 1u);
    EXPECT_EQ(arrived[0], bytes);
  });
}

TEST_P(PortsContract, LengthsAreCheckedAgainstTheMtu) {
  with_rig(64, [&](PortRig& rig, FramePool& pool) {
    TxQueue& tx = rig.port().tx_queue();
    const std::uint32_t longest = rig.port().info().mtu + 14 + 4;
    EXPECT_EQ(tx.check(longest), 0);
    EXPECT_EQ(tx.check(longest + 1), EMSGSIZE);
    if (longest + 1 > limits::kPacketBytesMax) return;
    tx.enqueue(make_frame(pool, make_test_frame(longest + 1, 1), rig.port().rx_queue().info()));
    tx.flush();
    EXPECT_EQ(tx.counters().get(Counter::kTxDropped), 1u);
    EXPECT_EQ(tx.counters().get(Counter::kTxPackets), 0u);
  });
}

TEST_P(PortsContract, OversizeIsLostAndCounted) {
  with_rig(64, [&](PortRig& rig, FramePool& pool) {
    if (!rig.inject_oversize()) GTEST_SKIP() << "no frame longer than its MTU reaches this driver";
    ASSERT_TRUE(rig.inject(make_test_frame(60, 9)));
    FrameBatch batch;
    receive(rig.port().rx_queue(), batch, 1);
    ASSERT_EQ(batch.count, 1u);
    EXPECT_EQ(bytes_of(batch.buffs[0]), make_test_frame(60, 9));
    EXPECT_EQ(rig.port().rx_queue().counters().get(Counter::kRxOversize), 1u);
    EXPECT_EQ(losses(rig.port().rx_queue()), 1u);
    free_all(batch, pool);
  });
}

TEST_P(PortsContract, UndersizeIsLostAndCounted) {
  with_rig(64, [&](PortRig& rig, FramePool& pool) {
    if (!rig.inject_undersize()) GTEST_SKIP() << "no frame under 14 bytes reaches this driver";
    ASSERT_TRUE(rig.inject(make_test_frame(60, 9)));
    FrameBatch batch;
    receive(rig.port().rx_queue(), batch, 1);
    EXPECT_EQ(batch.count, 1u);
    EXPECT_EQ(rig.port().rx_queue().counters().get(Counter::kRxUndersize), 1u);
    EXPECT_EQ(losses(rig.port().rx_queue()), 1u);
    free_all(batch, pool);
  });
}

TEST_P(PortsContract, InputEnds) {
  with_rig(64, [&](PortRig& rig, FramePool& pool) {
    RxQueue& rx = rig.port().rx_queue();
    ASSERT_TRUE(rig.inject(make_test_frame(60, 1)));
    EXPECT_FALSE(rx.is_exhausted());
    FrameBatch batch;
    receive(rx, batch, 1);
    EXPECT_EQ(batch.count, 1u);
    free_all(batch, pool);
    rig.end_input();
    for (int i = 0; i < 1000 && !rx.is_exhausted(); ++i) rx.receive(batch);
    EXPECT_TRUE(rx.is_exhausted());
    // A netdev that goes away is a fault, the end of a file is none.
    EXPECT_EQ(rx.input_error().empty(), !find_rig_traits(GetParam())->needs_netns);
    free_all(batch, pool);
  });
}

TEST_P(PortsContract, EmptyPoolLosesNothing) {
  const RigTraits* traits = find_rig_traits(GetParam());
  if (traits != nullptr && !traits->can_wait_for_frames) {
    GTEST_SKIP() << "frames of this driver are in the pool before they are received";
  }
  with_rig(4, [&](PortRig& rig, FramePool& pool) {
    for (std::uint32_t i = 0; i < 8; ++i) ASSERT_TRUE(rig.inject(make_test_frame(60, i)));
    RxQueue& rx = rig.port().rx_queue();
    FrameBatch batch;
    receive(rx, batch, 4);
    ASSERT_EQ(batch.count, 4u);
    EXPECT_EQ(rx.receive(batch), 0u);
    free_all(batch, pool);
    receive(rx, batch, 4);
    ASSERT_EQ(batch.count, 4u);
    EXPECT_EQ(bytes_of(batch.buffs[0]), make_test_frame(60, 4));
    EXPECT_EQ(losses(rx), 0u);
    free_all(batch, pool);
  });
}

TEST_P(PortsContract, PortsTakeTheirFramesWithThem) {
  with_rig(256, [&](PortRig& rig, FramePool& pool) {
    const RxQueueInfo rxq;
    for (std::uint32_t i = 0; i < 50; ++i) {
      rig.port().tx_queue().enqueue(make_frame(pool, make_test_frame(60, i), rxq));
      rig.inject(make_test_frame(60, i));
    }
    rig.destroy_port();
    EXPECT_EQ(pool.in_use(), 0u);
  });
}

TEST_P(PortsContract, NetdevsThatAreDownAnswerEnetdown) {
  with_rig(64, [&](PortRig& rig, FramePool& pool) {
    if (!rig.set_up(false)) GTEST_SKIP() << "this driver has no link to take down";
    RxQueue& rx = rig.port().rx_queue();
    TxQueue& tx = rig.port().tx_queue();
    FrameBatch batch;
    for (int i = 0; i < 100; ++i) rx.receive(batch);
    EXPECT_EQ(tx.check(60), ENETDOWN);
    tx.enqueue(make_frame(pool, make_test_frame(60, 1), rx.info()));
    tx.flush();
    EXPECT_EQ(tx.counters().get(Counter::kTxDropped), 1u);
    EXPECT_FALSE(rx.is_exhausted());
    pollfd ready{rx.poll_fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&ready, 1, 0), 0) << "a worker could not sleep on it";
    ASSERT_TRUE(rig.set_up(true));
    rx.receive(batch);
    EXPECT_EQ(tx.check(60), 0) << "one empty receive is enough to notice";
    free_all(batch, pool);
  });
}

TEST_P(PortsContract, InfoIsFilledIn) {
  with_rig(64, [&](PortRig& rig, FramePool&) {
    const PortInfo& info = rig.port().info();
    EXPECT_FALSE(info.name.empty());
    EXPECT_EQ(info.driver, GetParam());
    EXPECT_NE(info.ifindex, 0u);
    EXPECT_EQ(info.ifindex >= kFirstOwnIfindex, !find_rig_traits(GetParam())->needs_netns);
    EXPECT_GE(info.mtu, 1500u);
    EXPECT_NE(info.mac, (std::array<std::uint8_t, 6>{}));
  });
}

std::vector<std::string> driver_names() {
  std::vector<std::string> out;
  for (const PortDriver& driver : port_drivers()) out.emplace_back(driver.name);
  return out;
}

INSTANTIATE_TEST_SUITE_P(Drivers, PortsContract, testing::ValuesIn(driver_names()),
                         [](const auto& row) { return row.param; });

}  // namespace
}  // namespace lmn
