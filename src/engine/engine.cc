// SPDX-License-Identifier: Apache-2.0
//
// Engine: putting the modules together. Loading is load_object.cc, test runs test_run.cc. Tested by
// engine_test.cc.
#include "engine/engine.h"

#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/assert.h"
#include "base/file.h"
#include "engine/load_object.h"
#include "exec/run_deferred.h"
#include "helpers/helpers.h"
#include "kfuncs/kfuncs.h"
#include "maps/ringbuf_map.h"

namespace lmn {
namespace {

// "0-1" or "0,2-3" in /sys/devices/system/cpu/possible: one more than the largest number.
std::uint32_t possible_cpu_count() {
  constexpr std::size_t kTextMax = 4096;
  auto text = read_file("/sys/devices/system/cpu/possible", kTextMax);
  if (!text) return 1;
  std::uint32_t number = 0;
  std::uint32_t largest = 0;
  for (const std::uint8_t c : *text) {
    if (c >= '0' && c <= '9') {
      number = number * 10 + (c - '0');
    } else {
      largest = std::max(largest, number);
      number = 0;
    }
  }
  return std::clamp<std::uint32_t>(std::max(largest, number) + 1, 1, limits::kCpuCountMax);
}

Result<void> check_attach_type(const ProgramSpec& spec) {
  const bool is_of_entries =
      spec.expected_attach_type == BPF_XDP_DEVMAP || spec.expected_attach_type == BPF_XDP_CPUMAP;
  if (!is_of_entries) return {};
  return make_errno_error(
      ErrorCode::kInvalidArgument, EINVAL,
      fmt::format("prog \"{}\" is for map entries (section '{}'): it cannot be attached to a port",
                  spec.name, spec.section));
}

std::uint64_t random_seed() {
  std::uint64_t seed = 1;
  if (::getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = 1;
  return seed;
}

}  // namespace

Program* LoadedObject::find_program(std::string_view wanted) const {
  for (const auto& program : programs) {
    if (program->spec.name == wanted) return program.get();
  }
  return nullptr;
}

Map* LoadedObject::find_map(std::string_view wanted) const {
  for (const auto& map : maps) {
    if (map->spec().name == wanted) return map.get();
  }
  return nullptr;
}

Engine::Engine(const EngineOptions& options)
    : options_(options),
      log_(options.log != nullptr ? options.log : &stderr_log_),
      clock_(options.clock != nullptr ? options.clock : &system_clock_) {
  if (options_.cpu_count == 0) options_.cpu_count = possible_cpu_count();
  // The keys of SYN cookies follow a given seed, so that a replay makes the same cookies.
  const bool is_replay = options_.seed != 0;
  if (!is_replay) options_.seed = random_seed();
  PrandomState numbers;
  numbers.seed(options_.seed);
  for (CookieKey* key : {&cookie_secret_.first, &cookie_secret_.second}) {
    for (std::uint64_t& word : *key) {
      const std::uint64_t high = numbers.next();
      word = is_replay ? high << 32 | numbers.next() : random_seed();
    }
  }
}

Engine::~Engine() {
  if (cpu_queues_ != nullptr) cpu_queues_->shut_down();
  worker_.reset();
  wiring_.reset();
  // What waits for grace periods has frames of the pool and objects of the heap.
  epoch_.stop();
}

Result<std::unique_ptr<Engine>> Engine::create(const EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine(options));
  LMN_TRY(engine->pool_, FramePool::create(options.frame_count));
  engine->resources_.pool = &engine->pool_;
  engine->resources_.clock = engine->clock_;
  engine->resources_.log = engine->log_;
  LMN_TRY(engine->object_heap_, ObjectHeap::create(&engine->epoch_));
  LMN_TRY(engine->kernel_tables_,
          KernelTables::create(engine->options_.seed, engine->options_.cpu_count));
  LMN_TRY(engine->deferred_, DeferredCalls::create());
  LMN_TRY(engine->worker_, Worker::create(engine->make_context(), &engine->epoch_));
  const bool has_threads = options.cpu_queues == CpuQueueRun::kAuto
                               ? options.seed == 0
                               : options.cpu_queues == CpuQueueRun::kThreads;
  engine->cpu_queues_ = std::make_unique<CpuQueues>(engine->epoch_, *engine, has_threads);
  engine->cpu_queues_->set_worker(engine->worker_.get(), engine->make_context());
  engine->worker_->set_cpu_queues(engine->cpu_queues_.get());
  return engine;
}

Environment Engine::environment(Strictness strictness) {
  Environment environment;
  environment.helpers = helper_protos();
  environment.map_types = map_type_infos();
  environment.context = kXdpMdFields;
  environment.kfuncs = kfunc_protos();
  environment.strictness = strictness;
  return environment;
}

Result<LoadedObject*> Engine::load(const ObjectSpec& spec, const LoadOptions& options) {
  ObjectLoader loader(*this, spec, options);
  LMN_TRY(std::unique_ptr<LoadedObject> object, loader.load());
  const MutexGuard guard(lists_lock_);
  objects_.push_back(std::move(object));
  return objects_.back().get();
}

MapOptions Engine::map_options() {
  MapOptions options;
  options.cpu_count = options_.cpu_count;
  options.hash_seed = options_.seed * 0x9e3779b97f4a7c15ull + next_map_id_;
  options.owners = {object_heap_.get(), deferred_.get()};
  options.epoch = &epoch_;
  return options;
}

Result<Map*> Engine::create_inner_map(const Map& outer) {
  const MapSpec* shape = outer.inner_shape();
  if (shape == nullptr) {
    return make_errno_error(ErrorCode::kInvalidArgument, EINVAL,
                            fmt::format("map '{}' holds no maps", outer.spec().name));
  }
  LMN_TRY(auto map, create_map(*shape, map_options(), *this));
  map->set_id(next_map_id_++);
  const MutexGuard guard(lists_lock_);
  inner_maps_.push_back({.map = std::move(map)});
  return inner_maps_.back().map.get();
}

// The map, when neither the application nor a slot holds it any more; else null.
std::unique_ptr<Map> Engine::take_if_unused(InnerMap& inner) {
  if (!inner.is_closed || inner.slot_count != 0) return nullptr;
  std::unique_ptr<Map> map = std::move(inner.map);
  inner = std::move(inner_maps_.back());
  inner_maps_.pop_back();
  return map;
}

Engine::InnerMap* Engine::find_inner(const Map& map) {
  const auto found =
      std::ranges::find_if(inner_maps_, [&](const InnerMap& one) { return one.map.get() == &map; });
  return found == inner_maps_.end() ? nullptr : &*found;
}

Result<void> Engine::close_map(Map& map) {
  {
    const MutexGuard guard(lists_lock_);
    const InnerMap* found = find_inner(map);
    if (found == nullptr || found->is_closed) {
      return make_errno_error(ErrorCode::kNotFound, ENOENT, "no inner map that is open");
    }
  }
  reader_bells_.remove(map);
  map.drop_user_references();
  std::unique_ptr<Map> unused;
  {
    const MutexGuard guard(lists_lock_);
    InnerMap& inner = *find_inner(map);
    inner.is_closed = true;
    unused = take_if_unused(inner);
  }
  if (unused != nullptr) retire_map(std::move(unused));
  return {};
}

// A run may have looked it up before its slot was emptied. Such a run may also make a timer in it
// just behind drop_user_references: when none is left they are cancelled again, and a callback that
// has begun by then is waited for, too.
void Engine::retire_map(std::unique_ptr<Map> map) {
  epoch_.retire([this, unseen = std::move(map)]() mutable {
    unseen->drop_user_references();
    epoch_.retire([unused = std::move(unseen)] {});
  });
}

// Maps of objects are not freed before the engine is: nobody counts who holds one.
Map* Engine::acquire_map(std::uint32_t handle) noexcept {
  const MutexGuard guard(lists_lock_);
  const auto inner = std::ranges::find_if(inner_maps_, [handle](const InnerMap& one) {
    return one.map->id() == handle && !one.is_closed;
  });
  if (inner != inner_maps_.end()) {
    ++inner->slot_count;
    return inner->map.get();
  }
  const auto find_in = [handle](const LoadedObject& object) -> Map* {
    const auto found = std::ranges::find_if(
        object.maps, [handle](const auto& map) { return map->id() == handle; });
    return found == object.maps.end() ? nullptr : found->get();
  };
  if (loading_ != nullptr) {
    if (Map* map = find_in(*loading_)) return map;
  }
  for (const auto& object : objects_) {
    if (Map* map = find_in(*object)) return map;
  }
  return nullptr;
}

void Engine::release_map(Map* map) noexcept {
  std::unique_ptr<Map> unused;
  {
    const MutexGuard guard(lists_lock_);
    InnerMap* found = find_inner(*map);
    if (found == nullptr) return;
    LMN_DCHECK(found->slot_count > 0);
    --found->slot_count;
    unused = take_if_unused(*found);
  }
  if (unused != nullptr) retire_map(std::move(unused));
}

Result<std::vector<Port*>> Engine::open_port(std::string_view text) {
  LMN_TRY(const PortSpec spec, parse_port_spec(text));
  LMN_TRY(OpenedPorts opened, lmn::open_port(spec, resources_));
  for (const auto& port : opened) {
    if (find_port(port->info().name) != nullptr) {
      return make_error(
          ErrorCode::kInvalidArgument,
          fmt::format("port '{}': there is a port of that name already", port->info().name));
    }
  }
  std::vector<Port*> out;
  for (std::unique_ptr<Port>& port : opened) out.push_back(&adopt_port(std::move(port)));
  return out;
}

Port& Engine::adopt_port(std::unique_ptr<Port> port) {
  ports_.push_back(std::move(port));
  attachments_.push_back(std::make_unique<Attachment>());
  attachments_.back()->port = ports_.back().get();
  publish();
  return *ports_.back();
}

// What the worker polls and who is found by ifindex, as it is now.
void Engine::publish() {
  port_table_.publish(ports_);
  auto fresh = std::make_unique<Wiring>();
  for (const auto& attachment : attachments_) {
    fresh->add_port(*attachment->port, &attachment->dispatcher, attachment->pass_sink);
  }
  worker_->exchange_wiring(fresh.get());
  std::unique_ptr<const Wiring> before = std::exchange(wiring_, std::move(fresh));
  worker_->wake();
  if (before != nullptr) epoch_.retire([old = std::move(before)] {});
}

Port* Engine::find_port(std::string_view name) const {
  auto found =
      std::ranges::find_if(ports_, [&](const auto& port) { return port->info().name == name; });
  return found == ports_.end() ? nullptr : found->get();
}

Engine::Attachment& Engine::attachment_of(Port& port) {
  auto found =
      std::ranges::find_if(attachments_, [&](const auto& item) { return item->port == &port; });
  LMN_ASSERT(found != attachments_.end());
  return **found;
}

Result<void> Engine::attach(Program& program, Port& port) {
  LMN_CHECK_OK(check_attach_type(program.spec));
  const Dispatcher& running = attachment_of(port).dispatcher;
  if (running.program != nullptr) {
    return make_errno_error(
        ErrorCode::kInvalidArgument, EBUSY,
        fmt::format("port '{}' runs '{}' already", port.info().name, running.program_name));
  }
  return replace(program, port);
}

Result<void> Engine::replace(Program& program, Port& port) {
  LMN_CHECK_OK(check_attach_type(program.spec));
  attachment_of(port).dispatcher = {program.compiled.get(), program.spec.name};
  publish();
  return {};
}

Result<void> Engine::detach(Port& port) {
  Attachment& attachment = attachment_of(port);
  if (attachment.dispatcher.program == nullptr) {
    return make_errno_error(ErrorCode::kNotFound, ENOENT,
                            fmt::format("port '{}' runs no program", port.info().name));
  }
  attachment.dispatcher = {};
  publish();
  return {};
}

void Engine::set_pass_sink(Port& port, FrameSink* sink) {
  attachment_of(port).pass_sink = sink;
  publish();
}

RunContext Engine::make_context() {
  RunContext context;
  context.clock = clock_;
  context.trace = &trace_;
  context.ports = &port_table_;
  context.cookie_secret = &cookie_secret_;
  context.routes = &routes_;
  kernel_tables_->fill(context);
  context.sockets = &sockets_;
  context.kernel_types = kernel_types_.get();
  context.tables = &reader_bells_;
  context.objects = object_heap_.get();
  context.deferred = deferred_.get();
  context.traps = &traps_;
  context.prandom.seed(options_.seed);
  context.cpu_count = options_.cpu_count;
  return context;
}

int Engine::run_deferred() {
  const EpochReader reader(epoch_);
  RunContext context = make_context();
  return run_deferred_calls(context);
}

Result<void> Engine::follow_host(const HostFollowOptions& options) {
  const HostFollowTables tables{&kernel_tables_->conntrack(), &kernel_tables_->fdb(), clock_,
                                &epoch_};
  LMN_TRY(host_follower_, HostFollower::start(options, tables, *log_));
  reader_bells_.set_next(host_follower_.get());
  return {};
}

Result<int> Engine::reader_bell(const Map& map) {
  if (map.spec().type != BPF_MAP_TYPE_RINGBUF) {
    return make_errno_error(ErrorCode::kInvalidArgument, EINVAL,
                            fmt::format("map '{}' is no ring buffer", map.spec().name));
  }
  return reader_bells_.add(static_cast<const RingbufMap&>(map));
}

RunEnd Engine::run(const RunLimits& limits) {
  epoch_.start();
  // What was given to the engine after its worker was made.
  worker_->context().kernel_types = kernel_types_.get();
  worker_->context().tables = &reader_bells_;
  cpu_queues_->set_context(make_context());
  const RunEnd end = worker_->run(limits);
  cpu_queues_->sweep();
  return end;
}

void Engine::stop() noexcept { worker_->stop(); }

Result<void> Engine::finish() {
  Result<void> first;
  for (const auto& port : ports_) {
    Result<void> result = port->finish();
    if (!result && first)
      first = make_error(std::move(result).error().with_context(port->info().name));
  }
  return first;
}

std::string Engine::accounting_error() const {
  std::size_t held = 0;
  for (const auto& port : ports_) {
    const std::string error = lmn::accounting_error(port->rx_queue().counters().snapshot());
    if (!error.empty()) return fmt::format("port '{}': {}", port->info().name, error);
    held += port->frames_held();
  }
  for (const CpuStats& cpu : cpu_queues_->stats()) {
    const std::string error = lmn::accounting_error(cpu.counters);
    if (!error.empty()) return fmt::format("cpu {}: {}", cpu.cpu, error);
    held += cpu.held_count;
  }
  if (pool_.in_use() != held) {
    return fmt::format("frames: {} in use, {} held by ports and CPU queues", pool_.in_use(), held);
  }
  return {};
}

FrameSink* Engine::find_sink(std::uint32_t ifindex) noexcept {
  const EpochScope scope(&epoch_);
  return port_table_.find_sink(ifindex);
}

const ProgramEntry* Engine::acquire_program(std::uint32_t handle) noexcept {
  const auto find_in = [&](const LoadedObject& object) -> const ProgramEntry* {
    for (const auto& program : object.programs) {
      if (program->id == handle) return &program->entry;
    }
    return nullptr;
  };
  const MutexGuard guard(lists_lock_);
  if (loading_ != nullptr) {
    if (const ProgramEntry* entry = find_in(*loading_); entry != nullptr) return entry;
  }
  for (const auto& object : objects_) {
    if (const ProgramEntry* entry = find_in(*object); entry != nullptr) return entry;
  }
  return nullptr;
}

FrameSink* Engine::acquire_cpu_queue(std::uint32_t cpu, std::uint32_t queue_size,
                                     const ProgramEntry* program) noexcept {
  return cpu_queues_->acquire(cpu, queue_size, program);
}

int Engine::cpu_queue_error() noexcept { return -ENOMEM; }
void Engine::release_cpu_queue(FrameSink* queue) noexcept { cpu_queues_->release(queue); }

// Programs live as long as the engine: there is nothing to give back yet.
void Engine::release_program(const ProgramEntry*) noexcept {}

}  // namespace lmn
