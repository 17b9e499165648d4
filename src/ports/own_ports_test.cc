// SPDX-License-Identifier: Apache-2.0
//
// Goal: what the contract suite does not say of the ports without an outside: memory ports tell why
// a packet was not taken and carry metadata; veth pairs move frames without copying, are bounded,
// and either end may go first. Method: small pools, queues filled to their limits and one more.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "ports/frame_rules.h"
#include "ports/memory/memory_port.h"
#include "ports/port.h"

namespace lmn {
namespace {

class OwnPorts : public testing::Test {
 protected:
  OwnPorts() : pool_(*FramePool::create(8192)) {
    resources_.pool = &pool_;
    resources_.clock = &clock_;
  }
  OpenedPorts open(std::string_view text) { return *open_port(*parse_port_spec(text), resources_); }
  XdpFrame* make_frame(std::size_t length) {
    XdpBuff buff = make_xdp_buff(pool_, pool_.allocate(), rxq_);
    buff.data_end += length;
    return to_frame(buff);
  }

  const RxQueueInfo rxq_;
  FramePool pool_;
  FakeClock clock_;
  PortResources resources_;
};

TEST_F(OwnPorts, AppendedBuffsAreThoseOfThePacketModule) {
  std::uint8_t* hard_start = pool_.allocate();
  const RxQueueInfo rxq{5, 0};
  FrameBatch batch;
  batch.buffs[0].egress_ifindex = 9;  // left by an earlier batch
  batch.buffs[0].rx_time_ns = 9;
  batch.buffs[0].meta.known = kMetaMark;
  const XdpBuff& ours = append_buff(batch, pool_, hard_start, rxq);
  const XdpBuff theirs = make_xdp_buff(pool_, hard_start, rxq);
  EXPECT_EQ(batch.count, 1u);
  // Behind `known` nothing counts, and nothing is written.
  EXPECT_EQ(std::memcmp(&ours, &theirs, offsetof(XdpBuff, meta)), 0);
  EXPECT_EQ(ours.meta.known, theirs.meta.known);
  pool_.free(hard_start);
}

TEST_F(OwnPorts, NullGivesFramesAndForgetsThem) {
  OpenedPorts ports = open("null:n,count=70,size=100");
  RxQueue& rx = ports[0]->rx_queue();
  TxQueue& tx = ports[0]->tx_queue();
  FrameBatch batch;
  batch.limit = 3;
  std::size_t received = 0;
  while (!rx.is_exhausted()) {
    const std::size_t got = rx.receive(batch);
    ASSERT_GT(got, 0u);
    received += got;
    for (std::size_t i = 0; i < got; ++i) {
      EXPECT_EQ(batch.buffs[i].length(), 100u);
      EXPECT_EQ(batch.buffs[i].rxq, &rx.info());
      tx.enqueue(to_frame(batch.buffs[i]));
    }
    EXPECT_LE(got, 3u);
    batch.clear();
  }
  EXPECT_EQ(received, 70u);
  EXPECT_EQ(rx.receive(batch), 0u);
  EXPECT_EQ(tx.counters().get(Counter::kTxPackets), 70u);
  EXPECT_EQ(tx.counters().get(Counter::kTxBytes), 7000u);
  EXPECT_EQ(pool_.in_use(), 0u);
}

TEST_F(OwnPorts, MemoryTellsWhyAPacketIsNotTaken) {
  OpenedPorts ports = open("memory:m,mtu=100");
  MemoryPort& port = *as_memory_port(*ports[0]);
  const std::vector<std::uint8_t> bytes(200, 7);
  const ByteSpan all(bytes);
  EXPECT_EQ(port.push({.bytes = all.first(118)}), 0);
  EXPECT_EQ(port.push({.bytes = all.first(119)}), EMSGSIZE);
  EXPECT_EQ(port.push({.bytes = all.first(14)}), 0);
  EXPECT_EQ(port.push({.bytes = all.first(13)}), EINVAL);
  EXPECT_EQ(port.push({.bytes = all.first(60), .metadata = all.first(5)}), EINVAL);
  const Counters& counters = port.rx_queue().counters();
  EXPECT_EQ(counters.get(Counter::kRxOversize), 1u);
  EXPECT_EQ(counters.get(Counter::kRxUndersize), 1u);
  std::size_t taken = 2;
  while (port.push({.bytes = all.first(60)}) == 0) ++taken;
  EXPECT_EQ(taken, limits::kMemoryQueueFrames);
  EXPECT_EQ(port.push({.bytes = all.first(60)}), ENOBUFS);
  EXPECT_EQ(counters.get(Counter::kRxNoFrame), 2u);
}

TEST_F(OwnPorts, MemoryNamesAnEmptyPool) {
  auto small = FramePool::create(1);
  resources_.pool = &*small;
  OpenedPorts ports = open("memory");
  MemoryPort& port = *as_memory_port(*ports[0]);
  const std::vector<std::uint8_t> bytes(60);
  EXPECT_EQ(port.push({.bytes = bytes}), 0);
  EXPECT_EQ(port.push({.bytes = bytes}), ENOBUFS);
  ports.clear();
  EXPECT_EQ(small->in_use(), 0u);
}

TEST_F(OwnPorts, MemoryCarriesMetadataOfEverySizeAndTheTime) {
  OpenedPorts ports = open("memory");
  MemoryPort& port = *as_memory_port(*ports[0]);
  std::vector<std::uint8_t> bytes(3520);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i);
  for (std::size_t size = 0; size <= limits::kMetadataBytesMax; size += 4) {
    const ByteSpan metadata = ByteSpan(bytes).first(size);
    ASSERT_EQ(
        port.push(
            {.bytes = ByteSpan(bytes).first(100), .metadata = metadata, .rx_time_ns = size + 1}),
        0);
    FrameBatch batch;
    ASSERT_EQ(port.rx_queue().receive(batch), 1u);
    const XdpBuff& buff = batch.buffs[0];
    EXPECT_EQ(buff.metadata_length(), size);
    EXPECT_TRUE(std::equal(metadata.begin(), metadata.end(), buff.data_meta));
    EXPECT_EQ(buff.length(), 100u);
    EXPECT_EQ(buff.data[99], 99);
    EXPECT_EQ(buff.rx_time_ns, size + 1);
    pool_.free(buff.hard_start);
  }
  // The most metadata takes head-room from the packet behind it.
  const ByteSpan most = ByteSpan(bytes).first(limits::kMetadataBytesMax);
  EXPECT_EQ(port.push({.bytes = bytes, .metadata = most}), EMSGSIZE);
  EXPECT_EQ(port.push({.bytes = bytes}), 0);
  EXPECT_EQ(as_memory_port(*open("veth:a,b")[0]), nullptr);
}

// What a port was told of a frame goes with it, at rest in a port and over a veth, and does not
// stay in the frame's memory for the next one.
TEST_F(OwnPorts, WhatIsKnownOfAFrameGoesAlong) {
  OpenedPorts memory = open("memory");
  OpenedPorts veth = open("veth:a,b");
  const std::vector<std::uint8_t> bytes(60);
  FrameMeta meta{};
  meta.known = kMetaHash | kMetaVlan | kMetaMark;
  meta.hash = 0x12345678;
  meta.vlan_tci = 7;
  meta.mark = 99;
  for (const bool is_told : {true, false, true}) {
    MemoryPort& port = *as_memory_port(*memory[0]);
    ASSERT_EQ(port.push({.bytes = bytes, .meta = is_told ? meta : FrameMeta{}}), 0);
    FrameBatch batch;
    ASSERT_EQ(port.rx_queue().receive(batch), 1u);
    EXPECT_EQ(batch.buffs[0].rxq->metadata & meta.known, meta.known);
    veth[0]->tx_queue().enqueue(to_frame(batch.buffs[0]));
    FrameBatch there;
    ASSERT_EQ(veth[1]->rx_queue().receive(there), 1u);
    const FrameMeta& arrived = there.buffs[0].meta;
    EXPECT_EQ(arrived.known, is_told ? meta.known : 0);
    if (is_told) {
      EXPECT_EQ(arrived.hash, meta.hash);
      EXPECT_EQ(arrived.vlan_tci, 7);
      EXPECT_EQ(arrived.mark, 99u);
    }
    pool_.free(there.buffs[0].hard_start);
  }
}

TEST_F(OwnPorts, MemoryTransmitSideIsBounded) {
  OpenedPorts ports = open("memory");
  TxQueue& tx = ports[0]->tx_queue();
  for (std::size_t i = 0; i <= limits::kMemoryQueueFrames; ++i) tx.enqueue(make_frame(60));
  EXPECT_EQ(tx.counters().get(Counter::kTxPackets), limits::kMemoryQueueFrames);
  EXPECT_EQ(tx.counters().get(Counter::kTxDropped), 1u);
  ports.clear();
  EXPECT_EQ(pool_.in_use(), 0u);
}

TEST_F(OwnPorts, VethMovesTheFrameItself) {
  OpenedPorts ports = open("veth:a,b");
  XdpFrame* frame = make_frame(60);
  const std::uint8_t* start = frame->hard_start();
  ports[0]->tx_queue().enqueue(frame);
  EXPECT_TRUE(ports[0]->rx_queue().is_exhausted());
  EXPECT_FALSE(ports[1]->rx_queue().is_exhausted());
  FrameBatch batch;
  ASSERT_EQ(ports[1]->rx_queue().receive(batch), 1u);
  EXPECT_EQ(batch.buffs[0].hard_start, start);
  EXPECT_EQ(batch.buffs[0].rxq->ifindex, ports[1]->info().ifindex);
  EXPECT_TRUE(ports[1]->rx_queue().is_exhausted());
  pool_.free(batch.buffs[0].hard_start);
}

TEST_F(OwnPorts, VethIsBoundedAndItsEndsMayGoInAnyOrder) {
  OpenedPorts ports = open("veth:a,b");
  TxQueue& tx = ports[0]->tx_queue();
  for (std::size_t i = 0; i < limits::kVethQueueFrames + 5; ++i) tx.enqueue(make_frame(60));
  EXPECT_EQ(tx.counters().get(Counter::kTxPackets), limits::kVethQueueFrames);
  EXPECT_EQ(tx.counters().get(Counter::kTxDropped), 5u);
  ports[1]->tx_queue().enqueue(make_frame(60));
  ports.erase(ports.begin() + 1);
  EXPECT_EQ(tx.check(60), ENETDOWN) << "the peer is gone";
  tx.enqueue(make_frame(60));
  EXPECT_EQ(tx.counters().get(Counter::kTxDropped), 6u);
  FrameBatch batch;
  EXPECT_EQ(ports[0]->rx_queue().receive(batch), 1u) << "sent before the peer went";
  pool_.free(batch.buffs[0].hard_start);
  ports.clear();
  EXPECT_EQ(pool_.in_use(), 0u);
}

}  // namespace
}  // namespace lmn
