// SPDX-License-Identifier: Apache-2.0
//
// The kernel of this machine as an oracle for tests: loads raw instructions with bpf(2) and reports
// what it said.
//
// Only for tests; nothing shipped includes it. Without the right to load programs (or without
// bpf(2)) the test skips and prints why: GTEST_SKIP() << why_unusable(). Raw system calls and no
// libbpf, so that what is loaded is what the test made. Threads: one. Tested by its users.
#pragma once

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

namespace lmn::kernel_oracle {

struct Load {
  std::uint32_t type = BPF_PROG_TYPE_XDP;
  std::string license = "GPL";
  std::uint32_t expected_attach_type = 0;
  std::uint32_t log_level = 1;
  std::span<const int> fd_array{};  // what BPF_PSEUDO_MAP_IDX indexes
  std::string name = "lmn_test";
};

struct Verdict {
  UniqueFd fd;
  int error = 0;  // errno, 0 when accepted
  std::string log;

  bool is_accepted() const { return error == 0; }
  bool says(std::string_view words) const { return log.find(words) != std::string::npos; }
};

inline int bpf(int command, bpf_attr& attr) {
  return static_cast<int>(::syscall(SYS_bpf, command, &attr, sizeof attr));
}

inline Verdict load(std::span<const std::uint8_t> raw, const Load& options = {}) {
  std::string log(1 << 18, '\0');
  bpf_attr attr{};
  attr.prog_type = options.type;
  attr.insns = reinterpret_cast<std::uintptr_t>(raw.data());
  attr.insn_cnt = static_cast<std::uint32_t>(raw.size() / 8);
  attr.license = reinterpret_cast<std::uintptr_t>(options.license.c_str());
  attr.log_level = options.log_level;
  attr.log_buf = reinterpret_cast<std::uintptr_t>(log.data());
  attr.log_size = static_cast<std::uint32_t>(log.size());
  attr.expected_attach_type = options.expected_attach_type;
  attr.fd_array = reinterpret_cast<std::uintptr_t>(options.fd_array.data());
  std::memcpy(attr.prog_name, options.name.data(), std::min<std::size_t>(options.name.size(), 15));
  Verdict verdict;
  const int fd = bpf(BPF_PROG_LOAD, attr);
  verdict.error = fd < 0 ? errno : 0;
  verdict.fd = UniqueFd(fd);
  verdict.log = log.substr(0, log.find('\0'));
  return verdict;
}

inline UniqueFd create_map(std::uint32_t type, std::uint32_t key_size, std::uint32_t value_size,
                           std::uint32_t max_entries, std::uint32_t flags = 0) {
  bpf_attr attr{};
  attr.map_type = type;
  attr.key_size = key_size;
  attr.value_size = value_size;
  attr.max_entries = max_entries;
  attr.map_flags = flags;
  return UniqueFd(bpf(BPF_MAP_CREATE, attr));
}

// Empty when programs can be loaded here, else the reason for the skip.
inline std::string why_unusable() {
  const std::uint8_t program[] = {0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0};
  const Verdict verdict = load(program);
  if (verdict.is_accepted()) return {};
  return std::string("this process may not load BPF programs: ") + std::strerror(verdict.error);
}

}  // namespace lmn::kernel_oracle
