// SPDX-License-Identifier: Apache-2.0
//
// Goal: LMN's own functions are called as include/lmn/bpf/kfuncs.h says, the BTF that describes
// them says the same as that header, and programs that use them run in Linux, where they are null.
// Method: programs/own_kfuncs_in_c.c in the engine, with a bridge and metadata; its BTF beside
// LMN's own; the same object in the kernel.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstring>

#include "abi/limits.h"
#include "base/file.h"
#include "engine/engine.h"
#include "kfuncs/kernel_types.h"
#include "kfuncs/own_types.h"
#include "object/object_reader.h"
#include "runners/object_runner.h"

namespace lmn {
namespace {

const std::string kObject = std::string(LMN_BINARY_DIR) + "/bpf/own_kfuncs_in_c.bpf.o";

struct Answer {
  std::int64_t ran;
  std::int64_t learned;
  std::int64_t found;
  std::uint32_t port;
  std::uint32_t flags;
  std::int64_t csum_error;
  std::uint32_t csum;
  std::uint32_t mark;
  std::int64_t mark_error;
  std::int64_t offsets_error;
  std::uint16_t l3, l4, payload, l3_proto;
  std::uint8_t l4_proto, offsets_flags;
};

Answer answer_of(std::span<const std::uint8_t> value) {
  Answer answer{};
  std::memcpy(&answer, value.data(), std::min(value.size(), sizeof answer));
  return answer;
}

std::vector<std::uint8_t> udp_packet() {
  std::vector<std::uint8_t> packet(60);
  packet[12] = 8;
  packet[14] = 0x45;
  packet[23] = 17;
  return packet;
}

class OwnKfuncs : public testing::Test {
 protected:
  void SetUp() override {
    const auto bytes = read_file(kObject, limits::kObjectBytesMax);
    ASSERT_TRUE(bytes.has_value()) << bytes.error().to_string();
    ReadOptions options;
    options.object_name = "own";
    auto spec = read_object(*bytes, options);
    ASSERT_TRUE(spec.has_value()) << spec.error().to_string();
    spec_ = std::move(*spec);
  }
  ObjectSpec spec_;
};

TEST_F(OwnKfuncs, AreCalledAsTheHeaderSays) {
  EngineOptions engine_options;
  engine_options.seed = 1;
  auto engine = *Engine::create(engine_options);
  ASSERT_TRUE(engine->kernel_tables()
                  .fdb()
                  .read_text("bridge 10\nport 3 bridge 10\n", SystemClock().monotonic_ns())
                  .has_value());
  const auto object = engine->load(spec_, LoadOptions());
  ASSERT_TRUE(object.has_value()) << object.error().to_string();
  TestRunOptions options;
  options.ingress_ifindex = 3;
  options.port_metadata = kMetaChecksum | kMetaMark;
  options.meta.known = kMetaMark;
  options.meta.mark = 77;
  const auto run = engine->test_run(*(*object)->programs[0], udp_packet(), options);
  ASSERT_TRUE(run.has_value());
  ASSERT_TRUE(run->traps.empty()) << run->traps[0].text;
  EXPECT_EQ(run->verdict, static_cast<std::uint32_t>(XDP_TX));
  std::vector<std::uint8_t> value((*object)->find_map("out")->user_value_bytes());
  const std::uint32_t zero = 0;
  ASSERT_EQ((*object)->find_map("out")->copy_value(&zero, value, 0), 0);
  const Answer answer = answer_of(value);
  EXPECT_EQ(answer.learned, 0);
  EXPECT_EQ(answer.found, 0);
  EXPECT_EQ(answer.port, 3u);
  EXPECT_EQ(answer.flags, 0u);
  EXPECT_EQ(answer.csum_error, -ENODATA);
  EXPECT_EQ(answer.mark_error, 0);
  EXPECT_EQ(answer.mark, 77u);
  EXPECT_EQ(answer.offsets_error, 0);
  EXPECT_EQ(answer.l3, 14);
  EXPECT_EQ(answer.l4, 34);
  EXPECT_EQ(answer.payload, 42);
  EXPECT_EQ(answer.l3_proto, htons(0x0800));
  EXPECT_EQ(answer.l4_proto, 17);
}

TEST_F(OwnKfuncs, AreNullInLinux) {
  if (auto reason = why_no_runner(RunnerKind::kKernel)) GTEST_SKIP() << *reason;
  auto kernel = open_runner(RunnerKind::kKernel, kObject, "own_kfuncs");
  ASSERT_TRUE(kernel.has_value()) << kernel.error().to_string();
  const auto run = (*kernel)->run(udp_packet());
  ASSERT_TRUE(run.has_value());
  EXPECT_EQ(run->verdict, static_cast<std::uint32_t>(XDP_PASS));
  const auto entries = (*kernel)->entries("out");
  ASSERT_TRUE(entries.has_value());
  EXPECT_EQ(answer_of((*entries)[0].value).ran, 1);
}

// A type as C spells it, without its keywords of kind.
std::string spelled(const Btf& btf, std::uint32_t id) {
  const BtfType& type = btf.type(id);
  switch (type.kind) {
    case BtfKind::kPtr:
      return spelled(btf, type.type) + "*";
    case BtfKind::kArray:
      return spelled(btf, type.array().element_type) + "[" + std::to_string(type.array().count) +
             "]";
    case BtfKind::kConst:
      return "const " + spelled(btf, type.type);
    default:
      return id == 0 ? "void" : std::string(type.name);
  }
}

TEST_F(OwnKfuncs, TheHeaderAndTheBtfAgree) {
  const auto own = make_kernel_types(nullptr);
  ASSERT_TRUE(own.has_value());
  const Btf& theirs = *spec_.btf;
  for (const OwnFunction& function : own_functions()) {
    const auto id = theirs.find_by_name(function.name, BtfKind::kFunc);
    ASSERT_TRUE(id.has_value()) << function.name;
    const BtfType& header = theirs.type(theirs.type(*id).type);
    const auto own_id = (*own)->find_by_name(function.name, BtfKind::kFunc);
    ASSERT_TRUE(own_id.has_value()) << function.name;
    const BtfType& described = (*own)->type((*own)->type(*own_id).type);
    EXPECT_EQ(spelled(theirs, header.type), spelled(**own, described.type)) << function.name;
    const auto params = theirs.params(header);
    ASSERT_EQ(params.size(), (*own)->params(described).size()) << function.name;
    for (std::size_t i = 0; i < params.size(); ++i) {
      EXPECT_EQ(spelled(theirs, params[i].type), spelled(**own, (*own)->params(described)[i].type))
          << function.name << ", parameter " << i + 1;
    }
  }
  for (const std::string_view name : {"bpf_lmn_fdb", "bpf_lmn_offsets"}) {
    const BtfType& header = theirs.type(*theirs.find_by_name(name, BtfKind::kStruct));
    const BtfType& described = (*own)->type(*(*own)->find_by_name(name, BtfKind::kStruct));
    EXPECT_EQ(header.size, described.size) << name;
    const auto members = theirs.members(header);
    ASSERT_EQ(members.size(), (*own)->members(described).size()) << name;
    for (std::size_t i = 0; i < members.size(); ++i) {
      const BtfMember& other = (*own)->members(described)[i];
      EXPECT_EQ(members[i].name, other.name) << name;
      EXPECT_EQ(members[i].bit_offset, other.bit_offset) << name << "." << other.name;
      EXPECT_EQ(spelled(theirs, members[i].type), spelled(**own, other.type)) << other.name;
    }
  }
}

}  // namespace
}  // namespace lmn
