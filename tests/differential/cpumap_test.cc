// SPDX-License-Identifier: Apache-2.0
//
// Goal: a packet that goes over another CPU fares in LMN as it does in the kernel: what the second
// program sees of it, what becomes of it by its verdict, and what is counted. Method:
// programs/cpumap_in_c.c on a veth of a network namespace of its own, in driver mode, and the same
// object in an engine with memory ports; the same frames to both; maps, passed frames and
// redirected frames must be equal. Source: Linux 6.18, kernel/bpf/cpumap.c.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <thread>

#include "abi/limits.h"
#include "base/file.h"
#include "engine/callback_sink.h"
#include "engine/engine.h"
#include "harness/kernel_oracle.h"
#include "harness/provoked.h"
#include "object/object_reader.h"
#include "ports/memory/memory_port.h"
#include "ports/testing/netns.h"

namespace lmn {
namespace {

using testing_support::kTestEtherType;
using testing_support::make_test_frame;
using testing_support::Netns;
using testing_support::RawSocket;
using testing_support::shell;

using Frame = std::vector<std::uint8_t>;

const std::string kObject = std::string(LMN_BINARY_DIR) + "/bpf/cpumap_in_c.bpf.o";
constexpr std::uint32_t kQueueSize = 192;
constexpr std::size_t kVerdicts = 8;
constexpr int kReceiveMs = 2000;

struct Seen {
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
  std::uint64_t marked = 0;
  std::uint64_t on_cpu = 0;
  std::uint64_t queue_index = 0;
  std::uint64_t ingress_ifindex = 0;
};

// What one side did with the frames.
struct Fate {
  std::array<Seen, kVerdicts> seen;
  std::array<std::uint64_t, kVerdicts> sent{};
  std::vector<Frame> passed;
  std::vector<Frame> redirected;
  std::uint32_t ifindex = 0;  // of the port of arrival
};

struct CloseObject {
  void operator()(struct bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<struct bpf_object, CloseObject>;

// To CPUs 0 and 1, and 5, which has no entry; with each verdict that has a meaning and some that
// have none.
std::vector<Frame> frames_to_send() {
  std::vector<Frame> frames;
  for (std::uint32_t i = 0; i < 96; ++i) {
    Frame frame = make_test_frame(60 + i * 13, i);
    constexpr std::uint8_t kCpus[] = {0, 1, 5};
    constexpr std::uint8_t kReturned[] = {XDP_PASS,    XDP_DROP, XDP_PASS, XDP_REDIRECT,
                                          XDP_ABORTED, XDP_TX,   6};
    frame[14] = kCpus[i % 3];
    frame[15] = kReturned[i % 7];
    frames.push_back(std::move(frame));
  }
  return frames;
}

std::size_t count_of(const std::vector<Frame>& frames, std::uint8_t verdict) {
  return static_cast<std::size_t>(std::ranges::count_if(
      frames, [verdict](const Frame& frame) { return frame[14] != 5 && frame[15] == verdict; }));
}

// --- the kernel

class KernelSide {
 public:
  // Empty; or why the kernel does not take part.
  std::string set_up() {
    if (!shell("ip link add in0 type veth peer name in1 && ip link set in0 up && "
               "ip link set in1 up && ip link add out0 type veth peer name out1 && "
               "ip link set out0 up && ip link set out1 up")) {
      return "no veth here";
    }
    object_.reset(bpf_object__open_file(kObject.c_str(), nullptr));
    if (object_ == nullptr || bpf_object__load(object_.get()) != 0) return "the object is refused";
    for (const auto& [netdev, name] : {std::pair{"in1", "to_cpu"}, {"out1", "pass"}}) {
      const int ifindex = static_cast<int>(::if_nametoindex(netdev));
      const int error = bpf_xdp_attach(ifindex, program(name), XDP_FLAGS_DRV_MODE, nullptr);
      if (error != 0) return "no native XDP";
    }
    for (const std::uint32_t cpu : {0u, 1u}) {
      struct bpf_cpumap_val value = {};
      value.qsize = kQueueSize;
      value.bpf_prog.fd = program("on_cpu");
      if (bpf_map_update_elem(map("cpus"), &cpu, &value, BPF_ANY) != 0) return "no such CPU";
    }
    const std::uint32_t zero = 0;
    const std::uint32_t out = ::if_nametoindex("out0");
    if (bpf_map_update_elem(map("out_port"), &zero, &out, BPF_ANY) != 0) return "no devmap entry";
    return {};
  }

  // How many of `count` frames in one poll came to a CPU whose queue has one place.
  std::uint64_t overrun(const Frame& frame, std::uint32_t count) {
    const std::uint32_t cpu = frame[14];
    struct bpf_cpumap_val value = {};
    value.qsize = 1;
    value.bpf_prog.fd = program("on_cpu");
    EXPECT_EQ(bpf_map_update_elem(map("cpus"), &cpu, &value, BPF_ANY), 0);
    struct xdp_md context = {};
    context.data_end = static_cast<std::uint32_t>(frame.size());
    context.ingress_ifindex = ::if_nametoindex("in1");
    struct bpf_test_run_opts options = {};
    options.sz = sizeof options;
    options.data_in = frame.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.size());
    options.ctx_in = &context;
    options.ctx_size_in = sizeof context;
    options.repeat = static_cast<int>(count);
    options.batch_size = count;
    options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
    EXPECT_EQ(bpf_prog_test_run_opts(program("to_cpu"), &options), 0);
    const std::uint32_t redirect = XDP_REDIRECT;
    std::uint64_t sent = 0;
    bpf_map_lookup_elem(map("sent"), &redirect, &sent);
    EXPECT_EQ(sent, count);
    Seen seen;
    const std::uint32_t verdict = frame[15];
    for (int i = 0; i < 100'000 && seen.packets == 0; ++i) {
      bpf_map_lookup_elem(map("seen"), &verdict, &seen);
    }
    return seen.packets;
  }

  Fate run(const std::vector<Frame>& frames) {
    Fate fate;
    fate.ifindex = ::if_nametoindex("in1");
    auto source = RawSocket::open("in0");
    auto stack = RawSocket::open("in1");
    auto out = RawSocket::open("out1");
    EXPECT_TRUE(source && stack && out);
    if (!source || !stack || !out) return fate;
    for (const Frame& frame : frames) EXPECT_TRUE(source->send(frame));
    for (std::size_t i = count_of(frames, XDP_PASS); i > 0; --i) {
      fate.passed.push_back(stack->receive(kTestEtherType, kReceiveMs));
    }
    for (std::size_t i = count_of(frames, XDP_REDIRECT); i > 0; --i) {
      fate.redirected.push_back(out->receive(kTestEtherType, kReceiveMs));
    }
    wait_for_drops(frames);
    EXPECT_TRUE(stack->receive(kTestEtherType, 1).empty()) << "more than was passed";
    for (std::uint32_t i = 0; i < kVerdicts; ++i) {
      bpf_map_lookup_elem(map("seen"), &i, &fate.seen[i]);
      bpf_map_lookup_elem(map("sent"), &i, &fate.sent[i]);
    }
    return fate;
  }

 private:
  int program(const char* name) const {
    return bpf_program__fd(bpf_object__find_program_by_name(object_.get(), name));
  }
  int map(const char* name) const { return bpf_object__find_map_fd_by_name(object_.get(), name); }
  // Nothing tells of a frame that was dropped but the program's own count.
  void wait_for_drops(const std::vector<Frame>& frames) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kReceiveMs);
    for (const std::uint32_t verdict : {0u, 1u, 3u, 6u}) {
      Seen seen;
      while (std::chrono::steady_clock::now() < end) {
        bpf_map_lookup_elem(map("seen"), &verdict, &seen);
        if (seen.packets == count_of(frames, static_cast<std::uint8_t>(verdict))) break;
        std::this_thread::yield();
      }
    }
  }

