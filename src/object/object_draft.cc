// SPDX-License-Identifier: Apache-2.0
//
// What the steps of reading share: look-ups in the draft and located errors.
#include "object/object_draft.h"

#include <fmt/format.h>

#include <algorithm>

#include "abi/limits.h"

namespace lmn {

std::optional<std::uint32_t> ObjectDraft::code_of_section(std::uint32_t section) const {
  auto found = std::ranges::lower_bound(code, section, {}, &CodeSection::section);
  if (found == code.end() || found->section != section) return std::nullopt;
  return static_cast<std::uint32_t>(found - code.begin());
}

std::optional<std::uint32_t> ObjectDraft::function_at(std::uint32_t code_index,
                                                      std::uint64_t slot) const {
  const auto key = [](const Function& function) {
    return std::pair<std::uint32_t, std::uint64_t>(function.code, function.first);
  };
  auto after = std::ranges::upper_bound(functions, std::pair(code_index, slot), {}, key);
  if (after == functions.begin()) return std::nullopt;
  // Of several names for one start the first is meant.
  auto found = std::ranges::lower_bound(functions, key(*std::prev(after)), {}, key);
  if (found->code != code_index || slot - found->first >= found->count) return std::nullopt;
  return static_cast<std::uint32_t>(found - functions.begin());
}

Result<std::uint32_t> ObjectDraft::add_map(MapSpec map, MapPlace place) {
  if (spec.maps.size() >= limits::kMapsMax) {
    return make_error(
        ErrorCode::kLimitExceeded,
        fmt::format("map '{}': more than {} maps in one object", map.name, limits::kMapsMax));
  }
  const auto index = static_cast<std::uint32_t>(spec.maps.size());
  spec.maps.push_back(std::move(map));
  places.push_back(place);
  if (place.is_whole_section) {
    data_map_of_section.try_emplace(place.section, index);
  } else {
    map_at.try_emplace({place.section, place.offset}, index);
  }
  return index;
}

void ObjectDraft::note(std::string text) {
  if (takes_notes()) spec.notes.push_back(std::move(text));
}

Result<std::uint32_t> ObjectDraft::add_error(Error error) {
  if (errors.size() >= limits::kObjectDefectsMax) {
    return make_error(ErrorCode::kLimitExceeded,
                      fmt::format("more than {} relocations that mean nothing; the first: {}",
                                  limits::kObjectDefectsMax, errors.front().to_string()));
  }
  errors.push_back(std::move(error));
  return static_cast<std::uint32_t>(errors.size() - 1);
}

std::string place_in(std::string_view section, std::uint64_t offset) {
  return fmt::format("section '{}', offset {}", section, offset);
}

std::unexpected<Error> error_at(std::string_view section, std::uint64_t offset, std::string message,
                                std::string remedy) {
  Error error;
  error.code = ErrorCode::kMalformed;
  error.message = std::move(message);
  error.location = place_in(section, offset);
  error.remedy = std::move(remedy);
  return std::unexpected(std::move(error));
}

}  // namespace lmn
