// SPDX-License-Identifier: Apache-2.0
//
// The pcap driver: a port that receives what is in a capture and writes what is sent to another.
//
// The input is read with read(2) in chunks of 1 MB, which is faster here than mapping it (144
// against 69-86 million packets/s on a page-cached file) and works on pipes. A file can wait: when
// the pool is empty, packets stay where they are, none is lost. A regular file is looked at on
// opening, so that a wrong file is refused then and not in the middle of a run; what lies before a
// malformed place is always delivered, and input_error() tells the place.
//
// Packets that a capture holds only in part are lost and counted (rx_truncated): their missing
// bytes cannot be made up. Arrival times of the capture become the frames' times, and a frame's
// time is what is written; a frame without one is written with the clock's. Invariants: (1) buffer_
// holds 2 MB: at most a record's unread part and one chunk; (2) packets written, and lost in a
// failed write, are tx_packets and tx_dropped to the packet after finish(). Not done yet: check
// sequences at packet ends (pcap's f-bit) are delivered as part of the packet. Threads: the worker;
// finish() and input_error() while it stands still. Tested by pcap_port_test.cc and
// ports_contract_test.cc.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "ports/frame_rules.h"
#include "ports/pcap/pcap_reader.h"
#include "ports/pcap/pcap_writer.h"
#include "ports/port.h"
#include "ports/port_spec.h"

namespace lmn {
namespace {

constexpr std::size_t kChunkBytes = 1u << 20;
constexpr std::size_t kWindowBytes = kChunkBytes + PcapReader::kWindowBytesMin;
// Short packets are copied in whole lines of this size, which may read past the window's end.
constexpr std::size_t kCopyLineBytes = 64;
constexpr std::size_t kShortPacketBytes = 256;
static_assert(limits::kTailroomBytes >= kCopyLineBytes, "a copied line may end in the tail-room");
constexpr std::uint64_t kLoopForever = 0;

class PcapRx final : public RxQueue {
 public:
  PcapRx(std::uint32_t ifindex, FramePool& pool) : pool_(pool) {
    info_.ifindex = ifindex;
    info_.metadata = kMetaTime;
  }

  Result<void> open(const std::string& path, std::uint64_t loop_count);
  std::size_t receive(FrameBatch& batch) noexcept override;
  bool is_exhausted() const noexcept override { return is_done_; }
  int poll_fd() const noexcept override { return is_regular_ ? -1 : fd_.get(); }
  std::string input_error() const override;
  int fd() const { return fd_.get(); }

 private:
  enum class Refill : std::uint8_t { kGotBytes, kWait, kFailed };
  Result<void> look_at_start();
  Refill refill() noexcept;
  bool start_next_pass() noexcept;
  void take(const CapturedPacket& packet, FrameBatch& batch) noexcept;
  static void copy_packet(std::uint8_t* to, ByteSpan packet) noexcept;

  FramePool& pool_;
  std::string path_;
  UniqueFd fd_;
  std::vector<std::uint8_t> buffer_;
  std::size_t filled_ = 0;
  PcapReader reader_;
  std::uint64_t passes_left_ = 1;
  bool repeats_forever_ = false;
  bool pass_had_packets_ = false;
  bool is_regular_ = false;
  bool is_done_ = true;
  int read_errno_ = 0;
};

Result<void> PcapRx::open(const std::string& path, std::uint64_t loop_count) {
  path_ = path;
  fd_.reset(path == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                        : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd_.is_open()) return make_error(system_error(fmt::format("open '{}'", path), errno));
  struct stat info{};
  if (::fstat(fd_.get(), &info) != 0) {
    return make_error(system_error(fmt::format("stat '{}'", path), errno));
  }
  if (S_ISDIR(info.st_mode)) {
    return make_error(ErrorCode::kInvalidArgument, fmt::format("'{}' is a directory", path));
  }
  is_regular_ = S_ISREG(info.st_mode);
  if (loop_count != 1 && !is_regular_) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("'{}' is no regular file: it cannot be read again", path),
                      "leave out loop=");
  }
  passes_left_ = loop_count;
  repeats_forever_ = loop_count == kLoopForever;
  buffer_.resize(kWindowBytes + kCopyLineBytes);
  is_done_ = false;
  return is_regular_ ? look_at_start() : Result<void>();
}

