// SPDX-License-Identifier: Apache-2.0
//
// MapsWorld: the programs, maps and ports that map values name, alike for the kernel and for LMN.
//
// A map's value can be a program descriptor or an ifindex. So that both sides can be given the very
// same bytes, the programs are loaded into the kernel and the ports made as TAPs in a network
// namespace of this process's own; to LMN's maps the same numbers mean ProgramEntrys with the
// kernel's ids and sinks for the same interfaces.
//
//   auto world = MapsWorld::create();
//   if (!world) GTEST_SKIP() << world.error().message;
//
// Counts the references to programs and maps that LMN's maps hold, so that a test can see a leak.
// Threads: one. Test code only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "harness/kernel_oracle.h"
#include "maps/map.h"
#include "maps/perf_ring.h"

namespace lmn {

class MapsWorld final : public MapHost {
 public:
  // Errors: kPermission or kIo with the reason that a skipping test prints. Moves the calling
  // process into a network namespace of its own.
  static Result<std::unique_ptr<MapsWorld>> create();

  // Descriptors of programs of several kinds, of things that are no program, and numbers that are
  // no descriptor.
  const std::vector<std::uint32_t>& program_handles() const { return program_handles_; }
  // Interfaces that are there, then ones that are not.
  const std::vector<std::uint32_t>& ifindexes() const { return ifindexes_; }
  // Descriptors of maps of several shapes, of things that are no map, and numbers that are none.
  // The first map_template_count() are different shapes, each to be the template of a map of maps.
  const std::vector<std::uint32_t>& map_handles() const { return map_handles_; }
  std::size_t map_template_count() const { return 3; }
  std::shared_ptr<const MapSpec> map_template(std::size_t index) const;
  // Descriptors of AF_XDP sockets, of another socket and of no socket, and numbers that are none.
  const std::vector<std::uint32_t>& socket_handles() const { return socket_handles_; }
  // Descriptors of perf events, of something else, and numbers that are none.
  const std::vector<std::uint32_t>& event_handles() const { return event_handles_; }
  int held_programs() const { return held_programs_; }
  int held_maps() const { return held_maps_; }
  int held_sinks() const { return held_sinks_; }  // CPU queues, sockets, events

  // MapHost, for LMN's side
  FrameSink* find_sink(std::uint32_t ifindex) noexcept override;
  const ProgramEntry* acquire_program(std::uint32_t handle) noexcept override;
  int program_error(std::uint32_t handle) noexcept override;
  void release_program(const ProgramEntry* entry) noexcept override;
  Map* acquire_map(std::uint32_t handle) noexcept override;
  int map_error(std::uint32_t handle) noexcept override;
  void release_map(Map* map) noexcept override;
  FrameSink* acquire_cpu_queue(std::uint32_t cpu, std::uint32_t queue_size,
                               const ProgramEntry* program) noexcept override;
  void release_cpu_queue(FrameSink* queue) noexcept override;
  FrameSink* acquire_socket(std::uint32_t handle) noexcept override;
  int socket_error(std::uint32_t handle) noexcept override;
  void release_socket(FrameSink* socket) noexcept override;
  PerfRing* acquire_event(std::uint32_t handle) noexcept override;
  void release_event(PerfRing* ring) noexcept override;

 private:
  MapsWorld() = default;
  Result<void> enter_namespace();
  Result<void> load_program(std::uint32_t type, std::uint32_t attach_type, std::uint32_t flags);
  Result<void> make_map(const MapSpec& spec);
  Result<void> make_sockets();
  Result<void> make_events();

  std::vector<KernelProgram> programs_;
  std::vector<UniqueFd> taps_;
  UniqueFd other_file_;
  std::map<std::uint32_t, ProgramEntry> entries_;
  std::map<std::uint32_t, std::unique_ptr<FrameSink>> sinks_;
  std::vector<KernelMap> kernel_maps_;
  std::map<std::uint32_t, std::unique_ptr<Map>> maps_;
  std::vector<std::uint32_t> map_handles_;
  std::vector<UniqueFd> socket_fds_;
  UniqueFd other_socket_;
  struct CpuQueue {
    std::unique_ptr<FrameSink> sink;
    const ProgramEntry* program;
  };
  std::vector<CpuQueue> cpu_queues_;
  std::map<std::uint32_t, std::unique_ptr<FrameSink>> sockets_;
  std::vector<std::uint32_t> socket_handles_;
  std::vector<UniqueFd> event_fds_;
  std::map<std::uint32_t, std::unique_ptr<PerfRing>> events_;
  std::vector<std::uint32_t> event_handles_;
  std::vector<std::uint32_t> program_handles_;
  std::vector<std::uint32_t> ifindexes_;
  int held_programs_ = 0;
  int held_maps_ = 0;
  int held_sinks_ = 0;
};

}  // namespace lmn
