// SPDX-License-Identifier: Apache-2.0
//
// Goal: objects answer as in the kernel wherever they lie: connections in untrusted pointers of map
// values, memory with a part for each CPU, and the kernel's structs behind the context.
// Method: programs/kernel_objects_in_c.c runs on random packets, each a list of operations, in
// both, in a network namespace of its own; after each packet what the calls answered and what the
// maps hold is compared.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sched.h>

#include <random>
#include <thread>

#include "base/file.h"
#include "engine/engine.h"
#include "kfuncs/kernel_types.h"
#include "object/object_reader.h"
#include "runners/program_pair.h"

namespace lmn {
namespace {

constexpr const char* kObject = "kernel_objects_in_c";

// In a thread of its own, so that the namespace ends with the test.
template <typename Run>
void in_own_namespace(Run run) {
  std::thread([&run] {
    if (::unshare(CLONE_NEWNET) != 0) {
      GTEST_SKIP() << "needs a network namespace of its own: CAP_SYS_ADMIN";
    }
    run();
  }).join();
}

class KernelObjectPrograms : public ProgramPair {
 protected:
  KernelObjectPrograms() { is_kernel_optional = true; }

  void run_random(const char* program, int packets, std::initializer_list<const char*> maps) {
    open(kObject, program);
    if (is_closed()) return;
    std::mt19937_64 random(20261120);
    for (int i = 0; i < packets; ++i) {
      std::vector<std::uint8_t> packet(14 + 36);
      for (auto& byte : packet) byte = static_cast<std::uint8_t>(random());
      run_on_both(packet);
      for (const char* map : maps) {
        if (!HasFatalFailure()) compare(map);
      }
      ASSERT_FALSE(HasFatalFailure()) << program << ", packet " << i;
    }
  }
};

TEST_F(KernelObjectPrograms, ConnectionsInMapValuesAnswerAsInTheKernel) {
  in_own_namespace([this] { run_random("connections", 3'000, {"out", "keeper_table"}); });
}

TEST_F(KernelObjectPrograms, PartsForEachCpuAnswerAsInTheKernel) {
  run_random("parts", 3'000, {"out", "holder_table"});
}

TEST_F(KernelObjectPrograms, WhatLiesBehindTheContextIsWhatTheKernelHas) {
  open(kObject, "behind");
  if (is_closed()) return;
  for (const std::size_t length : {60u, 64u, 1000u}) {
    run_on_both(std::vector<std::uint8_t>(length));
    if (!HasFatalFailure()) compare("seen");
    ASSERT_FALSE(HasFatalFailure()) << length << " bytes";
  }
}

// Linux has no destructor for connections: no pointer may own one.
TEST(KernelObjects, AConnectionThatAPointerWouldOwnIsRefusedAsInTheKernel) {
  const std::string path = std::string(LMN_BINARY_DIR) + "/bpf/owned_connection_in_c.bpf.o";
  if (auto reason = why_no_runner(RunnerKind::kKernel)) GTEST_SKIP() << *reason;
  EXPECT_FALSE(open_runner(RunnerKind::kKernel, path, "owned").has_value());
  const auto ours = open_runner(RunnerKind::kInterpreter, path, "owned");
  ASSERT_FALSE(ours.has_value());
  EXPECT_NE(ours.error().message.find("has to have BTF in order to use bpf_kptr_xchg"),
            std::string::npos)
      << ours.error().to_string();
}

// What LMN does not keep up is refused when the program is loaded, by its name.
TEST(KernelContext, MembersThatAreNotKeptUpAreRefusedByName) {
  const std::string path = std::string(LMN_BINARY_DIR) + "/bpf/" + kObject + ".bpf.o";
  const auto bytes = read_file(path, std::size_t{1} << 24);
  ASSERT_TRUE(bytes.has_value());
  const auto types_bytes = read_file("/sys/kernel/btf/vmlinux", std::size_t{64} << 20);
  if (!types_bytes) GTEST_SKIP() << "this kernel says nothing of its types";
  ReadOptions read;
  read.object_name = kObject;
  read.target_btf = *parse_btf(*types_bytes);
  const auto spec = read_object(*bytes, read);
  ASSERT_TRUE(spec.has_value()) << spec.error().to_string();
  const auto engine = Engine::create({});
  LoadOptions options;
  options.programs = {"unkept"};
  const auto loaded = (*engine)->load(*spec, options);
  ASSERT_FALSE(loaded.has_value());
  EXPECT_NE(loaded.error().message.find("LMN does not keep up member flags of struct net_device"),
            std::string::npos)
      << loaded.error().to_string();
}

}  // namespace
}  // namespace lmn
