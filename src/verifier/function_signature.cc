// SPDX-License-Identifier: Apache-2.0
//
// Reading a function's signature from BTF. Tested by paths_test.cc.
#include "verifier/function_signature.h"

#include <fmt/format.h>

#include <array>
#include <optional>

namespace lmn {
namespace {

constexpr std::size_t kArgsMax = 5;

struct Tags {
  bool is_context = false;
  bool is_non_null = false;
  bool is_nullable = false;
  bool is_trusted = false;
  bool is_other = false;  // one we have no meaning for
};

std::array<Tags, kArgsMax> tags_of(const Btf& btf, std::uint32_t function_id) {
  std::array<Tags, kArgsMax> out;
  for (std::uint32_t id = 1; id < btf.type_count(); ++id) {
    const BtfType& type = btf.type(id);
    if (type.kind != BtfKind::kDeclTag || type.type != function_id) continue;
    const std::int32_t index = type.component_index();
    if (index < 0 || index >= static_cast<std::int32_t>(kArgsMax)) continue;
    if (!type.name.starts_with("arg:")) continue;
    Tags& tags = out[static_cast<std::size_t>(index)];
    const std::string_view word = type.name.substr(4);
    if (word == "ctx") {
      tags.is_context = true;
    } else if (word == "nonnull") {
      tags.is_non_null = true;
    } else if (word == "nullable") {
      tags.is_nullable = true;
    } else if (word == "trusted") {
      tags.is_trusted = true;
    } else {
      tags.is_other = true;
    }
  }
  return out;
}

// task_struct___local stands for the kernel's task_struct.
std::string_view kernel_name(std::string_view name) { return name.substr(0, name.find("___")); }

std::optional<FunctionArg> pointer_arg(const Btf& btf, const BtfType& pointer, const Tags& tags,
                                       std::size_t index, std::string& problem) {
  FunctionArg arg;
  const std::uint32_t pointee = btf.skip_modifiers(pointer.type);
  const BtfType& named = btf.type(pointee);
  const BtfType& type = btf.type(btf.skip_modifiers_and_typedefs(pointer.type));
  const bool is_xdp_md = type.kind == BtfKind::kStruct && type.name == "xdp_md";
  if (tags.is_context && !is_xdp_md && type.kind != BtfKind::kVoid) {
    problem = type.name.empty() ? fmt::format("arg#{} type doesn't have a name", index)
                                : fmt::format("arg#{} should be `struct xdp_md *`", index);
    return std::nullopt;
  }
  if (tags.is_context || is_xdp_md) {
    arg.kind = FunctionArg::Kind::kContext;
    return arg;
  }
  if (type.kind == BtfKind::kStruct && type.name == "bpf_dynptr") {
    arg.kind = FunctionArg::Kind::kDynptr;
    return arg;
  }
  if (tags.is_trusted) {
    if (type.kind != BtfKind::kStruct || type.name.empty()) {
      problem = fmt::format("arg#{} marked as trusted is no pointer to a struct", index);
      return std::nullopt;
    }
    arg.kind = FunctionArg::Kind::kObject;
    arg.struct_name = kernel_name(type.name);
    arg.may_be_null = tags.is_nullable;
    return arg;
  }
  const auto size = btf.resolve_size(pointee);
  if (!size) {
    problem = fmt::format("arg#{} reference type('{} {}') size cannot be determined: -22", index,
                          btf_kind_dump_name(named.kind), named.name);
    return std::nullopt;
  }
  arg.kind = FunctionArg::Kind::kMemory;
  arg.size = *size;
  arg.may_be_null = !tags.is_non_null;
  return arg;
}

}  // namespace

FunctionSignature read_signature(const Btf* btf, const FunctionInfo& function) {
  FunctionSignature out;
  const BtfType* func = btf == nullptr ? nullptr : btf->find(function.btf_type_id);
  if (func == nullptr || func->kind != BtfKind::kFunc) {
    out.problem = fmt::format("no BTF for function {}()", function.name);
    return out;
  }
  const BtfType& proto = btf->type(func->type);
  const auto params = btf->params(proto);
  if (params.size() > kArgsMax) {
    out.problem = fmt::format("Global function {}() with {} > 5 args. Buggy compiler.",
                              function.name, params.size());
    return out;
  }
  const BtfType& result = btf->type(btf->skip_modifiers_and_typedefs(proto.type));
  if (result.kind != BtfKind::kInt && !result.is_enumeration()) {
    out.problem = fmt::format(
        "Global function {}() doesn't return scalar. Only those are supported.", function.name);
    return out;
  }
  const auto tags = tags_of(*btf, function.btf_type_id);
  for (std::size_t i = 0; i < params.size(); ++i) {
    const BtfType& type = btf->type(btf->skip_modifiers_and_typedefs(params[i].type));
    if (tags[i].is_other) {
      out.problem = fmt::format("arg#{} has a tag that is not supported", i);
      return out;
    }
    const bool is_number = (type.kind == BtfKind::kInt || type.is_enumeration()) && type.size <= 8;
    if (is_number && !tags[i].is_context) {
      out.args.push_back({});
      continue;
    }
    if (type.kind != BtfKind::kPtr) {
      out.problem = fmt::format("Arg#{} type {} in {}() is not supported yet.", i,
                                btf_kind_dump_name(type.kind), function.name);
      return out;
    }
    auto arg = pointer_arg(*btf, type, tags[i], i, out.problem);
    if (!arg) return out;
    out.args.push_back(*arg);
  }
  out.is_usable = true;
  return out;
}

}  // namespace lmn
