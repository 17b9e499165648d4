// SPDX-License-Identifier: Apache-2.0
//
// What ports over kernel netdevs cost, beside raw loops over the same kind of socket.
//
// Receive/*: frames wait in the ring or queue, then all are taken: the time per frame that the
// application's core spends. Send/*: frames into a veth whose other end drops them. Latency/*: from
// the call that sends one frame on the far side to its sight on the near side, asleep in poll(2)
// between. Everything runs on one thread, so that a figure is the cost of both sides of the kernel
// where both are in it. Needs root or user namespaces, else each benchmark says why it is skipped.
// Tables made with this: docs/decisions/0003-who-sees-what-on-a-netdev.md.
#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <vector>

#include "ports/port.h"
#include "ports/testing/netns.h"

namespace {

using namespace lmn;
using testing_support::make_test_frame;
using testing_support::Netns;
using testing_support::RawSocket;
using testing_support::shell;
using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kFrameBytes = 64;
constexpr std::size_t kWaiting = 400;  // fits into the queue of a TAP (500)

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

// Runs the body in a namespace with the veth near - far.
void on_wire(benchmark::State& state, const std::function<void()>& body) {
  if (const auto why = Netns::refusal()) return state.SkipWithError(why->c_str());
  Netns::create()->run([&] {
    if (!shell("ip link add near type veth peer name far && ip link set near up && "
               "ip link set far up")) {
      return state.SkipWithError("no veth");
    }
    body();
  });
}

struct World {
  FramePool pool = *FramePool::create(limits::kFramesDefault);
  SystemClock clock;
  PortResources resources;
  std::unique_ptr<Port> open(const std::string& spec) {
    resources.pool = &pool;
    resources.clock = &clock;
    auto ports = open_port(*parse_port_spec(spec), resources);
    return ports ? std::move(ports->front()) : nullptr;
  }
};

std::size_t take_all(Port& port, FrameBatch& batch) {
  std::size_t taken = 0;
  while (port.rx_queue().receive(batch) > 0) {
    taken += batch.count;
    for (std::size_t i = 0; i < batch.count; ++i) {
      batch.buffs[i].pool->free(batch.buffs[i].hard_start);
    }
    batch.clear();
  }
  return taken;
}

// Fills the near side's queue by `far`, then measures `take`, which gives the frames it took.
void measure_taking(benchmark::State& state, const RawSocket& far,
                    const std::function<std::size_t()>& take) {
  const auto frame = make_test_frame(kFrameBytes, 1);
  std::int64_t frames = 0;
  for (auto _ : state) {
    for (std::size_t i = 0; i < kWaiting; ++i) far.send(frame);
    const auto start = SteadyClock::now();
    frames += static_cast<std::int64_t>(take());
    state.SetIterationTime(seconds_since(start));
  }
  state.SetItemsProcessed(frames);
}

void receive_port(benchmark::State& state, const char* spec, const char* far_netdev) {
  on_wire(state, [&] {
    World world;
    const auto port = world.open(spec);
    if (!port) return state.SkipWithError("cannot open the port");
    const auto far = RawSocket::open(far_netdev);
    FrameBatch batch;
    measure_taking(state, *far, [&] { return take_all(*port, batch); });
  });
}

// An AF_PACKET ring without anything around it.
class RawRing {
 public:
  static constexpr std::size_t kSlotBytes = 2048;
  static constexpr std::size_t kBlockBytes = 1 << 16;
  static constexpr std::size_t kBlocks = 64;
  static constexpr std::size_t kSlots = kBlocks * kBlockBytes / kSlotBytes;

