// SPDX-License-Identifier: Apache-2.0
//
// Engine::remove_port: a port goes while others run.
//
// In the order in which Linux unregisters a netdev: first nobody finds it any more, then what holds
// it lets go, then whoever still uses it is waited for, and last it is freed. A control thread that
// writes a devmap may have found it just before: it is a reader from finding to putting it in
// (maps/devmap.cc), so one grace period lies before the maps are told and one behind.
// Frames and their pool are the worker's: the last step is done between two of its rounds, on its
// thread.
// Tested by engine_threads_test.cc.
// Source: Linux 6.18, kernel/bpf/devmap.c (dev_map_notification), net/core/dev.c
// (unregister_netdevice_many_notify).
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "engine/engine.h"

namespace lmn {

std::vector<Map*> Engine::all_maps() {
  const MutexGuard guard(lists_lock_);
  std::vector<Map*> maps;
  for (const auto& object : objects_) {
    for (const auto& map : object->maps) maps.push_back(map.get());
  }
  for (const InnerMap& inner : inner_maps_) maps.push_back(inner.map.get());
  return maps;
}

// The port, out of all lists.
std::unique_ptr<Port> Engine::take_port(Port& port) {
  const auto found =
      std::ranges::find_if(ports_, [&](const auto& one) { return one.get() == &port; });
  if (found == ports_.end()) return nullptr;
  std::unique_ptr<Port> taken = std::move(*found);
  ports_.erase(found);
  std::erase_if(attachments_, [&](const auto& one) { return one->port == &port; });
  for (const auto& attachment : attachments_) {
    if (attachment->pass_sink == &port.tx_queue()) attachment->pass_sink = nullptr;
  }
  return taken;
}

Result<RemovedPort> Engine::remove_port(Port& port) {
  if (Epoch::is_reader_here()) {
    return make_errno_error(ErrorCode::kInvalidArgument, EDEADLK,
                            "a port cannot be removed from within a run: it would wait for itself");
  }
  std::unique_ptr<Port> taken = take_port(port);
  if (taken == nullptr) return make_errno_error(ErrorCode::kNotFound, ENODEV, "no such port");
  publish();
  epoch_.synchronize();
  for (Map* map : all_maps()) map->forget_sink(taken->tx_queue());
  epoch_.synchronize();

  RemovedPort removed;
  removed.name = taken->info().name;
  worker_->between_rounds([&] {
    removed.dropped_frames = taken->frames_held();
    removed.output = taken->finish();
    removed.rx = taken->rx_queue().counters().snapshot();
    removed.tx = taken->tx_queue().counters().snapshot();
    taken.reset();
  });
  return removed;
}

}  // namespace lmn
