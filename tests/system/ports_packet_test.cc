// SPDX-License-Identifier: Apache-2.0
//
// Goal: a packet port shows what the wire shows, whatever the kernel keeps beside a packet, counts
// its losses, and TCP passes two of them intact: docs/decisions/0003-who-sees-what-on-a-netdev.md.
// Method: veth pairs in network namespaces; packets whose right bytes are known from the builder;
// the kernel's own cutting (before a TAP, which can take no super-frame) as oracle for ours.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <thread>

#include "harness/packet_builder.h"
#include "ports/offload/checksum.h"
#include "ports/offload/super_frame.h"
#include "ports/port.h"
#include "ports/testing/netns.h"

namespace lmn {
namespace {

using testing_support::kTestEtherType;
using testing_support::make_test_frame;
using testing_support::Netns;
using testing_support::RawSocket;
using testing_support::shell;
using testing_support::write_sysctl;

constexpr const char* kMakeWire =
    "ip link add near type veth peer name far && ip link set near up && ip link set far up";

class PacketPortSystem : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = Netns::refusal()) GTEST_SKIP() << *why;
    resources_.pool = &pool_;
    resources_.clock = &clock_;
  }
  Result<std::unique_ptr<Port>> open(const std::string& text) {
    LMN_TRY(const PortSpec spec, parse_port_spec(text));
    LMN_TRY(OpenedPorts ports, open_port(spec, resources_));
    return std::move(ports.front());
  }
  // Runs the body in a namespace with the veth near - far and a port on near.
  template <typename Body>
  void on_wire(Body body) {
    Netns::create()->run([&] {
      ASSERT_TRUE(shell(kMakeWire));
      {
        auto port = open("packet:near");
        ASSERT_TRUE(port.has_value()) << port.error().to_string();
        auto far = RawSocket::open("far");
        ASSERT_TRUE(far.has_value());
        body(**port, *far);
      }
      EXPECT_EQ(pool_.in_use(), 0u);
    });
  }
  // The next `count` frames; fewer when none comes for two seconds.
  std::vector<PacketBytes> receive(Port& port, std::size_t count) {
    std::vector<PacketBytes> out;
    RxQueue& rx = port.rx_queue();
    FrameBatch batch;
    while (out.size() < count) {
      batch.clear();
      if (rx.receive(batch) == 0) {
        pollfd ready{rx.poll_fd(), POLLIN, 0};
        if (::poll(&ready, 1, 2000) <= 0) break;
      }
      for (std::size_t i = 0; i < batch.count; ++i) {
        out.emplace_back(batch.buffs[i].data, batch.buffs[i].data_end);
        EXPECT_GT(batch.buffs[i].rx_time_ns, 1'600'000'000'000'000'000u) << "time of arrival";
        pool_.free(batch.buffs[i].hard_start);
      }
    }
    return out;
  }
  void send(Port& port, const PacketBytes& bytes) {
    XdpBuff buff = make_xdp_buff(pool_, pool_.allocate(), port.rx_queue().info());
    std::ranges::copy(bytes, buff.data);
    buff.data_end = buff.data + bytes.size();
    port.tx_queue().enqueue(to_frame(buff));
    port.tx_queue().flush();
  }

  FramePool pool_ = *FramePool::create(8192);
  SystemClock clock_;
  PortResources resources_;
};

// Leaves the sum of the pseudo header where a complete checksum was.
void make_partial(PacketBytes& packet, std::size_t start, std::size_t offset) {
  const auto complete = load_unaligned<std::uint16_t>(packet.data() + start + offset);
  store_unaligned<std::uint16_t>(packet.data() + start + offset, 0);
  const std::uint16_t rest = ones_complement_sum(ByteSpan(packet).subspan(start));
  std::uint8_t parts[4];
  store_unaligned(parts, static_cast<std::uint16_t>(~complete));
  store_unaligned(parts + 2, static_cast<std::uint16_t>(~rest));
  store_unaligned(packet.data() + start + offset, ones_complement_sum(parts));
}

