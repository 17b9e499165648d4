// SPDX-License-Identifier: Apache-2.0
//
// MapsWorld over bpf(2), unshare(2) and TUNSETIFF.
#include "contract/maps_world.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/perf_event.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace lmn {
namespace {

class NullSink final : public FrameSink {
 public:
  int check(std::uint32_t) const noexcept override { return 0; }
  void enqueue(XdpFrame*) noexcept override {}
  void flush() noexcept override {}
  std::uint64_t pending() const noexcept override { return 0; }
};

// The id of a program or map.
template <typename Info>
std::uint32_t object_id(int fd) {
  Info info;
  std::memset(&info, 0, sizeof info);
  union bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.info.bpf_fd = static_cast<std::uint32_t>(fd);
  attr.info.info_len = sizeof info;
  attr.info.info = reinterpret_cast<std::uintptr_t>(&info);
  return ::syscall(__NR_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof attr) == 0 ? info.id : 0;
}

Result<UniqueFd> make_tap(const std::string& name) {
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (!fd.is_open()) return make_error(system_error("open '/dev/net/tun'", errno));
  ifreq request;
  std::memset(&request, 0, sizeof request);
  std::memcpy(request.ifr_name, name.data(), std::min<std::size_t>(name.size(), IFNAMSIZ - 1));
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) {
    return make_error(system_error("TUNSETIFF", errno));
  }
  return fd;
}

}  // namespace

