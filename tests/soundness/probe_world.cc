// SPDX-License-Identifier: Apache-2.0
//
// The world as a trusted loader has it: all helpers, Strictness::kTrusted.
#include "soundness/probe_world.h"

#include <linux/bpf.h>

#include <array>
#include <cstring>
#include <iterator>
#include <span>

#include "base/assert.h"
#include "helpers/helpers.h"

namespace lmn {
namespace {

// Watched verifications keep every state, so they stop early.
constexpr std::uint64_t kWatchedMax = 10'000;
// Nobody consumes the ring: programs get a fresh one now and then.
constexpr std::uint32_t kProgramsPerRing = 6;

}  // namespace

ProbeWorld::ProbeWorld() {
  environment_.helpers = helper_protos();
  environment_.map_types = map_type_infos();
  environment_.context = kXdpMdFields;
  environment_.strictness = Strictness::kTrusted;
  positions_.common = {0, 1, 2, 3};
  positions_.ring = 4;
  add("values", BPF_MAP_TYPE_ARRAY, 4, kGeneratedValueBytes, 1);
  add("slots", BPF_MAP_TYPE_ARRAY, 4, 16, 6);  // no power of two: known bits are no range
  add("hash", BPF_MAP_TYPE_HASH, 4, 16, 8);
  add("jumps", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4);
  add("ring", BPF_MAP_TYPE_RINGBUF, 0, 0, 4096);
  add("constants", BPF_MAP_TYPE_ARRAY, 4, 64, 1, BPF_F_RDONLY_PROG);
}

void ProbeWorld::add(const char* name, std::uint32_t type, std::uint32_t key, std::uint32_t value,
                     std::uint32_t entries, std::uint32_t flags) {
  MapSpec spec;
  spec.name = name;
  spec.type = type;
  spec.key_size = key;
  spec.value_size = value;
  spec.max_entries = entries;
  spec.map_flags = flags;
  specs_.push_back(spec);
  auto map = create_map(spec, MapOptions{}, host_);
  LMN_ASSERT(map.has_value());
  maps_.push_back(std::move(*map));
}

Judgement ProbeWorld::judge(const GeneratedProgram& program, VerifierListener* listener) const {
  ProgramSpec spec;
  spec.name = "probe";
  spec.type = BPF_PROG_TYPE_XDP;
  spec.expected_attach_type = BPF_XDP;
  spec.license = "GPL";
  for (std::uint32_t map = 0; map < specs_.size(); ++map) spec.maps.push_back(map);
  for (const std::uint32_t start : program.function_starts) {
    spec.functions.push_back({{start}, "f", 3});
  }
  spec.insns = program.insns;
  Judgement judgement;
  auto structured = check_structure(environment_, spec, specs_);
  if (!structured) {
    judgement.is_structural = true;
    judgement.message = structured.error().to_string();
    const std::size_t open = judgement.message.rfind('[');
    judgement.rule = open == std::string::npos ? "?" : judgement.message.substr(open);
    return judgement;
  }
  VerifierReport report;
  VerifyOptions options;
  options.report = &report;
  options.listener = listener;
  if (listener != nullptr) options.processed_max = kWatchedMax;
  auto verified = verify(environment_, *std::move(structured), options);
  if (verified) {
    judgement.program = *std::move(verified);
  } else {
    judgement.rule = rule_info(report.rule).id;
    judgement.message = report.kernel_message;
  }
  return judgement;
}

std::unique_ptr<CompiledProgram> ProbeWorld::prepare(const VerifiedProgram& program,
                                                     TraceListener* trace) {
  if (++programs_with_ring_ >= kProgramsPerRing) {
    programs_with_ring_ = 0;
    auto ring = create_map(specs_[positions_.ring], MapOptions{}, host_);
    LMN_ASSERT(ring.has_value());
    maps_[positions_.ring] = std::move(*ring);
  }
  InterpreterOptions options;
  options.insns_max = 1'000'000;
  options.may_goto_max = 50;
  options.trace = trace;
  std::vector<Map*> maps;
  for (const auto& map : maps_) maps.push_back(map.get());
  auto made = make_interpreted(program.structure(), environment_, maps, {helper_function}, options);
  return made ? std::move(*made) : nullptr;
}

std::uint64_t interesting_number(std::mt19937_64& random) {
  static constexpr std::uint64_t kCorners[] = {0,
                                               1,
                                               2,
                                               7,
                                               8,
                                               31,
                                               32,
                                               63,
                                               64,
                                               127,
                                               128,
                                               200,
                                               247,
                                               248,
                                               255,
                                               256,
                                               0x7fff,
                                               0x8000,
                                               0xffff,
                                               0x10000,
                                               0x7fffffff,
                                               0x80000000,
                                               0xffffffff,
                                               1ull << 32,
                                               ~0ull,
                                               1ull << 63,
                                               ~0ull >> 1,
                                               ~0ull - 1,
                                               0xffffffff00000000,
                                               0xffffffff80000000,
                                               0x100000001,
                                               0x80000001};
  const std::uint64_t pick = random();
  switch (pick % 4) {
    case 0:
      return random();
    case 1:
      return kCorners[random() % std::size(kCorners)] + random() % 3 - 1;
    case 2:
      return random() & 0xff;
    default:
      return kCorners[random() % std::size(kCorners)];
  }
}

void ProbeWorld::fill_maps(std::mt19937_64& random) {
  std::array<std::uint8_t, kGeneratedValueBytes> value;
  for (std::size_t at = 0; at < value.size(); at += 8) {
    const std::uint64_t number = interesting_number(random);
    std::memcpy(value.data() + at, &number, 8);
  }
  std::uint32_t key = 0;
  const auto update = [&](std::uint32_t map, std::size_t bytes) {
    LMN_ASSERT(maps_[map]->user_update(&key, std::span(value).first(bytes), 0) == 0);
  };
  update(positions_.common.values, value.size());
  Map& hash = *maps_[positions_.common.hash];
  while (hash.next_key(nullptr, &key) == 0 && hash.user_erase(&key) == 0) {
  }
  for (key = 0; key < 4; ++key) {
    update(positions_.common.slots, 16);
    if (key % 2 == 0) update(positions_.common.hash, 16);
  }
}

}  // namespace lmn
