// SPDX-License-Identifier: Apache-2.0
//
// Goal: the engine puts the modules together right: objects load whole or not at all, programs run
// where they are attached, every frame is accounted for, prints arrive. Method: specs made from
// assembler text, memory ports as the outside world.
#include "engine/engine.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>

#include "engine/callback_sink.h"
#include "engine/specs_for_tests.h"
#include "exec/interp/interpreter.h"
#include "helpers/helpers.h"
#include "kfuncs/kfuncs.h"
#include "ports/memory/memory_port.h"

namespace lmn {
namespace {

// Verdict = first byte of the packet; counts packets in map 0.
constexpr std::string_view kCountAndReturnFirstByte = R"(
  r6 = *(u32 *)(r1 +0)
  r7 = *(u32 *)(r1 +4)
  r2 = r6
  r2 += 14
  if r2 > r7 goto drop
  *(u32 *)(r10 -4) = 0
  r2 = r10
  r2 += -4
  r1 = map[idx:0]
  call bpf_map_lookup_elem
  if r0 == 0 goto drop
  r1 = 1
  lock *(u64 *)(r0 +0) += r1
  r0 = *(u8 *)(r6 +0)
  exit
drop:
  r0 = 1
  exit
)";

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.log = &log_;
    options.seed = 1;
    options.frame_count = 256;
    engine_ = *Engine::create(options);
  }
  LoadedObject* load(const ObjectSpec& spec) {
    auto object = engine_->load(spec, {});
    EXPECT_TRUE(object.has_value()) << object.error().to_string();
    return object ? *object : nullptr;
  }
  ObjectSpec counting_object() {
    ObjectSpec spec;
    spec.programs.push_back(program_from(kCountAndReturnFirstByte));
    spec.programs[0].maps = {0};
    spec.maps.push_back(map_spec("count", BPF_MAP_TYPE_ARRAY, 8, 1));
    return spec;
  }
  // A program that the engine would refuse, made the only other way there is.
  static Program unproved_program(std::string_view text) {
    Program program;
    program.spec = program_from(text);
    const Environment environment = Engine::environment(Strictness::kTrusted);
    auto structured = check_structure(environment, program.spec, {});
    EXPECT_TRUE(structured.has_value()) << structured.error().to_string();
    auto made = make_interpreted(*std::move(structured), environment, {},
                                 HelperTable{helper_function, kfunc_function}, {});
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    program.compiled = *std::move(made);
    return program;
  }
  MemoryPort& open_memory(const std::string& text) {
    auto ports = engine_->open_port(text);
    EXPECT_TRUE(ports.has_value()) << ports.error().to_string();
    return static_cast<MemoryPort&>(*(*ports)[0]);
  }
  static std::vector<std::uint8_t> packet(std::uint8_t verdict) {
    std::vector<std::uint8_t> bytes(60, 0x55);
    bytes[0] = verdict;
    return bytes;
  }

  MemoryLog log_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, RunsProgramOnPortAndPassesToApplication) {
  LoadedObject* object = load(counting_object());
  MemoryPort& port = open_memory("memory:m0");
  ASSERT_TRUE(engine_->attach(*object->programs[0], port).has_value());
  std::vector<std::vector<std::uint8_t>> passed;
  CallbackSink application([&](ByteSpan bytes, std::uint32_t ifindex) {
    EXPECT_EQ(ifindex, port.info().ifindex);
    passed.emplace_back(bytes.begin(), bytes.end());
  });
  engine_->set_pass_sink(port, &application);
  for (int verdict : {0, 1, 2, 2, 3, 9}) {
    ASSERT_EQ(port.push({packet(static_cast<std::uint8_t>(verdict))}), 0);
  }
  port.end_input();
  EXPECT_EQ(engine_->run({}), RunEnd::kInputEnded);
  EXPECT_EQ(passed.size(), 2u);
  EXPECT_EQ(passed[0], packet(2));
  XdpFrame* sent = port.take();
  ASSERT_NE(sent, nullptr);
  EXPECT_EQ(sent->length, 60);
  free_frame(sent);
  EXPECT_EQ(engine_->accounting_error(), "");
  const std::uint32_t key = 0;
  std::array<std::uint8_t, 8> value;
  ASSERT_EQ(object->find_map("count")->copy_value(&key, value, 0), 0);
  EXPECT_EQ(value[0], 6);
}

TEST_F(EngineTest, TestRunGivesVerdictPacketAndTraps) {
  LoadedObject* object = load(counting_object());
  auto result = engine_->test_run(*object->programs[0], packet(3), {});
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->verdict, 3u);
  EXPECT_EQ(result->packet, packet(3));
  EXPECT_TRUE(result->traps.empty());
}

