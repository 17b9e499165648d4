// SPDX-License-Identifier: Apache-2.0
//
// PcapReader: walks the bytes of a capture (pcap or pcapng) and gives its packets, touching no
// file.
//
// The reader looks at a window of the capture, from some file offset on. Whoever has the bytes (the
// pcap port, a fuzzer, a test with the whole file in memory) sets the window and calls next(); when
// a record does not lie wholly in the window, next() says kNeedMore, and the caller sets a window
// that starts at consumed() and holds more. So a capture of any size is read in chunks, from pipes
// too, and a packet is a view into the window: no byte is copied here.
//
//   PcapReader reader;
//   reader.set_window(whole_file, PcapReader::Tail::kEnd);
//   CapturedPacket packet;
//   while (reader.next(packet) == PcapReader::Step::kPacket) use(packet);
//   if (!reader.error().empty()) ...        // names the file offset
//
// Understood: pcap 2.x of both byte orders with micro- and nanoseconds; pcapng with any number of
// sections and interfaces, if_tsresol and if_tsoffset, enhanced, simple and (obsolete) packet
// blocks; every other block is skipped by its length. Only Ethernet; another link type is an error
// by name. A packet may have been captured in part (bytes.size() < original_length); that is the
// user's business. Invariants: (1) no read outside the window; (2) every step consumes bytes, asks
// for more, or ends, so that a caller's loop ends; (3) after kError nothing more is given; (4) what
// lies before the malformed place was given. Threads: one owner. Tested by pcap_reader_test.cc
// (libpcap as oracle) and fuzz/pcap_fuzz.cc. Source: draft-ietf-opsawg-pcap-06 and
// draft-ietf-opsawg-pcapng-04; libpcap 1.10 for what programs in the field take.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "abi/limits.h"
#include "base/byte_reader.h"
#include "base/result.h"

namespace lmn {

struct CapturedPacket {
  ByteSpan bytes;  // into the window
  std::uint32_t original_length = 0;
  std::uint64_t time_ns = 0;  // CLOCK_REALTIME; 0 when the capture has none
};

// What is wrong with a capture; each has its words in pcap_reader.cc.
enum class CaptureProblem : std::uint8_t {
  kNone,
  kEmpty,
  kNotACapture,
  kCompressed,
  kTruncatedHeader,
  kPcapVersion,
  kPcapngVersion,
  kByteOrderMagic,
  kLinkType,
  kTruncatedRecord,
  kCapturedTooLong,
  kBlockLength,
  kBlockTrailer,
  kBlockTooShort,
  kBlockTooLong,
  kPacketOverBlock,
  kUnknownInterface,
  kTooManyInterfaces,
  kNoInterface,
  kOptionLength,
};

class PcapReader {
 public:
  enum class Step : std::uint8_t { kPacket, kNeedMore, kEnd, kError };
  // Whether the window's end is the capture's.
  enum class Tail : std::uint8_t { kMore, kEnd };
  // A window of this many bytes always suffices for the next record.
  static constexpr std::size_t kWindowBytesMin = limits::kCaptureBlockBytesMax;

  PcapReader();

  // Bytes from file offset `old offset + consumed()` on. Packets given so far become invalid.
  void set_window(ByteSpan window, Tail tail);
  // Starts over at the beginning of a capture (a second pass over the file).
  void restart();