// Reads up to the first packet, so that a file of the wrong kind is an error of opening it.
Result<void> PcapRx::look_at_start() {
  CapturedPacket packet;
  while (true) {
    switch (reader_.next(packet)) {
      case PcapReader::Step::kPacket:
        reader_.unread();
        return {};
      case PcapReader::Step::kEnd:
        return {};
      case PcapReader::Step::kError:
        return make_error(ErrorCode::kMalformed, fmt::format("'{}': {}", path_, reader_.error()));
      case PcapReader::Step::kNeedMore:
        break;
    }
    if (refill() == Refill::kFailed) {
      return make_error(system_error(fmt::format("read '{}'", path_), read_errno_));
    }
  }
}

PcapRx::Refill PcapRx::refill() noexcept {
  if (!is_regular_) {
    pollfd ready{fd_.get(), POLLIN, 0};
    if (::poll(&ready, 1, 0) <= 0) return Refill::kWait;
  }
  const std::size_t kept = filled_ - reader_.consumed();
  ssize_t got = 0;
  std::memmove(buffer_.data(), buffer_.data() + reader_.consumed(), kept);
  do {
    got = ::read(fd_.get(), buffer_.data() + kept, std::min(kChunkBytes, kWindowBytes - kept));
  } while (got < 0 && errno == EINTR);
  // Another reader of the same pipe may have been faster than we between poll and read.
  const bool must_wait = got < 0 && errno == EAGAIN;
  if (got < 0 && !must_wait) read_errno_ = errno;
  filled_ = kept + static_cast<std::size_t>(std::max<ssize_t>(got, 0));
  reader_.set_window(ByteSpan(buffer_.data(), filled_),
                     got == 0 ? PcapReader::Tail::kEnd : PcapReader::Tail::kMore);
  if (must_wait) return Refill::kWait;
  return got < 0 ? Refill::kFailed : Refill::kGotBytes;
}

std::size_t PcapRx::receive(FrameBatch& batch) noexcept {
  const std::size_t before = batch.count;
  CapturedPacket packet;
  while (!is_done_ && batch.room() > 0 && pool_.in_use() < pool_.frame_count()) {
    const PcapReader::Step step = reader_.next(packet);
    if (step == PcapReader::Step::kPacket) [[likely]] {
      take(packet, batch);
      continue;
    }
    if (step == PcapReader::Step::kNeedMore) {
      const Refill refilled = refill();
      if (refilled == Refill::kWait) break;
      is_done_ = refilled == Refill::kFailed;
      continue;
    }
    is_done_ = step == PcapReader::Step::kError || !start_next_pass();
  }
  return batch.count - before;
}

void PcapRx::take(const CapturedPacket& packet, FrameBatch& batch) noexcept {
  pass_had_packets_ = true;
  const std::size_t length = packet.bytes.size();
  if (length < packet.original_length) return counters_.add(Counter::kRxTruncated);
  const Counter verdict = judge_rx_length(length, limits::kPacketBytesMax);
  if (verdict != Counter::kRxPackets) return counters_.add(verdict);
  XdpBuff& buff = append_buff(batch, pool_, pool_.allocate(), info_);
  buff.data_end = buff.data + length;
  buff.rx_time_ns = packet.time_ns;
  copy_packet(buff.data, packet.bytes);
}

// A call of memcpy costs as much as the copy of a short packet; lines of fixed size are inlined.
void PcapRx::copy_packet(std::uint8_t* to, ByteSpan packet) noexcept {
  if (packet.size() > kShortPacketBytes) {
    std::memcpy(to, packet.data(), packet.size());
    return;
  }
  for (std::size_t done = 0; done < packet.size(); done += kCopyLineBytes) {
    std::memcpy(to + done, packet.data() + done, kCopyLineBytes);
  }
}

// A pass that gave nothing is the last one, however many were asked for.
bool PcapRx::start_next_pass() noexcept {
  if (!pass_had_packets_) return false;
  if (!repeats_forever_ && --passes_left_ == 0) return false;
  if (::lseek(fd_.get(), 0, SEEK_SET) != 0) {
    read_errno_ = errno;
    return false;
  }
  reader_.restart();
  filled_ = 0;
  pass_had_packets_ = false;
  return true;
}

std::string PcapRx::input_error() const {
  if (read_errno_ != 0)
    return system_error(fmt::format("read '{}'", path_), read_errno_).to_string();
  if (reader_.problem() == CaptureProblem::kNone) return {};
  return fmt::format("'{}': {}", path_, reader_.error());
}

class PcapTx final : public TxQueue {
 public:
  PcapTx(const Clock& clock, std::uint32_t mtu) : clock_(clock), mtu_(mtu) {}
  void open(PcapWriter writer) { writer_ = std::move(writer); }

