// SPDX-License-Identifier: Apache-2.0
//
// PcapWriter: packets into a pcap file with nanosecond timestamps, or into pcapng.
//
// Packets gather in a buffer of 1 MB that goes out by one write(2), so that writing costs a copy
// and no call per packet. When the system refuses a write (disk full), the file is cut back to the
// last whole buffer, so that it stays a valid capture; everything from then on is refused, and
// lost_packets() says how many of the accepted ones are not in the file.
// Invariant: the file, if it can be cut, ends with a whole record at all times.
// Threads: one owner. Tested by pcap_writer_test.cc (read back with our reader and with libpcap).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_reader.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace lmn {

class PcapWriter {
 public:
  enum class Format : std::uint8_t { kPcap, kPcapng };
  // kPcapng when the name ends in ".pcapng".
  static Format format_for(std::string_view path);

  // Creates or empties the file; "-" is standard output. Errors: those of open(2).
  static Result<PcapWriter> create(const std::string& path, Format format);

  // False when the file cannot be written any more. REQUIRES: packet.size() <= 256 KiB.
  bool write(ByteSpan packet, std::uint64_t time_ns) noexcept;
  // Writes what is buffered. False when that fails.
  bool flush() noexcept;
  // Flushes and closes. Errors: kIo with the first thing that went wrong, now or before.
  Result<void> finish();

  int fd() const { return fd_.get(); }
  // Packets that write() accepted and that did not reach the file, and their bytes.
  std::uint64_t lost_packets() const { return lost_packets_; }
  std::uint64_t lost_bytes() const { return lost_bytes_; }

 private:
  template <typename T>
  void put(T value) noexcept;
  void put_header();

  std::string path_;
  UniqueFd fd_;
  Format format_ = Format::kPcap;
  std::vector<std::uint8_t> buffer_;
  std::size_t used_ = 0;
  std::uint64_t file_bytes_ = 0;        // written in whole buffers
  std::uint64_t buffered_packets_ = 0;  // in buffer_
  std::uint64_t buffered_bytes_ = 0;
  std::uint64_t lost_packets_ = 0;
  std::uint64_t lost_bytes_ = 0;
  int failure_errno_ = 0;
};

}  // namespace lmn
