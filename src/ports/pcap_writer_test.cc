// SPDX-License-Identifier: Apache-2.0
//
// Goal: what the writer writes, everybody reads: our reader and libpcap, byte for byte and
// nanosecond for nanosecond; a full disk is told, and the numbers stay right. Method: round trips
// in both formats over all lengths; /dev/full as the full disk.
#include "ports/pcap/pcap_writer.h"

#include <gtest/gtest.h>
#include <pcap/pcap.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "ports/pcap/pcap_reader.h"

namespace lmn {
namespace {

std::string temporary_path(std::string_view name) {
  return testing::TempDir() + "lmn_" + std::to_string(::getpid()) + "_" + std::string(name);
}

std::vector<std::uint8_t> packet_of(std::size_t length) {
  std::vector<std::uint8_t> bytes(length);
  for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + length);
  return bytes;
}

constexpr std::uint64_t kStartNs = 1'700'000'000'123'456'789;

class PcapWriterFormats : public testing::TestWithParam<PcapWriter::Format> {};

TEST_P(PcapWriterFormats, IsReadBackByOurReaderAndByLibpcap) {
  const std::string path = temporary_path("roundtrip");
  auto writer = PcapWriter::create(path, GetParam());
  ASSERT_TRUE(writer.has_value());
  // Twice the buffer, so that flushes fall into the middle.
  std::size_t count = 0;
  for (std::size_t length = 0; length <= 3520; ++length, ++count) {
    ASSERT_TRUE(writer->write(packet_of(length), kStartNs + length * 1001));
  }
  ASSERT_TRUE(writer->finish().has_value());
  EXPECT_EQ(writer->lost_packets(), 0u);

  const auto bytes = read_file(path, 64u << 20);
  ASSERT_TRUE(bytes.has_value());
  const auto packets = read_capture(*bytes);
  ASSERT_TRUE(packets.has_value()) << packets.error().to_string();
  ASSERT_EQ(packets->size(), count);
  char message[PCAP_ERRBUF_SIZE];
  pcap_t* oracle =
      pcap_open_offline_with_tstamp_precision(path.c_str(), PCAP_TSTAMP_PRECISION_NANO, message);
  ASSERT_NE(oracle, nullptr) << message;
  for (std::size_t i = 0; i < count; ++i) {
    const CapturedPacket& packet = (*packets)[i];
    const auto wanted = packet_of(i);
    EXPECT_TRUE(std::ranges::equal(packet.bytes, wanted)) << i;
    EXPECT_EQ(packet.original_length, i);
    EXPECT_EQ(packet.time_ns, kStartNs + i * 1001);
    pcap_pkthdr* header = nullptr;
    const u_char* data = nullptr;
    ASSERT_EQ(pcap_next_ex(oracle, &header, &data), 1) << pcap_geterr(oracle);
    EXPECT_TRUE(std::ranges::equal(std::span(data, header->caplen), wanted)) << i;
    EXPECT_EQ(header->len, i);
    EXPECT_EQ(static_cast<std::uint64_t>(header->ts.tv_sec) * 1'000'000'000 +
                  static_cast<std::uint64_t>(header->ts.tv_usec),
              packet.time_ns);
  }
  pcap_close(oracle);
  ::unlink(path.c_str());
}

TEST_P(PcapWriterFormats, FullDiskIsToldAndCounted) {
  auto writer = PcapWriter::create("/dev/full", GetParam());
  ASSERT_TRUE(writer.has_value());
  const auto packet = packet_of(3000);
  std::uint64_t accepted = 0;
  while (writer->write(packet, kStartNs)) ++accepted;
  EXPECT_GT(accepted, 300u) << "a megabyte is buffered before the first write";
  EXPECT_FALSE(writer->write(packet, kStartNs));
  EXPECT_EQ(writer->lost_packets(), accepted);
  EXPECT_EQ(writer->lost_bytes(), accepted * 3000);
  const auto finished = writer->finish();
  ASSERT_FALSE(finished.has_value());
  EXPECT_EQ(finished.error().errno_value, ENOSPC);
  EXPECT_NE(finished.error().message.find("write '/dev/full'"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Both, PcapWriterFormats,
                         testing::Values(PcapWriter::Format::kPcap, PcapWriter::Format::kPcapng),
                         [](const auto& row) {
                           return row.param == PcapWriter::Format::kPcap ? "pcap" : "pcapng";
                         });

TEST(PcapWriter, SmallLossIsFoundByFinish) {
  auto writer = PcapWriter::create("/dev/full", PcapWriter::Format::kPcap);
  ASSERT_TRUE(writer.has_value());
  ASSERT_TRUE(writer->write(packet_of(60), kStartNs));
  const auto finished = writer->finish();
  ASSERT_FALSE(finished.has_value());
  EXPECT_NE(finished.error().message.find("the last 1 packets are not in it"), std::string::npos)
      << finished.error().message;
}

TEST(PcapWriter, NameChoosesTheFormat) {
  EXPECT_EQ(PcapWriter::format_for("a.pcapng"), PcapWriter::Format::kPcapng);
  EXPECT_EQ(PcapWriter::format_for("a.pcap"), PcapWriter::Format::kPcap);
  EXPECT_EQ(PcapWriter::format_for("-"), PcapWriter::Format::kPcap);
  EXPECT_FALSE(PcapWriter::create("/nonexistent/a.pcap", PcapWriter::Format::kPcap).has_value());
}

}  // namespace
}  // namespace lmn