  // Without out= there is nothing to send to: the errno of a device without transmit resources.
  int check(std::uint32_t length_bytes) const noexcept override {
    return writer_ ? check_frame_length(true, mtu_, length_bytes) : ENXIO;
  }
  void enqueue(XdpFrame* frame) noexcept override;
  void flush() noexcept override {}
  std::uint64_t pending() const noexcept override { return 0; }
  Result<void> finish();

 private:
  const Clock& clock_;
  std::uint32_t mtu_;
  std::optional<PcapWriter> writer_;
};

void PcapTx::enqueue(XdpFrame* frame) noexcept {
  const std::uint64_t time_ns = frame->rx_time_ns != 0 ? frame->rx_time_ns : clock_.real_ns();
  if (!writer_ || !writer_->write(ByteSpan(frame->data(), frame->length), time_ns)) {
    return drop_tx_frame(frame, counters_);
  }
  counters_.add(Counter::kTxPackets);
  counters_.add(Counter::kTxBytes, frame->length);
  free_frame(frame);
}

// What a failed write lost had been counted as sent: put that right.
Result<void> PcapTx::finish() {
  if (!writer_) return {};
  Result<void> result = writer_->finish();
  const std::uint64_t lost = writer_->lost_packets();
  counters_.set(Counter::kTxPackets, counters_.get(Counter::kTxPackets) - lost);
  counters_.set(Counter::kTxBytes, counters_.get(Counter::kTxBytes) - writer_->lost_bytes());
  counters_.add(Counter::kTxDropped, lost);
  writer_.reset();
  return result;
}

class PcapPort final : public Port {
 public:
  PcapPort(PortInfo info, PortResources& resources)
      : rx_(info.ifindex, *resources.pool), tx_(*resources.clock, info.mtu) {
    info_ = std::move(info);
  }
  ~PcapPort() override { [[maybe_unused]] const Result<void> finished = tx_.finish(); }

  Result<void> open(const PortSpec& spec);
  RxQueue& rx_queue() override { return rx_; }
  TxQueue& tx_queue() override { return tx_; }
  std::vector<std::string> notices() const override;
  Result<void> finish() override { return tx_.finish(); }

 private:
  PcapRx rx_;
  PcapTx tx_;
  bool has_output_ = false;
};

bool is_same_file(int a, int b) {
  struct stat info_a{};
  struct stat info_b{};
  if (::fstat(a, &info_a) != 0 || ::fstat(b, &info_b) != 0) return false;
  return S_ISREG(info_a.st_mode) && info_a.st_dev == info_b.st_dev &&
         info_a.st_ino == info_b.st_ino;
}

Result<void> PcapPort::open(const PortSpec& spec) {
  const auto in = find_option(spec, "in");
  const auto out = find_option(spec, "out");
  LMN_TRY(const std::uint64_t loop_count, number_option(spec, "loop", 1, {}));
  if (!in && !out) return spec_error(spec, "neither in= nor out= given");
  if (!in && find_option(spec, "loop")) return spec_error(spec, "loop= without in=");
  if (in) LMN_CHECK_OK(rx_.open(std::string(*in), loop_count));
  if (!out) return {};
  // Creating the output empties it, so the question whether it is the input comes first.
  const std::string out_path(*out);
  if (in && out_path != "-") {
    const UniqueFd old(::open(out_path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (old.is_open() && is_same_file(old.get(), rx_.fd())) {
      return spec_error(spec, fmt::format("in= and out= are the same file '{}'", out_path));
    }
  }
  LMN_TRY(PcapWriter writer, PcapWriter::create(out_path, PcapWriter::format_for(out_path)));
  tx_.open(std::move(writer));
  has_output_ = true;
  return {};
}

std::vector<std::string> PcapPort::notices() const {
  if (has_output_) return {};
  return {fmt::format("port '{}' has no out=: what is sent to it is dropped", info_.name)};
}

}  // namespace

Result<OpenedPorts> open_pcap_port(const PortSpec& spec, PortResources& resources) {
  static constexpr std::string_view kKeys[] = {"in", "loop", "name", "out"};
  LMN_CHECK_OK(check_spec(spec, {.keys = kKeys, .repeatable_keys = {}}));
  std::string name(find_option(spec, "name").value_or("pcap"));
  auto port = std::make_unique<PcapPort>(
      make_own_port_info(spec, std::move(name), limits::kMtuMax, resources), resources);
  LMN_CHECK_OK(port->open(spec));
  OpenedPorts ports;
  ports.push_back(std::move(port));
  return ports;
}

}  // namespace lmn
