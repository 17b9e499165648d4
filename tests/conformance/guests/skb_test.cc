// SPDX-License-Identifier: Apache-2.0
//
// Goal: an SkBuff is what the kernel's test run shows to programs, field by field, and the helpers
// on it answer as the kernel's. Method: small programs that read one field or call one helper, of
// every type that has an SkBuff, run in the kernel by BPF_PROG_TEST_RUN and in the interpreter.
#include "guests/skb.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/utsname.h>

#include <cstdio>
#include <cstring>

#include "guests/guest_world.h"
#include "harness/kernel_oracle.h"
#include "insn/assemble.h"
#include "insn/codec.h"

namespace lmn::guests {
namespace {

struct Type {
  const char* name;
  std::uint32_t type;
};

constexpr Type kTypes[] = {
    {"socket filter", BPF_PROG_TYPE_SOCKET_FILTER},
    {"classifier", BPF_PROG_TYPE_SCHED_CLS},
    {"action", BPF_PROG_TYPE_SCHED_ACT},
    {"cgroup", BPF_PROG_TYPE_CGROUP_SKB},
    {"lwt in", BPF_PROG_TYPE_LWT_IN},
    {"lwt out", BPF_PROG_TYPE_LWT_OUT},
    {"lwt xmit", BPF_PROG_TYPE_LWT_XMIT},
};

// 14 bytes of Ethernet, 20 of IPv4, 8 of UDP, 22 of payload: all bytes different.
std::vector<std::uint8_t> udp_packet() {
  std::vector<std::uint8_t> packet(64);
  for (std::size_t i = 0; i < packet.size(); ++i) packet[i] = static_cast<std::uint8_t>(0x40 + i);
  packet[12] = 0x08;
  packet[13] = 0x00;
  packet[14] = 0x45;
  packet[23] = 17;
  return packet;
}

std::vector<std::vector<std::uint8_t>> packets() {
  std::vector<std::uint8_t> broadcast(80, 0xff);
  std::vector<std::uint8_t> multicast = udp_packet();
  multicast[0] = 0x01;
  return {std::vector<std::uint8_t>(64), udp_packet(), broadcast, multicast};
}

bool is_linux_6_18_or_later() {
  struct utsname name = {};
  ::uname(&name);
  int major = 0;
  int minor = 0;
  std::sscanf(name.release, "%d.%d", &major, &minor);
  return major > 6 || (major == 6 && minor >= 18);
}

std::vector<struct bpf_insn> raw_of(std::span<const Insn> insns) {
  const std::vector<std::uint8_t> bytes = encode_program(insns);
  std::vector<struct bpf_insn> raw(bytes.size() / sizeof(struct bpf_insn));
  std::memcpy(raw.data(), bytes.data(), bytes.size());
  return raw;
}

class SkbAgainstKernel : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
    if (!is_linux_6_18_or_later()) GTEST_SKIP() << "the table of fields is that of Linux 6.18";
  }

  // What `text` leaves in r0 on both sides, by way of a map, since some types may return few values
  // only. It ends by falling through or by "goto end". Where the kernel refuses it the interpreter
  // must not come to its end.
  void compare(std::string_view text, const Type& type) {
    const std::string whole =
        fmt::format("{}\nend:\nr1 = map[idx:0]+0\n*(u64 *)(r1 +0) = r0\nr0 = 0\nexit", text);
    auto insns = assemble(whole);
    ASSERT_TRUE(insns.has_value()) << insns.error().to_string() << "\n" << whole;
    KernelLoadOptions load;
    load.type = type.type;
    load.expected_attach_type = 0;
    load.fd_array = {result_.fd()};
    KernelProgram kernel = KernelProgram::load(raw_of(*insns), load);
    // Which type may call which helper is not kept here.
    if (kernel.log().find("program of this type cannot use helper") != std::string::npos) return;
    const ObjectSpec spec = object_of(type, *insns);
    auto world = GuestWorld::load(spec, "one");
    for (const auto& packet : packets()) {
      std::string why = world ? "" : world.error().to_string();
      const auto ours = world ? our_answer(**world, packet, why) : std::nullopt;
      ASSERT_EQ(kernel.is_loaded(), ours.has_value()) << type.name << "\n"
                                                      << text << "\n"
                                                      << kernel.log() << why;
      if (!ours) return;
      ASSERT_EQ(answer_of(kernel, packet), *ours) << type.name << "\n" << text;
      ++compared_;
    }
  }