struct OffloadCase {
  const char* name;
  bool is_ipv6;
  bool is_udp;
};
constexpr OffloadCase kOffloadCases[] = {
    {"TCP over IPv4", false, false},
    {"TCP over IPv6", true, false},
    {"UDP over IPv4", false, true},
    {"UDP over IPv6", true, true},
};

PacketBytes build(const OffloadCase& one, std::size_t payload_bytes) {
  PacketBuilder builder;
  builder.ethernet();
  one.is_ipv6 ? builder.ipv6() : builder.ipv4({.id = 65533});
  one.is_udp ? builder.udp() : builder.tcp({.sequence = 0xffff0000u, .flags = 0x99});
  return builder.filler(payload_bytes).build();
}

// A virtio_net_hdr; `piece_bytes` 0 asks for the checksum only.
std::vector<std::uint8_t> offload_header(const OffloadCase& one, std::uint16_t piece_bytes,
                                         int tag_bytes = 0) {
  std::vector<std::uint8_t> header(kOffloadHeaderBytes);
  const int start = tag_bytes + (one.is_ipv6 ? 54 : 34);
  header[0] = 1;
  if (piece_bytes != 0) header[1] = one.is_udp ? 5 : one.is_ipv6 ? 4 : 1;
  store_unaligned(header.data() + 2, static_cast<std::uint16_t>(start + (one.is_udp ? 8 : 20)));
  store_unaligned(header.data() + 4, piece_bytes);
  store_unaligned(header.data() + 6, static_cast<std::uint16_t>(start));
  store_unaligned(header.data() + 8, static_cast<std::uint16_t>(one.is_udp ? 6 : 16));
  return header;
}

PacketBytes with_partial_checksum(const OffloadCase& one, PacketBytes packet) {
  make_partial(packet, one.is_ipv6 ? 54 : 34, one.is_udp ? 6 : 16);
  return packet;
}

PacketBytes tagged(const PacketBytes& packet, std::uint16_t protocol, std::uint16_t control) {
  PacketBytes out(packet.begin(), packet.begin() + 12);
  for (const std::uint16_t word : {protocol, control}) {
    out.push_back(static_cast<std::uint8_t>(word >> 8));
    out.push_back(static_cast<std::uint8_t>(word));
  }
  out.insert(out.end(), packet.begin() + 12, packet.end());
  return out;
}

TEST_F(PacketPortSystem, VlanTagsArePutBackIn) {
  on_wire([&](Port& port, RawSocket& far) {
    const PacketBytes plain = make_test_frame(1514, 1);
    const PacketBytes medium = make_test_frame(1000, 2);
    const PacketBytes sent[] = {tagged(plain, 0x8100, 5 << 13 | 7), tagged(medium, 0x88a8, 9),
                                tagged(make_test_frame(16, 3), 0x8100, 0), plain,
                                tagged(tagged(medium, 0x8100, 7), 0x88a8, 9)};
    const auto host = RawSocket::open("near");
    for (const PacketBytes& frame : sent) {
      ASSERT_TRUE(far.send(frame)) << frame.size();
    }
    // The kernel takes the outer tag out before any socket sees the frame.
    EXPECT_EQ(host->receive(kTestEtherType, 2000), plain);
    EXPECT_EQ(host->receive(kTestEtherType, 2000), medium);
    const auto frames = receive(port, std::size(sent));
    ASSERT_EQ(frames.size(), std::size(sent));
    for (std::size_t i = 0; i < frames.size(); ++i) EXPECT_EQ(frames[i], sent[i]) << i;
    // And out again, with the tag in its bytes.
    send(port, tagged(plain, 0x8100, 7));
    EXPECT_EQ(far.receive(kTestEtherType, 2000), plain) << "the far kernel took the tag out";
  });
}

