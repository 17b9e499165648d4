// SPDX-License-Identifier: Apache-2.0
//
// TernaryBuilder: fills the maps of include/lmn/bpf/ternary.h with rules of value, mask and
// priority.
//
// Rules of one mask share a hash. Of several rules with the same value and mask the hash holds the
// one of the highest priority; the builder keeps the others and brings them back when that one
// goes. The order of the masks and what may be skipped follow from the best priority per mask:
// those are written into the half of the maps that no program looks at, and one write turns over to
// it. A program sees every rule that was there before a change and is there after it, at any
// moment: a rule is put in after its mask may be asked, and taken out before its mask may be
// skipped. replace() changes all rules at once: a look-up sees the old ones or the new ones.
// A half is written again only when nobody looks at it any more (wait_for_lookups), or a look-up
// that lasts through two changes would ask a table with another table's mask.
//
//   MapTernary maps(masks, tables, state, create_inner);
//   TernaryBuilder builder({.key_bytes = 12, .value_bytes = 4, .masks_max = 64}, maps);
//   LMN_CHECK_OK(builder.add({.value = ..., .mask = ..., .priority = 10, .result = ...}));
//
// The same builder writes to a kernel's maps through another TernaryMaps
// (tests/differential/ternary_test.cc). Invariants: (1) the half in use is never written but for
// its state; (2) a mask is listed exactly while it has rules. Threads: one. Tested by
// tests/differential/ternary_test.cc. Source: Srinivasan, Suri, Varghese: Packet classification
// using tuple space search, 1999; priority sorting as in Open vSwitch.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "base/result.h"
#include "maps/map.h"

namespace lmn {

using TernaryBytes = std::vector<std::uint8_t>;

struct TernaryRule {
  TernaryBytes value;  // bits outside of the mask do not count
  TernaryBytes mask;
  std::uint32_t priority = 0;
  TernaryBytes result;
};

struct TernaryShape {
  std::uint32_t key_bytes = 0;
  std::uint32_t value_bytes = 0;  // of a result; struct NAME_rule has the priority before it
  std::uint32_t masks_max = 0;
};

// Where the builder writes: LMN's maps, or a kernel's.
class TernaryMaps {
 public:
  virtual ~TernaryMaps() = default;
  virtual Result<void> write_state(std::uint32_t state) = 0;
  // `value` is a struct NAME_mask.
  virtual Result<void> write_mask(std::uint32_t index, std::span<const std::uint8_t> value) = 0;
  // A new hash; a number that stands for it.
  virtual Result<std::uint32_t> create_table() = 0;
  virtual void drop_table(std::uint32_t table) = 0;
  virtual Result<void> write_table(std::uint32_t index, std::uint32_t table) = 0;
  // `value` is a struct NAME_rule.
  virtual Result<void> put(std::uint32_t table, std::span<const std::uint8_t> key,
                           std::span<const std::uint8_t> value) = 0;
  virtual Result<void> erase(std::uint32_t table, std::span<const std::uint8_t> key) = 0;
  // Returns when every look-up that has begun is over. `index` is a position in use that holds
  // `table`: a kernel waits when it is written once more.
  virtual Result<void> wait_for_lookups(std::uint32_t index, std::uint32_t table) = 0;
};

// Over maps of an engine. `create_inner` makes a map like the template of `tables` and gives its
// handle and the map. `wait` returns when every run that has begun is over; empty: no program runs
// while rules change.
class MapTernary final : public TernaryMaps {
 public:
  struct Inner {
    std::uint32_t handle = 0;
    Map* map = nullptr;
  };
  using CreateInner = std::function<Result<Inner>()>;
  using Wait = std::function<void()>;

  MapTernary(Map& masks, Map& tables, Map& state, CreateInner create_inner, Wait wait = {})
      : masks_(masks),
        tables_(tables),
        state_(state),
        create_inner_(std::move(create_inner)),
        wait_(std::move(wait)) {}
  Result<void> write_state(std::uint32_t state) override;
  Result<void> write_mask(std::uint32_t index, std::span<const std::uint8_t> value) override;
  Result<std::uint32_t> create_table() override;
  void drop_table(std::uint32_t table) override { inner_.erase(table); }
  Result<void> write_table(std::uint32_t index, std::uint32_t table) override;
  Result<void> put(std::uint32_t table, std::span<const std::uint8_t> key,
                   std::span<const std::uint8_t> value) override;
  Result<void> erase(std::uint32_t table, std::span<const std::uint8_t> key) override;
  Result<void> wait_for_lookups(std::uint32_t index, std::uint32_t table) override;

 private:
  Map& masks_;
  Map& tables_;
  Map& state_;
  CreateInner create_inner_;
  Wait wait_;
  std::map<std::uint32_t, Map*> inner_;
};

class TernaryBuilder {
 public:
  TernaryBuilder(const TernaryShape& shape, TernaryMaps& maps) : shape_(shape), maps_(maps) {}

  // Errors: kInvalidArgument for sizes that are not the shape's and for a rule that is there
  // already (same value, mask and priority), kLimitExceeded for one mask too many; what the maps
  // say. After an error of the maps the builder and they may differ: start again with new ones.
  Result<void> add(const TernaryRule& rule);
  // Errors: kNotFound.
  Result<void> remove(const TernaryRule& rule);
  // These rules and no others, at once; the quickest way to many. Errors as add(), which name the
  // rule by its position in `rules`; the old rules then stay.
  Result<void> replace(std::span<const TernaryRule> rules);
  std::size_t rule_count() const { return rule_count_; }
  std::size_t mask_count() const { return masks_.size(); }

 private:
  // By falling priority.
  using Shadowed = std::map<std::uint32_t, TernaryBytes, std::greater<>>;
  struct Mask {
    std::uint32_t table = 0;
    std::map<TernaryBytes, Shadowed> rules;
    std::map<std::uint32_t, std::uint32_t> priorities;  // how many rules have it
    std::uint32_t best() const { return priorities.empty() ? 0 : priorities.rbegin()->first; }
  };
  using Masks = std::map<TernaryBytes, Mask>;
  Result<void> check(const TernaryRule& rule) const;
  Result<void> collect(std::span<const TernaryRule> rules, Masks& masks) const;
  Result<void> fill(Masks& masks);
  TernaryBytes masked_value(const TernaryRule& rule) const;
  Result<void> turn_over();
  void drop(std::uint32_t table);
  Result<void> put_best(const Mask& mask, const TernaryBytes& key);

  TernaryShape shape_;
  TernaryMaps& maps_;
  // What a position of a half holds; empty: nobody knows.
  struct Slot {
    std::uint32_t table = 0;
    TernaryBytes mask;  // struct NAME_mask
  };

  Masks masks_;
  std::array<std::vector<Slot>, 2> halves_;
  std::size_t rule_count_ = 0;
  bool is_second_half_ = false;  // in use
};

}  // namespace lmn
