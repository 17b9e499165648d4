// SPDX-License-Identifier: Apache-2.0
//
// Feeds a capture to the pcap reader twice: whole, and in windows of a few bytes more each time.
//
// Both readings must give the same packets and the same error; every packet must lie in the window,
// and reading must come to an end. The windows are allocations of exactly their size, so that a
// step over an end is seen by ASan. The first byte of the input chooses the size of the windows.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "ports/pcap/pcap_reader.h"

namespace {

using lmn::ByteSpan;
using lmn::CapturedPacket;
using lmn::PcapReader;

void expect(bool condition) {
  if (!condition) std::abort();
}

// A number that stands for all packets seen, in their order.
struct Digest {
  std::uint64_t value = 0xcbf29ce484222325;
  std::size_t packets = 0;
  void add(std::uint64_t word) { value = (value ^ word) * 0x100000001b3; }
  void add(const CapturedPacket& packet) {
    ++packets;
    add(packet.time_ns);
    add(packet.original_length);
    add(packet.bytes.size());
    for (const std::uint8_t byte : packet.bytes) add(byte);
  }
};

bool lies_in(ByteSpan part, ByteSpan whole) {
  if (part.empty()) return true;
  return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

struct Reading {
  Digest digest;
  std::string error;
};

Reading read(ByteSpan capture, std::size_t chunk) {
  PcapReader reader;
  Reading out;
  std::vector<std::uint8_t> window;
  std::size_t next = 0;
  CapturedPacket packet;
  // Each step gives at least 16 bytes' worth of packet, or takes a window, or is the last.
  for (std::size_t steps = 0;; ++steps) {
    expect(steps < 2 * capture.size() + 16);
    const PcapReader::Step step = reader.next(packet);
    if (step == PcapReader::Step::kPacket) {
      expect(lies_in(packet.bytes, window));
      out.digest.add(packet);
      continue;
    }
    if (step != PcapReader::Step::kNeedMore) break;
    expect(reader.consumed() <= window.size());
    const ByteSpan added = capture.subspan(next, std::min(chunk, capture.size() - next));
    next += added.size();
    std::vector<std::uint8_t> grown;
    grown.reserve(window.size() - reader.consumed() + added.size());
    grown.assign(window.begin() + static_cast<std::ptrdiff_t>(reader.consumed()), window.end());
    grown.insert(grown.end(), added.begin(), added.end());
    window = std::move(grown);
    reader.set_window(window, added.empty() ? PcapReader::Tail::kEnd : PcapReader::Tail::kMore);
  }
  out.error = reader.error();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const ByteSpan capture(bytes + 1, size - 1);
  const Reading whole = read(capture, capture.size() + 1);
  const Reading parts = read(capture, bytes[0] + std::size_t{1});
  expect(whole.digest.packets == parts.digest.packets);
  expect(whole.digest.value == parts.digest.value);
  expect(whole.error == parts.error);
  return 0;
}