  RawRing(const char* netdev, int version, int ring_option) {
    fd_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    const int one = 1;
    ::setsockopt(fd_.get(), SOL_PACKET, PACKET_VERSION, &version, sizeof version);
    ::setsockopt(fd_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
    ::setsockopt(fd_.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
    tpacket_req3 request{};
    request.tp_block_size = kBlockBytes;
    request.tp_block_nr = kBlocks;
    request.tp_frame_size = kSlotBytes;
    request.tp_frame_nr = kSlots;
    request.tp_retire_blk_tov = 1;  // milliseconds, the least there is
    const socklen_t size = version == TPACKET_V3 ? sizeof request : sizeof(tpacket_req);
    ::setsockopt(fd_.get(), SOL_PACKET, ring_option, &request, size);
    void* memory =
        ::mmap(nullptr, kBlocks * kBlockBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    memory_ = memory == MAP_FAILED ? nullptr : static_cast<std::uint8_t*>(memory);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = ring_option == PACKET_RX_RING ? htons(ETH_P_ALL) : 0;
    address.sll_ifindex = static_cast<int>(::if_nametoindex(netdev));
    ::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  ~RawRing() {
    if (memory_ != nullptr) ::munmap(memory_, kBlocks * kBlockBytes);
  }
  bool is_open() const { return memory_ != nullptr; }
  int fd() const { return fd_.get(); }
  tpacket2_hdr* slot(std::size_t index) const {
    return reinterpret_cast<tpacket2_hdr*>(memory_ + index * kSlotBytes);
  }

  std::size_t take_v2() {
    std::size_t taken = 0;
    while ((__atomic_load_n(&slot(next_)->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) != 0) {
      std::memcpy(copy_.data(), reinterpret_cast<std::uint8_t*>(slot(next_)) + slot(next_)->tp_mac,
                  slot(next_)->tp_snaplen);
      __atomic_store_n(&slot(next_)->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
      next_ = (next_ + 1) % kSlots;
      ++taken;
    }
    return taken;
  }

  std::size_t take_v3() {
    std::size_t taken = 0;
    while (true) {
      auto* block = reinterpret_cast<tpacket_block_desc*>(memory_ + next_ * kBlockBytes);
      if ((__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) == 0) {
        return taken;
      }
      auto* at = reinterpret_cast<std::uint8_t*>(block) + block->hdr.bh1.offset_to_first_pkt;
      for (std::uint32_t i = 0; i < block->hdr.bh1.num_pkts; ++i) {
        const auto* header = reinterpret_cast<tpacket3_hdr*>(at);
        std::memcpy(copy_.data(), at + header->tp_mac, header->tp_snaplen);
        at += header->tp_next_offset;
        ++taken;
      }
      __atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
      next_ = (next_ + 1) % kBlocks;
    }
  }

  // Puts `count` frames into a transmit ring and has them sent; gives how many found a free slot.
  std::size_t send_v2(const std::vector<std::uint8_t>& frame, std::size_t count) {
    std::size_t put = 0;
    for (; put < count; ++put) {
      tpacket2_hdr* header = slot(next_);
      if (__atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE) != TP_STATUS_AVAILABLE) break;
      std::memcpy(reinterpret_cast<std::uint8_t*>(header) + TPACKET2_HDRLEN - sizeof(sockaddr_ll),
                  frame.data(), frame.size());
      header->tp_len = static_cast<std::uint32_t>(frame.size());
      __atomic_store_n(&header->tp_status, TP_STATUS_SEND_REQUEST, __ATOMIC_RELEASE);
      next_ = (next_ + 1) % kSlots;
    }
    ::send(fd_.get(), nullptr, 0, MSG_DONTWAIT);
    return put;
  }

 private:
  UniqueFd fd_;
  std::uint8_t* memory_ = nullptr;
  std::size_t next_ = 0;  // slot or block
  std::array<std::uint8_t, RawRing::kSlotBytes> copy_{};
};

void receive_raw_v2(benchmark::State& state) {
  on_wire(state, [&] {
    RawRing ring("near", TPACKET_V2, PACKET_RX_RING);
    if (!ring.is_open()) return state.SkipWithError("no ring");
    measure_taking(state, *RawSocket::open("far"), [&] { return ring.take_v2(); });
  });
}

// A TAP read by hand, with or without the virtio header before each frame.
void receive_raw_tap(benchmark::State& state, int extra_flags) {
  on_wire(state, [&] {
    const UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    ifreq request{};
    std::memcpy(request.ifr_name, "t0", 3);
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | extra_flags);
    if (::ioctl(fd.get(), TUNSETIFF, &request) != 0 || !shell("ip link set t0 up")) {
      return state.SkipWithError("no TAP");
    }
    std::array<std::uint8_t, 4096> buffer{};
    measure_taking(state, *RawSocket::open("t0"), [&] {
      std::size_t taken = 0;
      while (::read(fd.get(), buffer.data(), buffer.size()) > 0) ++taken;
      return taken;
    });
  });
}

void send_port(benchmark::State& state, const char* spec) {
  on_wire(state, [&] {
    World world;
    const auto port = world.open(spec);
    if (!port) return state.SkipWithError("cannot open the port");
    const auto bytes = make_test_frame(kFrameBytes, 1);
    TxQueue& tx = port->tx_queue();
    for (auto _ : state) {
      for (std::size_t i = 0; i < limits::kBatchSize; ++i) {
        XdpBuff buff = make_xdp_buff(world.pool, world.pool.allocate(), port->rx_queue().info());
        std::memcpy(buff.data, bytes.data(), bytes.size());
        buff.data_end = buff.data + bytes.size();
        tx.enqueue(to_frame(buff));
      }
      tx.flush();
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(tx.counters().get(Counter::kTxPackets)));
    if (tx.counters().get(Counter::kTxDropped) != 0) state.SkipWithError("frames were dropped");
  });
}

void send_raw_ring(benchmark::State& state) {
  on_wire(state, [&] {
    RawRing ring("near", TPACKET_V2, PACKET_TX_RING);
    if (!ring.is_open()) return state.SkipWithError("no ring");
    const auto frame = make_test_frame(kFrameBytes, 1);
    std::int64_t frames = 0;
    for (auto _ : state) {
      frames += static_cast<std::int64_t>(ring.send_v2(frame, limits::kBatchSize));
    }
    state.SetItemsProcessed(frames);
  });
}

// One frame at a time: sent, waited for in poll(2), taken.
void measure_latency(benchmark::State& state, int fd, const std::function<std::size_t()>& take) {
  const auto far = RawSocket::open("far");
  const auto frame = make_test_frame(kFrameBytes, 1);
  for (auto _ : state) {
    const auto start = SteadyClock::now();
    far->send(frame);
    while (take() == 0) {
      pollfd ready{fd, POLLIN, 0};
      ::poll(&ready, 1, 1000);
    }
    state.SetIterationTime(seconds_since(start));
  }
}

void latency_port(benchmark::State& state) {
  on_wire(state, [&] {
    World world;
    const auto port = world.open("packet:near");
    if (!port) return state.SkipWithError("cannot open the port");
    FrameBatch batch;
    measure_latency(state, port->rx_queue().poll_fd(), [&] { return take_all(*port, batch); });
  });
}

void latency_raw_v3(benchmark::State& state) {
  on_wire(state, [&] {
    RawRing ring("near", TPACKET_V3, PACKET_RX_RING);
    if (!ring.is_open()) return state.SkipWithError("no ring");
    measure_latency(state, ring.fd(), [&] { return ring.take_v3(); });
  });
}

BENCHMARK_CAPTURE(receive_port, packet, "packet:near", "far")
    ->Name("Receive/packet")
    ->UseManualTime();
BENCHMARK(receive_raw_v2)->Name("Receive/raw_v2")->UseManualTime();
BENCHMARK_CAPTURE(receive_port, tap, "tap:name=t0", "t0")->Name("Receive/tap")->UseManualTime();
BENCHMARK_CAPTURE(receive_raw_tap, plain, 0)->Name("Receive/raw_tap")->UseManualTime();
BENCHMARK_CAPTURE(receive_raw_tap, header, IFF_VNET_HDR)
    ->Name("Receive/raw_tap_vnet_header")
    ->UseManualTime();
BENCHMARK_CAPTURE(send_port, packet, "packet:near")->Name("Send/packet")->UseRealTime();
BENCHMARK(send_raw_ring)->Name("Send/raw_tx_ring")->UseRealTime();
BENCHMARK_CAPTURE(send_port, tap, "tap:name=t0")->Name("Send/tap")->UseRealTime();
BENCHMARK(latency_port)->Name("Latency/packet")->UseManualTime();
BENCHMARK(latency_raw_v3)->Name("Latency/raw_v3")->UseManualTime();

}  // namespace
