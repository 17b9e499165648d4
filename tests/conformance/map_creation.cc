// SPDX-License-Identifier: Apache-2.0
//
// Goal: every map of the kernel's test objects that an XDP program could use is made here as it is
// by the kernel of this machine, or refused with the same errno.
// Method: each object of a folder is read, its types are loaded into the kernel, and each of its
// maps is made on both sides with its types, and if that is refused without them, as libbpf does.
// Types of maps that LMN has not are counted by name.
//
//   lmn_map_creation DIR [FILE...]
//
// Prints every map with another answer, and the sums. Exit status 0: none had; 77: cannot be run.
// Source: libbpf 1.5, bpf_object__create_map (what is passed).
#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "abi/map_type_info.h"
#include "base/file.h"
#include "base/unique_fd.h"
#include "harness/kernel_oracle.h"
#include "maps/map.h"
#include "object/object_reader.h"

namespace lmn {
namespace {

constexpr std::size_t kObjectBytesMax = 64u << 20;

// Values that name other things are not written here.
class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

UniqueFd load_types(const Btf& btf) {
  union bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.btf = reinterpret_cast<std::uintptr_t>(btf.raw().data());
  attr.btf_size = static_cast<std::uint32_t>(btf.raw().size());
  return UniqueFd(static_cast<int>(::syscall(__NR_bpf, BPF_BTF_LOAD, &attr, sizeof attr)));
}

MapSpec without_types(MapSpec spec) {
  spec.btf = nullptr;
  spec.btf_key_type_id = spec.btf_value_type_id = 0;
  return spec;
}

// What libbpf passes: no types where it knows that the kernel takes none, sizes that depend on the
// machine.
MapSpec as_passed(const MapSpec& spec, const std::shared_ptr<const Btf>& btf) {
  const MapTypeInfo* info = find_map_type_info(spec.type);
  MapSpec passed = spec;
  if (info == nullptr || (info->flags & kMapNoBtf) != 0 || btf == nullptr) {
    passed = without_types(passed);
  } else {
    passed.btf = btf;
  }
  if (spec.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY && spec.max_entries == 0) {
    passed.max_entries = kernel_possible_cpus();
  }
  passed.contents.clear();
  passed.is_frozen_at_load = false;
  if (spec.inner != nullptr) {
    passed.inner = std::make_shared<const MapSpec>(as_passed(*spec.inner, btf));
  }
  return passed;
}

class Comparer {
 public:
  void compare_object(const std::filesystem::path& path) {
    const auto bytes = read_file(path.string(), kObjectBytesMax);
    if (!bytes) return;
    const auto object = read_object(*bytes);
    if (!object) {
      ++unread_;
      return;
    }
    std::shared_ptr<const Btf> btf = object->btf;
    UniqueFd types;
    if (btf != nullptr) types = load_types(*btf);
    if (!types.is_open()) btf = nullptr;  // the kernel refuses it: maps come without
    for (const MapSpec& spec : object->maps) compare_map(path, spec, btf, types.get());
  }

  int report() const {
    for (const auto& [type, count] : lacking_) {
      fmt::print("not made here: {} maps: {}\n", count, lack_of(type));
    }
    fmt::print(
        "{} maps: {} made by both, {} refused by both with the same errno, {} different; "
        "{} without their types by both; {} objects not readable\n",
        made_ + refused_ + different_, made_, refused_, different_, untyped_, unread_);
    return different_ == 0 && made_ > 0 ? 0 : 1;
  }

 private:
  static std::string lack_of(std::uint32_t type) {
    NoHost host;
    MapSpec spec;
    spec.type = type;
    const auto map = create_map(spec, {}, host);
    return map ? std::string("made") : map.error().message;
  }

  int our_error(const MapSpec& spec) {
    const auto map = create_map(spec, {.cpu_count = kernel_possible_cpus()}, host_);
    return map ? 0 : -map.error().errno_value;
  }

  static KernelMap kernel_map(const MapSpec& spec, int btf_fd) {
    KernelMapOptions options;
    options.type = spec.type;
    options.key_size = spec.key_size;
    options.value_size = spec.value_size;
    options.max_entries = spec.max_entries;
    options.flags = spec.map_flags;
    options.map_extra = spec.map_extra;
    options.numa_node = spec.numa_node;
    if (spec.btf != nullptr && spec.btf_value_type_id != 0) {
      options.btf_fd = btf_fd;
      options.btf_key_type_id = spec.btf_key_type_id;
      options.btf_value_type_id = spec.btf_value_type_id;
    }
    KernelMap inner;
    // Without a template libbpf passes descriptor 0, which is something else on each machine.
    options.inner_map_fd = -1;
    if (spec.inner != nullptr) {
      inner = kernel_map(*spec.inner, btf_fd);
      if (inner.is_created()) options.inner_map_fd = inner.fd();
    }
    return KernelMap::create(options);
  }

  void compare_map(const std::filesystem::path& path, const MapSpec& spec,
                   const std::shared_ptr<const Btf>& btf, int btf_fd) {
    const MapSpec& innermost = spec.inner != nullptr ? *spec.inner : spec;
    for (const std::uint32_t type : {spec.type, innermost.type}) {
      if (find_map_type_info(type) != nullptr) continue;
      ++lacking_[type];
      return;
    }
    const MapSpec typed = as_passed(spec, btf);
    int ours = our_error(typed);
    int theirs = kernel_map(typed, btf_fd).error();
    const bool has_types = typed.btf != nullptr && typed.btf_value_type_id != 0;
    if (ours == theirs && ours != 0 && has_types) {
      ++untyped_;
      const MapSpec bare = without_types(typed);
      ours = our_error(bare);
      theirs = kernel_map(bare, 0).error();
    }
    if (ours != theirs) {
      ++different_;
      fmt::print(
          "{}: map '{}' (type {}, key {}, value {}, entries {}, flags {:#x}): kernel {}, "
          "ours {}\n",
          path.filename().string(), spec.name, spec.type, spec.key_size, spec.value_size,
          spec.max_entries, spec.map_flags, theirs, ours);
      return;
    }
    ++(ours == 0 ? made_ : refused_);
  }

  NoHost host_;
  std::map<std::uint32_t, int> lacking_;
  int made_ = 0;
  int refused_ = 0;
  int different_ = 0;
  int untyped_ = 0;
  int unread_ = 0;
};

int compare_folder(const std::filesystem::path& folder, const std::set<std::string>& only) {
  if (auto reason = why_no_kernel_oracle()) {
    fmt::print("skipped: {}\n", *reason);
    return 77;
  }
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != ".o" || name.ends_with(".linked1.o")) continue;
    if (only.empty() || only.contains(name)) paths.push_back(entry.path());
  }
  if (paths.empty()) {
    fmt::print("skipped: no objects in '{}'\n", folder.string());
    return 77;
  }
  std::ranges::sort(paths);
  Comparer comparer;
  for (const auto& path : paths) comparer.compare_object(path);
  return comparer.report();
}

}  // namespace
}  // namespace lmn

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print("usage: lmn_map_creation DIR [FILE...]\n");
    return 2;
  }
  return lmn::compare_folder(argv[1], std::set<std::string>(argv + 2, argv + argc));
}
