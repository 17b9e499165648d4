// SPDX-License-Identifier: Apache-2.0
//
// The order of the steps; what each does is in its own file (object_draft.h lists them).
#include "object/object_reader.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <span>
#include <tuple>

#include "abi/limits.h"
#include "object/elf_numbers.h"
#include "object/file_kind.h"
#include "object/object_draft.h"

namespace lmn {
namespace {

constexpr std::size_t kLicenseBytesMax = 64;  // what libbpf and the kernel look at

Result<void> check_is_object(ByteSpan bytes) {
  if (bytes.size() > limits::kObjectBytesMax) {
    return make_error(ErrorCode::kLimitExceeded,
                      fmt::format("{} bytes, objects of up to {} are read", bytes.size(),
                                  limits::kObjectBytesMax));
  }
  constexpr std::uint8_t kMagic[] = {0x7f, 'E', 'L', 'F'};
  if (bytes.size() >= 4 && std::ranges::equal(bytes.first(4), kMagic)) return {};
  return make_error(ErrorCode::kMalformed,
                    fmt::format("this is {}: no BPF object", describe_file(bytes)),
                    remedy_for_file(bytes));
}

Result<void> read_constants(ObjectDraft& draft) {
  if (const ElfSection* section = draft.elf.find_section("license")) {
    const ByteSpan text = section->data.first(std::min(section->data.size(), kLicenseBytesMax - 1));
    draft.spec.license.assign(text.begin(), std::find(text.begin(), text.end(), 0));
  }
  if (const ElfSection* section = draft.elf.find_section("version")) {
    ByteReader reader(section->data);
    const auto version = reader.u32();
    if (!version || reader.remaining() != 0) {
      return make_error(ErrorCode::kMalformed,
                        fmt::format("section 'version': {} bytes, 4 wanted", section->data.size()));
    }
    draft.spec.kernel_version = *version;
  }
  return {};
}

// Sizes that a loader may still set; if it does not, the map cannot be created.
void note_open_sizes(ObjectDraft& draft) {
  constexpr std::uint32_t kWithoutKeys[] = {BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_USER_RINGBUF,
                                            BPF_MAP_TYPE_ARENA,   BPF_MAP_TYPE_QUEUE,
                                            BPF_MAP_TYPE_STACK,   BPF_MAP_TYPE_BLOOM_FILTER};
  constexpr std::uint32_t kWithoutValues[] = {BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_USER_RINGBUF,
                                              BPF_MAP_TYPE_ARENA};
  // libbpf fills these in: the entries are file descriptors.
  constexpr std::uint32_t kWithDefaults[] = {BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_TYPE_PERF_EVENT_ARRAY,
                                             BPF_MAP_TYPE_CGROUP_ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS,
                                             BPF_MAP_TYPE_HASH_OF_MAPS};
  const auto is_in = [](std::span<const std::uint32_t> types, std::uint32_t type) {
    return std::ranges::find(types, type) != types.end();
  };
  for (const MapSpec& map : draft.spec.maps) {
    if (is_in(kWithDefaults, map.type)) continue;
    for (const auto& [what, size, without] :
         {std::tuple("key_size", map.key_size, std::span<const std::uint32_t>(kWithoutKeys)),
          std::tuple("value_size", map.value_size,
                     std::span<const std::uint32_t>(kWithoutValues))}) {
      if (size != 0 || is_in(without, map.type)) continue;
      draft.note(fmt::format("map '{}': {} 0: it cannot be created unless the loader sets it",
                             map.name, what));
    }
  }
}

// Data that nothing reads is worth a word: a misspelt section name looks exactly like that.
void note_passed_over(ObjectDraft& draft) {
  constexpr std::string_view kKnown[] = {"license", "version",  "maps",          ".maps",
                                         ".BTF",    ".BTF.ext", ".addr_space.1", ".eh_frame"};
  constexpr std::string_view kFamilies[] = {".data",        ".rodata", ".debug_", ".struct_ops",
                                            "?.struct_ops", ".note",   ".comment"};
  for (const ElfSection& section : draft.elf.sections()) {
    if (section.type != elf::kProgbits || section.data.empty() || section.is_code()) continue;
    if (std::ranges::find(kKnown, section.name) != std::end(kKnown)) continue;
    if (std::ranges::any_of(
            kFamilies, [&](std::string_view family) { return section.name.starts_with(family); }))
      continue;
    draft.note(
        fmt::format("section '{}': {} bytes of data that no program refers to by a known name",
                    section.name, section.data.size()));
  }
}

}  // namespace

Result<ObjectSpec> read_object(ByteSpan bytes, const ReadOptions& options) {
  LMN_CHECK_OK(check_is_object(bytes));
  LMN_TRY(ElfFile elf, ElfFile::parse(bytes));
  ObjectDraft draft(options, std::move(elf));
  LMN_CHECK_OK(read_constants(draft));
  LMN_CHECK_OK(read_type_information(draft));
  LMN_CHECK_OK(collect_functions(draft));
  LMN_CHECK_OK(collect_legacy_maps(draft));
  LMN_CHECK_OK(collect_btf_maps(draft));
  LMN_CHECK_OK(collect_global_data(draft));
  LMN_CHECK_OK(collect_externs(draft));
  LMN_CHECK_OK(collect_struct_ops_maps(draft));
  LMN_CHECK_OK(collect_references(draft));
  LMN_CHECK_OK(collect_map_slots(draft));
  LMN_CHECK_OK(relocate_core(draft));
  LMN_CHECK_OK(link_programs(draft));
  note_open_sizes(draft);
  note_passed_over(draft);
  draft.spec.btf = std::move(draft.btf);
  draft.spec.kernel_types = options.target_btf;
  return std::move(draft.spec);
}

std::string object_name_of(std::string_view path) {
  const std::string_view file = path.substr(path.find_last_of('/') + 1);
  const std::string_view stem = file.substr(0, file.find('.'));
  return std::string(stem.substr(0, limits::kObjectNameBytes - 1));
}

}  // namespace lmn