TEST_F(PacketPortSystem, PartialChecksumsAreCompleted) {
  on_wire([&](Port& port, RawSocket& far) {
    for (const OffloadCase& one : kOffloadCases) {
      for (const std::size_t payload : {1u, 2u, 3u, 999u, 1400u}) {
        const PacketBytes complete = build(one, payload);
        const PacketBytes partial = with_partial_checksum(one, complete);
        ASSERT_NE(partial, complete);
        ASSERT_TRUE(far.send_with_offload(offload_header(one, 0), partial)) << errno;
        ASSERT_TRUE(far.send_with_offload(offload_header(one, 0, 4), tagged(partial, 0x8100, 7)));
        const auto frames = receive(port, 2);
        ASSERT_EQ(frames.size(), 2u);
        EXPECT_EQ(frames[0], complete) << one.name << ", " << payload;
        EXPECT_EQ(frames[1], tagged(complete, 0x8100, 7)) << one.name << ", " << payload;
      }
    }
  });
}

TEST_F(PacketPortSystem, SuperFramesAreCutAsTheKernelCuts) {
  on_wire([&](Port& port, RawSocket& far) {
    auto tap = open("tap:name=oracle,mtu=3000");
    if (!tap) GTEST_SKIP() << "no oracle: " << tap.error().to_string();
    auto oracle = RawSocket::open("oracle");
    for (const OffloadCase& one : kOffloadCases) {
      for (const std::uint16_t piece : std::array<std::uint16_t, 3>{600, 1388, 2800}) {
        // From two pieces, which fit into a slot of the ring, to the longest super-frame.
        for (const std::size_t pieces : {2u, 3u, 20u, 64000u / piece}) {
          const std::size_t payload = piece * pieces - 37;
          const PacketBytes super = with_partial_checksum(one, build(one, payload));
          ASSERT_TRUE(oracle->send_with_offload(offload_header(one, piece), super)) << errno;
          ASSERT_TRUE(far.send_with_offload(offload_header(one, piece), super)) << errno;
          ASSERT_TRUE(
              far.send_with_offload(offload_header(one, piece, 4), tagged(super, 0x8100, 7)));
          // The TAP driver gives no times, so its frames are taken by hand.
          FrameBatch batch;
          std::vector<PacketBytes> expected;
          while ((*tap)->rx_queue().receive(batch) > 0) {
            for (std::size_t i = 0; i < batch.count; ++i) {
              expected.emplace_back(batch.buffs[i].data, batch.buffs[i].data_end);
              pool_.free(batch.buffs[i].hard_start);
            }
            batch.clear();
          }
          ASSERT_EQ(expected.size(), pieces) << "the kernel did not cut";
          const auto frames = receive(port, 2 * pieces);
          ASSERT_EQ(frames.size(), 2 * pieces) << one.name << " in pieces of " << piece;
          for (std::size_t i = 0; i < pieces; ++i) {
            EXPECT_EQ(frames[i], expected[i]) << one.name << ", piece " << i << " of " << pieces;
            EXPECT_EQ(frames[pieces + i], tagged(expected[i], 0x8100, 7)) << one.name;
          }
        }
      }
    }
    EXPECT_EQ(port.rx_queue().counters().get(Counter::kRxBadOffload), 0u);
    EXPECT_EQ(port.rx_queue().counters().get(Counter::kRxTruncated), 0u);
  });
}

