// SPDX-License-Identifier: Apache-2.0
//
// Goal: the reader gives exactly the packets of every valid capture, whatever variant and however
// it is cut into windows; of an invalid one it gives what lies before the fault and says where the
// fault is; no sequence of bytes makes it read outside its window or run for ever. Method: captures
// built byte by byte in all variants, libpcap as oracle; a table of malformed captures with their
// messages; 20,000 mutated captures read in random windows (under ASan in the asan preset, each
// window in memory of its own size).
#include "ports/pcap/pcap_reader.h"

#include <gtest/gtest.h>
#include <pcap/pcap.h>

#include <cstdio>
#include <memory>
#include <random>

#include "ports/testing/capture_builder.h"

namespace lmn {
namespace {

using testing_support::CaptureBuilder;
using Bytes = std::vector<std::uint8_t>;
constexpr std::endian kOrders[] = {std::endian::little, std::endian::big};

Bytes packet_of(std::size_t length) {
  Bytes bytes(length);
  for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + length);
  return bytes;
}

struct OwnedPacket {
  Bytes bytes;
  std::uint32_t original_length = 0;
  std::uint64_t time_ns = 0;
  bool operator==(const OwnedPacket&) const = default;
};

struct Reading {
  std::vector<OwnedPacket> packets;
  std::string error;
};

Reading read_whole(ByteSpan capture) {
  PcapReader reader;
  reader.set_window(capture, PcapReader::Tail::kEnd);
  Reading out;
  CapturedPacket packet;
  while (reader.next(packet) == PcapReader::Step::kPacket) {
    out.packets.push_back(
        {Bytes(packet.bytes.begin(), packet.bytes.end()), packet.original_length, packet.time_ns});
  }
  out.error = reader.error();
  return out;
}

// Reads through windows that grow by `chunk` bytes whenever more is asked for; each window is an
// allocation of exactly its size, so that ASan sees any step over its end.
Reading read_in_chunks(ByteSpan capture, std::size_t chunk) {
  PcapReader reader;
  Reading out;
  Bytes window;
  std::size_t next = 0;
  CapturedPacket packet;
  std::size_t steps = 0;
  while (true) {
    EXPECT_LT(++steps, 4 * capture.size() + 100) << "the reader does not come to an end";
    const auto step = reader.next(packet);
    if (step == PcapReader::Step::kPacket) {
      out.packets.push_back({Bytes(packet.bytes.begin(), packet.bytes.end()),
                             packet.original_length, packet.time_ns});
      continue;
    }
    if (step != PcapReader::Step::kNeedMore) break;
    const std::size_t take = std::min(chunk, capture.size() - next);
    Bytes grown(window.begin() + static_cast<std::ptrdiff_t>(reader.consumed()), window.end());
    const ByteSpan added = capture.subspan(next, take);
    grown.insert(grown.end(), added.begin(), added.end());
    grown.shrink_to_fit();
    next += take;
    window = std::move(grown);
    const bool is_last = take == 0;
    reader.set_window(window, is_last ? PcapReader::Tail::kEnd : PcapReader::Tail::kMore);
  }
  out.error = reader.error();
  return out;
}

// What libpcap makes of the same bytes; nullopt when it refuses the file.
std::optional<Reading> read_by_libpcap(const Bytes& capture) {
  std::FILE* file = ::fmemopen(const_cast<std::uint8_t*>(capture.data()), capture.size(), "rb");
  if (file == nullptr) return std::nullopt;
  char message[PCAP_ERRBUF_SIZE];
  pcap_t* oracle =
      pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, message);
  if (oracle == nullptr) {
    std::fclose(file);
    return std::nullopt;
  }
  Reading out;
  pcap_pkthdr* header = nullptr;
  const u_char* data = nullptr;
  int got = 0;
  while ((got = pcap_next_ex(oracle, &header, &data)) == 1) {
    out.packets.push_back({Bytes(data, data + header->caplen), header->len,
                           static_cast<std::uint64_t>(header->ts.tv_sec) * 1'000'000'000 +
                               static_cast<std::uint64_t>(header->ts.tv_usec)});
  }
  if (got != PCAP_ERROR_BREAK) out.error = pcap_geterr(oracle);
  pcap_close(oracle);
  return out;
}

