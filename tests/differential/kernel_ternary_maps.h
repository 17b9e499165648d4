// SPDX-License-Identifier: Apache-2.0
//
// TernaryMaps over maps of the kernel: what docs/howto/ternary.md tells users of libbpf to do.
//
// Threads: one. Test and bench code only; tested by ternary_test.cc.
#pragma once

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <span>

#include "maps/ternary_builder.h"

namespace lmn {

class KernelTernaryMaps final : public TernaryMaps {
 public:
  struct Options {
    int masks = -1;
    int tables = -1;
    int state = -1;
    TernaryShape shape;
    std::uint32_t rules_max = 16'384;  // in one table
  };
  explicit KernelTernaryMaps(const Options& options) : options_(options) {}
  KernelTernaryMaps(const KernelTernaryMaps&) = delete;
  KernelTernaryMaps& operator=(const KernelTernaryMaps&) = delete;
  ~KernelTernaryMaps() override {
    for (const auto& [number, fd] : inner_) ::close(fd);
  }
  Result<void> write_state(std::uint32_t state) override {
    const std::uint32_t zero = 0;
    return result(bpf_map_update_elem(options_.state, &zero, &state, BPF_ANY));
  }
  Result<void> write_mask(std::uint32_t index, std::span<const std::uint8_t> value) override {
    return result(bpf_map_update_elem(options_.masks, &index, value.data(), BPF_ANY));
  }
  Result<std::uint32_t> create_table() override {
    bpf_map_create_opts create = {};
    create.sz = sizeof create;
    create.map_flags = BPF_F_NO_PREALLOC;
    const int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "acl_table", options_.shape.key_bytes,
                                  4 + options_.shape.value_bytes, options_.rules_max, &create);
    if (fd < 0) return make_error(system_error("inner map", -fd));
    inner_[next_] = fd;
    return next_++;
  }
  void drop_table(std::uint32_t table) override {
    ::close(inner_.at(table));
    inner_.erase(table);
  }
  Result<void> write_table(std::uint32_t index, std::uint32_t table) override {
    return result(bpf_map_update_elem(options_.tables, &index, &inner_.at(table), BPF_ANY));
  }
  Result<void> put(std::uint32_t table, std::span<const std::uint8_t> key,
                   std::span<const std::uint8_t> value) override {
    return result(bpf_map_update_elem(inner_.at(table), key.data(), value.data(), BPF_ANY));
  }
  Result<void> erase(std::uint32_t table, std::span<const std::uint8_t> key) override {
    return result(bpf_map_delete_elem(inner_.at(table), key.data()));
  }
  // The kernel waits for a grace period at each write of a map of maps.
  Result<void> wait_for_lookups(std::uint32_t index, std::uint32_t table) override {
    return write_table(index, table);
  }

 private:
  static Result<void> result(int error) {
    if (error == 0) return {};
    return make_error(system_error("map of the kernel", -error));
  }
  Options options_;
  std::map<std::uint32_t, int> inner_;
  std::uint32_t next_ = 1;
};

}  // namespace lmn
