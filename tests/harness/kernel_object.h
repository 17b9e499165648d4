// SPDX-License-Identifier: Apache-2.0
//
// KernelObject: an object file in the kernel, loaded by libbpf: its maps by name, its programs on
// one packet.
//
//   KernelObject object;
//   if (!object.load(path)) ...                     the kernel refuses it, or there is no right to
//   double ns = object.run_ns("prog", 1000);        BPF_PROG_TEST_RUN, per run
//
// Threads: one. Test and bench code only; tested by what uses it (bench/ternary_bench.cc).
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdint>
#include <string>
#include <vector>

namespace lmn {

class KernelObject {
 public:
  KernelObject() = default;
  ~KernelObject() { bpf_object__close(object_); }
  KernelObject(const KernelObject&) = delete;
  KernelObject& operator=(const KernelObject&) = delete;

  // REQUIRES: nothing is loaded yet.
  bool load(const std::string& path) {
    libbpf_set_print([](enum libbpf_print_level, const char*, std::va_list) { return 0; });
    object_ = bpf_object__open(path.c_str());
    return object_ != nullptr && bpf_object__load(object_) == 0;
  }
  int map_fd(const char* map) const { return bpf_object__find_map_fd_by_name(object_, map); }
  void set(const char* map, std::uint32_t index, const void* value) const {
    bpf_map_update_elem(map_fd(map), &index, value, BPF_ANY);
  }
  void get(const char* map, std::uint32_t index, void* value) const {
    bpf_map_lookup_elem(map_fd(map), &index, value);
  }
  // On a packet of 60 zeros; 0 when it does not run.
  double run_ns(const char* program, std::uint32_t repeat) const {
    const std::vector<std::uint8_t> packet(60);
    bpf_test_run_opts options = {};
    options.sz = sizeof options;
    options.data_in = packet.data();
    options.data_size_in = static_cast<std::uint32_t>(packet.size());
    options.repeat = static_cast<int>(repeat);
    const int fd = bpf_program__fd(bpf_object__find_program_by_name(object_, program));
    return bpf_prog_test_run_opts(fd, &options) == 0 ? options.duration : 0;
  }

 private:
  struct bpf_object* object_ = nullptr;
};

}  // namespace lmn