Bytes pcap_capture(std::endian order, std::uint32_t magic) {
  CaptureBuilder builder(order);
  builder.pcap_header(magic);
  for (std::uint32_t i = 0; i < 40; ++i) {
    builder.pcap_record(1'700'000'000 + i, i * 20'011, packet_of(i * 37),
                        i % 5 == 0 ? 4000 : i * 37);
  }
  return builder.bytes();
}

// Several interfaces of different resolutions, every packet block, blocks to be skipped.
Bytes pcapng_capture(std::endian order) {
  CaptureBuilder builder(order);
  const Bytes noise = packet_of(33);
  builder.section();
  builder.interface(1, 96).interface(1, 0, builder.time_options(9, 0));
  builder.block(4, noise);    // names
  builder.block(0x0bad, {});  // unknown, empty
  builder.enhanced_packet(0, 1'700'000'000'000'001, packet_of(60), 60);
  builder.enhanced_packet(1, 1'700'000'000'000'000'007, packet_of(1514), 1514);
  builder.block(0x80000001, noise);  // local use
  builder.old_packet(0, 1'700'000'000'000'002, packet_of(61), 3000);
  builder.simple_packet(packet_of(42), 42);
  builder.block(5, noise);  // statistics
  builder.enhanced_packet(1, 1'700'000'000'000'000'009, packet_of(0), 0);
  return builder.bytes();
}

TEST(PcapReader, ReadsEveryPcapVariantAsLibpcapDoes) {
  for (const std::endian order : kOrders) {
    for (const std::uint32_t magic : {pcap_format::kMagicMicro, pcap_format::kMagicNano}) {
      const Bytes capture = pcap_capture(order, magic);
      const Reading ours = read_whole(capture);
      EXPECT_EQ(ours.error, "");
      ASSERT_EQ(ours.packets.size(), 40u);
      EXPECT_EQ(ours.packets[3].bytes, packet_of(111));
      EXPECT_EQ(
          ours.packets[3].time_ns,
          1'700'000'003'000'000'000u + 60'033u * (magic == pcap_format::kMagicNano ? 1 : 1000));
      EXPECT_EQ(ours.packets[5].original_length, 4000u);
      const auto theirs = read_by_libpcap(capture);
      ASSERT_TRUE(theirs.has_value());
      EXPECT_EQ(ours.packets, theirs->packets);
    }
  }
}

// Found by fuzz/pcap_fuzz.cc: the two byte orders took different ways through 32 bits.
TEST(PcapReader, FractionsBeyondASecondAreAddedInFull) {
  for (const std::endian order : kOrders) {
    CaptureBuilder builder(order);
    builder.pcap_header(pcap_format::kMagicMicro);
    builder.pcap_record(UINT32_MAX, UINT32_MAX, packet_of(14), 14);
    const Reading ours = read_whole(builder.bytes());
    ASSERT_EQ(ours.packets.size(), 1u);
    EXPECT_EQ(ours.packets[0].time_ns,
              UINT32_MAX * std::uint64_t{1'000'000'000} + UINT32_MAX * std::uint64_t{1000});
  }
}

TEST(PcapReader, ReadsPcapngAsLibpcapDoes) {
  for (const std::endian order : kOrders) {
    const Bytes capture = pcapng_capture(order);
    const Reading ours = read_whole(capture);
    EXPECT_EQ(ours.error, "");
    ASSERT_EQ(ours.packets.size(), 5u);
    EXPECT_EQ(ours.packets[0], (OwnedPacket{packet_of(60), 60, 1'700'000'000'000'001'000}));
    EXPECT_EQ(ours.packets[1], (OwnedPacket{packet_of(1514), 1514, 1'700'000'000'000'000'007}));
    EXPECT_EQ(ours.packets[2], (OwnedPacket{packet_of(61), 3000, 1'700'000'000'000'002'000}));
    EXPECT_EQ(ours.packets[3], (OwnedPacket{packet_of(42), 42, 0}));
    EXPECT_EQ(ours.packets[4], (OwnedPacket{{}, 0, 1'700'000'000'000'000'009}));
  }
  // libpcap demands one snap length for all interfaces and knows no packet of 0 bytes there.
  for (const std::endian order : kOrders) {
    CaptureBuilder builder(order);
    builder.section().interface(1, 262144).interface(1, 262144, builder.time_options(9, 0));
    builder.block(4, packet_of(8)).enhanced_packet(0, 1'700'000'000'000'001, packet_of(60), 60);
    builder.enhanced_packet(1, 1'700'000'000'000'000'007, packet_of(1514), 1514);
    builder.old_packet(0, 1'700'000'000'000'002, packet_of(61), 3000);
    builder.simple_packet(packet_of(42), 42);
    const Reading ours = read_whole(builder.bytes());
    const auto theirs = read_by_libpcap(builder.bytes());
    ASSERT_TRUE(theirs.has_value());
    ASSERT_EQ(ours.packets.size(), 4u);
    EXPECT_EQ(ours.packets, theirs->packets) << theirs->error;
  }
}

TEST(PcapReader, SimplePacketIsCutAtTheFirstInterfacesSnapLength) {
  CaptureBuilder builder(std::endian::little);
  builder.section().interface(1, 96).simple_packet(packet_of(96), 200);
  const Reading ours = read_whole(builder.bytes());
  ASSERT_EQ(ours.packets.size(), 1u) << ours.error;
  EXPECT_EQ(ours.packets[0].bytes.size(), 96u);
  EXPECT_EQ(ours.packets[0].original_length, 200u);
}

struct Resolution {
  std::uint8_t resolution;
  std::int64_t offset_seconds;
  std::uint64_t ticks;
  std::uint64_t time_ns;
};

TEST(PcapReader, TimestampsOfEveryResolution) {
  const Resolution cases[] = {
      {0, 0, 1'700'000'000, 1'700'000'000'000'000'000},
      {3, 0, 1'700'000'000'123, 1'700'000'000'123'000'000},
      {6, 0, 1'700'000'000'123'456, 1'700'000'000'123'456'000},
      {9, 0, 1'700'000'000'123'456'789, 1'700'000'000'123'456'789},
      {12, 0, 1'700'000'123'456'789'012, 1'700'000'123'456'789},
      {127, 0, UINT64_MAX, 0},
      {0x80, 0, 1'700'000'000, 1'700'000'000'000'000'000},
      {0x80 | 10, 0, 1'700'000'000 * 1024ull + 512, 1'700'000'000'500'000'000},
      {0x80 | 32, 0, (1'700'000'000ull << 32) + (1ull << 31), 1'700'000'000'500'000'000},
      {0x80 | 127, 0, UINT64_MAX, 0},
      {9, 5, 7, 5'000'000'007},
      {9, -5, 7'000'000'000, 2'000'000'000},
      {9, -5, 7, 0},
      {0, 0, UINT64_MAX, UINT64_MAX},
      {9, INT64_MAX, 1, UINT64_MAX},
      {9, INT64_MIN, UINT64_MAX, 0},
  };
  for (const Resolution& one : cases) {
    for (const std::endian order : kOrders) {
      CaptureBuilder builder(order);
      builder.section();
      builder.interface(1, 0, builder.time_options(one.resolution, one.offset_seconds));
      builder.enhanced_packet(0, one.ticks, packet_of(14), 14);
      const Reading ours = read_whole(builder.bytes());
      ASSERT_EQ(ours.packets.size(), 1u) << ours.error;
      EXPECT_EQ(ours.packets[0].time_ns, one.time_ns)
          << int{one.resolution} << " " << one.offset_seconds << " " << one.ticks;
    }
  }
}

TEST(PcapReader, SectionsMayChangeTheByteOrderAndForgetInterfaces) {
  CaptureBuilder builder(std::endian::little);
  builder.section().interface(1, 0).interface(1, 0).enhanced_packet(1, 1, packet_of(20), 20);
  builder.set_order(std::endian::big);
  builder.section().interface(1, 0).enhanced_packet(0, 2, packet_of(21), 21);
  builder.enhanced_packet(1, 3, packet_of(22), 22);
  const Reading ours = read_whole(builder.bytes());
  ASSERT_EQ(ours.packets.size(), 2u);
  EXPECT_EQ(ours.packets[1].bytes, packet_of(21));
  EXPECT_NE(ours.error.find("packet of interface 1, the section has 1"), std::string::npos)
      << ours.error;
}

TEST(PcapReader, WindowsOfAnySizeGiveTheSame) {
  const Bytes captures[] = {pcap_capture(std::endian::little, pcap_format::kMagicNano),
                            pcap_capture(std::endian::big, pcap_format::kMagicMicro),
                            pcapng_capture(std::endian::little), pcapng_capture(std::endian::big)};
  for (const Bytes& capture : captures) {
    const Reading whole = read_whole(capture);
    for (const std::size_t chunk : {1u, 2u, 3u, 5u, 7u, 16u, 100u, 4096u, 1u << 20}) {
      const Reading parts = read_in_chunks(capture, chunk);
      EXPECT_EQ(parts.packets, whole.packets) << chunk;
      EXPECT_EQ(parts.error, whole.error) << chunk;
    }
  }
}

TEST(PcapReader, EveryCutGivesWhatIsWholeAndSaysWhereItEnds) {
  for (const Bytes& capture : {pcap_capture(std::endian::little, pcap_format::kMagicMicro),
                               pcapng_capture(std::endian::big)}) {
    const Reading whole = read_whole(capture);
    for (std::size_t length = 0; length < capture.size(); ++length) {
      const Bytes cut(capture.begin(), capture.begin() + static_cast<std::ptrdiff_t>(length));
      const Reading ours = read_whole(cut);
      ASSERT_LE(ours.packets.size(), whole.packets.size());
      EXPECT_TRUE(std::equal(ours.packets.begin(), ours.packets.end(), whole.packets.begin()));
      EXPECT_EQ(ours.error == "empty: not even a file header", length == 0);
      // A cut between records is no fault that anybody could see.
      if (!ours.error.empty() && length > 24) {
        EXPECT_NE(ours.error.find("ends inside"), std::string::npos) << ours.error;
      }
    }
  }
}

TEST(PcapReader, UnreadGivesThePacketAgain) {
  const Bytes capture = pcapng_capture(std::endian::little);
  PcapReader reader;
  reader.set_window(capture, PcapReader::Tail::kEnd);
  CapturedPacket first;
  CapturedPacket again;
  ASSERT_EQ(reader.next(first), PcapReader::Step::kPacket);
  reader.unread();
  ASSERT_EQ(reader.next(again), PcapReader::Step::kPacket);
  EXPECT_EQ(first.bytes.data(), again.bytes.data());
  ASSERT_EQ(reader.next(again), PcapReader::Step::kPacket);
  EXPECT_EQ(again.bytes.size(), 1514u);
}

struct Malformed {
  std::string_view name;
  Bytes capture;
  std::size_t packets_before;
  std::string error;
};

std::vector<Malformed> malformed_pcaps() {
  const auto little = [] { return CaptureBuilder(std::endian::little); };
  const auto header = [&] { return little().pcap_header(pcap_format::kMagicMicro); };
  const Bytes packet = packet_of(60);
  std::vector<Malformed> rows;
  rows.push_back({"text", Bytes{'h', 'e', 'l', 'l', 'o'}, 0,
                  "offset 0: starts with 68656c6c, which no pcap or pcapng file does"});
  rows.push_back(
      {"gzip", Bytes{0x1f, 0x8b, 8, 0, 0, 0}, 0, "offset 0: compressed: unpack it first"});
  rows.push_back(
      {"three bytes", Bytes{1, 2, 3}, 0, "offset 0: ends inside its file header: 3 of 4 bytes"});
  rows.push_back({"patched", little().put<std::uint32_t>(0xa1b2cd34).bytes(), 0,
                  "offset 0: pcap with patched records (magic 34cdb2a1) is not supported"});
  rows.push_back({"version", little().pcap_header(pcap_format::kMagicMicro, 1, 3).bytes(), 0,
                  "offset 0: pcap version 3.4, only 2.x is known"});
  rows.push_back({"raw ip", little().pcap_header(pcap_format::kMagicMicro, 101).bytes(), 0,
                  "offset 0: link type 101 (raw IP), only Ethernet (1) is supported"});
  rows.push_back({"strange link", little().pcap_header(pcap_format::kMagicMicro, 299).bytes(), 0,
                  "offset 0: link type 299, only Ethernet (1) is supported"});
  rows.push_back(
      {"captured too long",
       header().pcap_record(1, 2, packet, 60).put(1u).put(2u).put(262145u).put(60u).bytes(), 1,
       "offset 100: packet of 262145 captured bytes, at most 262144 are possible"});
  rows.push_back({"captured 4 GB", header().put(1u).put(2u).put(UINT32_MAX).put(60u).bytes(), 0,
                  "offset 24: packet of 4294967295 captured bytes, at most 262144 are possible"});
  rows.push_back({"cut record", header().put(1u).put(2u).bytes(), 0,
                  "offset 24: ends inside a record: 16 bytes needed, 8 left"});
  rows.push_back({"cut packet", header().put(1u).put(2u).put(60u).put(60u).put(1u).bytes(), 0,
                  "offset 24: ends inside a record: 76 bytes needed, 20 left"});
  return rows;
}

std::vector<Malformed> malformed_pcapngs() {
  const auto section = [] { return CaptureBuilder(std::endian::little).section(); };
  const auto start = [&] { return section().interface(1, 0); };  // 28 + 20 bytes
  const Bytes packet = packet_of(60);
  std::vector<Malformed> rows;
  rows.push_back({"version", CaptureBuilder(std::endian::big).section(2).bytes(), 0,
                  "offset 0: pcapng version 2.0, only 1.x is known"});
  Bytes magic = section().bytes();
  magic[8] = 0;
  rows.push_back({"magic", magic, 0, "offset 0: byte-order magic 1a2b3c00"});
  rows.push_back({"raw ip", section().interface(101, 0).bytes(), 0,
                  "offset 28: link type 101 (raw IP), only Ethernet (1) is supported"});
  rows.push_back({"block length 8", start().put(6u).put(8u).bytes(), 0,
                  "offset 48: block length 8: less than its frame or not a multiple of 4"});
  rows.push_back({"block length odd", start().put(0x99u).put(13u).put(0u).put(0u).bytes(), 0,
                  "offset 48: block length 13: less than its frame or not a multiple of 4"});
  rows.push_back({"section length 12",
                  CaptureBuilder(std::endian::little)
                      .put(pcap_format::kSectionHeader)
                      .put(12u)
                      .put(pcap_format::kByteOrderMagic)
                      .put(1u)
                      .put(UINT64_MAX)
                      .put(12u)
                      .bytes(),
                  0, "offset 0: block length 12: less than its frame or not a multiple of 4"});
  rows.push_back({"trailer of packet",
                  start()
                      .enhanced_packet(0, 1, packet, 60)
                      .put(6u)
                      .put(32u)
                      .put(0u)
                      .put(0u)
                      .put(0u)
                      .put(0u)
                      .put(0u)
                      .put(36u)
                      .bytes(),
                  1, "offset 140: block ends with length 36, began with 32"});
  rows.push_back({"trailer of skipped", start().put(0x99u).put(16u).put(0u).put(20u).bytes(), 0,
                  "offset 60: block ends with length 20, began with 16"});
  rows.push_back({"packet over block",
                  start().put(6u).put(32u).put(0u).put(0u).put(0u).put(1u).put(1u).put(32u).bytes(),
                  0, "offset 48: packet of 1 captured bytes in a block with room for 0"});
  rows.push_back({"body too short", start().block(6, packet_of(16)).bytes(), 0,
                  "offset 48: block body of 16 bytes, 20 needed"});
  rows.push_back({"old body too short", start().block(2, packet_of(16)).bytes(), 0,
                  "offset 48: block body of 16 bytes, 20 needed"});
  rows.push_back({"simple body too short", start().block(3, {}).bytes(), 0,
                  "offset 48: block body of 0 bytes, 4 needed"});
  rows.push_back({"interface body too short", section().block(1, packet_of(4)).bytes(), 0,
                  "offset 28: block body of 4 bytes, 8 needed"});
  rows.push_back({"no such interface", start().enhanced_packet(1, 1, packet, 60).bytes(), 0,
                  "offset 48: packet of interface 1, the section has 1"});
  rows.push_back({"simple first", section().simple_packet(packet, 60).bytes(), 0,
                  "offset 28: simple packet before any interface"});
  rows.push_back({"option", section().interface(1, 0, Bytes{9, 0, 5, 0, 1, 0, 0, 0}).bytes(), 0,
                  "offset 28: option of 5 bytes, 4 left in its block"});
  rows.push_back({"huge packet block", start().put(6u).put(0x00100004u).bytes(), 0,
                  "offset 48: packet or interface block of 1048580 bytes, at most 1048576 are "
                  "possible"});
  rows.push_back({"huge skipped block", start().put(0x99u).put(0xfffffffcu).put(0u).bytes(), 0,
                  "offset 60: ends inside a record: 4294967280 bytes needed, 0 left"});
  return rows;
}

TEST(PcapReader, MalformedCapturesAreRefusedWithThePlace) {
  std::vector<Malformed> rows = malformed_pcaps();
  for (Malformed& row : malformed_pcapngs()) rows.push_back(std::move(row));
  for (const Malformed& row : rows) {
    const Reading ours = read_whole(row.capture);
    EXPECT_EQ(ours.error, row.error) << row.name;
    EXPECT_EQ(ours.packets.size(), row.packets_before) << row.name;
    const Reading parts = read_in_chunks(row.capture, 3);
    EXPECT_EQ(parts.error, row.error) << row.name << ", in windows";
    EXPECT_EQ(parts.packets.size(), row.packets_before) << row.name << ", in windows";
  }
}

TEST(PcapReader, InterfacesAreLimited) {
  CaptureBuilder builder(std::endian::little);
  builder.section();
  for (std::size_t i = 0; i < limits::kCaptureInterfacesMax; ++i) builder.interface(1, 0);
  builder.enhanced_packet(limits::kCaptureInterfacesMax - 1, 1, packet_of(14), 14);
  EXPECT_EQ(read_whole(builder.bytes()).packets.size(), 1u);
  builder.interface(1, 0);
  EXPECT_NE(read_whole(builder.bytes()).error.find("more than 1024 interfaces"), std::string::npos);
}

// Overwrites, cuts, doubles and swaps pieces, with a liking for lengths and for edges of numbers.
Bytes mutate(Bytes bytes, std::mt19937& random) {
  constexpr std::uint32_t kEdges[] = {0,      1,      3,          4,          11,        12,
                                      0xffff, 262144, 0x7fffffff, 0x80000000, UINT32_MAX};
  const std::size_t edits = 1 + random() % 6;
  for (std::size_t i = 0; i < edits && bytes.size() > 8; ++i) {
    const std::size_t at = random() % (bytes.size() - 4);
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<std::uint8_t>(random());
        break;
      case 1:
        bytes[at] ^= static_cast<std::uint8_t>(1u << random() % 8);
        break;
      case 2:
        store_unaligned(bytes.data() + (at & ~std::size_t{3}), kEdges[random() % 11]);
        break;
      case 3:
        bytes.resize(at + 1);
        break;
      case 4:
        bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), random() % 9, 0);
        break;
    }
  }
  return bytes;
}

TEST(PcapReader, MutatedCapturesNeverConfuseIt) {
  const Bytes seeds[] = {pcap_capture(std::endian::little, pcap_format::kMagicNano),
                         pcap_capture(std::endian::big, pcap_format::kMagicMicro),
                         pcapng_capture(std::endian::little), pcapng_capture(std::endian::big)};
  std::mt19937 random(20260);
  std::size_t refused = 0;
  std::size_t packets = 0;
  constexpr std::size_t kMutations = 20'000;
  for (std::size_t i = 0; i < kMutations; ++i) {
    Bytes capture = mutate(seeds[i % 4], random);
    capture.shrink_to_fit();
    const Reading whole = read_whole(capture);
    refused += whole.error.empty() ? 0 : 1;
    packets += whole.packets.size();
    if (i % 8 != 0) continue;
    const Reading parts = read_in_chunks(capture, 1 + random() % 300);
    ASSERT_EQ(parts.packets, whole.packets) << i;
    ASSERT_EQ(parts.error, whole.error) << i;
  }
  // Both outcomes must be common, else the mutations test only one of them.
  EXPECT_GT(refused, kMutations / 5);
  EXPECT_LT(refused, kMutations);
  EXPECT_GT(packets, kMutations);
}

}  // namespace
}  // namespace lmn
