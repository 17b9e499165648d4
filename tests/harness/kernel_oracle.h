// SPDX-License-Identifier: Apache-2.0
//
// The kernel of this machine as a second oracle: the few bpf(2) commands that comparing with it
// needs.
//
// A test builds raw instructions, has the kernel judge them (KernelProgram::load: verdict and log),
// run them on one packet (run: return code, packet, metadata), and looks at the maps they touched
// (KernelMap). Nothing here imitates or interprets anything: system calls in, their answers out, so
// that a difference is never this file's opinion.
//
//   if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
//   auto map = KernelMap::create({.type = BPF_MAP_TYPE_HASH, .key_size = 4, .value_size = 8,
//   .max_entries = 16}); auto program = KernelProgram::load(insns);
//   ASSERT_TRUE(program.is_loaded()) << program.log();
//   KernelRun run = program.run(packet);
//
// No object keeps anything alive in the kernel beyond its own life. Test code only: no module links
// it. Threads: a value each; why_no_kernel_oracle() may be called from any. Tested by
// kernel_oracle_test.cc. Source: Linux 6.18, include/uapi/linux/bpf.h; net/bpf/test_run.c.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace lmn {

// Nothing when programs can be loaded and run here; else a sentence for GTEST_SKIP. Asked of the
// kernel once per process.
std::optional<std::string> why_no_kernel_oracle();

struct KernelMapOptions {
  std::uint32_t type = BPF_MAP_TYPE_ARRAY;
  std::uint32_t key_size = 4;
  std::uint32_t value_size = 8;
  std::uint32_t max_entries = 1;
  std::uint32_t flags = 0;
  std::uint64_t map_extra = 0;
  std::uint32_t numa_node = 0;
  int inner_map_fd = 0;
  int btf_fd = 0;  // of the types that these two are ids of
  std::uint32_t btf_key_type_id = 0;
  std::uint32_t btf_value_type_id = 0;
  std::string name;  // at most 15 characters of [A-Za-z0-9_.]
};

// A map in the kernel. Operations return 0 or -errno, as lmn::Map's do, so that the two compare
// directly.
class KernelMap {
 public:
  // A map that could not be made has error() != 0; every operation on it gives -EBADF.
  static KernelMap create(const KernelMapOptions& options);

  bool is_created() const { return fd_.get() >= 0; }
  int error() const { return error_; }  // 0 or -errno of BPF_MAP_CREATE
  int fd() const { return fd_.get(); }
  const KernelMapOptions& options() const { return options_; }
  // Bytes of one value as user space sees it: rounded up and times the possible CPUs for per-CPU
  // types.
  std::size_t user_value_bytes() const;

  int update(std::span<const std::uint8_t> key, std::span<const std::uint8_t> value,
             std::uint64_t flags = 0);
  // REQUIRES: out.size() == user_value_bytes().
  int lookup(std::span<const std::uint8_t> key, std::span<std::uint8_t> out,
             std::uint64_t flags = 0) const;
  int lookup_and_erase(std::span<const std::uint8_t> key, std::span<std::uint8_t> out,
                       std::uint64_t flags = 0);
  int erase(std::span<const std::uint8_t> key);
  // An empty `key` asks for the first.
  int next_key(std::span<const std::uint8_t> key, std::span<std::uint8_t> next) const;
  int freeze();

  struct Entry {
    std::vector<std::uint8_t> key;
    std::vector<std::uint8_t> value;
    auto operator<=>(const Entry&) const = default;
  };
  // All entries, sorted by key bytes.
  std::vector<Entry> entries() const;

 private:
  KernelMapOptions options_;
  UniqueFd fd_;
  int error_ = 0;
};

// What one BPF_PROG_TEST_RUN gave.
struct KernelRun {
  int error = 0;  // 0 or -errno of the call; the rest is meaningful only when it is 0
  std::uint32_t retval = 0;
  std::vector<std::uint8_t> data_out;  // the packet afterwards, from data_meta on
  struct xdp_md context_out = {};      // filled when a context was given
  std::uint32_t duration_ns = 0;       // average of the repeats
};

struct KernelRunOptions {
  std::uint32_t repeat = 1;
  // data_meta, data, data_end as offsets into data_in, ingress_ifindex, rx_queue_index.
  std::optional<struct xdp_md> context_in;
  std::uint32_t data_out_bytes_max = 8192;
};

struct KernelLoadOptions {
  std::uint32_t type = BPF_PROG_TYPE_XDP;
  std::uint32_t expected_attach_type = BPF_XDP;
  std::uint32_t prog_flags = 0;
  std::string license = "GPL";
  std::uint32_t log_level = 0;  // 0: a log only after a refusal
  std::size_t log_bytes = 1u << 20;
  std::vector<int> fd_array;  // for BPF_PSEUDO_MAP_IDX
  // First slot of every function, the entry's 0 first. When given, the program gets BTF that says
  // so (all static, returning int), which the kernel wants for tail calls out of functions and for
  // callbacks.
  std::vector<std::uint32_t> function_starts;
  // Instead: BTF that is loaded already, and what it says of each function.
  int btf_fd = 0;
  std::vector<struct bpf_func_info> functions;
  std::string name;
};

// A program in the kernel, or its refusal.
// BTF in the kernel; negative: -errno.
UniqueFd load_kernel_btf(std::span<const std::uint8_t> bytes);

class KernelProgram {
 public:
  // Map references in `insns` hold descriptors (BPF_PSEUDO_MAP_FD) or positions in
  // options.fd_array.
  static KernelProgram load(std::span<const struct bpf_insn> insns,
                            const KernelLoadOptions& options = {});

  bool is_loaded() const { return fd_.get() >= 0; }
  int error() const { return error_; }             // 0 or -errno of BPF_PROG_LOAD
  const std::string& log() const { return log_; }  // the verifier's words
  int fd() const { return fd_.get(); }
  // Runs it on `packet` (14 bytes at least; with context_in, the metadata comes first).
  KernelRun run(std::span<const std::uint8_t> packet, const KernelRunOptions& options = {}) const;

 private:
  UniqueFd fd_;
  UniqueFd btf_;
  int error_ = 0;
  std::string log_;
};

// A lddw of a map or map value, in the two slots the kernel wants. `offset` is used with
// BPF_PSEUDO_MAP_VALUE.
void append_map_reference(std::vector<struct bpf_insn>& insns, std::uint8_t dst, int map_fd,
                          std::uint8_t pseudo = BPF_PSEUDO_MAP_FD, std::uint32_t offset = 0);

// The possible CPUs of this machine: the number of slots of per-CPU values.
std::uint32_t kernel_possible_cpus();

}  // namespace lmn
