// SPDX-License-Identifier: Apache-2.0
//
// bpf(2) called directly: each function fills the part of union bpf_attr its command reads and
// nothing else, because the kernel refuses attributes with set bytes it does not know. No libbpf:
// that library retries, probes and renames, and what the kernel says is to be seen as it is. Tested
// by kernel_oracle_test.cc.
#include "harness/kernel_oracle.h"

#include <linux/btf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace lmn {
namespace {

int bpf_call(enum bpf_cmd command, union bpf_attr& attr) {
  const long result = ::syscall(__NR_bpf, command, &attr, sizeof attr);
  return result < 0 ? -errno : static_cast<int>(result);
}

union bpf_attr empty_attr() {
  union bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  return attr;
}

std::uint64_t address_of(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

void copy_name(char (&to)[BPF_OBJ_NAME_LEN], const std::string& name) {
  std::memcpy(to, name.data(), std::min<std::size_t>(name.size(), BPF_OBJ_NAME_LEN - 1));
}

bool is_per_cpu(std::uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

void append(std::vector<std::uint8_t>& to, const void* bytes, std::size_t count) {
  const auto* from = static_cast<const std::uint8_t*>(bytes);
  to.insert(to.end(), from, from + count);
}

// BTF with one int (type 1), one function type that returns it (2) and `count` static functions (3
// ...).
std::vector<std::uint8_t> functions_btf(std::size_t count) {
  const std::string strings = std::string(1, '\0') + "int" + '\0' + "f" + '\0';
  constexpr std::uint32_t kIntName = 1;
  constexpr std::uint32_t kFunctionName = 5;
  std::vector<std::uint32_t> types = {
      kIntName, BTF_KIND_INT << 24,
      4,        BTF_INT_SIGNED << 24 | 32,  // name, info, size, encoding and bits
      0,        BTF_KIND_FUNC_PROTO << 24,
      1,  // name, info, return type
  };
  for (std::size_t i = 0; i < count; ++i) {
    types.insert(types.end(), {kFunctionName, BTF_KIND_FUNC << 24 | BTF_FUNC_STATIC, 2});
  }
  struct btf_header header = {};
  header.magic = BTF_MAGIC;
  header.version = BTF_VERSION;
  header.hdr_len = sizeof header;
  header.type_len = static_cast<std::uint32_t>(types.size() * sizeof types[0]);
  header.str_off = header.type_len;
  header.str_len = static_cast<std::uint32_t>(strings.size());
  std::vector<std::uint8_t> blob;
  append(blob, &header, sizeof header);
  append(blob, types.data(), header.type_len);
  append(blob, strings.data(), strings.size());
  return blob;
}

int load_btf(std::span<const std::uint8_t> blob) {
  union bpf_attr attr = empty_attr();
  attr.btf = address_of(blob.data());
  attr.btf_size = static_cast<std::uint32_t>(blob.size());
  return bpf_call(BPF_BTF_LOAD, attr);
}

std::optional<std::string> probe() {
  struct bpf_insn insns[2] = {};
  insns[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
  insns[0].imm = XDP_PASS;
  insns[1].code = BPF_JMP | BPF_EXIT;
  const KernelProgram program = KernelProgram::load(insns);
  if (!program.is_loaded()) {
    return "no kernel oracle: BPF_PROG_LOAD of an XDP program: " +
           std::string(std::strerror(-program.error()));
  }
  const std::vector<std::uint8_t> packet(64, 0);
  const KernelRun run = program.run(packet);
  if (run.error != 0) {
    return "no kernel oracle: BPF_PROG_TEST_RUN: " + std::string(std::strerror(-run.error));
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> why_no_kernel_oracle() {
  static const std::optional<std::string> reason = probe();
  return reason;
}

std::uint32_t kernel_possible_cpus() {
  static const std::uint32_t count = [] {
    std::ifstream file("/sys/devices/system/cpu/possible");
    std::string ranges;
    std::getline(file, ranges);
    const std::size_t last = ranges.find_last_of("-,");
    const std::string highest = last == std::string::npos ? ranges : ranges.substr(last + 1);
    return highest.empty() ? 1u : static_cast<std::uint32_t>(std::stoul(highest)) + 1;
  }();
  return count;
}

KernelMap KernelMap::create(const KernelMapOptions& options) {
  union bpf_attr attr = empty_attr();
  attr.map_type = options.type;
  attr.key_size = options.key_size;
  attr.value_size = options.value_size;
  attr.max_entries = options.max_entries;
  attr.map_flags = options.flags;
  attr.map_extra = options.map_extra;
  attr.numa_node = options.numa_node;
  attr.inner_map_fd = static_cast<std::uint32_t>(options.inner_map_fd);
  attr.btf_fd = static_cast<std::uint32_t>(options.btf_fd);
  attr.btf_key_type_id = options.btf_key_type_id;
  attr.btf_value_type_id = options.btf_value_type_id;
  copy_name(attr.map_name, options.name);
  KernelMap map;
  map.options_ = options;
  const int fd = bpf_call(BPF_MAP_CREATE, attr);
  if (fd < 0) {
    map.error_ = fd;
  } else {
    map.fd_.reset(fd);
  }
  return map;
}

std::size_t KernelMap::user_value_bytes() const {
  if (!is_per_cpu(options_.type)) return options_.value_size;
  return (static_cast<std::size_t>(options_.value_size) + 7) / 8 * 8 * kernel_possible_cpus();
}

int KernelMap::update(std::span<const std::uint8_t> key, std::span<const std::uint8_t> value,
                      std::uint64_t flags) {
  union bpf_attr attr = empty_attr();
  attr.map_fd = static_cast<std::uint32_t>(fd_.get());
  attr.key = address_of(key.data());
  attr.value = address_of(value.data());
  attr.flags = flags;
  return bpf_call(BPF_MAP_UPDATE_ELEM, attr);
}

int KernelMap::lookup(std::span<const std::uint8_t> key, std::span<std::uint8_t> out,
                      std::uint64_t flags) const {
  union bpf_attr attr = empty_attr();
  attr.map_fd = static_cast<std::uint32_t>(fd_.get());
  attr.key = address_of(key.data());
  attr.value = address_of(out.data());
  attr.flags = flags;
  return bpf_call(BPF_MAP_LOOKUP_ELEM, attr);
}

int KernelMap::lookup_and_erase(std::span<const std::uint8_t> key, std::span<std::uint8_t> out,
                                std::uint64_t flags) {
  union bpf_attr attr = empty_attr();
  attr.map_fd = static_cast<std::uint32_t>(fd_.get());
  attr.key = address_of(key.data());
  attr.value = address_of(out.data());
  attr.flags = flags;
  return bpf_call(BPF_MAP_LOOKUP_AND_DELETE_ELEM, attr);
}

int KernelMap::erase(std::span<const std::uint8_t> key) {
  union bpf_attr attr = empty_attr();
  attr.map_fd = static_cast<std::uint32_t>(fd_.get());
  attr.key = address_of(key.data());
  return bpf_call(BPF_MAP_DELETE_ELEM, attr);
}

int KernelMap::next_key(std::span<const std::uint8_t> key, std::span<std::uint8_t> next) const {
  union bpf_attr attr = empty_attr();
  attr.map_fd = static_cast<std::uint32_t>(fd_.get());
  attr.key = key.empty() ? 0 : address_of(key.data());
  attr.next_key = address_of(next.data());
  return bpf_call(BPF_MAP_GET_NEXT_KEY, attr);
}

int KernelMap::freeze() {
  union bpf_attr attr = empty_attr();
  attr.map_fd = static_cast<std::uint32_t>(fd_.get());
  return bpf_call(BPF_MAP_FREEZE, attr);
}

std::vector<KernelMap::Entry> KernelMap::entries() const {
  std::vector<Entry> found;
  std::vector<std::uint8_t> key;
  std::vector<std::uint8_t> next(options_.key_size);
  while (next_key(key, next) == 0) {
    key = next;
    Entry entry{key, std::vector<std::uint8_t>(user_value_bytes())};
    if (lookup(entry.key, entry.value) == 0) found.push_back(std::move(entry));
  }
  std::ranges::sort(found);
  return found;
}

UniqueFd load_kernel_btf(std::span<const std::uint8_t> bytes) { return UniqueFd(load_btf(bytes)); }

KernelProgram KernelProgram::load(std::span<const struct bpf_insn> insns,
                                  const KernelLoadOptions& options) {
  union bpf_attr attr = empty_attr();
  attr.prog_type = options.type;
  attr.expected_attach_type = options.expected_attach_type;
  attr.prog_flags = options.prog_flags;
  attr.insns = address_of(insns.data());
  attr.insn_cnt = static_cast<std::uint32_t>(insns.size());
  attr.license = address_of(options.license.c_str());
  attr.fd_array = options.fd_array.empty() ? 0 : address_of(options.fd_array.data());
  copy_name(attr.prog_name, options.name);

  KernelProgram program;
  std::vector<struct bpf_func_info> functions = options.functions;
  if (options.btf_fd != 0) {
    attr.prog_btf_fd = static_cast<std::uint32_t>(options.btf_fd);
  } else if (!options.function_starts.empty()) {
    const int btf = load_btf(functions_btf(options.function_starts.size()));
    if (btf < 0) {
      program.error_ = btf;
      program.log_ = "BTF of the functions was refused";
      return program;
    }
    program.btf_.reset(btf);
    for (const std::uint32_t start : options.function_starts) {
      functions.push_back({start, static_cast<std::uint32_t>(3 + functions.size())});
    }
    attr.prog_btf_fd = static_cast<std::uint32_t>(btf);
  }
  if (!functions.empty()) {
    attr.func_info = address_of(functions.data());
    attr.func_info_cnt = static_cast<std::uint32_t>(functions.size());
    attr.func_info_rec_size = sizeof functions[0];
  }
  auto attempt = [&](std::uint32_t log_level) {
    program.log_.clear();
    if (log_level != 0) program.log_.resize(options.log_bytes);
    attr.log_level = log_level;
    attr.log_size = static_cast<std::uint32_t>(program.log_.size());
    attr.log_buf = log_level != 0 ? address_of(program.log_.data()) : 0;
    int fd = -EAGAIN;
    // The kernel gives up a load with EAGAIN when a signal arrives; that is not a verdict.
    for (int tries = 0; fd == -EAGAIN && tries < 8; ++tries) fd = bpf_call(BPF_PROG_LOAD, attr);
    program.log_.resize(std::strlen(program.log_.c_str()));
    return fd;
  };
  int fd = attempt(options.log_level);
  if (fd < 0 && options.log_level == 0 && options.log_bytes > 0) fd = attempt(1);
  if (fd < 0) {
    program.error_ = fd;
  } else {
    program.fd_.reset(fd);
  }
  return program;
}

KernelRun KernelProgram::run(std::span<const std::uint8_t> packet,
                             const KernelRunOptions& options) const {
  KernelRun run;
  run.data_out.resize(options.data_out_bytes_max);
  union bpf_attr attr = empty_attr();
  attr.test.prog_fd = static_cast<std::uint32_t>(fd_.get());
  attr.test.data_in = address_of(packet.data());
  attr.test.data_size_in = static_cast<std::uint32_t>(packet.size());
  attr.test.data_out = address_of(run.data_out.data());
  attr.test.data_size_out = static_cast<std::uint32_t>(run.data_out.size());
  attr.test.repeat = options.repeat;
  if (options.context_in) {
    attr.test.ctx_in = address_of(&*options.context_in);
    attr.test.ctx_size_in = sizeof(struct xdp_md);
    attr.test.ctx_out = address_of(&run.context_out);
    attr.test.ctx_size_out = sizeof(struct xdp_md);
  }
  const int result = bpf_call(BPF_PROG_TEST_RUN, attr);
  run.error = result < 0 ? result : 0;
  run.retval = attr.test.retval;
  run.duration_ns = attr.test.duration;
  run.data_out.resize(run.error == 0 ? attr.test.data_size_out : 0);
  return run;
}

void append_map_reference(std::vector<struct bpf_insn>& insns, std::uint8_t dst, int map_fd,
                          std::uint8_t pseudo, std::uint32_t offset) {
  struct bpf_insn low = {};
  low.code = BPF_LD | BPF_DW | BPF_IMM;
  low.dst_reg = dst & 0xf;
  low.src_reg = pseudo & 0xf;
  low.imm = map_fd;
  struct bpf_insn high = {};
  high.imm = static_cast<std::int32_t>(offset);
  insns.push_back(low);
  insns.push_back(high);
}

}  // namespace lmn
