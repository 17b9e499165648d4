// SPDX-License-Identifier: Apache-2.0
//
// LMN's engine behind ObjectRunner: the object is read, checked and prepared as `lmn run` does it,
// and Engine::test_run runs one packet. A trap is an error here, never just a verdict: what the
// kernel accepts must not be stopped.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "abi/limits.h"
#include "base/file.h"
#include "engine/engine.h"
#include "engine/prove.h"
#include "exec/interp/interpreter.h"
#include "helpers/helpers.h"
#include "kfuncs/kfuncs.h"
#include "maps/ringbuf_map.h"
#include "object/object_reader.h"
#include "runners/object_runner.h"

namespace lmn {
namespace {

class EngineRunner final : public ObjectRunner {
 public:
  static Result<std::unique_ptr<ObjectRunner>> open(const std::string& path,
                                                    const std::string& program,
                                                    TraceListener* trace, const Clock* clock) {
    LMN_TRY(const std::vector<std::uint8_t> bytes, read_file(path, limits::kObjectBytesMax));
    LMN_TRY(ObjectSpec spec, read(bytes, path));
    if (spec.programs.empty()) return make_error(ErrorCode::kNotFound, path + ": no program");
    std::unique_ptr<EngineRunner> runner(new EngineRunner);
    LMN_TRY(runner->engine_, Engine::create({.clock = clock, .seed = 1}));
    LMN_TRY(auto target, runner->engine_->open_port("veth:here,there"));
    runner->target_ = target[0];
    LoadOptions options;
    options.object_name = object_name_of(path);
    options.programs = {program.empty() ? spec.programs[0].name : program};
    LMN_TRY(runner->object_, runner->engine_->load(spec, options));
    runner->program_ = runner->object_->find_program(options.programs[0]);
    if (trace != nullptr) LMN_CHECK_OK(runner->prepare_again(trace));
    return std::unique_ptr<ObjectRunner>(std::move(runner));
  }

  std::string_view name() const override { return "interpreter"; }

  std::vector<MapShape> maps() const override {
    std::vector<MapShape> shapes;
    for (const auto& map : object_->maps) {
      const MapSpec& spec = map->spec();
      shapes.push_back({spec.name, map->id(), spec.type, spec.key_size, spec.value_size,
                        spec.max_entries, map->user_value_bytes()});
    }
    return shapes;
  }

  std::uint32_t redirect_ifindex() const override { return target_->info().ifindex; }

  Engine* engine() override { return engine_.get(); }

  Result<PacketResult> run(std::span<const std::uint8_t> packet) override {
    return run_from(TestRunOptions{}.ingress_ifindex, packet);
  }

  Result<PacketResult> run_from(std::uint32_t ifindex,
                                std::span<const std::uint8_t> packet) override {
    LMN_TRY(TestRunResult result,
            engine_->test_run(*program_, packet, {.ingress_ifindex = ifindex}));
    if (!result.traps.empty()) return make_error(ErrorCode::kRefused, result.traps[0].text);
    return PacketResult{result.verdict, std::move(result.packet)};
  }

  Result<void> set_entry(std::string_view map, std::span<const std::uint8_t> key,
                         std::span<const std::uint8_t> value) override {
    LMN_TRY(Map * found, find(map));
    return update(*found, key, value);
  }

  Result<void> set_inner_map(std::string_view map, std::span<const std::uint8_t> key,
                             std::span<const MapEntry> contents) override {
    LMN_TRY(Map * outer, find(map));
    LMN_TRY(Map * inner, engine_->create_inner_map(*outer));
    for (const MapEntry& each : contents) LMN_CHECK_OK(update(*inner, each.key, each.value));
    const std::uint32_t id = inner->id();
    std::vector<std::uint8_t> value(sizeof id);
    std::memcpy(value.data(), &id, sizeof id);
    LMN_CHECK_OK(update(*outer, key, value));
    return engine_->close_map(*inner);
  }

  Result<std::vector<std::vector<std::uint8_t>>> records(std::string_view ring) override {
    LMN_TRY(Map * found, find(ring));
    auto* records = dynamic_cast<RingbufMap*>(found);
    if (records == nullptr) return make_error(ErrorCode::kInvalidArgument, "no ring buffer");
    std::vector<std::vector<std::uint8_t>> all;
    records->consume([&](std::span<const std::uint8_t> record) {
      all.emplace_back(record.begin(), record.end());
    });
    return all;
  }