TEST_F(EngineTest, TestRunTellsWhyARunWasStopped) {
  Program wild = unproved_program("r1 = *(u32 *)(r1 +0)\nr0 = *(u8 *)(r1 +4000)\nexit");
  ASSERT_NE(wild.compiled, nullptr);
  const auto result = engine_->test_run(wild, packet(2), {});
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->verdict, static_cast<std::uint32_t>(XDP_ABORTED));
  ASSERT_EQ(result->traps.size(), 1u);
  EXPECT_NE(result->traps[0].text.find("insn 1"), std::string::npos) << result->traps[0].text;
}

TEST_F(EngineTest, NothingIsLoadedThatTheVerifierRefuses) {
  // Each passes the structural stage: only the walk along the paths sees what is wrong.
  const struct {
    std::string_view text;
    Rule rule;
  } cases[] = {
      {"r1 = *(u32 *)(r1 +0)\nr0 = *(u8 *)(r1 +0)\nexit", Rule::kPacketBounds},
      {"r0 = r3\nexit", Rule::kUninitialised},
      {"r0 = *(u32 *)(r1 +256)\nexit", Rule::kContextAccess},
      {"r0 = 1\nagain:\nif r0 != 0 goto again\nexit", Rule::kInfiniteLoop},
  };
  for (const auto& one : cases) {
    ObjectSpec spec;
    spec.programs.push_back(program_from(one.text, "bad"));
    std::optional<LoadRefusal> refusal;
    LoadOptions options;
    options.refusal = &refusal;
    const auto loaded = engine_->load(spec, options);
    ASSERT_FALSE(loaded.has_value()) << one.text;
    EXPECT_NE(loaded.error().message.find("prog \"bad\": insn "), std::string::npos)
        << loaded.error().message;
    EXPECT_NE(loaded.error().message.find(rule_info(one.rule).id), std::string::npos)
        << loaded.error().message;
    ASSERT_TRUE(refusal.has_value());
    EXPECT_TRUE(refusal->report.is_refused);
    EXPECT_EQ(refusal->report.rule, one.rule);
    EXPECT_EQ(refusal->program.name, "bad");
    EXPECT_FALSE(refusal->report.kernel_message.empty());
  }
}