  Object object_;
};

// --- LMN

template <typename T>
void read_array(Map& map, std::array<T, kVerdicts>& out) {
  for (std::uint32_t i = 0; i < kVerdicts; ++i) {
    std::array<std::uint8_t, sizeof(T)> bytes{};
    ASSERT_EQ(map.copy_value(&i, bytes, 0), 0);
    std::memcpy(&out[i], bytes.data(), sizeof(T));
  }
}

void update(LoadedObject& object, const char* name, std::uint32_t key,
            const std::vector<std::uint32_t>& value) {
  std::vector<std::uint8_t> bytes(value.size() * sizeof(std::uint32_t));
  std::memcpy(bytes.data(), value.data(), bytes.size());
  ASSERT_EQ(object.find_map(name)->user_update(&key, bytes, BPF_ANY), 0) << name;
}

struct OurOptions {
  CpuQueueRun served = CpuQueueRun::kThreads;
  std::uint32_t queue_size = kQueueSize;
};

Fate run_ours(const std::vector<Frame>& frames, const OurOptions& how) {
  Fate fate;
  const auto bytes = read_file(kObject, limits::kObjectBytesMax);
  EXPECT_TRUE(bytes.has_value());
  auto spec = read_object(*bytes, {.object_name = "cpumap"});
  EXPECT_TRUE(spec.has_value()) << spec.error().to_string();
  EngineOptions options;
  options.cpu_queues = how.served;
  auto engine = *Engine::create(options);
  auto loaded = engine->load(*spec, {});
  EXPECT_TRUE(loaded.has_value()) << loaded.error().to_string();
  if (!loaded) return fate;
  LoadedObject& object = **loaded;
  auto& in = static_cast<MemoryPort&>(*(*engine->open_port("memory:in"))[0]);
  auto& out = static_cast<MemoryPort&>(*(*engine->open_port("memory:out"))[0]);
  EXPECT_TRUE(engine->attach(*object.find_program("to_cpu"), in).has_value());
  for (const std::uint32_t cpu : {0u, 1u}) {
    update(object, "cpus", cpu, {how.queue_size, object.find_program("on_cpu")->id});
  }
  update(object, "out_port", 0, {out.info().ifindex});
  CallbackSink stack(
      [&](ByteSpan frame, std::uint32_t) { fate.passed.emplace_back(frame.begin(), frame.end()); });
  engine->set_pass_sink(in, &stack);
  for (const Frame& frame : frames) EXPECT_EQ(in.push({.bytes = frame}), 0);
  in.end_input();
  out.end_input();
  engine->run({});
  while (XdpFrame* frame = out.take()) {
    fate.redirected.emplace_back(frame->data(), frame->data() + frame->length);
    free_frame(frame);
  }
  EXPECT_EQ(engine->accounting_error(), "");
  fate.ifindex = in.info().ifindex;
  read_array(*object.find_map("seen"), fate.seen);
  read_array(*object.find_map("sent"), fate.sent);
  return fate;
}

// Two CPUs run at the same time: only what goes over one of them has an order.
std::map<std::uint8_t, std::vector<Frame>> by_cpu(const std::vector<Frame>& frames) {
  std::map<std::uint8_t, std::vector<Frame>> out;
  for (const Frame& frame : frames) out[frame.size() > 14 ? frame[14] : 0xff].push_back(frame);
  return out;
}

void compare(const Fate& kernel, const Fate& ours) {
  EXPECT_EQ(ours.sent, kernel.sent);
  EXPECT_GT(kernel.sent[XDP_REDIRECT], 0u);
  EXPECT_GT(kernel.sent[XDP_DROP], 0u) << "a CPU without an entry";
  for (std::size_t verdict = 0; verdict < kVerdicts; ++verdict) {
    SCOPED_TRACE(verdict);
    const Seen& there = kernel.seen[verdict];
    const Seen& here = ours.seen[verdict];
    EXPECT_EQ(here.packets, there.packets);
    EXPECT_EQ(here.bytes, there.bytes);
    EXPECT_EQ(here.marked, there.marked);
    EXPECT_EQ(here.on_cpu, there.on_cpu);
    EXPECT_EQ(there.on_cpu, there.packets);
    EXPECT_EQ(here.queue_index, there.queue_index);
    EXPECT_EQ(there.ingress_ifindex, there.packets * kernel.ifindex);
    EXPECT_EQ(here.ingress_ifindex, here.packets * ours.ifindex);
  }
  EXPECT_EQ(by_cpu(ours.passed), by_cpu(kernel.passed));
  EXPECT_EQ(by_cpu(ours.redirected), by_cpu(kernel.redirected));
  EXPECT_FALSE(kernel.passed.empty());
  EXPECT_FALSE(kernel.redirected.empty());
}

TEST(CpumapDifferential, PacketsFareAsInTheKernel) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  if (const auto why = Netns::refusal()) GTEST_SKIP() << *why;
  if (::sysconf(_SC_NPROCESSORS_CONF) < 2) GTEST_SKIP() << "this machine has one CPU";
  const std::vector<Frame> frames = frames_to_send();
  std::string refusal;
  Fate kernel;
  Netns::create()->run([&] {
    KernelSide side;
    refusal = side.set_up();
    if (refusal.empty()) kernel = side.run(frames);
  });
  if (!refusal.empty()) GTEST_SKIP() << "the kernel of this machine: " << refusal;
  for (const CpuQueueRun served : {CpuQueueRun::kThreads, CpuQueueRun::kWorker}) {
    SCOPED_TRACE(served == CpuQueueRun::kThreads ? "by threads" : "by the worker");
    compare(kernel, run_ours(frames, {.served = served}));
  }
}

