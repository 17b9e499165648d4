// SPDX-License-Identifier: Apache-2.0
//
// From functions and references to finished programs.
//
// A program is its entry function with the subprograms it reaches appended: at the first call or
// address of a function that is not there yet, it is appended at the end, and its own calls are
// followed before the caller's next one. This is the order libbpf uses, and so the one people see
// in verifier logs and dumps of the kernel. Every program has its own copy of a subprogram. An
// exception callback that a declaration tag names comes last.
//
// References become the symbolic forms of spec/program_spec.h on the way. What cannot be linked is
// a defect of this program only. Tested by tests/objects/ (libbpf's own instructions).
// Source: libbpf 1.5's order, observed with bpftool.
#include <fmt/format.h>

#include <algorithm>

#include "abi/limits.h"
#include "base/assert.h"
#include "insn/codec.h"
#include "object/core_patch.h"
#include "object/object_draft.h"
#include "object/section_types.h"

namespace lmn {
namespace {

constexpr std::uint32_t kNotPlaced = UINT32_MAX;
constexpr std::string_view kExceptionTag = "exception_callback:";

// What all programs of an object may take together, because a small object can ask for much.
struct Budget {
  std::size_t slots = limits::kObjectSlotsMax;
  std::size_t functions = limits::kObjectFunctionsMax;
  std::size_t lines = limits::kObjectLinesMax;
  std::size_t line_bytes = limits::kLineTextBytesMax;
  std::size_t name_bytes = limits::kObjectNamesBytesMax;
  bool has_cut_lines = false;
};

class ProgramLinker {
 public:
  ProgramLinker(ObjectDraft& draft, Budget& budget) : draft_(draft), budget_(budget) {
    placed_.assign(draft.functions.size(), kNotPlaced);
    map_index_.assign(draft.spec.maps.size(), kNotPlaced);
    extern_index_.assign(draft.externs.size(), kNotPlaced);
  }

  // Forgets the last program.
  void start() {
    for (const std::uint32_t function : order_) placed_[function] = kNotPlaced;
    for (const std::uint32_t map : used_maps_) map_index_[map] = kNotPlaced;
    for (const std::uint32_t used : used_externs_) extern_index_[used] = kNotPlaced;
    order_.clear();
    used_maps_.clear();
    used_externs_.clear();
    slots_.clear();
  }

  Result<void> link(std::uint32_t entry, std::optional<std::uint32_t> exception_callback,
                    ProgramSpec& out);

 private:
  Result<void> append(std::uint32_t function_index);
  Result<void> follow(std::uint32_t function_index);
  Result<void> apply(std::size_t at, const SlotReference& reference);
  Result<void> apply_call(std::size_t at, std::uint32_t target);
  Result<void> apply_kconfig(std::size_t at, const SlotReference& reference);
  Result<void> check_unreferenced(std::size_t at, const Function& function, std::uint32_t slot);
  Result<void> spoil(std::size_t at, const Error& error);
  Result<void> spoil(std::size_t at, const Function& function, std::uint32_t slot,
                     std::string message);
  std::span<const SlotReference> references_of(const Function& function) const;
  std::uint32_t use_map(std::uint32_t map);
  template <typename Ref>
  Result<std::uint32_t> use_extern(std::uint32_t target, std::vector<Ref>& refs);
  Result<void> spend_name(std::string_view name);
  void describe(const Function& function, std::uint32_t base);
  void add_lines(const CodeSection& code, const Function& function, std::uint32_t base);
  std::unexpected<Error> refuse(const Function& function, std::uint32_t slot,
                                std::string message) const {
    return error_at(draft_.code[function.code].name, std::uint64_t{slot} * kSlotBytes,
                    std::move(message));
  }