  Result<std::optional<std::vector<std::uint8_t>>> entry(
      std::string_view map, std::span<const std::uint8_t> key) override {
    LMN_TRY(Map * found, find(map));
    std::vector<std::uint8_t> value(found->user_value_bytes());
    const int error = found->copy_value(key.data(), value, 0);
    if (error == -ENOENT) return std::optional<std::vector<std::uint8_t>>();
    if (error != 0) return make_error(system_error("lookup in " + std::string(map), -error));
    return std::optional(std::move(value));
  }

  Result<std::vector<MapEntry>> entries(std::string_view map) override {
    LMN_TRY(Map * found, find(map));
    std::vector<MapEntry> all;
    std::vector<std::uint8_t> key(found->spec().key_size);
    std::vector<std::uint8_t> next(found->spec().key_size);
    const void* from = nullptr;
    while (found->next_key(from, next.data()) == 0) {
      key = next;
      from = key.data();
      LMN_TRY(auto value, entry(map, key));
      if (value) all.push_back({key, *std::move(value)});
    }
    std::ranges::sort(all);
    return all;
  }

 private:
  EngineRunner() = default;

  // Programs that need a kernel's types get those of the machine, as in `lmn run`.
  static Result<ObjectSpec> read(std::span<const std::uint8_t> bytes, const std::string& path) {
    ReadOptions options;
    options.object_name = object_name_of(path);
    LMN_TRY(ObjectSpec spec, read_object(bytes, options));
    if (std::ranges::none_of(spec.programs, [](const auto& p) { return p.defect.has_value(); })) {
      return spec;
    }
    constexpr std::size_t kKernelBtfBytesMax = std::size_t{64} << 20;
    LMN_TRY(const auto types, read_file("/sys/kernel/btf/vmlinux", kKernelBtfBytesMax));
    LMN_TRY(options.target_btf, parse_btf(types));
    options.kconfig = "CONFIG_HZ=250\n";
    return read_object(bytes, options);
  }

  // The program once more, with somebody watching its instructions, in the place of the first.
  Result<void> prepare_again(TraceListener* trace) {
    Environment environment = Engine::environment(Strictness::kTrusted);
    environment.kernel_types = &engine_->kernel_tables().types();
    environment.numbered_types = engine_->kernel_tables().target();
    std::vector<MapSpec> map_specs;
    for (const Map* map : program_->maps) map_specs.push_back(map->spec());
    LMN_TRY(const VerifiedProgram verified,
            prove_program(environment, program_->spec, map_specs, object_->btf.get()));
    InterpreterOptions options;
    options.trace = trace;
    options.btf = object_->btf.get();
    LMN_TRY(program_->compiled,
            make_interpreted(verified.structure(), environment, program_->maps,
                             HelperTable{helper_function, kfunc_function}, options));
    return {};
  }

  static Result<void> update(Map& map, std::span<const std::uint8_t> key,
                             std::span<const std::uint8_t> value) {
    if (key.size() != map.spec().key_size || value.size() != map.user_value_bytes()) {
      return make_error(ErrorCode::kInvalidArgument, "key or value of another size than the map's");
    }
    const int error = map.user_update(key.data(), value, BPF_ANY);
    if (error != 0) return make_error(system_error("update of " + map.spec().name, -error));
    return {};
  }

  Result<Map*> find(std::string_view name) const {
    for (const auto& map : object_->maps) {
      const std::string& own = map->spec().name;
      if (own == name || (name.starts_with('.') && own.ends_with(name))) return map.get();
    }
    return make_error(ErrorCode::kNotFound, "no map '" + std::string(name) + "' in the object");
  }

  std::unique_ptr<Engine> engine_;
  Port* target_ = nullptr;
  LoadedObject* object_ = nullptr;
  Program* program_ = nullptr;
};

}  // namespace

Result<std::unique_ptr<ObjectRunner>> open_engine_runner(const std::string& path,
                                                         const std::string& program,
                                                         TraceListener* trace, const Clock* clock) {
  return EngineRunner::open(path, program, trace, clock);
}

}  // namespace lmn
