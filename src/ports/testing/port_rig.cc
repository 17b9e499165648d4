// SPDX-License-Identifier: Apache-2.0
//
// The rigs of all drivers. Test code only.
#include "ports/testing/port_rig.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <utility>

#include "base/file.h"
#include "ports/memory/memory_port.h"
#include "ports/pcap/pcap_reader.h"
#include "ports/testing/capture_builder.h"
#include "ports/testing/netns.h"

namespace lmn::testing_support {
namespace {

constexpr RigTraits kTraits[] = {
    {"memory", false, false}, {"packet", true, true}, {"pcap", false, true},
    {"tap", true, true},      {"veth", false, false},
};
constexpr int kWaitMs = 2000;

Bytes bytes_of(const XdpFrame& frame) { return Bytes(frame.data(), frame.data() + frame.length); }

class MemoryRig final : public PortRig {
 public:
  Result<void> start(PortResources& resources) {
    LMN_CHECK_OK(open("memory:m0", resources));
    memory_ = as_memory_port(port());
    return {};
  }
  bool inject(ByteSpan frame) override { return memory_->push({.bytes = frame}) == 0; }
  std::vector<Bytes> finish_and_collect(std::size_t) override {
    std::vector<Bytes> out;
    while (XdpFrame* frame = memory_->take()) {
      out.push_back(bytes_of(*frame));
      free_frame(frame);
    }
    return out;
  }
  void end_input() override { memory_->end_input(); }
  bool inject_oversize() override {
    const Bytes frame(port().info().mtu + 19);
    return memory_->push({.bytes = frame}) == EMSGSIZE;
  }
  bool inject_undersize() override {
    const Bytes frame(13);
    return memory_->push({.bytes = frame}) == EINVAL;
  }

 private:
  MemoryPort* memory_ = nullptr;
};

// The input is a pipe, so that frames can come one by one.
class PcapRig final : public PortRig {
 public:
  ~PcapRig() override {
    for (const char* name : {"/in", "/out"}) ::unlink((directory_ + name).c_str());
    ::rmdir(directory_.c_str());
  }
  Result<void> start(PortResources& resources) {
    char pattern[] = "/tmp/lmn_rig_XXXXXX";
    if (::mkdtemp(pattern) == nullptr) return make_error(system_error("mkdtemp", errno));
    directory_ = pattern;
    const std::string in = directory_ + "/in";
    if (::mkfifo(in.c_str(), 0600) != 0) return make_error(system_error("mkfifo", errno));
    writer_.reset(::open(in.c_str(), O_RDWR | O_CLOEXEC));
    ::fcntl(writer_.get(), F_SETPIPE_SZ, 1 << 20);
    LMN_CHECK_OK(open(fmt::format("pcap:in={},out={}/out", in, directory_), resources));
    write(CaptureBuilder(std::endian::native).pcap_header(pcap_format::kMagicNano));
    return {};
  }
  bool inject(ByteSpan frame) override {
    const auto length = static_cast<std::uint32_t>(frame.size());
    return write(CaptureBuilder(std::endian::native).pcap_record(1, 2, frame, length));
  }
  std::vector<Bytes> finish_and_collect(std::size_t) override {
    std::vector<Bytes> out;
    if (!port().finish()) return out;
    const auto file = read_file(directory_ + "/out", 64u << 20);
    if (!file) return out;
    const auto packets = read_capture(*file);
    if (!packets) return out;
    for (const CapturedPacket& packet : *packets) {
      out.emplace_back(packet.bytes.begin(), packet.bytes.end());
    }
    return out;
  }
  void end_input() override { writer_.reset(); }
  bool inject_oversize() override { return inject(Bytes(limits::kPacketBytesMax + 1)); }
  bool inject_undersize() override { return inject(Bytes(13)); }