Result<std::unique_ptr<MapsWorld>> MapsWorld::create() {
  if (auto reason = why_no_kernel_oracle()) {
    return make_error(ErrorCode::kPermission, *reason);
  }
  std::unique_ptr<MapsWorld> world(new MapsWorld());
  LMN_CHECK_OK(world->enter_namespace());
  LMN_CHECK_OK(world->load_program(BPF_PROG_TYPE_XDP, BPF_XDP, 0));
  LMN_CHECK_OK(world->load_program(BPF_PROG_TYPE_XDP, BPF_XDP, 0));
  LMN_CHECK_OK(world->load_program(BPF_PROG_TYPE_XDP, BPF_XDP, BPF_F_XDP_HAS_FRAGS));
  LMN_CHECK_OK(world->load_program(BPF_PROG_TYPE_XDP, BPF_XDP_DEVMAP, 0));
  LMN_CHECK_OK(world->load_program(BPF_PROG_TYPE_XDP, BPF_XDP_DEVMAP, BPF_F_XDP_HAS_FRAGS));
  LMN_CHECK_OK(world->load_program(BPF_PROG_TYPE_XDP, BPF_XDP_CPUMAP, 0));
  LMN_CHECK_OK(world->load_program(BPF_PROG_TYPE_SCHED_CLS, 0, 0));
  world->other_file_.reset(::memfd_create("no-program", MFD_CLOEXEC));
  world->program_handles_.push_back(static_cast<std::uint32_t>(world->other_file_.get()));
  for (const std::uint32_t bad : {0x7ffffff0u, 0xffffffffu, 100'000u}) {
    world->program_handles_.push_back(bad);
  }
  LMN_CHECK_OK(world->make_sockets());
  LMN_CHECK_OK(world->make_events());
  MapSpec spec;
  spec.type = BPF_MAP_TYPE_ARRAY;
  spec.key_size = 4;
  spec.value_size = 8;
  spec.max_entries = 2;
  // The templates, then maps that fit one of them, or none by one field.
  LMN_CHECK_OK(world->make_map(spec));
  MapSpec growing = spec;
  growing.map_flags = BPF_F_INNER_MAP;
  LMN_CHECK_OK(world->make_map(growing));
  MapSpec hash = spec;
  hash.type = BPF_MAP_TYPE_HASH;
  LMN_CHECK_OK(world->make_map(hash));
  LMN_CHECK_OK(world->make_map(spec));
  growing.max_entries = 7;
  LMN_CHECK_OK(world->make_map(growing));
  hash.max_entries = 9;
  LMN_CHECK_OK(world->make_map(hash));
  spec.max_entries = 3;
  LMN_CHECK_OK(world->make_map(spec));
  hash.key_size = 5;
  LMN_CHECK_OK(world->make_map(hash));
  hash.map_flags = BPF_F_NO_PREALLOC;
  LMN_CHECK_OK(world->make_map(hash));
  world->map_handles_.push_back(static_cast<std::uint32_t>(world->other_file_.get()));
  for (const std::uint32_t bad : {0x7ffffff0u, 0xffffffffu}) world->map_handles_.push_back(bad);
  for (const std::uint32_t bad : {0u, 9999u, 0x80000001u, 0xffffffffu}) {
    world->ifindexes_.push_back(bad);
  }
  return world;
}

Result<void> MapsWorld::enter_namespace() {
  if (::unshare(CLONE_NEWNET) != 0) return make_error(system_error("unshare(CLONE_NEWNET)", errno));
  for (const char* name : {"lmnct0", "lmnct1"}) {
    LMN_TRY(UniqueFd tap, make_tap(name));
    taps_.push_back(std::move(tap));
    ifindexes_.push_back(::if_nametoindex(name));
  }
  ifindexes_.push_back(::if_nametoindex("lo"));
  for (const std::uint32_t ifindex : ifindexes_) sinks_[ifindex] = std::make_unique<NullSink>();
  return {};
}

Result<void> MapsWorld::load_program(std::uint32_t type, std::uint32_t attach_type,
                                     std::uint32_t flags) {
  bpf_insn insns[2];
  std::memset(insns, 0, sizeof insns);
  insns[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
  insns[0].imm = XDP_PASS;
  insns[1].code = BPF_JMP | BPF_EXIT;
  KernelLoadOptions options;
  options.type = type;
  options.expected_attach_type = attach_type;
  options.prog_flags = flags;
  KernelProgram program = KernelProgram::load(insns, options);
  if (!program.is_loaded()) return make_error(system_error("BPF_PROG_LOAD", -program.error()));
  const auto handle = static_cast<std::uint32_t>(program.fd());
  entries_[handle] = {.id = object_id<bpf_prog_info>(program.fd()),
                      .type = type,
                      .expected_attach_type = attach_type,
                      .has_frags = (flags & BPF_F_XDP_HAS_FRAGS) != 0};
  program_handles_.push_back(handle);
  programs_.push_back(std::move(program));
  return {};
}

FrameSink* MapsWorld::find_sink(std::uint32_t ifindex) noexcept {
  const auto found = sinks_.find(ifindex);
  return found == sinks_.end() ? nullptr : found->second.get();
}

const ProgramEntry* MapsWorld::acquire_program(std::uint32_t handle) noexcept {
  const auto found = entries_.find(handle);
  if (found == entries_.end()) return nullptr;
  ++held_programs_;
  return &found->second;
}

int MapsWorld::program_error(std::uint32_t handle) noexcept {
  return handle == static_cast<std::uint32_t>(other_file_.get()) ? -EINVAL : -EBADF;
}

void MapsWorld::release_program(const ProgramEntry*) noexcept { --held_programs_; }

Result<void> MapsWorld::make_map(const MapSpec& spec) {
  KernelMapOptions options;
  options.type = spec.type;
  options.key_size = spec.key_size;
  options.value_size = spec.value_size;
  options.max_entries = spec.max_entries;
  options.flags = spec.map_flags;
  KernelMap kernel_map = KernelMap::create(options);
  if (!kernel_map.is_created())
    return make_error(system_error("BPF_MAP_CREATE", kernel_map.error()));
  LMN_TRY(std::unique_ptr<Map> map, create_map(spec, {.cpu_count = kernel_possible_cpus()}, *this));
  map->set_id(object_id<bpf_map_info>(kernel_map.fd()));
  const auto handle = static_cast<std::uint32_t>(kernel_map.fd());
  maps_[handle] = std::move(map);
  map_handles_.push_back(handle);
  kernel_maps_.push_back(std::move(kernel_map));
  return {};
}

std::shared_ptr<const MapSpec> MapsWorld::map_template(std::size_t index) const {
  return std::make_shared<const MapSpec>(maps_.at(map_handles_[index])->spec());
}

Map* MapsWorld::acquire_map(std::uint32_t handle) noexcept {
  const auto found = maps_.find(handle);
  if (found == maps_.end()) return nullptr;
  ++held_maps_;
  return found->second.get();
}

int MapsWorld::map_error(std::uint32_t handle) noexcept { return program_error(handle); }
void MapsWorld::release_map(Map*) noexcept { --held_maps_; }

Result<void> MapsWorld::make_sockets() {
  for (int i = 0; i < 2; ++i) {
    UniqueFd fd(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
    if (!fd.is_open()) return make_error(system_error("socket(AF_XDP)", errno));
    const auto handle = static_cast<std::uint32_t>(fd.get());
    sockets_[handle] = std::make_unique<NullSink>();
    socket_handles_.push_back(handle);
    socket_fds_.push_back(std::move(fd));
  }
  other_socket_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  for (const int fd : {other_socket_.get(), other_file_.get(), 0x7ffffff0, -1}) {
    socket_handles_.push_back(static_cast<std::uint32_t>(fd));
  }
  return {};
}

FrameSink* MapsWorld::acquire_cpu_queue(std::uint32_t, std::uint32_t,
                                        const ProgramEntry* program) noexcept {
  ++held_sinks_;
  cpu_queues_.push_back({std::make_unique<NullSink>(), program});
  return cpu_queues_.back().sink.get();
}
void MapsWorld::release_cpu_queue(FrameSink* queue) noexcept {
  const auto found = std::ranges::find_if(
      cpu_queues_, [queue](const CpuQueue& one) { return one.sink.get() == queue; });
  if (found == cpu_queues_.end()) return;
  --held_sinks_;
  if (found->program != nullptr) release_program(found->program);
  cpu_queues_.erase(found);
}

FrameSink* MapsWorld::acquire_socket(std::uint32_t handle) noexcept {
  const auto found = sockets_.find(handle);
  if (found == sockets_.end()) return nullptr;
  ++held_sinks_;
  return found->second.get();
}

int MapsWorld::socket_error(std::uint32_t handle) noexcept {
  if (handle == static_cast<std::uint32_t>(other_socket_.get())) return -EOPNOTSUPP;
  return handle == static_cast<std::uint32_t>(other_file_.get()) ? -ENOTSOCK : -EBADF;
}
void MapsWorld::release_socket(FrameSink*) noexcept { --held_sinks_; }

Result<void> MapsWorld::make_events() {
  for (int i = 0; i < 2; ++i) {
    perf_event_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.size = sizeof attr;
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_BPF_OUTPUT;
    attr.sample_type = PERF_SAMPLE_RAW;
    UniqueFd fd(
        static_cast<int>(::syscall(__NR_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
    if (!fd.is_open()) return make_error(system_error("perf_event_open", errno));
    const auto handle = static_cast<std::uint32_t>(fd.get());
    LMN_TRY(events_[handle], PerfRing::create(1));
    event_handles_.push_back(handle);
    event_fds_.push_back(std::move(fd));
  }
  for (const int fd : {other_socket_.get(), other_file_.get(), 0x7ffffff0, -1}) {
    event_handles_.push_back(static_cast<std::uint32_t>(fd));
  }
  return {};
}

PerfRing* MapsWorld::acquire_event(std::uint32_t handle) noexcept {
  const auto found = events_.find(handle);
  if (found == events_.end()) return nullptr;
  ++held_sinks_;
  return found->second.get();
}
void MapsWorld::release_event(PerfRing*) noexcept { --held_sinks_; }

}  // namespace lmn