TEST_F(PacketPortSystem, OrderIsKeptAroundSuperFrames) {
  on_wire([&](Port& port, RawSocket& far) {
    const OffloadCase& tcp = kOffloadCases[0];
    const PacketBytes super = with_partial_checksum(tcp, build(tcp, 30'000));
    std::size_t expected = 0;
    for (std::uint32_t i = 0; i < 20; ++i) {
      ASSERT_TRUE(far.send(make_test_frame(60 + i, i)));
      ASSERT_TRUE(far.send_with_offload(offload_header(tcp, 1000), super));
      expected += 31;
    }
    const auto frames = receive(port, expected);
    ASSERT_EQ(frames.size(), expected);
    for (std::uint32_t i = 0; i < 20; ++i) {
      EXPECT_EQ(frames[i * 31], make_test_frame(60 + i, i));
      for (std::size_t k = 1; k <= 30; ++k) EXPECT_EQ(frames[i * 31 + k].size(), 1054u);
    }
  });
}

TEST_F(PacketPortSystem, TransmissionsOfThisHostAreIgnored) {
  on_wire([&](Port& port, RawSocket& far) {
    const auto host = RawSocket::open("near");
    send(port, make_test_frame(100, 1));
    ASSERT_TRUE(host->send(make_test_frame(101, 1)));
    EXPECT_EQ(far.receive(kTestEtherType, 2000).size(), 100u);
    EXPECT_EQ(far.receive(kTestEtherType, 2000).size(), 101u);
    ASSERT_TRUE(far.send(make_test_frame(102, 1)));
    const auto frames = receive(port, 1);
    ASSERT_EQ(frames.size(), 1u);
    EXPECT_EQ(frames[0].size(), 102u) << "the first frame received is the far side's";
  });
}

TEST_F(PacketPortSystem, FramesForOthersAreReceived) {
  on_wire([&](Port& port, RawSocket& far) {
    PacketBytes frame = make_test_frame(60, 1);
    frame[5] = 0x77;  // nobody's address
    ASSERT_TRUE(far.send(frame));
    EXPECT_EQ(receive(port, 1).size(), 1u);
    // A veth has no address filter; on a NIC it is this that brings them in.
    EXPECT_TRUE(shell("ip -d link show near | grep -q 'promiscuity 1'"));
  });
}

TEST_F(PacketPortSystem, WhatTheKernelRefusesIsDroppedAndTheRestGoes) {
  on_wire([&](Port& port, RawSocket& far) {
    // The port does not know yet that the MTU, or the link, is not what it was.
    ASSERT_TRUE(shell("ip link set near mtu 1000"));
    for (const std::size_t length : {60u, 1200u, 61u, 1300u, 62u}) {
      send(port, make_test_frame(length, 1));
    }
    for (const std::size_t length : {60u, 61u, 62u}) {
      EXPECT_EQ(far.receive(kTestEtherType, 2000).size(), length);
    }
    const Counters& counters = port.tx_queue().counters();
    EXPECT_EQ(counters.get(Counter::kTxPackets), 3u);
    EXPECT_EQ(counters.get(Counter::kTxBytes), 60u + 61 + 62);
    EXPECT_EQ(counters.get(Counter::kTxDropped), 2u);
    ASSERT_TRUE(shell("ip link set near down"));
    send(port, make_test_frame(60, 1));
    EXPECT_EQ(counters.get(Counter::kTxDropped), 3u);
    EXPECT_EQ(pool_.in_use(), 0u);
  });
}

TEST_F(PacketPortSystem, TheKernelGetsItsOwnCopyWhateverWeDo) {
  on_wire([&](Port& port, RawSocket& far) {
    // The port receives and drops; the host, which has the address, answers all the same.
    ASSERT_TRUE(shell("ip addr add 192.0.2.2/24 dev near"));
    const PacketBytes request =
        PacketBuilder().ethernet({.dst = {255, 255, 255, 255, 255, 255}}).arp().build();
    ASSERT_TRUE(far.send(request));
    EXPECT_EQ(receive(port, 1), std::vector<PacketBytes>{request});
    const PacketBytes answer = far.receive(0x0806, 2000);
    ASSERT_GE(answer.size(), 42u) << "the kernel's stack did not answer";
    EXPECT_EQ(answer[21], 2) << "an ARP reply";
    // Without an address nobody answers.
    ASSERT_TRUE(shell("ip addr del 192.0.2.2/24 dev near"));
    ASSERT_TRUE(far.send(request));
    EXPECT_EQ(receive(port, 1).size(), 1u);
    EXPECT_TRUE(far.receive(0x0806, 100).empty());
  });
}

// A program of the kernel on near that gives one verdict to all; lives as long as its link.
UniqueFd attach_verdict(std::uint32_t type, std::uint32_t attach_type, int verdict) {
  const bpf_insn program[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = verdict},
      {.code = BPF_JMP | BPF_EXIT}};
  bpf_attr attributes{};
  attributes.prog_type = type;
  attributes.insns = reinterpret_cast<std::uint64_t>(program);
  attributes.insn_cnt = std::size(program);
  attributes.license = reinterpret_cast<std::uint64_t>("GPL");
  const UniqueFd loaded(
      static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes)));
  if (!loaded.is_open()) return {};
  attributes = {};
  attributes.link_create.prog_fd = static_cast<std::uint32_t>(loaded.get());
  attributes.link_create.target_ifindex = ::if_nametoindex("near");
  attributes.link_create.attach_type = attach_type;
  return UniqueFd(
      static_cast<int>(::syscall(SYS_bpf, BPF_LINK_CREATE, &attributes, sizeof attributes)));
}