  Step next(CapturedPacket& packet) noexcept {
    if (format_ == Format::kPcapNative) [[likely]] {
      const std::size_t left = window_.size() - position_;
      if (left >= kPcapRecordBytes) {
        const std::uint8_t* head = window_.data() + position_;
        const std::uint32_t captured = load_unaligned<std::uint32_t>(head + 8);
        if (captured <= limits::kCapturedPacketBytesMax && captured <= left - kPcapRecordBytes)
            [[likely]] {
          record_start_ = position_;
          packet.bytes = window_.subspan(position_ + kPcapRecordBytes, captured);
          packet.original_length = load_unaligned<std::uint32_t>(head + 12);
          packet.time_ns = load_unaligned<std::uint32_t>(head) * kNsPerSecond +
                           load_unaligned<std::uint32_t>(head + 4) * fraction_ns_;
          position_ += kPcapRecordBytes + captured;
          return Step::kPacket;
        }
      }
    }
    return next_slow(packet);
  }
  // Takes the packet just given back: the next call gives it again. REQUIRES: the last step was
  // kPacket.
  void unread() noexcept { position_ = record_start_; }

  // Bytes of the window that are done with.
  std::size_t consumed() const { return position_; }
  CaptureProblem problem() const { return problem_; }
  // "offset 24: ..." for a person; empty when there is no problem.
  std::string error() const;

 private:
  enum class Format : std::uint8_t { kUnknown, kPcapNative, kPcapSwapped, kPcapng };
  static constexpr std::size_t kPcapHeaderBytes = 24;
  static constexpr std::size_t kPcapRecordBytes = 16;
  static constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

  // One interface of the current pcapng section.
  struct Interface {
    std::uint32_t snap_length = 0;
    // Nanoseconds are ticks * multiplier / divisor >> shift; a divisor of 0 gives 0.
    std::uint64_t multiplier = 1000;
    std::uint64_t divisor = 1;
    unsigned shift = 0;
    std::int64_t offset_seconds = 0;
  };

  Step next_slow(CapturedPacket& packet) noexcept;
  Step read_start() noexcept;
  Step read_pcap_header() noexcept;
  Step read_pcap_record(CapturedPacket& packet) noexcept;
  // Blocks give kPacket, kError, or kEnd for "done, go on with the next".
  Step read_block(CapturedPacket& packet) noexcept;
  Step read_section_header() noexcept;
  Step read_interface(ByteReader body) noexcept;
  Step read_options(ByteReader options, Interface& interface) noexcept;
  Step read_enhanced_packet(ByteReader body, CapturedPacket& packet) noexcept;
  Step read_old_packet(ByteReader body, CapturedPacket& packet) noexcept;
  Step read_simple_packet(ByteReader body, CapturedPacket& packet) noexcept;
  Step give(ByteReader& body, std::uint64_t captured, CapturedPacket& packet) noexcept;
  Step need_more(std::uint64_t needed) noexcept;
  bool skip_some() noexcept;
  Step fail(CaptureProblem problem, std::uint64_t a = 0, std::uint64_t b = 0) noexcept;
  static void set_resolution(Interface& interface, std::uint8_t resolution) noexcept;
  static std::uint64_t to_ns(const Interface& interface, std::uint64_t ticks) noexcept;

  std::size_t left() const { return window_.size() - position_; }
  ByteReader here() const { return ByteReader(window_.subspan(position_), order_); }

  ByteSpan window_;
  std::size_t position_ = 0;
  std::size_t record_start_ = 0;   // in the window
  std::uint64_t skip_bytes_ = 0;   // of a block that is of no interest
  std::uint32_t trailer_ = 0;      // the length that must follow the skipped bytes, 0: none
  std::uint64_t fraction_ns_ = 1;  // pcap: nanoseconds of one unit of the fraction
  Format format_ = Format::kUnknown;
  Tail tail_ = Tail::kMore;
  std::endian order_ = std::endian::native;
  std::uint64_t window_offset_ = 0;  // of the window's first byte in the capture
  std::vector<Interface> interfaces_;

  CaptureProblem problem_ = CaptureProblem::kNone;
  std::uint64_t problem_offset_ = 0;
  std::uint64_t problem_a_ = 0;
  std::uint64_t problem_b_ = 0;
};

// Every packet of a capture that is wholly in memory, as views into it. Errors: kMalformed.
Result<std::vector<CapturedPacket>> read_capture(ByteSpan capture);

}  // namespace lmn
