// SPDX-License-Identifier: Apache-2.0
//
// Rules into maps. Tested by tests/differential/ternary_test.cc.
#include "maps/ternary_builder.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace lmn {
namespace {

constexpr std::uint32_t kSecondHalf = 1u << 31;

std::array<std::uint8_t, 4> bytes_of(std::uint32_t number) {
  std::array<std::uint8_t, 4> bytes;
  std::memcpy(bytes.data(), &number, bytes.size());
  return bytes;
}

// A number, and bytes behind it.
TernaryBytes with_number(std::uint32_t number, const TernaryBytes& rest) {
  const auto head = bytes_of(number);
  TernaryBytes out(head.begin(), head.end());
  out.insert(out.end(), rest.begin(), rest.end());
  return out;
}

Result<void> result_of(int error, std::string_view what) {
  if (error == 0) return {};
  return make_error(system_error(fmt::format("ternary rules: {}", what), -error));
}

}  // namespace

Result<void> MapTernary::write_state(std::uint32_t state) {
  const std::uint32_t zero = 0;
  return result_of(state_.user_update(&zero, bytes_of(state), BPF_ANY), "state");
}

Result<void> MapTernary::write_mask(std::uint32_t index, std::span<const std::uint8_t> value) {
  // Values of arrays are rounded up to 8 bytes only inside the map.
  return result_of(masks_.user_update(&index, value, BPF_ANY), "mask");
}

Result<std::uint32_t> MapTernary::create_table() {
  LMN_TRY(const Inner made, create_inner_());
  inner_[made.handle] = made.map;
  return made.handle;
}

Result<void> MapTernary::write_table(std::uint32_t index, std::uint32_t table) {
  return result_of(tables_.user_update(&index, bytes_of(table), BPF_ANY), "table");
}

Result<void> MapTernary::put(std::uint32_t table, std::span<const std::uint8_t> key,
                             std::span<const std::uint8_t> value) {
  return result_of(inner_.at(table)->user_update(key.data(), value, BPF_ANY), "rule");
}

Result<void> MapTernary::erase(std::uint32_t table, std::span<const std::uint8_t> key) {
  return result_of(inner_.at(table)->user_erase(key.data()), "rule to remove");
}

Result<void> MapTernary::wait_for_lookups(std::uint32_t, std::uint32_t) {
  if (wait_) wait_();
  return {};
}

Result<void> TernaryBuilder::check(const TernaryRule& rule) const {
  if (rule.value.size() == shape_.key_bytes && rule.mask.size() == shape_.key_bytes &&
      rule.result.size() == shape_.value_bytes) {
    return {};
  }
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("a rule of {} and {} bytes with a result of {}: must be {} and {}",
                                rule.value.size(), rule.mask.size(), rule.result.size(),
                                shape_.key_bytes, shape_.value_bytes));
}

TernaryBytes TernaryBuilder::masked_value(const TernaryRule& rule) const {
  TernaryBytes masked(shape_.key_bytes);
  for (std::size_t i = 0; i < masked.size(); ++i) {
    masked[i] = static_cast<std::uint8_t>(rule.value[i] & rule.mask[i]);
  }
  return masked;
}

// The order of the masks as it is now, into the half that is not in use, and then over to it.
Result<void> TernaryBuilder::turn_over() {
  struct Listed {
    const TernaryBytes* bytes;
    const Mask* mask;
  };
  std::vector<Listed> order;
  for (const auto& [bytes, mask] : masks_) order.push_back({&bytes, &mask});
  std::ranges::sort(order, [](const Listed& a, const Listed& b) {
    if (a.mask->best() != b.mask->best()) return a.mask->best() > b.mask->best();
    return *a.bytes < *b.bytes;
  });
  // Without a mask in use nobody asks that position, whatever it holds.
  const std::vector<Slot>& in_use = halves_[is_second_half_ ? 1 : 0];
  const bool has_use = !in_use.empty() && !in_use[0].mask.empty();
  if (has_use || !order.empty()) {
    const std::uint32_t table = has_use ? in_use[0].table : order[0].mask->table;
    LMN_CHECK_OK(maps_.wait_for_lookups(is_second_half_ ? shape_.masks_max : 0, table));
  }
  const std::uint32_t first = is_second_half_ ? 0 : shape_.masks_max;
  std::vector<Slot>& half = halves_[is_second_half_ ? 0 : 1];
  half.resize(std::max(half.size(), order.size()));
  for (std::uint32_t i = 0; i < order.size(); ++i) {
    Slot wanted{order[i].mask->table, with_number(order[i].mask->best(), *order[i].bytes)};
    // A kernel waits for a grace period at each write of a table.
    if (half[i].mask != wanted.mask) LMN_CHECK_OK(maps_.write_mask(first + i, wanted.mask));
    if (half[i].table != wanted.table || half[i].mask.empty()) {
      LMN_CHECK_OK(maps_.write_table(first + i, wanted.table));
    }
    half[i] = std::move(wanted);
  }
  is_second_half_ = !is_second_half_;
  const auto count = static_cast<std::uint32_t>(order.size());
  return maps_.write_state(count | (is_second_half_ ? kSecondHalf : 0));
}