TEST_F(PacketPortSystem, AnXdpProgramOfTheKernelRunsFirst) {
  on_wire([&](Port& port, RawSocket& far) {
    {
      const UniqueFd link = attach_verdict(BPF_PROG_TYPE_XDP, BPF_XDP, XDP_DROP);
      if (!link.is_open()) GTEST_SKIP() << "no XDP program on a veth: errno " << errno;
      ASSERT_TRUE(far.send(make_test_frame(100, 1)));
      std::this_thread::yield();
    }
    ASSERT_TRUE(far.send(make_test_frame(101, 1)));
    const auto frames = receive(port, 1);
    ASSERT_EQ(frames.size(), 1u);
    EXPECT_EQ(frames[0].size(), 101u) << "the first one was the kernel's to drop";
  });
}

TEST_F(PacketPortSystem, TheKernelsCopyCanBeDroppedAtIngress) {
  on_wire([&](Port& port, RawSocket& far) {
    ASSERT_TRUE(shell("ip addr add 192.0.2.2/24 dev near"));
    const PacketBytes request =
        PacketBuilder().ethernet({.dst = {255, 255, 255, 255, 255, 255}}).arp().build();
    {
      constexpr int kShot = 2;  // TC_ACT_SHOT
      const UniqueFd link = attach_verdict(BPF_PROG_TYPE_SCHED_CLS, BPF_TCX_INGRESS, kShot);
      if (!link.is_open()) GTEST_SKIP() << "no program at tc ingress: errno " << errno;
      ASSERT_TRUE(far.send(request));
      EXPECT_EQ(receive(port, 1).size(), 1u) << "sockets see a frame before tc does";
      EXPECT_TRUE(far.receive(0x0806, 100).empty()) << "the kernel's stack answered";
    }
    ASSERT_TRUE(far.send(request));
    EXPECT_FALSE(far.receive(0x0806, 2000).empty()) << "without the program the kernel answers";
    EXPECT_EQ(receive(port, 1).size(), 1u);
  });
}

TEST_F(PacketPortSystem, OurTransmissionsPassByTheHostsTaps) {
  on_wire([&](Port& port, RawSocket& far) {
    // A socket as tcpdump opens it: it sees what the host sends, and not what the port sends.
    const UniqueFd tap(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)));
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(port.info().ifindex);
    ASSERT_EQ(::bind(tap.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    send(port, make_test_frame(100, 1));
    ASSERT_TRUE(RawSocket::open("near")->send(make_test_frame(101, 1)));
    EXPECT_EQ(far.receive(kTestEtherType, 2000).size(), 100u);
    EXPECT_EQ(far.receive(kTestEtherType, 2000).size(), 101u);
    std::uint8_t seen[256];
    EXPECT_EQ(::recv(tap.get(), seen, sizeof seen, MSG_DONTWAIT), 101);
    EXPECT_LT(::recv(tap.get(), seen, sizeof seen, MSG_DONTWAIT), 0);
  });
}

TEST_F(PacketPortSystem, KernelLossesAreCountedToThePacket) {
  on_wire([&](Port& port, RawSocket& far) {
    constexpr std::uint64_t kFrames = 10'000;  // the ring has 4096 slots
    for (std::uint32_t i = 0; i < kFrames; ++i) ASSERT_TRUE(far.send(make_test_frame(60, i)));
    std::uint64_t received = 0;
    FrameBatch batch;
    while (port.rx_queue().receive(batch) > 0) {
      received += batch.count;
      for (std::size_t i = 0; i < batch.count; ++i) pool_.free(batch.buffs[i].hard_start);
      batch.clear();
    }
    ASSERT_TRUE(port.finish().has_value());
    const std::uint64_t lost = port.rx_queue().counters().get(Counter::kRxKernelDropped);
    EXPECT_EQ(received + lost, kFrames);
    EXPECT_EQ(received, 4096u);
  });
}