TEST_F(EngineTest, FrozenMapsDecideWhatIsDead) {
  // The kernel's way of guarding a helper that an older kernel lacks: a read-only constant.
  ObjectSpec spec;
  spec.programs.push_back(program_from(
      "r1 = map[idx:0]+0\nr0 = *(u32 *)(r1 +0)\nif r0 == 0 goto out\ncall 9999\nout:\nexit"));
  spec.programs[0].maps = {0};
  spec.maps.push_back(map_spec("prog.rodata", BPF_MAP_TYPE_ARRAY, 4, 1));
  spec.maps[0].map_flags = BPF_F_RDONLY_PROG;
  spec.maps[0].contents = {0, 0, 0, 0};
  spec.maps[0].is_frozen_at_load = true;
  LoadedObject* object = load(spec);
  ASSERT_NE(object, nullptr);
  EXPECT_EQ(engine_->test_run(*object->programs[0], packet(0), {})->verdict, 0u);
  spec.maps[0].contents[0] = 1;
  const auto refused = engine_->load(spec, {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("9999"), std::string::npos) << refused.error().message;
}

TEST_F(EngineTest, TestRunRefusesWhatAFrameCannotHold) {
  LoadedObject* object = load(counting_object());
  for (std::size_t length : {std::size_t{0}, std::size_t{13}, limits::kPacketBytesMax + 1}) {
    EXPECT_FALSE(
        engine_->test_run(*object->programs[0], std::vector<std::uint8_t>(length), {}).has_value())
        << length;
  }
  for (std::size_t length : {limits::kPacketBytesMin, limits::kPacketBytesMax}) {
    EXPECT_TRUE(
        engine_->test_run(*object->programs[0], std::vector<std::uint8_t>(length), {}).has_value())
        << length;
  }
}

TEST_F(EngineTest, LoadingIsAllOrNothing) {
  ObjectSpec spec = counting_object();
  spec.programs.push_back(program_from("r0 = 0", "no_exit"));
  EXPECT_FALSE(engine_->load(spec, {}).has_value());
  spec.programs.pop_back();
  spec.maps[0].max_entries = 0;
  auto refused = engine_->load(spec, {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().to_string().find("count"), std::string::npos);
}

TEST_F(EngineTest, UnknownProgramNamesWhatThereIs) {
  LoadOptions options;
  options.programs = {"other"};
  auto refused = engine_->load(counting_object(), options);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kNotFound);
  EXPECT_NE(refused.error().message.find("prog (section 'xdp')"), std::string::npos);
}

TEST_F(EngineTest, AttachRefusesSecondProgramAndEntryPrograms) {
  LoadedObject* object = load(counting_object());
  MemoryPort& port = open_memory("memory:m0");
  ASSERT_TRUE(engine_->attach(*object->programs[0], port).has_value());
  EXPECT_EQ(engine_->attach(*object->programs[0], port).error().errno_value, EBUSY);
  ObjectSpec entry;
  entry.programs.push_back(program_from("r0 = 2\nexit"));
  entry.programs[0].expected_attach_type = BPF_XDP_DEVMAP;
  EXPECT_EQ(
      engine_->attach(*load(entry)->programs[0], open_memory("memory:m1")).error().errno_value,
      EINVAL);
}

TEST_F(EngineTest, GlobalDataIsFilledAndFrozen) {
  ObjectSpec spec;
  spec.programs.push_back(program_from("r1 = map[idx:0]+4\nr0 = *(u32 *)(r1 +0)\nexit"));
  spec.programs[0].maps = {0};
  spec.maps.push_back(map_spec("prog.rodata", BPF_MAP_TYPE_ARRAY, 8, 1));
  spec.maps[0].map_flags = BPF_F_RDONLY_PROG;
  spec.maps[0].contents = {0, 0, 0, 0, 2, 0, 0, 0};
  spec.maps[0].is_frozen_at_load = true;
  LoadedObject* object = load(spec);
  EXPECT_EQ(engine_->test_run(*object->programs[0], packet(0), {})->verdict, 2u);
  EXPECT_TRUE(object->maps[0]->is_frozen());
}

TEST_F(EngineTest, TailCallSlotsAreFilledByName) {
  ObjectSpec spec;
  spec.programs.push_back(
      program_from("r2 = map[idx:0]\nr3 = 1\ncall bpf_tail_call\nr0 = 1\nexit", "entry"));
  spec.programs[0].maps = {0};
  spec.programs.push_back(program_from("r0 = 3\nexit", "target"));
  spec.maps.push_back(map_spec("jumps", BPF_MAP_TYPE_PROG_ARRAY, 4, 2));
  spec.maps[0].slots = {{1, "target"}};
  LoadedObject* object = load(spec);
  EXPECT_EQ(engine_->test_run(*object->find_program("entry"), packet(0), {})->verdict, 3u);
}

TEST_F(EngineTest, FramesThatRestInPortsAreAccountedFor) {
  LoadedObject* object = load(counting_object());
  MemoryPort& port = open_memory("memory:m0");
  auto pair = engine_->open_port("veth:a,b");
  ASSERT_TRUE(pair.has_value());
  ASSERT_TRUE(engine_->attach(*object->programs[0], port).has_value());
  engine_->set_pass_sink(port, &(*pair)[0]->tx_queue());
  for (int i = 0; i < 3; ++i) ASSERT_EQ(port.push({packet(XDP_PASS)}), 0);
  ASSERT_EQ(port.push({packet(XDP_TX)}), 0);
  EXPECT_EQ(engine_->run({.packet_count_max = 3}), RunEnd::kPacketCount);
  EXPECT_EQ(engine_->accounting_error(), "");
  EXPECT_EQ((*pair)[1]->frames_held(), 3u);
  port.end_input();
  EXPECT_EQ(engine_->run({}), RunEnd::kInputEnded);
  EXPECT_EQ(port.frames_held(), 1u);
  EXPECT_EQ(engine_->accounting_error(), "");
}

TEST_F(EngineTest, PortNamesAreUnique) {
  open_memory("memory:m0");
  EXPECT_FALSE(engine_->open_port("memory:m0").has_value());
  EXPECT_FALSE(engine_->open_port("nonsense:x").has_value());
}

TEST(TraceBuffer, KeepsOrderAndCountsWhatItLoses) {
  TraceBuffer trace;
  std::vector<std::string> lines;
  const auto collect = [&](std::string_view line) { lines.emplace_back(line); };
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 200; ++i) trace.print(std::to_string(i) + std::string(200, 'x'));
    trace.drain(collect);
  }
  ASSERT_EQ(lines.size(), 600u);
  EXPECT_TRUE(lines[599].starts_with("199x"));
  EXPECT_EQ(trace.lost_count(), 0u);
  for (int i = 0; i < 1000; ++i) trace.print(std::string(200, 'y'));
  EXPECT_GT(trace.lost_count(), 0u);
  lines.clear();
  trace.drain(collect);
  EXPECT_EQ(lines.size() + trace.lost_count(), 1000u);
}

}  // namespace
}  // namespace lmn