// ENOSPC: a ring of one place, and more frames than that in one poll.
TEST(CpumapDifferential, AFullRingDropsOnBothSides) {
  Frame frame = make_test_frame(60, 1);
  frame[14] = 0;
  frame[15] = XDP_DROP;
  constexpr std::uint32_t kFrames = 64;
  const Fate ours = run_ours(std::vector<Frame>(kFrames, frame),
                             {.served = CpuQueueRun::kWorker, .queue_size = 1});
  EXPECT_EQ(ours.sent[XDP_REDIRECT], kFrames);
  EXPECT_EQ(ours.seen[XDP_DROP].packets, 1u);
  if (ours.seen[XDP_DROP].packets < kFrames) Provoked::instance().add("cpumap_redirect", -ENOSPC);
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  if (const auto why = Netns::refusal()) GTEST_SKIP() << *why;
  if (::sysconf(_SC_NPROCESSORS_CONF) < 2) GTEST_SKIP() << "this machine has one CPU";
  std::string refusal;
  std::uint64_t arrived = 0;
  Netns::create()->run([&] {
    KernelSide side;
    refusal = side.set_up();
    if (refusal.empty()) arrived = side.overrun(frame, kFrames);
  });
  if (!refusal.empty()) GTEST_SKIP() << "the kernel of this machine: " << refusal;
  EXPECT_GE(arrived, 1u);
  EXPECT_LT(arrived, kFrames) << "the kernel drops what does not fit, too";
}

}  // namespace
}  // namespace lmn
