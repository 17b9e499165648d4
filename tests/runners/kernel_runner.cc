// SPDX-License-Identifier: Apache-2.0
//
// The kernel behind ObjectRunner, reached as every user reaches it: libbpf opens and loads the
// object, BPF_PROG_TEST_RUN runs one packet. libbpf here and not the raw calls of
// harness/kernel_oracle.h, because how an ELF object becomes programs and maps is part of what LMN
// is compared with.
// Source: libbpf 1.1 headers; Linux 6.18, net/bpf/test_run.c.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <map>

#include "base/unique_fd.h"
#include "harness/kernel_oracle.h"
#include "runners/object_runner.h"

namespace lmn {
namespace {

constexpr std::size_t kPacketOutMax = 8192;
constexpr std::uint32_t kLoopbackIfindex = 1;

bool is_per_cpu(std::uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

std::uint32_t id_of(int map_fd) {
  struct bpf_map_info info = {};
  std::uint32_t size = sizeof info;
  return bpf_obj_get_info_by_fd(map_fd, &info, &size) == 0 ? info.id : 0;
}

// What inner maps of a map of maps look like. libbpf forgets it when it loads.
struct InnerShape {
  enum bpf_map_type type = BPF_MAP_TYPE_UNSPEC;
  std::uint32_t key_size = 0;
  std::uint32_t value_size = 0;
  std::uint32_t max_entries = 0;
  std::uint32_t flags = 0;
};
using InnerShapes = std::map<std::string, InnerShape>;

InnerShapes inner_shapes_of(struct bpf_object* object) {
  InnerShapes shapes;
  struct bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    const struct bpf_map* inner = bpf_map__inner_map(map);
    if (inner == nullptr) continue;
    shapes[bpf_map__name(map)] = {bpf_map__type(inner), bpf_map__key_size(inner),
                                  bpf_map__value_size(inner), bpf_map__max_entries(inner),
                                  bpf_map__map_flags(inner)};
  }
  return shapes;
}

struct ObjectDeleter {
  void operator()(struct bpf_object* object) const { bpf_object__close(object); }
};
using ObjectPointer = std::unique_ptr<struct bpf_object, ObjectDeleter>;

class KernelRunner final : public ObjectRunner {
 public:
  KernelRunner(ObjectPointer object, int program_fd, InnerShapes inner_shapes)
      : object_(std::move(object)),
        program_fd_(program_fd),
        inner_shapes_(std::move(inner_shapes)) {
    struct bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object_.get()) {
      Opened opened{bpf_map__fd(map), {}};
      opened.shape.name = bpf_map__name(map);
      opened.shape.id = id_of(opened.fd);
      opened.shape.type = bpf_map__type(map);
      opened.shape.key_size = bpf_map__key_size(map);
      opened.shape.value_size = bpf_map__value_size(map);
      opened.shape.max_entries = bpf_map__max_entries(map);
      opened.shape.user_value_bytes =
          is_per_cpu(opened.shape.type)
              ? (std::size_t{opened.shape.value_size} + 7) / 8 * 8 * kernel_possible_cpus()
              : opened.shape.value_size;
      maps_.push_back(std::move(opened));
    }
  }

  std::string_view name() const override { return "kernel"; }

  std::vector<MapShape> maps() const override {
    std::vector<MapShape> shapes;
    for (const Opened& map : maps_) shapes.push_back(map.shape);
    return shapes;
  }

  std::uint32_t redirect_ifindex() const override { return kLoopbackIfindex; }

  int program_fd() const override { return program_fd_; }

  Result<PacketResult> run(std::span<const std::uint8_t> packet) override {
    return run_with(nullptr, packet);
  }

  Result<PacketResult> run_from(std::uint32_t ifindex,
                                std::span<const std::uint8_t> packet) override {
    struct xdp_md context = {};
    context.data_end = static_cast<std::uint32_t>(packet.size());
    context.ingress_ifindex = ifindex;
    return run_with(&context, packet);
  }

  Result<void> set_entry(std::string_view map, std::span<const std::uint8_t> key,
                         std::span<const std::uint8_t> value) override {
    LMN_TRY(const Opened* opened, find(map));
    if (key.size() != opened->shape.key_size || value.size() != opened->shape.user_value_bytes) {
      return make_error(ErrorCode::kInvalidArgument, "key or value of another size than the map's");
    }
    const int error = bpf_map_update_elem(opened->fd, key.data(), value.data(), BPF_ANY);
    if (error != 0)
      return make_error(system_error("BPF_MAP_UPDATE_ELEM " + std::string(map), -error));
    return {};
  }

  Result<void> set_inner_map(std::string_view map, std::span<const std::uint8_t> key,
                             std::span<const MapEntry> contents) override {
    LMN_TRY(const Opened* outer, find(map));
    const auto shape = inner_shapes_.find(std::string(map));
    if (shape == inner_shapes_.end() || key.size() != outer->shape.key_size) {
      return make_error(ErrorCode::kInvalidArgument, "no map of maps, or a key of another size");
    }
    const InnerShape& inner = shape->second;
    struct bpf_map_create_opts options = {};
    options.sz = sizeof options;
    options.map_flags = inner.flags;
    const UniqueFd fd(bpf_map_create(inner.type, "inner", inner.key_size, inner.value_size,
                                     inner.max_entries, &options));
    if (!fd.is_open()) return make_error(system_error("BPF_MAP_CREATE inner map", errno));
    for (const MapEntry& each : contents) {
      const int error = bpf_map_update_elem(fd.get(), each.key.data(), each.value.data(), BPF_ANY);
      if (error != 0) return make_error(system_error("BPF_MAP_UPDATE_ELEM inner map", -error));
    }
    const int number = fd.get();
    const int error = bpf_map_update_elem(outer->fd, key.data(), &number, BPF_ANY);
    if (error != 0) return make_error(system_error("BPF_MAP_UPDATE_ELEM map of maps", -error));
    return {};
  }

