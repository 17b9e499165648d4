// SPDX-License-Identifier: Apache-2.0
//
// Goal: the other end of a tap port is the host's stack, with whole frames only: offloads that a
// bridge would bring are done by the kernel first; addresses, MTU and persistence are as asked;
// errors name what is missing. The measurements behind
// docs/decisions/0003-who-sees-what-on-a-netdev.md. Method: TAPs and bridges in a network
// namespace; ARP and ICMP by hand through the port.
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "harness/packet_builder.h"
#include "ports/netdev/netdev.h"
#include "ports/offload/checksum.h"
#include "ports/offload/super_frame.h"
#include "ports/port.h"
#include "ports/testing/netns.h"

namespace lmn {
namespace {

using testing_support::make_test_frame;
using testing_support::Netns;
using testing_support::RawSocket;
using testing_support::shell;
using testing_support::write_sysctl;

class TapPortSystem : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = Netns::refusal()) GTEST_SKIP() << *why;
    resources_.pool = &pool_;
    resources_.clock = &clock_;
    std::optional<std::string> refusal;
    Netns::create()->run([&] {
      const auto port = open("tap:name=probe");
      if (!port && port.error().code == ErrorCode::kPermission) refusal = port.error().to_string();
    });
    if (refusal) GTEST_SKIP() << *refusal;
  }
  Result<std::unique_ptr<Port>> open(const std::string& text) {
    LMN_TRY(const PortSpec spec, parse_port_spec(text));
    LMN_TRY(OpenedPorts ports, open_port(spec, resources_));
    return std::move(ports.front());
  }
  std::vector<PacketBytes> receive(Port& port, std::size_t count) {
    std::vector<PacketBytes> out;
    FrameBatch batch;
    while (out.size() < count) {
      batch.clear();
      if (port.rx_queue().receive(batch) == 0) {
        pollfd ready{port.rx_queue().poll_fd(), POLLIN, 0};
        if (::poll(&ready, 1, 2000) <= 0) break;
      }
      for (std::size_t i = 0; i < batch.count; ++i) {
        out.emplace_back(batch.buffs[i].data, batch.buffs[i].data_end);
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

  FramePool pool_ = *FramePool::create(1024);
  SystemClock clock_;
  PortResources resources_;
};

TEST_F(TapPortSystem, TheHostAnswersWithItsAddress) {
  Netns::create()->run([&] {
    write_sysctl("net/ipv6/conf/default/disable_ipv6", "0");
    auto port = open("tap:name=t0,mtu=1400,addr=192.0.2.2/24,addr=fd00::1/64");
    ASSERT_TRUE(port.has_value()) << port.error().to_string();
    EXPECT_EQ((*port)->info().mtu, 1400u);
    EXPECT_EQ((*port)->info().ifindex, read_netdev("t0")->ifindex);
    EXPECT_EQ((*port)->info().mac, read_netdev("t0")->mac);
    const auto addresses = read_netdev_addresses("t0");
    EXPECT_NE(std::ranges::find(addresses, "192.0.2.2"), addresses.end());
    EXPECT_NE(std::ranges::find(addresses, "fd00::1"), addresses.end());
    // The host owns the address and answers ARP with the netdev's MAC.
    send(**port, PacketBuilder().ethernet({.dst = {255, 255, 255, 255, 255, 255}}).arp().build());
    PacketBytes answer;
    while (true) {
      const auto frames = receive(**port, 1);
      ASSERT_FALSE(frames.empty()) << "no ARP reply";
      if (frames[0][12] == 0x08 && frames[0][13] == 0x06) {
        answer = frames[0];
        break;
      }
    }
    EXPECT_EQ(answer[21], 2);
    EXPECT_TRUE(std::equal((*port)->info().mac.begin(), (*port)->info().mac.end(), &answer[22]));
  });
}

TEST_F(TapPortSystem, BridgedOffloadsAreDoneByTheKernel) {
  Netns::create()->run([&] {
    auto port = open("tap:name=t0");
    ASSERT_TRUE(port.has_value()) << port.error().to_string();
    ASSERT_TRUE(
        shell("ip link add near type veth peer name far && ip link add br0 type bridge && "
              "ip link set near master br0 && ip link set t0 master br0 && "
              "ip link set near up && ip link set far up && ip link set br0 up"));
    auto far = RawSocket::open("far");
    // A bridge port takes part in forwarding a moment after its carrier.
    PacketBytes probe = make_test_frame(60, 1);
    probe[0] = 0xff;
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(far->send(probe));
      FrameBatch batch;
      pollfd ready{(*port)->rx_queue().poll_fd(), POLLIN, 0};
      if (::poll(&ready, 1, 20) > 0) break;
    }
    for (std::size_t drained = 1; drained > 0;) {
      FrameBatch batch;
      drained = (*port)->rx_queue().receive(batch);
      for (std::size_t i = 0; i < batch.count; ++i) pool_.free(batch.buffs[i].hard_start);
    }
    const auto packet = [](std::size_t payload) {
      return PacketBuilder().ethernet().ipv4().tcp({.flags = 0x10}).filler(payload).build();
    };
    const auto partial = [&](std::size_t payload) {
      PacketBytes out = packet(payload);
      std::uint8_t pseudo[12] = {192, 0, 2, 1, 192, 0, 2, 2, 0, 6};
      store_unaligned(pseudo + 10, static_cast<std::uint16_t>(20 + payload), std::endian::big);
      store_unaligned(out.data() + 50, ones_complement_sum(pseudo));
      return out;
    };
    std::vector<std::uint8_t> header(kOffloadHeaderBytes);
    header[0] = 1;
    store_unaligned<std::uint16_t>(header.data() + 2, 54);
    store_unaligned<std::uint16_t>(header.data() + 6, 34);
    store_unaligned<std::uint16_t>(header.data() + 8, 16);
    ASSERT_TRUE(far->send_with_offload(header, partial(1001)));
    EXPECT_EQ(receive(**port, 1), std::vector<PacketBytes>{packet(1001)}) << "checksum completed";
    const PacketBytes with_tag =
        PacketBuilder().ethernet().vlan({.id = 7}).ipv4().tcp({.flags = 0x10}).filler(99).build();
    ASSERT_TRUE(far->send(with_tag));
    EXPECT_EQ(receive(**port, 1), std::vector<PacketBytes>{with_tag}) << "tag put in";
    header[1] = 1;
    store_unaligned<std::uint16_t>(header.data() + 4, 1000);
    ASSERT_TRUE(far->send_with_offload(header, partial(20'000)));
    const auto pieces = receive(**port, 20);
    ASSERT_EQ(pieces.size(), 20u);
    for (const PacketBytes& piece : pieces) {
      ASSERT_EQ(piece.size(), 1054u);
      std::uint8_t pseudo[12] = {192, 0, 2, 1, 192, 0, 2, 2, 0, 6};
      store_unaligned<std::uint16_t>(pseudo + 10, 1020, std::endian::big);
      EXPECT_EQ(ones_complement_sum(ByteSpan(piece).subspan(34), ones_complement_sum(pseudo)),
                0xffff);
    }
    EXPECT_EQ(pool_.in_use(), 0u);
  });
}

TEST_F(TapPortSystem, WhatTheHostSendsItselfIsWhole) {
  Netns::create()->run([&] {
    auto port = open("tap:name=t0,addr=192.0.2.2/24");
    ASSERT_TRUE(port.has_value()) << port.error().to_string();
    // A UDP datagram from the host's own stack: its checksum would be left to a device that can.
    ASSERT_TRUE(shell("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev t0"));
    ASSERT_TRUE(shell("bash -c 'echo 123456789 > /dev/udp/192.0.2.9/9'"));
    for (int i = 0; i < 100; ++i) {
      const auto frames = receive(**port, 1);
      ASSERT_EQ(frames.size(), 1u);
      const PacketBytes& frame = frames[0];
      if (frame.size() < 42 || frame[12] != 0x08 || frame[13] != 0 || frame[23] != 17) continue;
      std::uint8_t pseudo[12] = {192, 0, 2, 2, 192, 0, 2, 9, 0, 17};
      store_unaligned(pseudo + 10, static_cast<std::uint16_t>(frame.size() - 34), std::endian::big);
      EXPECT_EQ(ones_complement_sum(ByteSpan(frame).subspan(34), ones_complement_sum(pseudo)),
                0xffff);
      return;
    }
    FAIL() << "the datagram did not come";
  });
}

// What the netdev dropped on its way to us, as the kernel counts it.
std::uint64_t dropped_by_netdev(const std::string& name) {
  std::ifstream table("/proc/thread-self/net/dev");
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (word != name + ":") continue;
    std::uint64_t value = 0;
    // Eight numbers of receiving, then bytes, packets, errors and drops of sending.
    for (int column = 0; column < 12; ++column) words >> value;
    return value;
  }
  return UINT64_MAX;
}

TEST_F(TapPortSystem, LossesBeforeUsAreCountedByTheNetdev) {
  Netns::create()->run([&] {
    auto port = open("tap:name=t0");
    ASSERT_TRUE(port.has_value()) << port.error().to_string();
    const auto host = RawSocket::open("t0");
    constexpr std::uint64_t kFrames = 3000;
    std::uint64_t refused = 0;
    for (std::uint32_t i = 0; i < kFrames; ++i) {
      refused += host->send(make_test_frame(60, i)) ? 0 : 1;
    }
    std::uint64_t received = 0;
    FrameBatch batch;
    while ((*port)->rx_queue().receive(batch) > 0) {
      received += batch.count;
      for (std::size_t i = 0; i < batch.count; ++i) pool_.free(batch.buffs[i].hard_start);
      batch.clear();
    }
    EXPECT_GT(received, 100u);
    EXPECT_LT(received, kFrames);
    EXPECT_EQ(received + refused + dropped_by_netdev("t0"), kFrames) << refused << " refused";
  });
}

TEST_F(TapPortSystem, PersistentOnlyWhenAsked) {
  Netns::create()->run([&] {
    ASSERT_TRUE(open("tap:name=t0").has_value());
    EXPECT_FALSE(read_netdev("t0").has_value());
    ASSERT_TRUE(open("tap:name=t0,persist").has_value());
    ASSERT_TRUE(read_netdev("t0").has_value());
    auto again = open("tap:name=t0");
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(open("tap:name=t0").error().errno_value, EBUSY) << "one port at a time";
  });
}

TEST_F(TapPortSystem, WrongSpecificationsMakeNoNetdev) {
  Netns::create()->run([&] {
    struct Row {
      const char* spec;
      const char* message;
    };
    const Row rows[] = {
        {"tap:", "name= is missing"},
        {"tap:name=", "name= is missing"},
        {"tap:name=abcdefghijklmnop", "at most 15 characters"},
        {"tap:name=t0,up", "unknown word 'up'"},
        {"tap:name=t0,mtu=9000", "mtu=9000: not within 68 to 3502"},
        {"tap:name=t0,addr=10.0.0.1/99", "'10.0.0.1/99' is no interface address"},
        {"tap:name=t0,queues=2", "unknown option 'queues'"},
        {"tap:name=lo", "make the TAP netdev 'lo'"},
    };
    for (const Row& row : rows) {
      const auto refused = open(row.spec);
      ASSERT_FALSE(refused.has_value()) << row.spec;
      EXPECT_NE(refused.error().message.find(row.message), std::string::npos)
          << refused.error().to_string();
      EXPECT_FALSE(read_netdev("t0").has_value()) << row.spec;
    }
  });
}

}  // namespace
}  // namespace lmn
