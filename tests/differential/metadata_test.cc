// SPDX-License-Identifier: Apache-2.0
//
// Goal: bpf_xdp_metadata_rx_* answers as a driver of the kernel does: result, values, and what it
// leaves alone where nothing is known.
// Method: programs/metadata_in_c.c, bound to one end of a veth pair in a network namespace of its
// own and attached in driver mode, sees frames that came as socket buffers, with a VLAN tag beside
// them and without, and frames that came without one; LMN's test run is given the same frame and
// what the driver knew of it. The driver of veth says 0 for the time of a socket buffer that has
// none, and clears the tag's variable where there is none: those are its own.
// Source: Linux 6.18, net/core/xdp.c, drivers/net/veth.c.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "abi/limits.h"
#include "base/file.h"
#include "base/unique_fd.h"
#include "differential/raw_insn.h"
#include "engine/engine.h"
#include "harness/compared_calls.h"
#include "harness/kernel_oracle.h"
#include "object/object_reader.h"
#include "ports/testing/netns.h"

namespace lmn {
namespace {

using testing_support::make_test_frame;
using testing_support::Netns;
using testing_support::RawSocket;
using testing_support::shell;

const std::string kObject = std::string(LMN_BINARY_DIR) + "/bpf/metadata_in_c.bpf.o";
constexpr std::uint32_t kBefore = 0x5a;  // what stood in the program's variables

struct Seen {
  std::int64_t runs = 0;
  std::int64_t hash_error = 0;
  std::int64_t time_error = 0;
  std::int64_t vlan_error = 0;
  std::uint64_t time = 0;
  std::uint32_t hash = 0;
  std::uint32_t hash_type = 0;
  std::uint16_t vlan_proto = 0;
  std::uint16_t vlan_tci = 0;
  std::uint16_t ether_type = 0;
  std::uint16_t reserved = 0;
};

struct CloseObject {
  void operator()(struct bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<struct bpf_object, CloseObject>;

// The program on a netdev of this namespace.
class BoundProgram {
 public:
  // Empty; or why the kernel does not take it.
  std::string attach(const char* netdev) {
    ifindex_ = static_cast<int>(::if_nametoindex(netdev));
    object_.reset(bpf_object__open_file(kObject.c_str(), nullptr));
    if (object_ == nullptr) return "libbpf cannot open the object";
    auto* ask = bpf_object__find_program_by_name(object_.get(), "ask");
    auto* send = bpf_object__find_program_by_name(object_.get(), "send_back");
    bpf_program__set_autoload(send, false);
    bpf_program__set_ifindex(ask, static_cast<std::uint32_t>(ifindex_));
    bpf_program__set_flags(ask, BPF_F_XDP_DEV_BOUND_ONLY);
    if (const int error = bpf_object__load(object_.get()); error != 0) {
      return "load: " + std::string(std::strerror(-error));
    }
    const int error = bpf_xdp_attach(ifindex_, bpf_program__fd(ask), XDP_FLAGS_DRV_MODE, nullptr);
    return error == 0 ? "" : "attach: " + std::string(std::strerror(-error));
  }
  // What it saw, once it has run `runs` times; all 0 when it does not within two seconds.
  Seen wait_for(std::int64_t runs) const {
    const int map = bpf_object__find_map_fd_by_name(object_.get(), "out");
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    while (std::chrono::steady_clock::now() < end) {
      const std::uint32_t zero = 0;
      Seen seen;
      if (bpf_map_lookup_elem(map, &zero, &seen) == 0 && seen.runs >= runs) return seen;
      std::this_thread::yield();
    }
    return {};
  }

 private:
  Object object_;
  int ifindex_ = 0;
};

// Sends `frame` out of a netdev as a frame that never was a socket buffer.
bool send_as_frame(const char* netdev, std::span<const std::uint8_t> frame) {
  Object object(bpf_object__open_file(kObject.c_str(), nullptr));
  auto* send = bpf_object__find_program_by_name(object.get(), "send_back");
  bpf_program__set_autoload(bpf_object__find_program_by_name(object.get(), "ask"), false);
  if (bpf_object__load(object.get()) != 0) return false;
  struct xdp_md context = {};
  context.data_end = static_cast<std::uint32_t>(frame.size());
  context.ingress_ifindex = ::if_nametoindex(netdev);
  struct bpf_test_run_opts options = {};
  options.sz = sizeof options;
  options.data_in = frame.data();
  options.data_size_in = static_cast<std::uint32_t>(frame.size());
  options.ctx_in = &context;
  options.ctx_size_in = sizeof context;
  options.repeat = 1;
  options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
  return bpf_prog_test_run_opts(bpf_program__fd(send), &options) == 0;
}

// From now on every frame that leaves the netdev has a VLAN tag beside its bytes, which a program
// puts there. The attachment ends with the descriptor; not open: the kernel does not let us.
UniqueFd tag_what_leaves(const char* netdev, std::uint16_t control) {
  const struct bpf_insn insns[] = {raw::move_imm(2, htons(0x8100)), raw::move_imm(3, control),
                                   raw::call(BPF_FUNC_skb_vlan_push), raw::move_imm(0, 0),
                                   raw::exit()};
  KernelLoadOptions load;
  load.type = BPF_PROG_TYPE_SCHED_CLS;
  load.expected_attach_type = 0;
  const KernelProgram program = KernelProgram::load(insns, load);
  union bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.link_create.prog_fd = static_cast<std::uint32_t>(program.fd());
  attr.link_create.target_ifindex = ::if_nametoindex(netdev);
  attr.link_create.attach_type = BPF_TCX_EGRESS;
  return UniqueFd(static_cast<int>(::syscall(__NR_bpf, BPF_LINK_CREATE, &attr, sizeof attr)));
}

class Metadata : public testing::Test {
 protected:
  void SetUp() override {
    if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
    if (const auto why = Netns::refusal()) GTEST_SKIP() << *why;
    const auto bytes = read_file(kObject, limits::kObjectBytesMax);
    ASSERT_TRUE(bytes.has_value()) << bytes.error().to_string();
    auto spec = read_object(*bytes, {.object_name = "metadata"});
    ASSERT_TRUE(spec.has_value()) << spec.error().to_string();
    for (ProgramSpec& program : spec->programs) program.prog_flags |= BPF_F_XDP_DEV_BOUND_ONLY;
    engine_ = *Engine::create({.seed = 1});
    LoadOptions options;
    options.programs = {"ask"};
    auto loaded = engine_->load(*spec, options);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().to_string();
    object_ = *loaded;
  }

  // The same frame in LMN, of which its port knew `options.meta`.
  Seen ask_ours(std::span<const std::uint8_t> frame, const TestRunOptions& options) {
    Seen seen;
    const auto run = engine_->test_run(*object_->find_program("ask"), frame, options);
    EXPECT_TRUE(run.has_value());
    if (!run) return seen;
    EXPECT_TRUE(run->traps.empty());
    std::array<std::uint8_t, sizeof seen> bytes{};
    const std::uint32_t zero = 0;
    EXPECT_EQ(object_->find_map("out")->copy_value(&zero, bytes, 0), 0);
    std::memcpy(&seen, bytes.data(), sizeof seen);
    return seen;
  }

  static void compare(const Seen& kernel, const Seen& ours, const char* what) {
    SCOPED_TRACE(what);
    ASSERT_GT(kernel.runs, 0) << "the kernel's program saw no frame";
    EXPECT_EQ(ours.ether_type, kernel.ether_type);
    EXPECT_EQ(ours.hash_error, kernel.hash_error);
    EXPECT_EQ(ours.hash, kernel.hash);
    EXPECT_EQ(ours.hash_type, kernel.hash_type);
    EXPECT_EQ(ours.time_error, kernel.time_error);
    if (kernel.time_error != 0) {
      EXPECT_EQ(ours.time, kernel.time);
    }
    EXPECT_EQ(ours.vlan_error, kernel.vlan_error);
    EXPECT_EQ(ours.vlan_proto, kernel.vlan_proto);
    if (kernel.vlan_error == 0) {
      EXPECT_EQ(ours.vlan_tci, kernel.vlan_tci);
    }
    for (const char* name : {"bpf_xdp_metadata_rx_hash", "bpf_xdp_metadata_rx_timestamp",
                             "bpf_xdp_metadata_rx_vlan_tag"}) {
      ComparedCalls::instance().add(name);
    }
  }

  static TestRunOptions telling_port() {
    TestRunOptions options;
    options.port_metadata = kMetaHash | kMetaTime | kMetaVlan;
    return options;
  }

  std::unique_ptr<Engine> engine_;
  LoadedObject* object_ = nullptr;
};

TEST_F(Metadata, AnswersAreThoseOfADriver) {
  std::string refusal;
  Netns::create()->run([&] {
    ASSERT_TRUE(
        shell("ip link add near type veth peer name far && ip link set near up && "
              "ip link set far up"));
    BoundProgram kernel;
    refusal = kernel.attach("near");
    if (!refusal.empty()) return;
    const auto frame = make_test_frame(100, 1);

    ASSERT_TRUE(send_as_frame("far", frame));
    const Seen nothing = kernel.wait_for(1);
    EXPECT_EQ(nothing.hash_error, -ENODATA);
    EXPECT_EQ(nothing.hash, kBefore);
    compare(nothing, ask_ours(frame, telling_port()), "no socket buffer");

    auto far = RawSocket::open("far");
    ASSERT_TRUE(far.has_value()) << far.error().to_string();
    ASSERT_TRUE(far->send(frame));
    const Seen plain = kernel.wait_for(2);
    TestRunOptions told = telling_port();
    told.rx_time_ns = 12345;
    told.meta.known = kMetaHash;
    told.meta.hash = plain.hash;
    told.meta.hash_type = plain.hash_type;
    EXPECT_EQ(plain.hash_error, 0);
    EXPECT_NE(plain.hash, kBefore);
    compare(plain, ask_ours(frame, told), "a socket buffer");

    constexpr std::uint16_t kControl = 5 << 13 | 77;
    const UniqueFd tagging = tag_what_leaves("far", kControl);
    if (!tagging.is_open()) {
      std::printf("no tags: this kernel attaches no program to what leaves a netdev\n");
      return;
    }
    ASSERT_TRUE(far->send(frame));
    const Seen with_tag = kernel.wait_for(3);
    EXPECT_EQ(with_tag.vlan_error, 0);
    EXPECT_EQ(with_tag.vlan_tci, kControl);
    told.meta.known = kMetaHash | kMetaVlan;
    told.meta.hash = with_tag.hash;
    told.meta.hash_type = with_tag.hash_type;
    told.meta.vlan_tci = kControl;
    told.meta.vlan_proto = htons(0x8100);
    compare(with_tag, ask_ours(frame, told), "a tag beside the bytes");
  });
  if (!refusal.empty()) GTEST_SKIP() << "this kernel binds no program to a veth: " << refusal;
}

// A port that can never know is told apart from one that does not know of this packet.
TEST_F(Metadata, APortThatTellsNothingIsNotSupported) {
  const Seen ours = ask_ours(make_test_frame(100, 1), {});
  EXPECT_EQ(ours.hash_error, -EOPNOTSUPP);
  EXPECT_EQ(ours.time_error, -EOPNOTSUPP);
  EXPECT_EQ(ours.vlan_error, -EOPNOTSUPP);
  EXPECT_EQ(ours.hash, kBefore);
  EXPECT_EQ(ours.time, kBefore);
  EXPECT_EQ(ours.vlan_tci, kBefore);
}

}  // namespace
}  // namespace lmn
