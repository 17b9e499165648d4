// SPDX-License-Identifier: Apache-2.0
//
// See libbpf_oracle.h. The symbol `syscall` defined here is found by libbpf before libc's.
#include "libbpf_oracle.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <memory>
#include <span>
#include <unordered_map>

#include "insn/codec.h"
#include "object/raw_insn.h"

namespace {

bool g_is_answering = false;  // only while an object is compared
std::string* g_log = nullptr;

// Something that can be mapped like an array map, and closed like anything.
int memory_fd() {
  const int fd = memfd_create("lmn_oracle", MFD_CLOEXEC);
  constexpr off_t kBytes = off_t{1} << 32;  // sparse: libbpf maps a part and touches none of it
  if (fd >= 0 && ftruncate(fd, kBytes) != 0) return -1;
  return fd;
}

// What a kernel that agrees to everything says. -2: let the real one speak.
long agreeable_kernel(long command) {
  switch (command) {
    case BPF_MAP_CREATE:
    case BPF_PROG_LOAD:
    case BPF_BTF_LOAD:
      return memory_fd();
    case BPF_MAP_UPDATE_ELEM:
    case BPF_MAP_FREEZE:
    case BPF_PROG_BIND_MAP:
      return 0;
    case BPF_BTF_GET_NEXT_ID:
    case BPF_BTF_GET_FD_BY_ID:
    case BPF_OBJ_GET_INFO_BY_FD:
      return -2;
    default:
      errno = ENOENT;
      return -1;
  }
}

}  // namespace

