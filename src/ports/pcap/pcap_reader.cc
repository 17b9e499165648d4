// SPDX-License-Identifier: Apache-2.0
//
// The walk over pcap records and pcapng blocks. Tested by pcap_reader_test.cc and
// fuzz/pcap_fuzz.cc.
#include "ports/pcap/pcap_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"
#include "ports/pcap/pcap_format.h"

namespace lmn {
namespace {

using Step = PcapReader::Step;
using Problem = CaptureProblem;
__extension__ using Wide = unsigned __int128;

constexpr std::uint32_t kPatchedMagic =
    0xa1b2cd34;                               // records of 24 bytes, Linux 2.2's patched tool
constexpr std::size_t kBlockFrameBytes = 12;  // type, length, length again
constexpr std::uint16_t kOptionEnd = 0;
constexpr std::uint16_t kOptionTimeResolution = 9;
constexpr std::uint16_t kOptionTimeOffset = 14;

struct LinkTypeName {
  std::uint32_t number;
  std::string_view name;
};
// The link types that people meet; https://www.tcpdump.org/linktypes.html has them all.
constexpr LinkTypeName kLinkTypes[] = {
    {0, "BSD loopback"},
    {9, "PPP"},
    {12, "raw IP"},
    {101, "raw IP"},
    {105, "802.11"},
    {108, "OpenBSD loopback"},
    {113, "Linux cooked"},
    {127, "radiotap"},
    {192, "PPI"},
    {228, "IPv4"},
    {229, "IPv6"},
    {253, "netlink"},
    {276, "Linux cooked 2"},
    {187, "Bluetooth H4"},
    {220, "USB"},
};

std::string link_type_text(std::uint64_t number) {
  for (const LinkTypeName& row : kLinkTypes) {
    if (row.number == number) return fmt::format("{} ({})", number, row.name);
  }
  return fmt::format("{}", number);
}

std::uint64_t saturating_add(std::uint64_t a, std::uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

std::uint64_t saturate(Wide value) {
  return value > UINT64_MAX ? UINT64_MAX : static_cast<std::uint64_t>(value);
}

constexpr std::uint64_t padded(std::uint64_t length) { return (length + 3) & ~std::uint64_t{3}; }

}  // namespace

PcapReader::PcapReader() { interfaces_.reserve(limits::kCaptureInterfacesMax); }

void PcapReader::set_window(ByteSpan window, Tail tail) {
  window_offset_ += position_;
  window_ = window;
  position_ = 0;
  tail_ = tail;
}

void PcapReader::restart() {
  window_ = {};
  tail_ = Tail::kMore;
  position_ = 0;
  window_offset_ = 0;
  skip_bytes_ = 0;
  trailer_ = 0;
  format_ = Format::kUnknown;
  interfaces_.clear();
  problem_ = Problem::kNone;
}

Step PcapReader::fail(Problem problem, std::uint64_t a, std::uint64_t b) noexcept {
  problem_ = problem;
  problem_offset_ = window_offset_ + record_start_;
  problem_a_ = a;
  problem_b_ = b;
  return Step::kError;
}

// What to do when a record of `needed` bytes does not lie in the window.
Step PcapReader::need_more(std::uint64_t needed) noexcept {
  if (tail_ == Tail::kMore) return Step::kNeedMore;
  if (left() == 0) return Step::kEnd;
  return fail(Problem::kTruncatedRecord, needed, left());
}

// Passes over a block's rest, as far as the window reaches; true when nothing is left to skip.
bool PcapReader::skip_some() noexcept {
  const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(skip_bytes_, left()));
  position_ += step;
  skip_bytes_ -= step;
  return skip_bytes_ == 0;
}

Step PcapReader::next_slow(CapturedPacket& packet) noexcept {
  if (problem_ != Problem::kNone) return Step::kError;
  while (true) {
    if (!skip_some()) {
      if (tail_ == Tail::kMore) return Step::kNeedMore;
      record_start_ = position_;
      return fail(Problem::kTruncatedRecord, skip_bytes_ + sizeof trailer_, 0);
    }
    record_start_ = position_;
    if (trailer_ != 0) {
      if (left() < sizeof trailer_) {
        if (tail_ == Tail::kMore) return Step::kNeedMore;
        return fail(Problem::kTruncatedRecord, sizeof trailer_, left());
      }
      const std::uint32_t trailer = *here().u32();
      if (trailer != trailer_) return fail(Problem::kBlockTrailer, trailer, trailer_);
      position_ += sizeof trailer_;
      trailer_ = 0;
    }
    record_start_ = position_;
    Step step = Step::kEnd;
    switch (format_) {
      case Format::kUnknown:
        step = read_start();
        break;
      case Format::kPcapNative:
      case Format::kPcapSwapped:
        return read_pcap_record(packet);
      case Format::kPcapng:
        step = read_block(packet);
        break;
    }
    if (step != Step::kEnd) return step;
    // kEnd of a reader that moved means: header or block done; of one that did not: end of capture.
    if (position_ == record_start_) return Step::kEnd;
  }
}

Step PcapReader::read_start() noexcept {
  if (left() < 4) {
    if (tail_ == Tail::kMore) return Step::kNeedMore;
    return left() == 0 ? fail(Problem::kEmpty) : fail(Problem::kTruncatedHeader, left(), 4);
  }
  order_ = std::endian::native;
  if (*here().u32() == pcap_format::kSectionHeader) {
    const Step step = read_section_header();
    if (step == Step::kEnd) format_ = Format::kPcapng;
    return step;
  }
  return read_pcap_header();
}

Step PcapReader::read_pcap_header() noexcept {
  const std::uint32_t magic = *here().u32();
  const std::uint32_t swapped = __builtin_bswap32(magic);
  const auto is = [&](std::uint32_t wanted) { return magic == wanted || swapped == wanted; };
  if (!is(pcap_format::kMagicMicro) && !is(pcap_format::kMagicNano)) {
    const std::uint32_t first = load_unaligned<std::uint32_t>(window_.data(), std::endian::big);
    if ((first >> 16) == 0x1f8b || first == 0x28b52ffd || (first >> 8) == 0xfd377a) {
      return fail(Problem::kCompressed);
    }
    return fail(Problem::kNotACapture, first, is(kPatchedMagic) ? 1 : 0);
  }
  if (left() < kPcapHeaderBytes) {
    if (tail_ == Tail::kMore) return Step::kNeedMore;
    return fail(Problem::kTruncatedHeader, left(), kPcapHeaderBytes);
  }
  const bool is_native = magic == pcap_format::kMagicMicro || magic == pcap_format::kMagicNano;
  if (!is_native) {
    order_ = std::endian::native == std::endian::little ? std::endian::big : std::endian::little;
  }
  ByteReader header = here();
  header.seek(4);
  const std::uint16_t major = *header.u16();
  const std::uint16_t minor = *header.u16();
  if (major != 2) return fail(Problem::kPcapVersion, major, minor);
  header.seek(20);
  const std::uint32_t link_type = *header.u32() & pcap_format::kLinkTypeMask;
  if (link_type != pcap_format::kLinkEthernet) return fail(Problem::kLinkType, link_type);
  fraction_ns_ = is(pcap_format::kMagicNano) ? 1 : 1000;
  format_ = is_native ? Format::kPcapNative : Format::kPcapSwapped;
  position_ += kPcapHeaderBytes;
  return Step::kEnd;
}

Step PcapReader::read_pcap_record(CapturedPacket& packet) noexcept {
  if (left() < kPcapRecordBytes) return need_more(kPcapRecordBytes);
  ByteReader record = here();
  const std::uint32_t seconds = *record.u32();
  const std::uint32_t fraction = *record.u32();
  const std::uint32_t captured = *record.u32();
  packet.original_length = *record.u32();
  if (captured > limits::kCapturedPacketBytesMax) return fail(Problem::kCapturedTooLong, captured);
  const auto bytes = record.bytes(captured);
  if (!bytes) return need_more(kPcapRecordBytes + captured);
  packet.bytes = *bytes;
  packet.time_ns = seconds * kNsPerSecond + fraction * fraction_ns_;
  position_ += kPcapRecordBytes + captured;
  return Step::kPacket;
}

Step PcapReader::read_block(CapturedPacket& packet) noexcept {
  if (left() < 8) return need_more(8);
  ByteReader block = here();
  const std::uint32_t type = *block.u32();
  if (type == pcap_format::kSectionHeader) return read_section_header();
  const std::uint32_t length = *block.u32();
  if (length < kBlockFrameBytes || length % 4 != 0) return fail(Problem::kBlockLength, length);
  const bool is_known = type == pcap_format::kInterfaceDescription ||
                        type == pcap_format::kEnhancedPacket ||
                        type == pcap_format::kSimplePacket || type == pcap_format::kOldPacket;
  if (!is_known) {
    position_ += 8;
    skip_bytes_ = length - kBlockFrameBytes;
    trailer_ = length;
    return Step::kEnd;
  }
  if (length > limits::kCaptureBlockBytesMax) return fail(Problem::kBlockTooLong, length);
  if (left() < length) return need_more(length);
  const ByteReader body(*here().sub(8, length - kBlockFrameBytes), order_);
  ByteReader trailer(*here().sub(length - 4, 4), order_);
  const std::uint32_t length_again = *trailer.u32();
  if (length_again != length) return fail(Problem::kBlockTrailer, length_again, length);
  Step step = Step::kEnd;
  if (type == pcap_format::kInterfaceDescription) step = read_interface(body);
  if (type == pcap_format::kEnhancedPacket) step = read_enhanced_packet(body, packet);
  if (type == pcap_format::kSimplePacket) step = read_simple_packet(body, packet);
  if (type == pcap_format::kOldPacket) step = read_old_packet(body, packet);
  if (step != Step::kError) position_ += length;
  return step;
}

// A section may have the other byte order; its length is known only after its magic.
Step PcapReader::read_section_header() noexcept {
  constexpr std::size_t kSectionBytesMin = 28;
  if (left() < kSectionBytesMin) {
    if (tail_ == Tail::kMore) return Step::kNeedMore;
    return fail(Problem::kTruncatedHeader, left(), kSectionBytesMin);
  }
  ByteReader little(window_.subspan(position_), std::endian::little);
  little.seek(8);
  const std::uint32_t magic = *little.u32();
  if (magic == pcap_format::kByteOrderMagic) {
    order_ = std::endian::little;
  } else if (magic == __builtin_bswap32(pcap_format::kByteOrderMagic)) {
    order_ = std::endian::big;
  } else {
    return fail(Problem::kByteOrderMagic, magic);
  }
  ByteReader block = here();
  block.seek(4);
  const std::uint32_t length = *block.u32();
  block.skip(4);
  const std::uint16_t major = *block.u16();
  const std::uint16_t minor = *block.u16();
  if (length < kSectionBytesMin || length % 4 != 0) return fail(Problem::kBlockLength, length);
  if (major != 1) return fail(Problem::kPcapngVersion, major, minor);
  interfaces_.clear();
  constexpr std::size_t kBeforeOptions = 24;
  position_ += kBeforeOptions;
  skip_bytes_ = length - kBeforeOptions - sizeof trailer_;
  trailer_ = length;
  return Step::kEnd;
}

Step PcapReader::read_interface(ByteReader body) noexcept {
  const auto link_type = body.u16();
  body.skip(2);
  const auto snap_length = body.u32();
  if (!snap_length) return fail(Problem::kBlockTooShort, body.size(), 8);
  if (*link_type != pcap_format::kLinkEthernet) return fail(Problem::kLinkType, *link_type);
  if (interfaces_.size() == limits::kCaptureInterfacesMax) {
    return fail(Problem::kTooManyInterfaces, limits::kCaptureInterfacesMax);
  }
  Interface interface;
  interface.snap_length = *snap_length;
  const Step step = read_options(body, interface);
  if (step == Step::kEnd) interfaces_.push_back(interface);
  return step;
}

Step PcapReader::read_options(ByteReader options, Interface& interface) noexcept {
  while (options.remaining() >= 4) {
    const std::uint16_t code = *options.u16();
    const std::uint16_t length = *options.u16();
    if (code == kOptionEnd) break;
    const auto value = options.bytes(padded(length));
    if (!value) return fail(Problem::kOptionLength, length, options.remaining());
    ByteReader reader(*value, order_);
    if (code == kOptionTimeResolution && length == 1) set_resolution(interface, *reader.u8());
    if (code == kOptionTimeOffset && length == 8) {
      interface.offset_seconds = static_cast<std::int64_t>(*reader.u64());
    }
  }
  return Step::kEnd;
}

// if_tsresol: ticks of 10 ** -n seconds, or with the top bit set of 2 ** -n.
void PcapReader::set_resolution(Interface& interface, std::uint8_t resolution) noexcept {
  constexpr unsigned kNanoExponent = 9;
  constexpr unsigned kDecimalDigitsMax = 19;  // of a 64-bit number that any power of ten may have
  const auto power_of_ten = [](unsigned exponent) {
    std::uint64_t power = 1;
    for (unsigned i = 0; i < exponent; ++i) power *= 10;
    return power;
  };
  const unsigned exponent = resolution & 0x7f;
  interface.multiplier = interface.divisor = 1;
  interface.shift = 0;
  if ((resolution & 0x80) != 0) {
    interface.multiplier = kNsPerSecond;
    interface.shift = exponent;
  } else if (exponent <= kNanoExponent) {
    interface.multiplier = power_of_ten(kNanoExponent - exponent);
  } else {
    const unsigned digits = exponent - kNanoExponent;
    interface.divisor = digits <= kDecimalDigitsMax ? power_of_ten(digits) : 0;
  }
}

// Timestamps as nanoseconds; what does not fit into 64 bits is the largest there is.
std::uint64_t PcapReader::to_ns(const Interface& interface, std::uint64_t ticks) noexcept {
  if (interface.divisor == 0) return 0;
  if (interface.divisor != 1) ticks /= interface.divisor;
  const std::uint64_t since_offset =
      saturate((static_cast<Wide>(ticks) * interface.multiplier) >> interface.shift);
  const std::int64_t offset = interface.offset_seconds;
  if (offset == 0) return since_offset;
  const std::uint64_t distance = offset < 0 ? std::uint64_t{0} - static_cast<std::uint64_t>(offset)
                                            : static_cast<std::uint64_t>(offset);
  const std::uint64_t offset_ns = saturate(static_cast<Wide>(distance) * kNsPerSecond);
  if (offset > 0) return saturating_add(since_offset, offset_ns);
  return since_offset > offset_ns ? since_offset - offset_ns : 0;
}

Step PcapReader::give(ByteReader& body, std::uint64_t captured, CapturedPacket& packet) noexcept {
  if (captured > limits::kCapturedPacketBytesMax) return fail(Problem::kCapturedTooLong, captured);
  const std::size_t room = body.remaining();
  const auto bytes = body.bytes(captured);
  if (!bytes) return fail(Problem::kPacketOverBlock, captured, room);
  packet.bytes = *bytes;
  return Step::kPacket;
}

Step PcapReader::read_enhanced_packet(ByteReader body, CapturedPacket& packet) noexcept {
  constexpr std::size_t kFixedBytes = 20;
  if (body.size() < kFixedBytes) return fail(Problem::kBlockTooShort, body.size(), kFixedBytes);
  const std::uint32_t interface = *body.u32();
  const std::uint64_t high = *body.u32();
  const std::uint64_t ticks = (high << 32) | *body.u32();
  const std::uint32_t captured = *body.u32();
  packet.original_length = *body.u32();
  if (interface >= interfaces_.size()) {
    return fail(Problem::kUnknownInterface, interface, interfaces_.size());
  }
  packet.time_ns = to_ns(interfaces_[interface], ticks);
  return give(body, captured, packet);
}

Step PcapReader::read_old_packet(ByteReader body, CapturedPacket& packet) noexcept {
  constexpr std::size_t kFixedBytes = 20;
  if (body.size() < kFixedBytes) return fail(Problem::kBlockTooShort, body.size(), kFixedBytes);
  const std::uint16_t interface = *body.u16();
  body.skip(2);  // drops count
  const std::uint64_t high = *body.u32();
  const std::uint64_t ticks = (high << 32) | *body.u32();
  const std::uint32_t captured = *body.u32();
  packet.original_length = *body.u32();
  if (interface >= interfaces_.size()) {
    return fail(Problem::kUnknownInterface, interface, interfaces_.size());
  }
  packet.time_ns = to_ns(interfaces_[interface], ticks);
  return give(body, captured, packet);
}

// A simple packet has no captured length: it follows from the first interface's snap length.
Step PcapReader::read_simple_packet(ByteReader body, CapturedPacket& packet) noexcept {
  const auto original = body.u32();
  if (!original) return fail(Problem::kBlockTooShort, body.size(), 4);
  if (interfaces_.empty()) return fail(Problem::kNoInterface);
  const std::uint32_t snap_length = interfaces_.front().snap_length;
  packet.original_length = *original;
  packet.time_ns = 0;
  return give(body, snap_length == 0 ? *original : std::min(*original, snap_length), packet);
}

std::string PcapReader::error() const {
  const std::uint64_t a = problem_a_;
  const std::uint64_t b = problem_b_;
  std::string what;
  switch (problem_) {
    case Problem::kNone:
      return {};
    case Problem::kEmpty:
      return "empty: not even a file header";
    case Problem::kNotACapture:
      what = fmt::format("starts with {:08x}, which no pcap or pcapng file does", a);
      if (b != 0)
        what = fmt::format("pcap with patched records (magic {:08x}) is not supported", a);
      break;
    case Problem::kCompressed:
      what = "compressed: unpack it first";
      break;
    case Problem::kTruncatedHeader:
      what = fmt::format("ends inside its file header: {} of {} bytes", a, b);
      break;
    case Problem::kPcapVersion:
      what = fmt::format("pcap version {}.{}, only 2.x is known", a, b);
      break;
    case Problem::kPcapngVersion:
      what = fmt::format("pcapng version {}.{}, only 1.x is known", a, b);
      break;
    case Problem::kByteOrderMagic:
      what = fmt::format("byte-order magic {:08x}", a);
      break;
    case Problem::kLinkType:
      what = fmt::format("link type {}, only Ethernet (1) is supported", link_type_text(a));
      break;
    case Problem::kTruncatedRecord:
      what = fmt::format("ends inside a record: {} bytes needed, {} left", a, b);
      break;
    case Problem::kCapturedTooLong:
      what = fmt::format("packet of {} captured bytes, at most {} are possible", a,
                         limits::kCapturedPacketBytesMax);
      break;
    case Problem::kBlockLength:
      what = fmt::format("block length {}: less than its frame or not a multiple of 4", a);
      break;
    case Problem::kBlockTrailer:
      what = fmt::format("block ends with length {}, began with {}", a, b);
      break;
    case Problem::kBlockTooShort:
      what = fmt::format("block body of {} bytes, {} needed", a, b);
      break;
    case Problem::kBlockTooLong:
      what = fmt::format("packet or interface block of {} bytes, at most {} are possible", a,
                         limits::kCaptureBlockBytesMax);
      break;
    case Problem::kPacketOverBlock:
      what = fmt::format("packet of {} captured bytes in a block with room for {}", a, b);
      break;
    case Problem::kUnknownInterface:
      what = fmt::format("packet of interface {}, the section has {}", a, b);
      break;
    case Problem::kTooManyInterfaces:
      what = fmt::format("more than {} interfaces", a);
      break;
    case Problem::kNoInterface:
      what = "simple packet before any interface";
      break;
    case Problem::kOptionLength:
      what = fmt::format("option of {} bytes, {} left in its block", a, b);
      break;
  }
  return fmt::format("offset {}: {}", problem_offset_, what);
}

Result<std::vector<CapturedPacket>> read_capture(ByteSpan capture) {
  PcapReader reader;
  reader.set_window(capture, PcapReader::Tail::kEnd);
  std::vector<CapturedPacket> packets;
  CapturedPacket packet;
  Step step = Step::kEnd;
  while ((step = reader.next(packet)) == Step::kPacket) packets.push_back(packet);
  if (step == Step::kError) return make_error(ErrorCode::kMalformed, "capture: " + reader.error());
  LMN_ASSERT(step == Step::kEnd);
  return packets;
}

}  // namespace lmn