TEST_F(PacketPortSystem, NoticesSayWhatAnOperatorMustKnow) {
  Netns::create()->run([&] {
    ASSERT_TRUE(shell(kMakeWire));
    // Without root there is one more: the socket's buffer is small.
    const std::size_t more = (*open("packet:near"))->notices().size();
    EXPECT_LE(more, 1u);
    ASSERT_TRUE(
        shell("ip addr add 10.1.1.1/24 dev near && ip link add br0 type bridge && "
              "ip link set near master br0 && ip link set near down"));
    ASSERT_TRUE(write_sysctl("net/ipv4/conf/near/forwarding", "1"));
    const std::vector<std::string> notices = (*open("packet:near"))->notices();
    ASSERT_EQ(notices.size(), 4u + more);
    EXPECT_EQ(notices[0], "netdev 'near' is down");
    EXPECT_NE(notices[1].find("has addresses (10.1.1.1)"), std::string::npos);
    EXPECT_NE(notices[2].find("belongs to a bridge or bond"), std::string::npos);
    EXPECT_NE(notices[3].find("forwarding is on"), std::string::npos);
    // The loopback netdev has its frames' headers like an Ethernet; a tunnel has none.
    EXPECT_TRUE(open("packet:lo").has_value());
    if (shell("ip tuntap add dev l3 mode tun 2> /dev/null")) {
      EXPECT_EQ(open("packet:l3").error().code, ErrorCode::kNotSupported);
    }
    EXPECT_EQ(open("packet:none").error().message, "netdev 'none': No such device");
  });
}

// Takes a capability from this thread alone.
void drop_capability(unsigned capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  ASSERT_EQ(::syscall(SYS_capget, &header, data), 0);
  data[capability / 32].effective &= ~(1u << capability % 32);
  ASSERT_EQ(::syscall(SYS_capset, &header, data), 0);
}

TEST_F(PacketPortSystem, TheMissingRightIsNamed) {
  Netns::create()->run([&] {
    ASSERT_TRUE(shell(kMakeWire));
    drop_capability(CAP_NET_RAW);
    const auto refused = open("packet:near");
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kPermission);
    EXPECT_EQ(refused.error().remedy, "needs CAP_NET_RAW");
    drop_capability(CAP_NET_ADMIN);
    const auto tap = open("tap:name=t0");
    ASSERT_FALSE(tap.has_value());
    EXPECT_EQ(tap.error().code, ErrorCode::kPermission);
    // Where users may open the device (Debian's default) the netdev itself needs the right.
    EXPECT_TRUE(tap.error().remedy == "needs CAP_NET_ADMIN" ||
                tap.error().remedy == "needs the right to read and write /dev/net/tun")
        << tap.error().remedy;
  });
}

// Sends and receives `count` pattern bytes on a connected socket, both ways at once.
struct Exchange {
  std::uint64_t received = 0;
  bool is_intact = true;
  void run(int fd, std::uint64_t count, std::uint32_t send_seed, std::uint32_t receive_seed) {
    const auto pattern = [](std::uint32_t seed, std::uint64_t at) {
      return static_cast<std::uint8_t>((at * 2654435761u + seed) >> 13);
    };
    std::thread sender([&] {
      std::vector<std::uint8_t> out(1 << 16);
      for (std::uint64_t at = 0; at < count;) {
        const std::uint64_t part = std::min<std::uint64_t>(out.size(), count - at);
        for (std::uint64_t i = 0; i < part; ++i) out[i] = pattern(send_seed, at + i);
        const ssize_t sent = ::send(fd, out.data(), part, MSG_NOSIGNAL);
        if (sent <= 0) break;
        at += static_cast<std::uint64_t>(sent);
      }
    });
    std::vector<std::uint8_t> in(1 << 16);
    while (received < count) {
      const ssize_t got = ::recv(fd, in.data(), in.size(), 0);
      if (got <= 0) break;
      for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i, ++received) {
        is_intact = is_intact && in[i] == pattern(receive_seed, received);
      }
    }
    sender.join();
  }
};