// A number that is used again must not be taken for the table that had it.
void TernaryBuilder::drop(std::uint32_t table) {
  for (std::vector<Slot>& half : halves_) {
    for (Slot& slot : half) {
      if (slot.table == table) slot = {};
    }
  }
  maps_.drop_table(table);
}

Result<void> TernaryBuilder::put_best(const Mask& mask, const TernaryBytes& key) {
  const Shadowed& rules = mask.rules.at(key);
  return maps_.put(mask.table, key, with_number(rules.begin()->first, rules.begin()->second));
}

Result<void> TernaryBuilder::add(const TernaryRule& rule) {
  LMN_CHECK_OK(check(rule));
  auto found = masks_.find(rule.mask);
  const TernaryBytes key = masked_value(rule);
  if (found == masks_.end()) {
    if (masks_.size() == shape_.masks_max) {
      return make_error(ErrorCode::kLimitExceeded,
                        fmt::format("more than {} different masks", shape_.masks_max));
    }
    LMN_TRY(const std::uint32_t table, maps_.create_table());
    found = masks_.emplace(rule.mask, Mask{}).first;
    found->second.table = table;
  }
  Mask& mask = found->second;
  const std::uint32_t best_before = mask.best();
  const bool is_first = mask.rules.empty();
  if (!mask.rules[key].try_emplace(rule.priority, rule.result).second) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("there is such a rule of priority {} already", rule.priority));
  }
  ++mask.priorities[rule.priority];
  ++rule_count_;
  if (is_first || mask.best() != best_before) LMN_CHECK_OK(turn_over());
  return put_best(mask, key);
}

// Rules by mask and value, without tables.
Result<void> TernaryBuilder::collect(std::span<const TernaryRule> rules, Masks& masks) const {
  const auto failed = [](std::size_t at, std::unexpected<Error> error) {
    return make_error(std::move(error).error().with_context(fmt::format("rule {}", at)));
  };
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const TernaryRule& rule = rules[i];
    if (auto checked = check(rule); !checked) {
      return failed(i, std::unexpected(std::move(checked).error()));
    }
    if (masks.size() == shape_.masks_max && !masks.contains(rule.mask)) {
      return failed(i, make_error(ErrorCode::kLimitExceeded,
                                  fmt::format("more than {} different masks", shape_.masks_max)));
    }
    Mask& mask = masks[rule.mask];
    if (!mask.rules[masked_value(rule)].try_emplace(rule.priority, rule.result).second) {
      return failed(
          i, make_error(ErrorCode::kInvalidArgument,
                        fmt::format("there is such a rule of priority {} already", rule.priority)));
    }
    ++mask.priorities[rule.priority];
  }
  return {};
}

Result<void> TernaryBuilder::fill(Masks& masks) {
  for (auto& [bytes, mask] : masks) {
    LMN_TRY(mask.table, maps_.create_table());
    for (const auto& [key, shadowed] : mask.rules) LMN_CHECK_OK(put_best(mask, key));
  }
  return {};
}

Result<void> TernaryBuilder::replace(std::span<const TernaryRule> rules) {
  Masks fresh;
  LMN_CHECK_OK(collect(rules, fresh));
  if (auto filled = fill(fresh); !filled) {
    for (const auto& [bytes, mask] : fresh) {
      if (mask.table != 0) maps_.drop_table(mask.table);
    }
    return filled;
  }
  std::swap(masks_, fresh);
  rule_count_ = rules.size();
  LMN_CHECK_OK(turn_over());
  for (const auto& [bytes, mask] : fresh) drop(mask.table);
  return {};
}

Result<void> TernaryBuilder::remove(const TernaryRule& rule) {
  LMN_CHECK_OK(check(rule));
  const auto missing = [] { return make_error(ErrorCode::kNotFound, "there is no such rule"); };
  const auto found = masks_.find(rule.mask);
  if (found == masks_.end()) return missing();
  Mask& mask = found->second;
  const TernaryBytes key = masked_value(rule);
  const auto rules = mask.rules.find(key);
  if (rules == mask.rules.end() || rules->second.erase(rule.priority) == 0) return missing();
  const std::uint32_t best_before = mask.best();
  if (--mask.priorities[rule.priority] == 0) mask.priorities.erase(rule.priority);
  --rule_count_;
  if (rules->second.empty()) {
    mask.rules.erase(rules);
    LMN_CHECK_OK(maps_.erase(mask.table, key));
  } else {
    LMN_CHECK_OK(put_best(mask, key));
  }
  if (!mask.rules.empty() && mask.best() == best_before) return {};
  const std::uint32_t table = mask.table;
  const bool is_last = mask.rules.empty();
  if (is_last) masks_.erase(found);
  LMN_CHECK_OK(turn_over());
  if (is_last) drop(table);
  return {};
}

}  // namespace lmn
