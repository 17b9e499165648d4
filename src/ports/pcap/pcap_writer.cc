// SPDX-License-Identifier: Apache-2.0
//
// Records and blocks, in the machine's byte order (readers find out). Tested by
// pcap_writer_test.cc.
#include "ports/pcap/pcap_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "abi/limits.h"
#include "base/assert.h"
#include "ports/pcap/pcap_format.h"

namespace lmn {
namespace {

constexpr std::size_t kBufferBytes = 1u << 20;
constexpr std::size_t kRecordOverheadMax = 32 + 3;  // an enhanced packet block and its padding
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
static_assert(kBufferBytes > limits::kCapturedPacketBytesMax + kRecordOverheadMax,
              "an empty buffer must hold any packet");

}  // namespace

PcapWriter::Format PcapWriter::format_for(std::string_view path) {
  return path.ends_with(".pcapng") ? Format::kPcapng : Format::kPcap;
}

Result<PcapWriter> PcapWriter::create(const std::string& path, Format format) {
  PcapWriter writer;
  writer.path_ = path;
  writer.format_ = format;
  const int fd = path == "-" ? ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
                             : ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return make_error(system_error(fmt::format("create '{}'", path), errno));
  writer.fd_.reset(fd);
  writer.buffer_.resize(kBufferBytes);
  writer.put_header();
  return writer;
}

template <typename T>
void PcapWriter::put(T value) noexcept {
  store_unaligned(buffer_.data() + used_, value);
  used_ += sizeof value;
}

void PcapWriter::put_header() {
  if (format_ == Format::kPcap) {
    put(pcap_format::kMagicNano);
    put<std::uint16_t>(2);
    put<std::uint16_t>(4);
    put<std::uint64_t>(0);  // zone and accuracy, never used
    put(static_cast<std::uint32_t>(limits::kCapturedPacketBytesMax));
    put(pcap_format::kLinkEthernet);
    return;
  }
  constexpr std::uint32_t kSectionBytes = 28;
  put(pcap_format::kSectionHeader);
  put(kSectionBytes);
  put(pcap_format::kByteOrderMagic);
  put<std::uint16_t>(1);
  put<std::uint16_t>(0);
  put(UINT64_MAX);  // section length unknown
  put(kSectionBytes);

  constexpr std::uint32_t kInterfaceBytes = 32;
  put(pcap_format::kInterfaceDescription);
  put(kInterfaceBytes);
  put(static_cast<std::uint16_t>(pcap_format::kLinkEthernet));
  put<std::uint16_t>(0);
  put<std::uint32_t>(0);  // no snap length
  put<std::uint16_t>(9);  // if_tsresol, one byte and padding: nanoseconds
  put<std::uint16_t>(1);
  put<std::uint32_t>(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 9u : 9u << 24);
  put<std::uint32_t>(0);  // end of options
  put(kInterfaceBytes);
}

bool PcapWriter::write(ByteSpan packet, std::uint64_t time_ns) noexcept {
  LMN_DCHECK(packet.size() <= limits::kCapturedPacketBytesMax);
  if (failure_errno_ != 0 || !fd_.is_open()) return false;
  if (kBufferBytes - used_ < packet.size() + kRecordOverheadMax && !flush()) return false;
  const auto length = static_cast<std::uint32_t>(packet.size());
  const std::uint32_t padding = format_ == Format::kPcapng ? (4 - length % 4) % 4 : 0;
  const std::uint32_t block_bytes = 32 + length + padding;
  if (format_ == Format::kPcap) {
    put(static_cast<std::uint32_t>(std::min<std::uint64_t>(time_ns / kNsPerSecond, UINT32_MAX)));
    put(static_cast<std::uint32_t>(time_ns % kNsPerSecond));
  } else {
    put(pcap_format::kEnhancedPacket);
    put(block_bytes);
    put<std::uint32_t>(0);
    put(static_cast<std::uint32_t>(time_ns >> 32));
    put(static_cast<std::uint32_t>(time_ns));
  }
  put(length);
  put(length);
  if (length > 0) std::memcpy(buffer_.data() + used_, packet.data(), length);
  used_ += length;
  if (format_ == Format::kPcapng) {
    std::memset(buffer_.data() + used_, 0, padding);
    used_ += padding;
    put(block_bytes);
  }
  ++buffered_packets_;
  buffered_bytes_ += length;
  return true;
}

bool PcapWriter::flush() noexcept {
  if (failure_errno_ != 0) return false;
  std::size_t done = 0;
  while (done < used_) {
    const ssize_t wrote = ::write(fd_.get(), buffer_.data() + done, used_ - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) {
      failure_errno_ = errno;
      lost_packets_ += buffered_packets_;
      lost_bytes_ += buffered_bytes_;
      // Pipes and devices cannot be cut; their readers see the end of the stream.
      [[maybe_unused]] const int cut = ::ftruncate(fd_.get(), static_cast<off_t>(file_bytes_));
      break;
    }
    done += static_cast<std::size_t>(wrote);
  }
  if (failure_errno_ == 0) file_bytes_ += used_;
  used_ = 0;
  buffered_packets_ = 0;
  buffered_bytes_ = 0;
  return failure_errno_ == 0;
}

Result<void> PcapWriter::finish() {
  if (!fd_.is_open()) return {};
  const bool flushed = flush();
  // close(2) may be the first to know that a network file system could not store the data.
  const int close_errno = ::close(fd_.release()) != 0 ? errno : 0;
  const int cause = flushed ? close_errno : failure_errno_;
  if (cause == 0) return {};
  Error error = system_error(fmt::format("write '{}'", path_), cause);
  error.message += fmt::format("; the last {} packets are not in it", lost_packets_);
  return make_error(std::move(error));
}

}  // namespace lmn