  static ObjectSpec object_of(const Type& type, std::vector<Insn> insns) {
    ObjectSpec spec;
    MapSpec& map = spec.maps.emplace_back();
    map.name = "result";
    map.type = BPF_MAP_TYPE_ARRAY;
    map.key_size = 4;
    map.value_size = 8;
    map.max_entries = 1;
    ProgramSpec& program = spec.programs.emplace_back();
    program.name = "one";
    program.type = type.type;
    program.license = "GPL";
    program.maps = {0};
    program.insns = std::move(insns);
    return spec;
  }

  // A program that ends before it writes leaves the mark.
  static constexpr std::uint64_t kMark = 0x5a5a5a5a5a5a5a5a;
  static std::span<const std::uint8_t> bytes_of(const auto& number) {
    return {reinterpret_cast<const std::uint8_t*>(&number), sizeof number};
  }

  std::uint64_t answer_of(KernelProgram& kernel, std::span<const std::uint8_t> packet) {
    const std::uint32_t key = 0;
    EXPECT_EQ(result_.update(bytes_of(key), bytes_of(kMark)), 0);
    EXPECT_EQ(kernel.run(packet).error, 0);
    std::uint64_t value = 0;
    EXPECT_EQ(
        result_.lookup(bytes_of(key), {reinterpret_cast<std::uint8_t*>(&value), sizeof value}), 0);
    return value;
  }

  static std::optional<std::uint64_t> our_answer(GuestWorld& world,
                                                 std::span<const std::uint8_t> packet,
                                                 std::string& why) {
    const std::uint32_t key = 0;
    Map& map = *world.find_map("result");
    EXPECT_EQ(map.user_update(&key, bytes_of(kMark), BPF_ANY), 0);
    const auto ran = world.run(packet);
    if (!ran || !ran->traps.empty()) {
      why = ran ? ran->traps[0].text : ran.error().to_string();
      return std::nullopt;
    }
    std::uint64_t value = 0;
    std::memcpy(&value, map.lookup(&key, 0), sizeof value);
    return value;
  }

  void compare_on_all(std::string_view text) {
    for (const Type& type : kTypes) compare(text, type);
  }

  KernelMap result_ = KernelMap::create({.value_size = 8, .name = "result"});
  int compared_ = 0;
};

TEST_F(SkbAgainstKernel, EveryWordOfTheContext) {
  for (std::uint32_t offset = 0; offset < sizeof(struct __sk_buff); offset += 4) {
    for (const auto& [size, stride] : {std::pair{32, 4}, {16, 2}, {8, 1}, {64, 4}}) {
      for (std::uint32_t part = 0; part < 4; part += static_cast<std::uint32_t>(stride)) {
        // A pointer is no result; its low bits say whether there is one.
        const std::uint32_t at = offset + part;
        const bool is_pointer =
            at == offsetof(struct __sk_buff, data) || at == offsetof(struct __sk_buff, data_end) ||
            at == offsetof(struct __sk_buff, data_meta) || at == offsetof(struct __sk_buff, sk);
        const char* end = is_pointer ? "if r2 == 0 goto end\nr0 = 1" : "r0 = r2";
        compare_on_all(fmt::format("r0 = 0\nr2 = *(u{} *)(r1 +{})\n{}", size, at, end));
      }
    }
  }
  EXPECT_GT(compared_, 2000);
}

TEST_F(SkbAgainstKernel, WhatMayBeWritten) {
  for (std::uint32_t offset = 0; offset < sizeof(struct __sk_buff); offset += 4) {
    for (const int size : {8, 16, 32, 64}) {
      compare_on_all(fmt::format("r0 = 3\nr2 = 7\n*(u{} *)(r1 +{}) = r2", size, offset));
    }
    compare_on_all(fmt::format("r2 = 7\n*(u32 *)(r1 +{0}) = r2\nr0 = *(u32 *)(r1 +{0})", offset));
  }
  EXPECT_GT(compared_, 200);
}

