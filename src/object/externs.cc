// SPDX-License-Identifier: Apache-2.0
//
// Externs: what an object uses without defining it. Kernel configuration (.kconfig), kernel
// variables and kernel functions (.ksyms), told apart by the DATASEC their BTF stands in.
//
// .kconfig becomes one read-only map; its layout is ours to choose, and is libbpf's (by alignment,
// then size, then name). Values come from ReadOptions, never from the machine that reads. Kernel
// variables and functions stay names; the environment resolves them. Tested by
// object_reader_test.cc and tests/objects/objects_test.cc. Source: Linux 6.18,
// tools/lib/bpf/bpf_helpers.h (__kconfig, __ksym); libbpf 1.5's layout.
#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <tuple>

#include "abi/limits.h"
#include "object/elf_numbers.h"
#include "object/kconfig_values.h"
#include "object/object_draft.h"

namespace lmn {
namespace {

struct KconfigVariable {
  std::uint32_t extern_index = 0;
  std::uint32_t align = 1;
  std::uint32_t size = 0;
  KconfigType type = KconfigType::kUnknown;
  bool is_signed = false;
};

// The type of an extern, and whether it stands in .kconfig or .ksyms; nullopt: nothing we can
// resolve.
std::optional<ExternKind> kind_of(
    const Btf& btf, std::uint32_t id,
    const std::unordered_map<std::uint32_t, std::uint32_t>& section_of) {
  auto section = section_of.find(id);
  if (section == section_of.end()) return std::nullopt;
  const std::string_view name = btf.type(section->second).name;
  const bool is_function = btf.type(id).kind == BtfKind::kFunc;
  if (name == ".ksyms") return is_function ? ExternKind::kKfunc : ExternKind::kKsym;
  if (name == ".kconfig" && !is_function) return ExternKind::kKconfig;
  return std::nullopt;
}

std::optional<std::uint32_t> extern_type(const Btf& btf, std::string_view name) {
  auto id = btf.find_by_name(name, BtfKind::kVar);
  if (!id) id = btf.find_by_name(name, BtfKind::kFunc);
  if (!id || btf.type(*id).linkage() != BtfLinkage::kExtern) return std::nullopt;
  return id;
}

class KconfigMap {
 public:
  explicit KconfigMap(ObjectDraft& draft) : draft_(draft) {}

  Result<void> build();

 private:
  Result<void> collect();
  Result<void> place(KconfigVariable& variable, MapSpec& map);
  Result<void> fill(const KconfigVariable& variable, KconfigExtern& out,
                    std::span<std::uint8_t> to);
  void complete_btf(std::uint32_t size);

