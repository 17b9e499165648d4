// SPDX-License-Identifier: Apache-2.0
//
// Goal: what the pcap port adds to reader and writer: files opened and refused, pipes, repetition,
// losses counted, waiting for frames, a full disk. Method: files in the test's temporary directory,
// a pipe, /dev/full.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "base/file.h"
#include "ports/pcap/pcap_reader.h"
#include "ports/port.h"
#include "ports/testing/capture_builder.h"

namespace lmn {
namespace {

using testing_support::CaptureBuilder;
using Bytes = std::vector<std::uint8_t>;

Bytes packet_of(std::size_t length) { return Bytes(length, static_cast<std::uint8_t>(length)); }

class PcapPortTest : public testing::Test {
 protected:
  PcapPortTest() : pool_(*FramePool::create(256)), clock_(42'000'000'000) {
    resources_.pool = &pool_;
    resources_.clock = &clock_;
    directory_ = testing::TempDir() + "lmn_pcap_" + std::to_string(::getpid());
    ::mkdir(directory_.c_str(), 0700);
  }
  ~PcapPortTest() override {
    for (const std::string& path : files_) ::unlink(path.c_str());
    ::rmdir(directory_.c_str());
  }

  std::string path(const std::string& name) {
    files_.push_back(directory_ + "/" + name);
    return files_.back();
  }
  std::string file(const std::string& name, const Bytes& content) {
    const std::string where = path(name);
    std::ofstream out(where, std::ios::binary);
    out.write(reinterpret_cast<const char*>(content.data()),
              static_cast<std::streamsize>(content.size()));
    return where;
  }
  Result<std::unique_ptr<Port>> open(const std::string& text) {
    LMN_TRY(const PortSpec spec, parse_port_spec(text));
    LMN_TRY(OpenedPorts ports, open_port(spec, resources_));
    return std::move(ports.front());
  }
  // The lengths of all frames until the port is exhausted; frees them.
  std::vector<std::uint32_t> drain(Port& port) {
    std::vector<std::uint32_t> lengths;
    FrameBatch batch;
    for (int i = 0; i < 1'000'000 && !port.rx_queue().is_exhausted(); ++i) {
      batch.clear();
      port.rx_queue().receive(batch);
      for (std::size_t k = 0; k < batch.count; ++k) {
        lengths.push_back(batch.buffs[k].length());
        pool_.free(batch.buffs[k].hard_start);
      }
    }
    return lengths;
  }