// The same name as libc's, so that libbpf calls this one.
extern "C" long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long args[6];
  for (long& arg : args) arg = va_arg(list, long);
  va_end(list);
  if (number == SYS_bpf && g_is_answering) {
    const long answer = agreeable_kernel(args[0]);
    if (answer != -2) return answer;
  }
  using Syscall = long (*)(long, ...);
  static const auto kReal = reinterpret_cast<Syscall>(dlsym(RTLD_NEXT, "syscall"));
  return kReal(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

namespace lmn::testing {
namespace {

struct CloseObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using ObjectPointer = std::unique_ptr<bpf_object, CloseObject>;

int keep_log(libbpf_print_level level, const char* format, va_list list) {
  if (level > LIBBPF_WARN || g_log == nullptr || g_log->size() > 4096) return 0;
  char line[512];
  const int size = std::vsnprintf(line, sizeof line, format, list);
  if (size > 0) g_log->append(line);
  return size;
}

class Comparison {
 public:
  Comparison(const ObjectSpec& object, OracleResult& result) : object_(object), result_(result) {}

  void compare_maps(bpf_object* theirs);
  void compare_types(bpf_object* theirs);
  void compare_btf(const bpf_object* theirs);
  void compare_programs(bpf_object* theirs);

 private:
  void compare_map(const MapSpec& ours, bpf_map* theirs);
  void compare_program(const ProgramSpec& ours, const bpf_program* theirs);
  void compare_slots(const ProgramSpec& ours, std::span<const RawInsn> our_slots,
                     std::span<const bpf_insn> their_slots);
  // 1: equal by meaning, 2: both slots of a wide load are; 0: not.
  std::size_t agree(const ProgramSpec& ours, std::span<const RawInsn> our_slots,
                    std::span<const bpf_insn> their_slots, std::size_t at) const;
  void differ(std::string text) { result_.differences.push_back(std::move(text)); }

  const ObjectSpec& object_;
  OracleResult& result_;
  std::unordered_map<int, std::string> map_of_fd_;
};

std::string map_name(const MapSpec& map) {
  // libbpf's API calls custom data sections by their whole names, but not .bss.*.
  const bool is_custom = map.section.starts_with(".data.") || map.section.starts_with(".rodata.");
  return map.origin == MapOrigin::kGlobalData && is_custom ? map.section : map.name;
}

void Comparison::compare_map(const MapSpec& ours, bpf_map* theirs) {
  const auto check = [&](const char* what, std::uint64_t mine, std::uint64_t other) {
    if (mine != other)
      differ(fmt::format("map '{}': {} is {}, libbpf's {}", ours.name, what, mine, other));
  };
  check("type", ours.type, bpf_map__type(theirs));
  check("key_size", ours.key_size, bpf_map__key_size(theirs));
  check("value_size", ours.value_size, bpf_map__value_size(theirs));
  check("max_entries", ours.max_entries, bpf_map__max_entries(theirs));
  check("map_flags", ours.map_flags, bpf_map__map_flags(theirs));
  check("numa_node", ours.numa_node, bpf_map__numa_node(theirs));
  check("map_extra", ours.map_extra, bpf_map__map_extra(theirs));
  if (ours.type != BPF_MAP_TYPE_STRUCT_OPS) {
    check("key type", ours.btf_key_type_id, bpf_map__btf_key_type_id(theirs));
    check("value type", ours.btf_value_type_id, bpf_map__btf_value_type_id(theirs));
  }
  bpf_map* inner = bpf_map__inner_map(theirs);
  if ((inner != nullptr) != (ours.inner != nullptr)) {
    differ(fmt::format("map '{}': {} inner map", ours.name,
                       inner != nullptr ? "libbpf has an" : "we have an"));
  } else if (inner != nullptr) {
    compare_map(*ours.inner, inner);
  }
}

void Comparison::compare_maps(bpf_object* theirs) {
  std::size_t index = 0;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, theirs) {
    const std::string name = bpf_map__name(map);
    if (index >= object_.maps.size()) {
      differ(fmt::format("map '{}' is missing", name));
    } else if (map_name(object_.maps[index]) != name) {
      differ(
          fmt::format("map {} is '{}', libbpf's '{}'", index, map_name(object_.maps[index]), name));
    } else {
      compare_map(object_.maps[index], map);
      ++result_.maps;
    }
    ++index;
  }
  if (index < object_.maps.size())
    differ(fmt::format("map '{}' is one too many", object_.maps[index].name));
}

void Comparison::compare_types(bpf_object* theirs) {
  std::size_t index = 0;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, theirs) {
    const std::string name = bpf_program__name(program);
    if (index >= object_.programs.size()) {
      differ(fmt::format("program '{}' is missing", name));
      continue;
    }
    const ProgramSpec& ours = object_.programs[index++];
    if (ours.name != name || ours.section != bpf_program__section_name(program)) {
      differ(fmt::format("program '{}' in '{}', libbpf's '{}' in '{}'", ours.name, ours.section,
                         name, bpf_program__section_name(program)));
    }
    if (ours.type != bpf_program__type(program)) {
      differ(fmt::format("program '{}': type {}, libbpf's {}", name, ours.type,
                         static_cast<int>(bpf_program__type(program))));
    }
    if (ours.expected_attach_type != bpf_program__expected_attach_type(program)) {
      differ(fmt::format("program '{}': attach type {}, libbpf's {}", name,
                         ours.expected_attach_type,
                         static_cast<int>(bpf_program__expected_attach_type(program))));
    }
    if (ours.is_autoload != bpf_program__autoload(program))
      differ(fmt::format("program '{}': autoload", name));
  }
  if (index < object_.programs.size())
    differ(fmt::format("program '{}' is one too many", object_.programs[index].name));
}

// The type ids of functions mean the same types. (Those of maps are compared with the maps.)
void Comparison::compare_btf(const bpf_object* theirs) {
  const btf* types = bpf_object__btf(theirs);
  if (types == nullptr) {
    if (object_.btf != nullptr) differ("libbpf finds no BTF");
    return;
  }
  for (const ProgramSpec& program : object_.programs) {
    for (const FunctionInfo& function : program.functions) {
      if (function.btf_type_id == 0) continue;
      const btf_type* type = btf__type_by_id(types, function.btf_type_id);
      const char* name = type == nullptr ? nullptr : btf__name_by_offset(types, type->name_off);
      if (name == nullptr || !btf_is_func(type) || function.name != name) {
        differ(fmt::format("program '{}': function '{}' has type {}, libbpf's '{}'", program.name,
                           function.name, function.btf_type_id, name == nullptr ? "" : name));
      }
    }
  }
}

std::size_t Comparison::agree(const ProgramSpec& ours, std::span<const RawInsn> our_slots,
                              std::span<const bpf_insn> their_slots, std::size_t at) const {
  const RawInsn& mine = our_slots[at];
  const bpf_insn& other = their_slots[at];
  const auto same_high = [&] { return our_slots[at + 1].imm == their_slots[at + 1].imm; };
  if (mine.is_lddw() && mine.src != 0 && other.code == mine.code && other.dst_reg == mine.dst) {
    if (mine.src == BPF_PSEUDO_MAP_IDX || mine.src == BPF_PSEUDO_MAP_IDX_VALUE) {
      const int wanted = mine.src == BPF_PSEUDO_MAP_IDX ? BPF_PSEUDO_MAP_FD : BPF_PSEUDO_MAP_VALUE;
      auto map = map_of_fd_.find(other.imm);
      if (other.src_reg != wanted || map == map_of_fd_.end()) return 0;
      const MapSpec& target = object_.maps[ours.maps[static_cast<std::size_t>(mine.imm)]];
      return map_name(target) == map->second && same_high() ? 2 : 0;
    }
    // Kernel variables: by BTF id, or by address where they have no type or are absent.
    if (mine.src == BPF_PSEUDO_BTF_ID)
      return other.src_reg == BPF_PSEUDO_BTF_ID || other.src_reg == 0 ? 2 : 0;
  }
  if (mine.is_call() && mine.src == BPF_PSEUDO_KFUNC_CALL && other.code == mine.code) {
    constexpr int kPoisonedKfunc = 2002000000;  // a weak one that this kernel lacks
    return other.src_reg == BPF_PSEUDO_KFUNC_CALL || other.imm >= kPoisonedKfunc;
  }
  return mine.code == other.code && mine.dst == other.dst_reg && mine.src == other.src_reg &&
         mine.off == other.off && mine.imm == other.imm;
}

void Comparison::compare_slots(const ProgramSpec& ours, std::span<const RawInsn> our_slots,
                               std::span<const bpf_insn> their_slots) {
  for (std::size_t at = 0; at < our_slots.size();) {
    const std::size_t equal = agree(ours, our_slots, their_slots, at);
    if (equal == 0) {
      const RawInsn& mine = our_slots[at];
      const bpf_insn& other = their_slots[at];
      differ(
          fmt::format("program '{}': slot {}: {:02x} r{} r{} {} {}, libbpf's {:02x} r{} r{} {} {}",
                      ours.name, at, mine.code, mine.dst, mine.src, mine.off, mine.imm, other.code,
                      int{other.dst_reg}, int{other.src_reg}, other.off, other.imm));
      return;
    }
    at += equal;
  }
}

void Comparison::compare_program(const ProgramSpec& ours, const bpf_program* theirs) {
  const std::span<const bpf_insn> their_slots(bpf_program__insns(theirs),
                                              bpf_program__insn_cnt(theirs));
  if (ours.insns.empty()) {
    differ(fmt::format("program '{}': {}", ours.name,
                       ours.defect ? ours.defect->to_string() : "no instructions"));
    return;
  }
  if (ours.insns.size() != their_slots.size()) {
    differ(fmt::format("program '{}': {} instructions, libbpf's {}", ours.name, ours.insns.size(),
                       their_slots.size()));
    return;
  }
  const auto our_slots = load_slots(encode_program(ours.insns));
  compare_slots(ours, our_slots, their_slots);
  ++result_.programs;
  result_.instructions += our_slots.size();
}

void Comparison::compare_programs(bpf_object* theirs) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, theirs) map_of_fd_.emplace(bpf_map__fd(map), bpf_map__name(map));
  std::size_t index = 0;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, theirs) {
    if (index < object_.programs.size()) compare_program(object_.programs[index++], program);
  }
}