// Two hosts and the wire between them, each in a namespace; the wire's ends are mc and ms.
struct Hosts {
  Netns client = *Netns::create();
  Netns server = *Netns::create();
  Netns middle = *Netns::create();

  void connect() const {
    middle.run([&] {
      ASSERT_TRUE(
          shell("ip link add mc type veth peer name c0 && ip link add ms type veth peer name s0 && "
                "ip link set mc up && ip link set ms up && ip link set c0 netns " +
                client.path() + " && ip link set s0 netns " + server.path()));
    });
    client.run([] { ASSERT_TRUE(shell("ip addr add 10.5.0.1/24 dev c0 && ip link set c0 up")); });
    server.run([] { ASSERT_TRUE(shell("ip addr add 10.5.0.2/24 dev s0 && ip link set s0 up")); });
  }

  // `count` bytes each way over one TCP connection; both sides' findings.
  void exchange(std::uint64_t count, Exchange& at_server, Exchange& at_client) const {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(5001);
    ::inet_pton(AF_INET, "10.5.0.2", &address.sin_addr);
    const auto* name = reinterpret_cast<const sockaddr*>(&address);
    UniqueFd listener;
    server.run([&] {
      listener.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      ASSERT_EQ(::bind(listener.get(), name, sizeof address), 0);
      ASSERT_EQ(::listen(listener.get(), 1), 0);
    });
    UniqueFd fetching;
    client.run([&] {
      fetching.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      ASSERT_EQ(::connect(fetching.get(), name, sizeof address), 0) << errno;
    });
    const UniqueFd serving(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::thread answering([&] { at_server.run(serving.get(), count, 1, 2); });
    at_client.run(fetching.get(), count, 2, 1);
    answering.join();
  }
};

// Moves what one port receives to the other; gives the number of frames.
std::size_t forward(Port& from, Port& to) {
  FrameBatch batch;
  from.rx_queue().receive(batch);
  for (std::size_t i = 0; i < batch.count; ++i) {
    to.tx_queue().enqueue(to_frame(batch.buffs[i]));
  }
  to.tx_queue().flush();
  return batch.count;
}

TEST_F(PacketPortSystem, TcpPassesTwoPortsIntact) {
  const Hosts hosts;
  hosts.connect();
  std::unique_ptr<Port> left;
  std::unique_ptr<Port> right;
  hosts.middle.run([&] {
    left = std::move(*open("packet:mc"));
    right = std::move(*open("packet:ms"));
  });
  std::atomic<bool> is_over{false};
  std::uint64_t frames = 0;
  std::thread wire([&] {
    while (!is_over) {
      const std::size_t moved = forward(*left, *right) + forward(*right, *left);
      frames += moved;
      if (moved > 0) continue;
      pollfd ready[] = {{left->rx_queue().poll_fd(), POLLIN, 0},
                        {right->rx_queue().poll_fd(), POLLIN, 0}};
      ::poll(ready, 2, 10);
    }
  });
  constexpr std::uint64_t kBytes = 10'000'000;
  Exchange at_server;
  Exchange at_client;
  hosts.exchange(kBytes, at_server, at_client);
  is_over = true;
  wire.join();
  for (const Exchange* side : {&at_server, &at_client}) {
    EXPECT_EQ(side->received, kBytes);
    EXPECT_TRUE(side->is_intact);
  }
  for (Port* port : {left.get(), right.get()}) {
    EXPECT_EQ(port->tx_queue().counters().get(Counter::kTxDropped), 0u);
    for (const Counter counter :
         {Counter::kRxBadOffload, Counter::kRxOversize, Counter::kRxTruncated}) {
      EXPECT_EQ(port->rx_queue().counters().get(counter), 0u);
    }
  }
  EXPECT_GT(frames, 2 * kBytes / 1500) << "super-frames must have been cut";
}

}  // namespace
}  // namespace lmn