  FramePool pool_;
  FakeClock clock_;
  PortResources resources_;
  std::string directory_;
  std::vector<std::string> files_;
};

CaptureBuilder capture() {
  return CaptureBuilder(std::endian::little).pcap_header(pcap_format::kMagicNano);
}

TEST_F(PcapPortTest, LossesAreCountedByReason) {
  CaptureBuilder builder = capture();
  builder.pcap_record(1, 0, packet_of(13), 13);
  builder.pcap_record(1, 0, packet_of(14), 14);
  builder.pcap_record(1, 0, packet_of(60), 100);
  builder.pcap_record(1, 0, packet_of(3520), 3520);
  builder.pcap_record(1, 0, packet_of(3521), 3521);
  builder.pcap_record(1, 5, packet_of(0), 0);
  auto port = open("pcap:in=" + file("a.pcap", builder.bytes()));
  ASSERT_TRUE(port.has_value()) << port.error().to_string();
  EXPECT_EQ(drain(**port), (std::vector<std::uint32_t>{14, 3520}));
  const Counters& counters = (*port)->rx_queue().counters();
  EXPECT_EQ(counters.get(Counter::kRxUndersize), 2u);
  EXPECT_EQ(counters.get(Counter::kRxOversize), 1u);
  EXPECT_EQ(counters.get(Counter::kRxTruncated), 1u);
  EXPECT_EQ((*port)->rx_queue().input_error(), "");
  EXPECT_EQ(pool_.in_use(), 0u);
}

TEST_F(PcapPortTest, WhatLiesBeforeTheFaultIsDelivered) {
  CaptureBuilder builder = capture();
  for (int i = 0; i < 100; ++i) builder.pcap_record(1, 0, packet_of(60), 60);
  builder.put(1u).put(2u).put(UINT32_MAX).put(60u);
  const std::string where = file("a.pcap", builder.bytes());
  auto port = open("pcap:in=" + where);
  ASSERT_TRUE(port.has_value());
  EXPECT_EQ(drain(**port).size(), 100u);
  EXPECT_EQ((*port)->rx_queue().input_error(),
            "'" + where +
                "': offset 7624: packet of 4294967295 captured bytes, at most 262144 are "
                "possible");
}

TEST_F(PcapPortTest, WrongFilesAreRefusedOnOpening) {
  const std::string text = file("a.txt", Bytes{'n', 'o', ' ', 'p', 'c', 'a', 'p'});
  EXPECT_EQ(open("pcap:in=" + text).error().message,
            "'" + text + "': offset 0: starts with 6e6f2070, which no pcap or pcapng file does");
  EXPECT_NE(open("pcap:in=" + file("empty", {})).error().message.find("empty"), std::string::npos);
  CaptureBuilder raw(std::endian::little);
  raw.section().interface(101, 0);
  EXPECT_NE(open("pcap:in=" + file("raw.pcapng", raw.bytes())).error().message.find("raw IP"),
            std::string::npos);
  const std::string same = file("same.pcap", capture().bytes());
  EXPECT_NE(open("pcap:in=" + same + ",out=" + same).error().message.find("the same file"),
            std::string::npos);
  EXPECT_EQ(read_file(same, 1000)->size(), 24u) << "the input must not have been emptied";
}

TEST_F(PcapPortTest, RepeatsTheFile) {
  CaptureBuilder builder = capture();
  for (int i = 0; i < 100; ++i) builder.pcap_record(1, 0, packet_of(60), 60);
  const std::string where = file("a.pcap", builder.bytes());
  auto thrice = open("pcap:loop=3,in=" + where);
  ASSERT_TRUE(thrice.has_value());
  EXPECT_EQ(drain(**thrice).size(), 300u);
  EXPECT_EQ((*thrice)->rx_queue().input_error(), "");
  auto forever = open("pcap:loop=0,in=" + where);
  ASSERT_TRUE(forever.has_value());
  FrameBatch batch;
  for (int i = 0; i < 100; ++i) {
    batch.clear();
    ASSERT_EQ((*forever)->rx_queue().receive(batch), limits::kBatchSize);
    for (std::size_t k = 0; k < batch.count; ++k) pool_.free(batch.buffs[k].hard_start);
  }
  EXPECT_FALSE((*forever)->rx_queue().is_exhausted());
  // Without packets there is nothing to repeat, and no endless loop.
  EXPECT_EQ(drain(**open("pcap:loop=0,in=" + file("none.pcap", capture().bytes()))).size(), 0u);
}

TEST_F(PcapPortTest, WaitsForFramesAndLosesNothing) {
  CaptureBuilder builder = capture();
  for (int i = 0; i < 10; ++i) builder.pcap_record(1, 0, packet_of(60), 60);
  auto small = FramePool::create(4);
  resources_.pool = &*small;
  auto port = open("pcap:in=" + file("a.pcap", builder.bytes()));
  ASSERT_TRUE(port.has_value());
  RxQueue& rx = (*port)->rx_queue();
  FrameBatch batch;
  EXPECT_EQ(rx.receive(batch), 4u);
  FrameBatch more;
  EXPECT_EQ(rx.receive(more), 0u);
  EXPECT_FALSE(rx.is_exhausted());
  small->free(batch.buffs[0].hard_start);
  EXPECT_EQ(rx.receive(more), 1u);
  EXPECT_EQ(rx.counters().get(Counter::kRxNoFrame), 0u);
}

TEST_F(PcapPortTest, ReadsAPipeAsItFills) {
  CaptureBuilder builder = capture();
  for (int i = 0; i < 3; ++i) builder.pcap_record(1, 0, packet_of(60), 60);
  const Bytes& bytes = builder.bytes();
  const std::string fifo = path("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  // Opened for both, so that opening waits for nobody; the last writer's close is the end.
  UniqueFd writer(::open(fifo.c_str(), O_RDWR | O_CLOEXEC));
  auto port = open("pcap:in=" + fifo);
  ASSERT_TRUE(port.has_value()) << port.error().to_string();
  RxQueue& rx = (*port)->rx_queue();
  EXPECT_GE(rx.poll_fd(), 0);
  FrameBatch batch;
  EXPECT_EQ(rx.receive(batch), 0u) << "nothing has been written yet";
  EXPECT_FALSE(rx.is_exhausted());
  std::size_t got = 0;
  for (std::size_t at = 0; at < bytes.size(); at += 50) {
    const std::size_t part = std::min<std::size_t>(50, bytes.size() - at);
    ASSERT_EQ(::write(writer.get(), bytes.data() + at, part), static_cast<ssize_t>(part));
    got += rx.receive(batch);
    EXPECT_FALSE(rx.is_exhausted());
  }
  EXPECT_EQ(got, 3u);
  writer.reset();
  rx.receive(batch);
  EXPECT_TRUE(rx.is_exhausted());
  EXPECT_EQ(rx.input_error(), "");
  for (std::size_t k = 0; k < batch.count; ++k) pool_.free(batch.buffs[k].hard_start);
  EXPECT_FALSE(open("pcap:loop=2,in=/dev/null").has_value());
}

TEST_F(PcapPortTest, KeepsTheTimeOfArrivalAndFillsInTheClocks) {
  CaptureBuilder builder = capture();
  builder.pcap_record(7, 5, packet_of(60), 60);
  const std::string out = path("b.pcapng");
  auto port = open("pcap:in=" + file("a.pcap", builder.bytes()) + ",out=" + out);
  ASSERT_TRUE(port.has_value());
  FrameBatch batch;
  ASSERT_EQ((*port)->rx_queue().receive(batch), 1u);
  EXPECT_EQ(batch.buffs[0].rx_time_ns, 7'000'000'005u);
  TxQueue& tx = (*port)->tx_queue();
  EXPECT_EQ(tx.check(3520), 0);
  EXPECT_EQ(tx.check(3521), EMSGSIZE);
  XdpBuff untimed = make_xdp_buff(pool_, pool_.allocate(), (*port)->rx_queue().info());
  untimed.data_end += 14;
  tx.enqueue(to_frame(batch.buffs[0]));
  tx.enqueue(to_frame(untimed));
  tx.flush();
  ASSERT_TRUE((*port)->finish().has_value());
  EXPECT_EQ(tx.counters().get(Counter::kTxPackets), 2u);
  EXPECT_EQ(tx.counters().get(Counter::kTxBytes), 74u);
  EXPECT_EQ(pool_.in_use(), 0u);
  const auto written = read_file(out, 1 << 20);
  const auto packets = read_capture(*written);
  ASSERT_EQ(packets->size(), 2u);
  EXPECT_EQ((*packets)[0].time_ns, 7'000'000'005u);
  EXPECT_EQ((*packets)[1].time_ns, 42'000'000'000u);
}

TEST_F(PcapPortTest, WithoutOutputSendingIsRefusedAndSaid) {
  auto port = open("pcap:in=" + file("a.pcap", capture().bytes()));
  ASSERT_TRUE(port.has_value());
  EXPECT_EQ((*port)->tx_queue().check(60), ENXIO);
  EXPECT_EQ((*port)->notices().size(), 1u);
  XdpBuff buff = make_xdp_buff(pool_, pool_.allocate(), (*port)->rx_queue().info());
  buff.data_end += 14;
  (*port)->tx_queue().enqueue(to_frame(buff));
  EXPECT_EQ((*port)->tx_queue().counters().get(Counter::kTxDropped), 1u);
  EXPECT_EQ(pool_.in_use(), 0u);
}

TEST_F(PcapPortTest, FullDiskMovesSentToDropped) {
  auto port = open("pcap:out=/dev/full");
  ASSERT_TRUE(port.has_value());
  EXPECT_TRUE((*port)->rx_queue().is_exhausted());
  TxQueue& tx = (*port)->tx_queue();
  constexpr std::uint64_t kFrames = 1000;
  for (std::uint64_t i = 0; i < kFrames; ++i) {
    XdpBuff buff = make_xdp_buff(pool_, pool_.allocate(), (*port)->rx_queue().info());
    buff.data_end += 3000;
    tx.enqueue(to_frame(buff));
  }
  const auto finished = (*port)->finish();
  ASSERT_FALSE(finished.has_value());
  EXPECT_EQ(finished.error().errno_value, ENOSPC);
  EXPECT_EQ(tx.counters().get(Counter::kTxPackets), 0u);
  EXPECT_EQ(tx.counters().get(Counter::kTxBytes), 0u);
  EXPECT_EQ(tx.counters().get(Counter::kTxDropped), kFrames);
  EXPECT_EQ(pool_.in_use(), 0u);
}

}  // namespace
}  // namespace lmn