// libbpf 1.1 looks for the target of such programs even after a change of type: give it one that
// every kernel has.
const char* any_target(const bpf_program* program) {
  switch (bpf_program__expected_attach_type(program)) {
    case BPF_TRACE_FENTRY:
    case BPF_TRACE_FEXIT:
      return "vfs_read";
    case BPF_TRACE_RAW_TP:
      return "sys_enter";
    default:
      return nullptr;
  }
}

// Nothing may depend on what a program is attached to: that is looked up in a kernel.
void make_loadable(bpf_object* object) {
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object) {
    bpf_program__set_autoload(program, true);
    if (const char* target = any_target(program);
        target != nullptr && bpf_program__set_attach_target(program, 0, target) == 0) {
      continue;
    }
    const bool is_kprobe = bpf_program__type(program) == BPF_PROG_TYPE_KPROBE;
    bpf_program__set_type(program, is_kprobe ? BPF_PROG_TYPE_SOCKET_FILTER : BPF_PROG_TYPE_KPROBE);
  }
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    bpf_map__set_pin_path(map, nullptr);
    if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS) bpf_map__set_autocreate(map, false);
  }
}

}  // namespace

OracleResult compare_with_libbpf(const std::string& path, const ObjectSpec& object,
                                 const std::string& btf_path) {
  OracleResult result;
  g_log = &result.log;
  libbpf_set_print(keep_log);
  g_is_answering = true;
  bpf_object_open_opts options = {};
  options.sz = sizeof options;
  if (!btf_path.empty()) options.btf_custom_path = btf_path.c_str();
  options.relaxed_maps = true;
  {
    const ObjectPointer theirs(bpf_object__open_file(path.c_str(), &options));
    if (theirs != nullptr) {
      result.was_opened = true;
      Comparison comparison(object, result);
      comparison.compare_types(theirs.get());
      comparison.compare_btf(theirs.get());
      comparison.compare_maps(theirs.get());
      make_loadable(theirs.get());
      result.was_loaded = bpf_object__load(theirs.get()) == 0;
      if (result.was_loaded) comparison.compare_programs(theirs.get());
    }
  }
  g_is_answering = false;
  g_log = nullptr;
  return result;
}

}  // namespace lmn::testing