 private:
  bool write(const CaptureBuilder& part) {
    const Bytes& bytes = part.bytes();
    return ::write(writer_.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  }
  std::string directory_;
  UniqueFd writer_;
};

class VethRig final : public PortRig {
 public:
  explicit VethRig(FramePool& pool) : pool_(pool) {}
  Result<void> start(PortResources& resources) { return open("veth:va,vb", resources); }
  bool inject(ByteSpan frame) override {
    std::uint8_t* hard_start = pool_.allocate();
    if (hard_start == nullptr) return false;
    XdpBuff buff = make_xdp_buff(pool_, hard_start, peer().rx_queue().info());
    std::ranges::copy(frame, buff.data);
    buff.data_end = buff.data + frame.size();
    const std::uint64_t before = peer().tx_queue().counters().get(Counter::kTxPackets);
    peer().tx_queue().enqueue(to_frame(buff));
    peer().tx_queue().flush();
    return peer().tx_queue().counters().get(Counter::kTxPackets) == before + 1;
  }
  std::vector<Bytes> finish_and_collect(std::size_t) override {
    std::vector<Bytes> out;
    FrameBatch batch;
    while (peer().rx_queue().receive(batch) > 0) {
      for (std::size_t i = 0; i < batch.count; ++i) {
        out.emplace_back(batch.buffs[i].data, batch.buffs[i].data_end);
        pool_.free(batch.buffs[i].hard_start);
      }
      batch.clear();
    }
    return out;
  }
  void end_input() override {}

 private:
  Port& peer() { return *ports_[1]; }
  FramePool& pool_;
};

// What the two kernel drivers have in common: a raw socket on the other side.
class NetdevRig : public PortRig {
 public:
  bool inject(ByteSpan frame) override { return raw_->send(frame); }
  // Without root the socket's buffer holds some hundred frames only.
  void collect_some() override {
    while (take(0)) {
    }
  }
  std::vector<Bytes> finish_and_collect(std::size_t count) override {
    if (!port().finish()) return {};
    while (collected_.size() < count && take(kWaitMs)) {
    }
    return std::move(collected_);
  }
  void end_input() override { shell(fmt::format("ip link del {}", port().info().name)); }
  bool set_up(bool up) override {
    return shell(fmt::format("ip link set {} {}", port().info().name, up ? "up" : "down"));
  }
  bool inject_oversize() override {
    return raise_mtu() && inject(make_test_frame(limits::kPacketBytesMax + 1, 1));
  }

 protected:
  virtual bool raise_mtu() = 0;
  Result<void> listen(const std::string& netdev) {
    LMN_TRY(raw_, RawSocket::open(netdev));
    return {};
  }

 private:
  bool take(int timeout_ms) {
    Bytes frame = raw_->receive(kTestEtherType, timeout_ms);
    if (frame.empty()) return false;
    collected_.push_back(std::move(frame));
    return true;
  }
  std::optional<RawSocket> raw_;
  std::vector<Bytes> collected_;
};

class PacketRig final : public NetdevRig {
 public:
  Result<void> start(PortResources& resources) {
    if (!shell("ip link add rig0 type veth peer name rig1 && ip link set rig0 up && "
               "ip link set rig1 up")) {
      return make_error(ErrorCode::kIo, "cannot make a veth pair");
    }
    LMN_CHECK_OK(open("packet:rig0", resources));
    return listen("rig1");
  }

 private:
  bool raise_mtu() override {
    return shell("ip link set rig0 mtu 9000 && ip link set rig1 mtu 9000");
  }
};

class TapRig final : public NetdevRig {
 public:
  Result<void> start(PortResources& resources) {
    LMN_CHECK_OK(open("tap:name=rig0", resources));
    return listen("rig0");
  }

 private:
  bool raise_mtu() override { return shell("ip link set rig0 mtu 9000"); }
};

template <typename Rig>
Result<std::unique_ptr<PortRig>> started(std::unique_ptr<Rig> rig, PortResources& resources) {
  LMN_CHECK_OK(rig->start(resources));
  return Result<std::unique_ptr<PortRig>>(std::move(rig));
}

}  // namespace

Result<void> PortRig::open(const std::string& spec, PortResources& resources) {
  LMN_TRY(const PortSpec parsed, parse_port_spec(spec));
  LMN_TRY(ports_, open_port(parsed, resources));
  return {};
}

const RigTraits* find_rig_traits(std::string_view driver) {
  const auto* found = std::ranges::find(kTraits, driver, &RigTraits::driver);
  return found == std::end(kTraits) ? nullptr : found;
}

Result<std::unique_ptr<PortRig>> make_rig(std::string_view driver, PortResources& resources) {
  if (driver == "memory") return started(std::make_unique<MemoryRig>(), resources);
  if (driver == "packet") return started(std::make_unique<PacketRig>(), resources);
  if (driver == "pcap") return started(std::make_unique<PcapRig>(), resources);
  if (driver == "tap") return started(std::make_unique<TapRig>(), resources);
  return started(std::make_unique<VethRig>(*resources.pool), resources);
}

}  // namespace lmn::testing_support