  ObjectDraft& draft_;
  std::vector<KconfigVariable> variables_;
  std::map<std::string_view, std::string_view> values_;
};

Result<void> KconfigMap::collect() {
  const Btf& btf = *draft_.btf;
  for (std::uint32_t i = 0; i < draft_.externs.size(); ++i) {
    if (draft_.externs[i].kind != ExternKind::kKconfig) continue;
    const std::string_view name = draft_.externs[i].name;
    const std::uint32_t type = btf.type(draft_.externs[i].btf_type_id).type;
    KconfigVariable variable;
    variable.extern_index = i;
    variable.align = btf.align_of(type);
    variable.type = kconfig_type(btf, type, variable.is_signed);
    if (variable.type == KconfigType::kUnknown || variable.align == 0) {
      return make_error(ErrorCode::kMalformed,
                        fmt::format("extern (kconfig) '{}': a type no setting has", name),
                        "use bool, enum libbpf_tristate, an integer or an array of char");
    }
    LMN_TRY(variable.size, btf.resolve_size(type));
    constexpr std::uint32_t kVariableBytesMax = 1u << 16;
    if (variable.size == 0 || variable.size > kVariableBytesMax) {
      return make_error(ErrorCode::kLimitExceeded,
                        fmt::format("extern (kconfig) '{}': {} bytes", name, variable.size));
    }
    variables_.push_back(variable);
  }
  std::ranges::sort(variables_, {}, [&](const KconfigVariable& v) {
    return std::tuple(UINT32_MAX - v.align, v.size, draft_.externs[v.extern_index].name,
                      v.extern_index);
  });
  return {};
}

Result<void> KconfigMap::place(KconfigVariable& variable, MapSpec& map) {
  const std::size_t offset =
      (map.contents.size() + variable.align - 1) / variable.align * variable.align;
  constexpr std::size_t kMapBytesMax = 1u << 22;
  if (offset + variable.size > kMapBytesMax) {
    return make_error(ErrorCode::kLimitExceeded,
                      fmt::format("section '.kconfig': more than {} bytes", kMapBytesMax));
  }
  map.contents.resize(offset + variable.size);
  Extern& source = draft_.externs[variable.extern_index];
  KconfigExtern out;
  out.name = source.name;
  out.offset = static_cast<std::uint32_t>(offset);
  out.size = variable.size;
  out.is_weak = source.is_weak;
  LMN_CHECK_OK(fill(variable, out, std::span(map.contents).subspan(offset)));
  source.kconfig = static_cast<std::uint32_t>(draft_.spec.kconfig.size());
  draft_.spec.kconfig.push_back(std::move(out));
  return {};
}

Result<void> KconfigMap::fill(const KconfigVariable& variable, KconfigExtern& out,
                              std::span<std::uint8_t> to) {
  // Settings that are no CONFIG_ line: facts of the kernel's version. Both features came with 4.17
  // and 5.15.
  const std::uint32_t version = draft_.options.kernel_version;
  constexpr std::uint32_t kWrapperSince = 4u << 16 | 17u << 8;
  constexpr std::uint32_t kCookieSince = 5u << 16 | 15u << 8;
  std::optional<std::uint32_t> fact;
  if (version != 0 && out.name == "LINUX_KERNEL_VERSION") fact = version;
  if (version != 0 && out.name == "LINUX_HAS_SYSCALL_WRAPPER") fact = version >= kWrapperSince;
  if (version != 0 && out.name == "LINUX_HAS_BPF_COOKIE") fact = version >= kCookieSince;
  if (fact && variable.type == KconfigType::kBool) {
    to[0] = *fact != 0;
    out.is_set = true;
    return {};
  }
  std::string text;
  if (fact) {
    text = std::to_string(*fact);
  } else if (auto value = values_.find(out.name); value != values_.end()) {
    text = value->second;
  } else {
    return {};
  }
  LMN_CHECK_OK(store_kconfig(out.name, text, variable.type, variable.is_signed, to));
  out.is_set = true;
  return {};
}

// The DATASEC of .kconfig names the variables; size and offsets are those of the map we made.
void KconfigMap::complete_btf(std::uint32_t size) {
  Btf& btf = *draft_.btf;
  const auto id = btf.find_by_name(".kconfig", BtfKind::kDatasec);
  if (!id) return;
  const auto rows = btf.variables(btf.type(*id));
  std::vector<BtfVariable> variables(rows.begin(), rows.end());
  std::unordered_map<std::uint32_t, std::uint32_t> offset_of;
  for (const Extern& source : draft_.externs) {
    if (source.kind == ExternKind::kKconfig) {
      offset_of.try_emplace(source.btf_type_id, draft_.spec.kconfig[source.kconfig].offset);
    }
  }
  for (BtfVariable& row : variables) {
    auto found = offset_of.find(row.type);
    if (found == offset_of.end()) continue;
    row.offset = found->second;
    btf.set_linkage(row.type, BtfLinkage::kGlobal);
  }
  sort_keeping_order(variables, &BtfVariable::offset);
  btf.set_datasec(*id, size, variables);
}

Result<void> KconfigMap::build() {
  LMN_CHECK_OK(collect());
  if (variables_.empty()) return {};
  values_ = parse_kconfig(draft_.options.kconfig);
  MapSpec map;
  const std::string_view object = draft_.options.object_name;
  map.name = std::string(object.substr(0, 7)) + ".kconfig";
  map.type = BPF_MAP_TYPE_ARRAY;
  map.key_size = 4;
  map.max_entries = 1;
  map.map_flags = BPF_F_RDONLY_PROG | BPF_F_MMAPABLE;
  map.origin = MapOrigin::kKconfig;
  map.section = ".kconfig";
  map.is_frozen_at_load = true;
  map.btf_value_type_id = draft_.btf->find_by_name(".kconfig", BtfKind::kDatasec).value_or(0);
  for (KconfigVariable& variable : variables_) LMN_CHECK_OK(place(variable, map));
  map.value_size = static_cast<std::uint32_t>(map.contents.size());
  complete_btf(map.value_size);
  LMN_TRY(draft_.kconfig_map, draft_.add_map(std::move(map), {}));
  return {};
}

}  // namespace

Result<void> collect_externs(ObjectDraft& draft) {
  if (draft.btf == nullptr) return {};  // references to them say "compile with -g"
  const Btf& btf = *draft.btf;
  std::unordered_map<std::uint32_t, std::uint32_t> section_of;  // VAR or FUNC -> DATASEC
  for (std::uint32_t id = 1; id < btf.type_count(); ++id) {
    if (btf.type(id).kind != BtfKind::kDatasec) continue;
    for (const BtfVariable& variable : btf.variables(btf.type(id)))
      section_of.try_emplace(variable.type, id);
  }
  std::unordered_map<std::uint32_t, std::uint32_t>
      seen;  // one extern per variable, however many symbols name it
  const auto& symbols = draft.elf.symbols();
  for (std::uint32_t i = 0; i < symbols.size(); ++i) {
    if (!symbols[i].is_undefined() || symbols[i].name.empty()) continue;
    const auto id = extern_type(btf, symbols[i].name);
    const auto kind = id ? kind_of(btf, *id, section_of) : std::nullopt;
    if (!kind) continue;
    const auto [place, is_new] =
        seen.try_emplace(*id, static_cast<std::uint32_t>(draft.externs.size()));
    draft.extern_of_symbol.try_emplace(i, place->second);
    if (!is_new) continue;
    if (draft.externs.size() >= limits::kObjectExternsMax) {
      return make_error(ErrorCode::kLimitExceeded,
                        fmt::format("more than {} externs", limits::kObjectExternsMax));
    }
    draft.externs.push_back({symbols[i].name, *kind, *id, symbols[i].bind == elf::kWeak, 0});
  }
  return KconfigMap(draft).build();
}

}  // namespace lmn