  Result<std::vector<std::vector<std::uint8_t>>> records(std::string_view ring) override {
    LMN_TRY(const Opened* opened, find(ring));
    std::vector<std::vector<std::uint8_t>> all;
    const auto take = [](void* to, void* data, std::size_t bytes) {
      const auto* from = static_cast<const std::uint8_t*>(data);
      static_cast<decltype(all)*>(to)->emplace_back(from, from + bytes);
      return 0;
    };
    struct ring_buffer* reader = ring_buffer__new(opened->fd, take, &all, nullptr);
    if (reader == nullptr) return make_error(system_error("ring_buffer__new", errno));
    const int result = ring_buffer__consume(reader);
    ring_buffer__free(reader);
    if (result < 0) return make_error(system_error("ring_buffer__consume", -result));
    return all;
  }

  Result<std::optional<std::vector<std::uint8_t>>> entry(
      std::string_view map, std::span<const std::uint8_t> key) override {
    LMN_TRY(const Opened* opened, find(map));
    std::vector<std::uint8_t> value(opened->shape.user_value_bytes);
    const int error = bpf_map_lookup_elem(opened->fd, key.data(), value.data());
    if (error == -ENOENT) return std::optional<std::vector<std::uint8_t>>();
    if (error != 0)
      return make_error(system_error("BPF_MAP_LOOKUP_ELEM " + std::string(map), -error));
    return std::optional(std::move(value));
  }

  Result<std::vector<MapEntry>> entries(std::string_view map) override {
    LMN_TRY(const Opened* opened, find(map));
    std::vector<MapEntry> found;
    std::vector<std::uint8_t> key(opened->shape.key_size);
    std::vector<std::uint8_t> next(opened->shape.key_size);
    const void* from = nullptr;
    while (bpf_map_get_next_key(opened->fd, from, next.data()) == 0) {
      key = next;
      from = key.data();
      LMN_TRY(auto value, entry(map, key));
      if (value) found.push_back({key, *std::move(value)});
    }
    std::ranges::sort(found);
    return found;
  }

 private:
  struct Opened {
    int fd;
    MapShape shape;
  };

  // `context`: null, or where the packet comes from.
  Result<PacketResult> run_with(const struct xdp_md* context,
                                std::span<const std::uint8_t> packet) {
    PacketResult result;
    result.packet.resize(kPacketOutMax);
    struct bpf_test_run_opts options = {};
    options.sz = sizeof options;
    options.data_in = packet.data();
    options.data_size_in = static_cast<std::uint32_t>(packet.size());
    options.data_out = result.packet.data();
    options.data_size_out = kPacketOutMax;
    options.ctx_in = context;
    options.ctx_size_in = context == nullptr ? 0 : sizeof *context;
    options.repeat = 1;
    const int error = bpf_prog_test_run_opts(program_fd_, &options);
    if (error != 0) return make_error(system_error("BPF_PROG_TEST_RUN", -error));
    result.verdict = options.retval;
    result.packet.resize(options.data_size_out);
    return result;
  }

  Result<const Opened*> find(std::string_view map) const {
    for (const Opened& opened : maps_) {
      // libbpf puts the object's name before ".bss" and its kind; the section is what tests know.
      if (opened.shape.name == map || (map.starts_with('.') && opened.shape.name.ends_with(map)))
        return &opened;
    }
    return make_error(ErrorCode::kNotFound, "no map '" + std::string(map) + "' in the object");
  }

  ObjectPointer object_;
  int program_fd_;
  InnerShapes inner_shapes_;
  std::vector<Opened> maps_;
};

// libbpf's warnings; its debug and information levels drown them.
int print_warnings(enum libbpf_print_level level, const char* format, va_list arguments) {
  return level == LIBBPF_WARN ? std::vfprintf(stderr, format, arguments) : 0;
}

Result<void> pin_thread_to_cpu0() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(0, &cpus);
  if (::sched_setaffinity(0, sizeof cpus, &cpus) != 0)
    return make_error(system_error("pin to CPU 0", errno));
  return {};
}

Result<struct bpf_program*> choose_program(struct bpf_object* object, const std::string& wanted) {
  struct bpf_program* chosen = nullptr;
  struct bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object) {
    const bool is_wanted = wanted.empty() || wanted == bpf_program__name(program);
    const bool is_chosen = is_wanted && chosen == nullptr;
    bpf_program__set_autoload(program, is_chosen);
    if (is_chosen) chosen = program;
  }
  if (chosen == nullptr) return make_error(ErrorCode::kNotFound, "no program '" + wanted + "'");
  return chosen;
}

}  // namespace

Result<std::unique_ptr<ObjectRunner>> open_kernel_runner(const std::string& path,
                                                         const std::string& program) {
  LMN_CHECK_OK(pin_thread_to_cpu0());
  libbpf_set_print(print_warnings);
  errno = 0;
  ObjectPointer object(bpf_object__open_file(path.c_str(), nullptr));
  if (object == nullptr) return make_error(system_error("libbpf: open " + path, errno));
  LMN_TRY(struct bpf_program * chosen, choose_program(object.get(), program));
  struct bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object.get()) bpf_map__set_pin_path(map, nullptr);
  InnerShapes inner_shapes = inner_shapes_of(object.get());
  const int error = bpf_object__load(object.get());
  if (error != 0) return make_error(system_error("libbpf: load " + path, -error));
  const int fd = bpf_program__fd(chosen);
  return std::make_unique<KernelRunner>(std::move(object), fd, std::move(inner_shapes));
}

}  // namespace lmn
