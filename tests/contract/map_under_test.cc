// SPDX-License-Identifier: Apache-2.0
//
// The two sides of MapUnderTest.
#include "contract/map_under_test.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace lmn {
namespace {

class LmnMap final : public MapUnderTest {
 public:
  explicit LmnMap(std::unique_ptr<Map> map) : map_(std::move(map)) {}
  int update(const Bytes& key, const Bytes& value, std::uint64_t flags) override {
    return map_->user_update(address(key), value, flags);
  }
  int lookup(const Bytes& key, Bytes& out, std::uint64_t flags) override {
    return map_->user_lookup(address(key), out, flags);
  }
  int erase(const Bytes& key) override { return map_->user_erase(address(key)); }
  int next_key(const Bytes& key, Bytes& next) override {
    return map_->user_next_key(address(key), next.data());
  }
  int lookup_and_erase(const Bytes& key, Bytes& out, std::uint64_t flags) override {
    return map_->user_lookup_and_erase(address(key), out, flags);
  }
  int freeze() override { return map_->freeze(); }
  int batch(Batch what, MapBatch& batch) override {
    switch (what) {
      case Batch::kLookup:
        return map_->user_lookup_batch(batch);
      case Batch::kLookupAndErase:
        return map_->user_lookup_and_erase_batch(batch);
      case Batch::kUpdate:
        return map_->user_update_batch(batch);
      case Batch::kErase:
        return map_->user_erase_batch(batch);
    }
    return -EINVAL;
  }

 private:
  static const void* address(const Bytes& key) { return key.empty() ? nullptr : key.data(); }
  std::unique_ptr<Map> map_;
};

class OracleMap final : public MapUnderTest {
 public:
  explicit OracleMap(KernelMap map) : map_(std::move(map)) {}
  int update(const Bytes& key, const Bytes& value, std::uint64_t flags) override {
    return map_.update(key, value, flags);
  }
  int lookup(const Bytes& key, Bytes& out, std::uint64_t flags) override {
    return map_.lookup(key, out, flags);
  }
  int erase(const Bytes& key) override { return map_.erase(key); }
  int next_key(const Bytes& key, Bytes& next) override { return map_.next_key(key, next); }
  int lookup_and_erase(const Bytes& key, Bytes& out, std::uint64_t flags) override {
    return map_.lookup_and_erase(key, out, flags);
  }
  int freeze() override { return map_.freeze(); }
  int batch(Batch what, MapBatch& batch) override {
    constexpr bpf_cmd kCommands[] = {BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_AND_DELETE_BATCH,
                                     BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH};
    union bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.batch.map_fd = static_cast<std::uint32_t>(map_.fd());
    attr.batch.in_batch = reinterpret_cast<std::uintptr_t>(batch.from);
    attr.batch.out_batch = reinterpret_cast<std::uintptr_t>(batch.next);
    attr.batch.keys = reinterpret_cast<std::uintptr_t>(batch.keys);
    attr.batch.values = reinterpret_cast<std::uintptr_t>(batch.values);
    attr.batch.count = batch.count;
    attr.batch.elem_flags = batch.elem_flags;
    attr.batch.flags = batch.flags;
    const long result =
        ::syscall(__NR_bpf, kCommands[static_cast<std::size_t>(what)], &attr, sizeof attr);
    const int error = result == 0 ? 0 : -errno;
    batch.count = attr.batch.count;
    return error;
  }

 private:
  KernelMap map_;
};

}  // namespace

int kernel_create_error(const MapSpec& spec, int inner_fd, int btf_fd) {
  union bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.map_type = spec.type;
  attr.key_size = spec.key_size;
  attr.value_size = spec.value_size;
  attr.max_entries = spec.max_entries;
  attr.map_flags = spec.map_flags;
  attr.numa_node = spec.numa_node;
  attr.map_extra = spec.map_extra;
  attr.inner_map_fd = static_cast<std::uint32_t>(inner_fd);
  attr.btf_fd = static_cast<std::uint32_t>(btf_fd);
  attr.btf_key_type_id = spec.btf_key_type_id;
  attr.btf_value_type_id = spec.btf_value_type_id;
  const long fd = ::syscall(__NR_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
  if (fd < 0) return -errno;
  ::close(static_cast<int>(fd));
  return 0;
}

std::unique_ptr<MapUnderTest> make_lmn_map(const MapSpec& spec, MapHost& host) {
  auto map = create_map(spec, {.cpu_count = kernel_possible_cpus(), .hash_seed = 0x5eed}, host);
  return map ? std::make_unique<LmnMap>(std::move(*map)) : nullptr;
}

std::unique_ptr<MapUnderTest> make_kernel_map(const MapSpec& spec, int inner_fd, int btf_fd) {
  KernelMapOptions options;
  options.type = spec.type;
  options.key_size = spec.key_size;
  options.value_size = spec.value_size;
  options.max_entries = spec.max_entries;
  options.flags = spec.map_flags;
  options.map_extra = spec.map_extra;
  options.inner_map_fd = inner_fd;
  if (btf_fd > 0) {
    options.btf_fd = btf_fd;
    options.btf_key_type_id = spec.btf_key_type_id;
    options.btf_value_type_id = spec.btf_value_type_id;
  }
  KernelMap map = KernelMap::create(options);
  return map.is_created() ? std::make_unique<OracleMap>(std::move(map)) : nullptr;
}

}  // namespace lmn