TEST_F(SkbAgainstKernel, FieldsOfTheSocket) {
  for (std::uint32_t offset = 0; offset < sizeof(struct bpf_sock); offset += 4) {
    // Linux answers "no queue" with 64 bits of ones to a load of 32.
    if (offset == offsetof(struct bpf_sock, rx_queue_mapping)) continue;
    const std::string text = fmt::format(
        "r0 = 9\nr1 = *(u64 *)(r1 +{})\nif r1 == 0 goto end\ncall bpf_sk_fullsock\n"
        "if r0 == 0 goto end\nr0 = *(u32 *)(r0 +{})",
        offsetof(struct __sk_buff, sk), offset);
    compare(text, {"classifier", BPF_PROG_TYPE_SCHED_CLS});
    compare(text, {"cgroup", BPF_PROG_TYPE_CGROUP_SKB});
  }
  EXPECT_GT(compared_, 50);
}

TEST_F(SkbAgainstKernel, ClassicLoads) {
  for (const char* width : {"u8", "u16", "u32"}) {
    for (const std::int64_t offset : {0,
                                      1,
                                      13,
                                      14,
                                      46,
                                      47,
                                      48,
                                      49,
                                      50,
                                      60,
                                      63,
                                      64,
                                      1000,
                                      -1,
                                      -0x100000,
                                      -0x100000 + 2,
                                      -0x100000 + 60,
                                      -0x100000 - 1,
                                      -0x200000,
                                      -0x200000 + 5,
                                      -0x200000 - 1}) {
      compare_on_all(fmt::format("r6 = r1\nr0 = *({} *)skb[{}]\nr0 += 1", width, offset));
      compare_on_all(
          fmt::format("r6 = r1\nr7 = 2\nr0 = *({} *)skb[r7 + {}]\nr0 += 1", width, offset));
    }
  }
  EXPECT_GT(compared_, 500);
}

TEST_F(SkbAgainstKernel, BytesAreLoadedAndStored) {
  for (const std::uint32_t offset :
       {0u, 1u, 20u, 43u, 44u, 46u, 57u, 60u, 61u, 100u, 0x80000000u}) {
    for (const int size : {1, 4, 8}) {
      compare_on_all(fmt::format(
          "r2 = {}\nr3 = r10\nr3 += -8\n*(u64 *)(r10 -8) = -1\nr4 = {}\ncall bpf_skb_load_bytes\n"
          "r1 = *(u32 *)(r10 -8)\nr0 += r1",
          static_cast<std::int32_t>(offset), size));
      compare_on_all(fmt::format(
          "r6 = r1\nr2 = {0}\nr3 = r10\nr3 += -8\n*(u64 *)(r10 -8) = 0x1234567\nr4 = {1}\nr5 = 0\n"
          "call bpf_skb_store_bytes\nr7 = r0\nr1 = r6\nr2 = {0}\nr3 = r10\nr3 += -16\nr4 = {1}\n"
          "*(u64 *)(r10 -16) = 0\ncall bpf_skb_load_bytes\nr0 += r7\nr1 = *(u32 *)(r10 -16)\n"
          "r0 += r1",
          static_cast<std::int32_t>(offset), size));
    }
  }
  EXPECT_GT(compared_, 200);
}

TEST_F(SkbAgainstKernel, RoomInFrontIsZero) {
  for (const std::int64_t room : {0, 1, 14, 34, 300, 70000}) {
    for (const int flags : {0, 1}) {
      compare_on_all(fmt::format(
          "r6 = r1\nr2 = {}\nr3 = {}\ncall bpf_skb_change_head\nr7 = r0\nr8 = *(u32 *)(r6 +0)\n"
          "r1 = r6\nr2 = 0\nr3 = r10\nr3 += -8\nr4 = 8\n*(u64 *)(r10 -8) = 0\n"
          "call bpf_skb_load_bytes\nr0 += r7\nr0 += r8\nr1 = *(u64 *)(r10 -8)\nr0 += r1",
          room, flags));
    }
  }
  EXPECT_GT(compared_, 20);
}

TEST_F(SkbAgainstKernel, SumsAndHashes) {
  compare_on_all("r2 = 5\ncall bpf_csum_update");
  compare_on_all(
      "r6 = r1\ncall bpf_get_hash_recalc\nr7 = r0\nr1 = r6\ncall bpf_get_hash_recalc\n"
      "if r0 != r7 goto bad\nif r0 == 0 goto bad\nr0 = *(u32 *)(r6 +68)\nif r0 != r7 goto bad\n"
      "r0 = 1\ngoto end\nbad:\nr0 = 2");
  EXPECT_GT(compared_, 10);
}

}  // namespace
}  // namespace lmn::guests
