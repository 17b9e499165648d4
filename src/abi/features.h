// SPDX-License-Identifier: Apache-2.0
//
// Feature: what a program needs of its port and engine, or what those have; features.def as tables.
//
//   FeatureSet needed = verified.facts().features;
//   if (!port_has.holds(needed)) ...   // name them: needed.without(port_has)
//
// Types and constants; what a program needs is found out by verifier/needed_features.h.
// Threads: values. Tested by features_test.cc in verifier.
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "abi/xdp_md.h"

namespace lmn {

enum class Feature : std::uint8_t {
#define LMN_FEATURE(name, ...) name,
#define LMN_FEATURE_OF_HELPER(...)
#define LMN_FEATURE_OF_KFUNC(...)
#define LMN_FEATURE_OF_MAP(...)
#define LMN_FEATURE_OF_FIELD(...)
#include "abi/features.def"
#undef LMN_FEATURE
};

struct FeatureInfo {
  std::string_view id;     // "redirect-cpu"
  std::string_view words;  // "other CPUs, by a CPU map"
};

inline constexpr FeatureInfo kFeatures[] = {
#define LMN_FEATURE(name, id, words) {id, words},
#include "abi/features.def"
#undef LMN_FEATURE
};
inline constexpr std::size_t kFeatureCount = std::size(kFeatures);
static_assert(kFeatureCount <= 64, "a FeatureSet is one word");

constexpr const FeatureInfo& feature_info(Feature feature) {
  return kFeatures[static_cast<std::size_t>(feature)];
}

class FeatureSet {
 public:
  constexpr FeatureSet() = default;

  constexpr void add(Feature feature) { bits_ |= bit(feature); }
  constexpr bool has(Feature feature) const { return (bits_ & bit(feature)) != 0; }
  constexpr bool holds(FeatureSet others) const { return (others.bits_ & ~bits_) == 0; }
  constexpr FeatureSet without(FeatureSet others) const {
    FeatureSet out;
    out.bits_ = bits_ & ~others.bits_;
    return out;
  }
  constexpr bool is_empty() const { return bits_ == 0; }
  constexpr bool operator==(const FeatureSet&) const = default;

  // In the order of features.def.
  template <typename Visit>
  constexpr void for_each(Visit&& visit) const {
    for (std::size_t i = 0; i < kFeatureCount; ++i) {
      if ((bits_ >> i & 1) != 0) visit(static_cast<Feature>(i));
    }
  }

 private:
  static constexpr std::uint64_t bit(Feature feature) {
    return 1ull << static_cast<unsigned>(feature);
  }
  std::uint64_t bits_ = 0;
};

// --- where features come from; nullopt: from nothing of the kind

#undef LMN_FEATURE_OF_HELPER
#undef LMN_FEATURE_OF_KFUNC
#undef LMN_FEATURE_OF_MAP
#undef LMN_FEATURE_OF_FIELD
#define LMN_FEATURE(...)

constexpr std::optional<Feature> feature_of_helper(std::uint32_t id) {
#define LMN_FEATURE_OF_HELPER(helper, name) \
  if (id == BPF_FUNC_##helper) return Feature::name;
#define LMN_FEATURE_OF_KFUNC(...)
#define LMN_FEATURE_OF_MAP(...)
#define LMN_FEATURE_OF_FIELD(...)
#include "abi/features.def"
#undef LMN_FEATURE_OF_HELPER
#undef LMN_FEATURE_OF_KFUNC
#undef LMN_FEATURE_OF_MAP
#undef LMN_FEATURE_OF_FIELD
  return std::nullopt;
}

constexpr std::optional<Feature> feature_of_kfunc(std::string_view name) {
#define LMN_FEATURE_OF_KFUNC(kfunc, feature) \
  if (name == (kfunc)) return Feature::feature;
#define LMN_FEATURE_OF_HELPER(...)
#define LMN_FEATURE_OF_MAP(...)
#define LMN_FEATURE_OF_FIELD(...)
#include "abi/features.def"
#undef LMN_FEATURE_OF_HELPER
#undef LMN_FEATURE_OF_KFUNC
#undef LMN_FEATURE_OF_MAP
#undef LMN_FEATURE_OF_FIELD
  return std::nullopt;
}

// Of a map that bpf_redirect_map is given.
constexpr std::optional<Feature> feature_of_map(std::uint32_t type) {
#define LMN_FEATURE_OF_MAP(map, name) \
  if (type == BPF_MAP_TYPE_##map) return Feature::name;
#define LMN_FEATURE_OF_HELPER(...)
#define LMN_FEATURE_OF_KFUNC(...)
#define LMN_FEATURE_OF_FIELD(...)
#include "abi/features.def"
#undef LMN_FEATURE_OF_HELPER
#undef LMN_FEATURE_OF_KFUNC
#undef LMN_FEATURE_OF_MAP
#undef LMN_FEATURE_OF_FIELD
  return std::nullopt;
}

constexpr std::optional<Feature> feature_of_field(ContextFieldKind kind) {
#define LMN_FEATURE_OF_FIELD(field, name) \
  if (kind == ContextFieldKind::field) return Feature::name;
#define LMN_FEATURE_OF_HELPER(...)
#define LMN_FEATURE_OF_KFUNC(...)
#define LMN_FEATURE_OF_MAP(...)
#include "abi/features.def"
#undef LMN_FEATURE_OF_HELPER
#undef LMN_FEATURE_OF_KFUNC
#undef LMN_FEATURE_OF_MAP
#undef LMN_FEATURE_OF_FIELD
  return std::nullopt;
}

#undef LMN_FEATURE

}  // namespace lmn