  ObjectDraft& draft_;
  Budget& budget_;
  ProgramSpec* out_ = nullptr;
  std::vector<std::uint32_t> placed_;  // function -> its first slot in the program
  std::vector<std::uint32_t> order_;
  std::vector<std::uint32_t> map_index_;  // map of the object -> position in ProgramSpec::maps
  std::vector<std::uint32_t> used_maps_;
  std::vector<std::uint32_t> extern_index_;  // extern -> position in ProgramSpec::externs or kfuncs
  std::vector<std::uint32_t> used_externs_;
  std::vector<RawInsn> slots_;
};

Result<void> ProgramLinker::link(std::uint32_t entry,
                                 std::optional<std::uint32_t> exception_callback,
                                 ProgramSpec& out) {
  out_ = &out;
  start();
  LMN_CHECK_OK(append(entry));
  if (exception_callback && placed_[*exception_callback] == kNotPlaced) {
    LMN_CHECK_OK(append(*exception_callback));
  }
  if (exception_callback) out.exception_callback = InsnIndex{placed_[*exception_callback]};
  auto insns = decode_program(store_slots(slots_));
  if (!insns && out.defect) return {};  // the first reason is the better one
  if (!insns) {
    Error error = std::move(insns).error();
    error.location = fmt::format("program '{}'", out.name);
    return make_error(std::move(error));
  }
  out.insns = std::move(*insns);
  return {};
}

Result<void> ProgramLinker::append(std::uint32_t function_index) {
  const Function& function = draft_.functions[function_index];
  const CodeSection& code = draft_.code[function.code];
  if (order_.size() >= limits::kSubprogramsMax) {
    return make_error(
        ErrorCode::kLimitExceeded,
        fmt::format("more than {} functions in one program", limits::kSubprogramsMax));
  }
  if (function.count > budget_.slots || budget_.functions == 0) {
    return make_error(
        ErrorCode::kLimitExceeded,
        fmt::format("the object's programs take more than {} instructions or {} functions together",
                    limits::kObjectSlotsMax, limits::kObjectFunctionsMax));
  }
  LMN_CHECK_OK(spend_name(function.name));
  budget_.slots -= function.count;
  --budget_.functions;
  const auto base = static_cast<std::uint32_t>(slots_.size());
  placed_[function_index] = base;
  order_.push_back(function_index);
  const auto first = code.slots.begin() + function.first;
  slots_.insert(slots_.end(), first, first + function.count);
  describe(function, base);
  return follow(function_index);
}

std::span<const SlotReference> ProgramLinker::references_of(const Function& function) const {
  const auto& all = draft_.code[function.code].references;
  const auto first = std::ranges::lower_bound(all, function.first, {}, &SlotReference::slot);
  const auto last =
      std::ranges::lower_bound(all, function.first + function.count, {}, &SlotReference::slot);
  return {first, last};
}

// Goes through the slots of a placed function in order; appending happens on the way (depth <=
// kSubprogramsMax).
Result<void> ProgramLinker::follow(std::uint32_t function_index) {
  const Function& function = draft_.functions[function_index];
  const std::uint32_t base = placed_[function_index];
  auto references = references_of(function);
  for (std::uint32_t i = 0; i < function.count; ++i) {
    const std::uint32_t slot = function.first + i;
    if (!references.empty() && references.front().slot == slot) {
      const SlotReference reference = references.front();
      references = references.subspan(1);
      if (slots_[base + i].is_lddw() && i + 1 == function.count) {
        return refuse(function, slot, "half a 64-bit load at the end of a function");
      }
      LMN_CHECK_OK(apply(base + i, reference));
    } else {
      LMN_CHECK_OK(check_unreferenced(base + i, function, slot));
    }
  }
  return {};
}

// Without a relocation only calls inside a section have a meaning: their distance is known when it
// is compiled.
Result<void> ProgramLinker::check_unreferenced(std::size_t at, const Function& function,
                                               std::uint32_t slot) {
  const RawInsn insn = slots_[at];
  if (insn.is_local_call()) {
    const std::int64_t start = std::int64_t{slot} + insn.imm + 1;
    const auto target = start < 0
                            ? std::nullopt
                            : draft_.function_at(function.code, static_cast<std::uint64_t>(start));
    if (!target || draft_.functions[*target].first != start) {
      return spoil(at, function, slot,
                   fmt::format("call to slot {}, where no function starts", start));
    }
    return apply_call(at, *target);
  }
  if (insn.is_call() && insn.src == BPF_PSEUDO_KFUNC_CALL) {
    return spoil(at, function, slot,
                 fmt::format("call of kernel function number {} without a relocation", insn.imm));
  }
  if (insn.is_lddw() && insn.src != 0) {
    return spoil(
        at, function, slot,
        fmt::format("64-bit load of kind {} (number {}) without a relocation", insn.src, insn.imm));
  }
  return {};
}

Result<void> ProgramLinker::apply(std::size_t at, const SlotReference& reference) {
  RawInsn& insn = slots_[at];
  switch (reference.kind) {
    case ReferenceKind::kMap:
      insn.src = BPF_PSEUDO_MAP_IDX;
      insn.imm = static_cast<std::int32_t>(use_map(reference.target));
      slots_[at + 1].imm = 0;
      return {};
    case ReferenceKind::kMapValue:
      slots_[at + 1].imm =
          static_cast<std::int32_t>(static_cast<std::uint32_t>(insn.imm) + reference.offset);
      insn.src = BPF_PSEUDO_MAP_IDX_VALUE;
      insn.imm = static_cast<std::int32_t>(use_map(reference.target));
      return {};
    case ReferenceKind::kKsym: {
      LMN_TRY(const std::uint32_t index, use_extern(reference.target, out_->externs));
      insn.src = BPF_PSEUDO_BTF_ID;
      insn.imm = static_cast<std::int32_t>(index);
      slots_[at + 1].imm = 0;
      return {};
    }
    case ReferenceKind::kKfunc: {
      LMN_TRY(const std::uint32_t index, use_extern(reference.target, out_->kfuncs));
      insn.src = BPF_PSEUDO_KFUNC_CALL;
      insn.imm = static_cast<std::int32_t>(index);
      insn.off = 0;
      return {};
    }
    case ReferenceKind::kKconfig:
      return apply_kconfig(at, reference);
    case ReferenceKind::kCall:
      return apply_call(at, reference.target);
    case ReferenceKind::kFunctionAddress:
      insn.src = BPF_PSEUDO_FUNC;
      slots_[at + 1].imm = 0;
      return apply_call(at, reference.target);
    case ReferenceKind::kBroken:
      return spoil(at, draft_.errors[reference.target]);
  }
  return {};
}

// Notes the defect and goes on, so that the rest can be looked at; the instruction becomes a call
// of no helper, which nobody runs even if he overlooks the defect.
Result<void> ProgramLinker::spoil(std::size_t at, const Error& error) {
  const std::size_t count = slots_[at].is_lddw() && at + 1 < slots_.size() ? 2 : 1;
  for (std::size_t i = at; i < at + count; ++i) {
    slots_[i] = {};
    slots_[i].code = BPF_JMP | BPF_CALL;
    slots_[i].imm = kCorePoison;
  }
  if (!out_->defect) out_->defect = error;
  return {};
}

Result<void> ProgramLinker::spoil(std::size_t at, const Function& function, std::uint32_t slot,
                                  std::string message) {
  return spoil(at, refuse(function, slot, std::move(message)).error());
}

Result<void> ProgramLinker::apply_call(std::size_t at, std::uint32_t target) {
  if (placed_[target] == kNotPlaced) LMN_CHECK_OK(append(target));
  slots_[at].imm =
      static_cast<std::int32_t>(std::int64_t{placed_[target]} - static_cast<std::int64_t>(at) - 1);
  return {};
}

Result<void> ProgramLinker::apply_kconfig(std::size_t at, const SlotReference& reference) {
  const Extern& source = draft_.externs[reference.target];
  const KconfigExtern& variable = draft_.spec.kconfig[source.kconfig];
  LMN_ASSERT(draft_.kconfig_map.has_value());
  if (!variable.is_set && !variable.is_weak && !out_->defect) {
    auto error =
        make_error(ErrorCode::kNotFound,
                   fmt::format("extern (kconfig) '{}': its value is not known", variable.name),
                   "give the kernel's configuration and version, or declare it __weak");
    out_->defect = std::move(error).error();
  }
  slots_[at].src = BPF_PSEUDO_MAP_IDX_VALUE;
  slots_[at].imm = static_cast<std::int32_t>(use_map(*draft_.kconfig_map));
  slots_[at + 1].imm = static_cast<std::int32_t>(variable.offset);
  return {};
}

std::uint32_t ProgramLinker::use_map(std::uint32_t map) {
  std::uint32_t& index = map_index_[map];
  if (index == kNotPlaced) {
    index = static_cast<std::uint32_t>(out_->maps.size());
    out_->maps.push_back(map);
    used_maps_.push_back(map);
  }
  return index;
}

// A kernel function may be called in one place and its address taken in another, and is then in
// both lists: an index that is not this list's own is looked up anew.
template <typename Ref>
Result<std::uint32_t> ProgramLinker::use_extern(std::uint32_t target, std::vector<Ref>& refs) {
  const Extern& source = draft_.externs[target];
  const std::uint32_t known = extern_index_[target];
  if (known < refs.size() && refs[known].btf_type_id == source.btf_type_id) return known;
  auto found = std::ranges::find(refs, source.btf_type_id, &Ref::btf_type_id);
  const auto index = static_cast<std::uint32_t>(found - refs.begin());
  if (found == refs.end()) {
    LMN_CHECK_OK(spend_name(source.name));
    refs.push_back({std::string(source.name), source.is_weak, source.btf_type_id});
    used_externs_.push_back(target);
  }
  extern_index_[target] = index;
  return index;
}

Result<void> ProgramLinker::spend_name(std::string_view name) {
  if (name.size() > budget_.name_bytes) {
    return make_error(
        ErrorCode::kLimitExceeded,
        fmt::format("names of the object's functions take more than {} bytes together",
                    limits::kObjectNamesBytesMax));
  }
  budget_.name_bytes -= name.size();
  return {};
}

void ProgramLinker::describe(const Function& function, std::uint32_t base) {
  FunctionInfo info;
  info.insn = {base};
  info.name = function.name;
  info.btf_type_id = function.btf_type_id;
  info.is_global = function.is_global;
  out_->functions.push_back(std::move(info));
  add_lines(draft_.code[function.code], function, base);
}

void ProgramLinker::add_lines(const CodeSection& code, const Function& function,
                              std::uint32_t base) {
  const std::uint64_t first = std::uint64_t{function.first} * kSlotBytes;
  const std::uint64_t last = first + std::uint64_t{function.count} * kSlotBytes;
  auto at = std::ranges::lower_bound(code.lines, first, {}, &BtfLineRecord::offset);
  for (; at != code.lines.end() && at->offset < last; ++at) {
    const std::size_t bytes = at->file.size() + at->text.size();
    if (budget_.lines == 0 || bytes > budget_.line_bytes) {
      budget_.has_cut_lines = true;
      return;
    }
    --budget_.lines;
    budget_.line_bytes -= bytes;
    LineInfo line;
    line.insn = {base + at->offset / static_cast<std::uint32_t>(kSlotBytes) - function.first};
    line.line = at->line;
    line.column = at->column;
    line.file = at->file;
    line.text = at->text;
    out_->lines.push_back(std::move(line));
  }
}

// Exception callbacks by the entry function's name: declaration tags "exception_callback:NAME" on
// it.
std::unordered_map<std::string_view, std::vector<std::string_view>> exception_callbacks(
    const ObjectDraft& draft) {
  std::unordered_map<std::string_view, std::vector<std::string_view>> out;
  if (draft.btf == nullptr) return out;
  for (std::uint32_t id = 1; id < draft.btf->type_count(); ++id) {
    const BtfType& tag = draft.btf->type(id);
    if (tag.kind != BtfKind::kDeclTag || tag.component_index() != -1 ||
        !tag.name.starts_with(kExceptionTag))
      continue;
    const BtfType& target = draft.btf->type(tag.type);
    if (target.kind == BtfKind::kFunc)
      out[target.name].push_back(tag.name.substr(kExceptionTag.size()));
  }
  return out;
}

using FunctionIndex = std::unordered_map<std::string_view, std::uint32_t>;

Result<std::optional<std::uint32_t>> find_callback(const ObjectDraft& draft,
                                                   const FunctionIndex& subprograms,
                                                   std::string_view program,
                                                   const std::vector<std::string_view>& names) {
  // Several are an error that only the verifier words well: it sees the tags too.
  if (names.size() != 1) return std::optional<std::uint32_t>();
  if (auto found = subprograms.find(names[0]); found != subprograms.end()) {
    if (!draft.functions[found->second].is_global) {
      return make_error(ErrorCode::kMalformed,
                        fmt::format("program '{}': exception callback '{}' is static or hidden",
                                    program, names[0]));
    }
    return std::optional(found->second);
  }
  return make_error(
      ErrorCode::kMalformed,
      fmt::format("program '{}': exception callback '{}' is not in the object", program, names[0]));
}

ProgramSpec describe_program(const ObjectDraft& draft, const Function& function) {
  const CodeSection& code = draft.code[function.code];
  ProgramSpec program;
  program.name = function.name;
  program.section = code.name;
  program.is_autoload = code.is_autoload;
  program.license = draft.spec.license;
  const SectionType type = section_type(code.name);
  program.type = type.type;
  program.expected_attach_type = type.expected_attach_type;
  program.prog_flags = type.prog_flags;
  program.attach_target = type.target;
  return program;
}

}  // namespace

Result<void> link_programs(ObjectDraft& draft) {
  Budget budget;
  ProgramLinker linker(draft, budget);
  const auto callbacks = exception_callbacks(draft);
  FunctionIndex subprograms;
  for (std::uint32_t i = 0; i < draft.functions.size(); ++i) {
    if (!draft.functions[i].is_entry) subprograms.try_emplace(draft.functions[i].name, i);
  }
  for (std::uint32_t i = 0; i < draft.functions.size(); ++i) {
    if (!draft.functions[i].is_entry) continue;
    ProgramSpec program = describe_program(draft, draft.functions[i]);
    std::optional<std::uint32_t> callback;
    Result<void> linked;
    if (auto tagged = callbacks.find(program.name); tagged != callbacks.end()) {
      auto found = find_callback(draft, subprograms, program.name, tagged->second);
      if (found) callback = *found;
      if (!found) linked = make_error(std::move(found).error());
    }
    if (linked) linked = linker.link(i, callback, program);
    if (!linked) program.defect = std::move(linked).error();
    draft.spec.programs.push_back(std::move(program));
  }
  if (budget.has_cut_lines) {
    draft.note(fmt::format("source lines left out: more than {} records or {} bytes of text",
                           limits::kObjectLinesMax, limits::kLineTextBytesMax));
  }
  return {};
}

}  // namespace lmn
