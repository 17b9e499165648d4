// SPDX-License-Identifier: Apache-2.0
//
// Goal: no real XDP program is refused for something that LMN lacks. Method: every XDP program of
// the given objects is loaded by libbpf into the kernel of this machine; those that it takes are
// loaded into an Engine, the whole way of `lmn run` but for the ports: read, maps made, verified,
// prepared. What both have loaded runs on some packets in both: what the kernel runs must not trap
// here.
//
//   lmn_offered EXCEPTIONS CALLS OBJECT...
//
// EXCEPTIONS lists the programs that are refused or trap, each with its reason: columns object,
// program, what (refused, trap), reason, divided by tabs. CALLS lists every helper and kernel
// function of XDP (tests/repository/xdp_calls.txt); those that are not offered are counted by
// reason.
//
// Prints each object with what became of its programs, the refusals by cause, and the sums. The
// exit status is 0 when every program is loaded and runs, or is listed; a row of the list that
// nothing needs any more is a failure too.
// Source: libbpf 1.5 as loader; net/bpf/test_run.c of Linux 6.18.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "harness/packet_builder.h"
#include "helpers/helpers.h"
#include "kfuncs/kfuncs.h"
#include "object/object_reader.h"
#include "object_input.h"

namespace lmn {
namespace {

constexpr std::uint32_t kLoopback = 1;

// --- the kernel

struct CloseObject {
  void operator()(struct bpf_object* object) const { bpf_object__close(object); }
};
using KernelObject = std::unique_ptr<struct bpf_object, CloseObject>;

// The program in the kernel, alone of its object.
struct InKernel {
  KernelObject object;
  int program_fd = -1;
};

// Null: the kernel does not take it. Programs that read metadata are bound to a device, as those
// who load such programs do.
std::optional<InKernel> load_into_kernel(const std::string& path, const std::string& name,
                                         bool is_bound) {
  InKernel out;
  out.object.reset(bpf_object__open_file(path.c_str(), nullptr));
  if (!out.object) return std::nullopt;
  struct bpf_program* wanted = nullptr;
  struct bpf_program* each = nullptr;
  bpf_object__for_each_program(each, out.object.get()) {
    const bool is_it = name == bpf_program__name(each);
    bpf_program__set_autoload(each, is_it);
    if (is_it) wanted = each;
  }
  if (wanted == nullptr) return std::nullopt;
  // A section that libbpf does not know; LMN takes it for XDP.
  if (bpf_program__type(wanted) != BPF_PROG_TYPE_XDP) {
    bpf_program__set_type(wanted, BPF_PROG_TYPE_XDP);
  }
  if (is_bound) {
    bpf_program__set_ifindex(wanted, kLoopback);
    bpf_program__set_flags(wanted, bpf_program__flags(wanted) | BPF_F_XDP_DEV_BOUND_ONLY);
  }
  if (bpf_object__load(out.object.get()) != 0) return std::nullopt;
  out.program_fd = bpf_program__fd(wanted);
  return out;
}

bool runs_in_kernel(const InKernel& program, const PacketBytes& packet) {
  std::vector<std::uint8_t> data = packet;
  std::vector<std::uint8_t> out(8192);
  struct bpf_test_run_opts options = {};
  options.sz = sizeof options;
  options.data_in = data.data();
  options.data_size_in = static_cast<__u32>(data.size());
  options.data_out = out.data();
  options.data_size_out = static_cast<__u32>(out.size());
  return bpf_prog_test_run_opts(program.program_fd, &options) == 0;
}

// --- packets

struct NamedPacket {
  std::string name;
  PacketBytes bytes;
};

std::vector<NamedPacket> make_packets() {
  constexpr std::size_t kLeast = 64;
  PacketBytes zeros(kLeast);
  PacketBytes shortest(14);
  return {
      {"UDP", PacketBuilder().ethernet().ipv4().udp().padded_to(kLeast).build()},
      {"TCP", PacketBuilder().ethernet().ipv4().tcp().padded_to(kLeast).build()},
      {"VLAN", PacketBuilder().ethernet().vlan().ipv4().udp().padded_to(kLeast).build()},
      {"IPv6 TCP", PacketBuilder().ethernet().ipv6().tcp().build()},
      {"IPv6 ICMP", PacketBuilder().ethernet().ipv6().icmp().build()},
      {"1000 bytes", PacketBuilder().ethernet().ipv4().udp().filler(958).build()},
      {"zeros", zeros},
      {"14 bytes", shortest},
  };
}

// --- the list of exceptions

class Exceptions {
 public:
  explicit Exceptions(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    while (std::getline(file, line)) {
      if (line.empty() || line.starts_with("#")) continue;
      std::istringstream columns(line);
      std::string object;
      std::string program;
      std::string what;
      std::string reason;
      std::getline(columns, object, '\t');
      std::getline(columns, program, '\t');
      std::getline(columns, what, '\t');
      std::getline(columns, reason);
      rows_[object + " " + program + " " + what] = reason;
    }
  }
  // The reason that is listed, or null.
  const std::string* find(const std::string& object, const std::string& program,
                          const std::string& what) {
    const auto row = rows_.find(object + " " + program + " " + what);
    if (row == rows_.end()) return nullptr;
    used_.insert(row->first);
    return &row->second;
  }
  std::vector<std::string> unused() const {
    std::vector<std::string> out;
    for (const auto& [key, reason] : rows_) {
      if (!used_.contains(key)) out.push_back(key);
    }
    return out;
  }

 private:
  std::map<std::string, std::string> rows_;
  std::set<std::string> used_;
};

// --- both together

struct Sums {
  std::size_t judged = 0;    // XDP programs that the kernel takes
  std::size_t left_out = 0;  // that it does not take
  std::size_t loaded = 0;
  std::size_t runs = 0;  // that the kernel did
  std::size_t traps = 0;
  std::size_t listed = 0;
  std::size_t failures = 0;  // not listed
  std::map<std::string, std::vector<std::string>> by_cause;
};

// What kind of thing a refusal is about, by its words.
std::string cause_of(const std::string& message) {
  constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"kfunc", "kernel function"}, {"kernel function", "kernel function"},
      {"func bpf_", "helper"},      {"map '", "map"},
      {"CO-RE", "relocation"},      {"extern", "extern"},
  };
  for (const auto& [words, cause] : kWords) {
    if (message.find(words) != std::string::npos) return std::string(cause);
  }
  return "verifier";
}

class Comparison {
 public:
  Comparison(Exceptions& exceptions, Sums& sums)
      : exceptions_(exceptions), sums_(sums), packets_(make_packets()) {}

  void object(const std::string& path) {
    const std::string file = path.substr(path.rfind('/') + 1);
    const auto spec = load_object_file(path);
    if (!spec) return;  // parts of objects, and other files that libbpf does not read either
    std::vector<std::string> words;
    for (const ProgramSpec& program : spec->programs) {
      if (program.type != BPF_PROG_TYPE_XDP) continue;
      const bool is_bound = (program.prog_flags & BPF_F_XDP_DEV_BOUND_ONLY) != 0;
      const auto kernel = load_into_kernel(path, program.name, is_bound);
      if (!kernel) {
        ++sums_.left_out;
        continue;
      }
      ++sums_.judged;
      words.push_back(program.name + ": " + judge(*spec, file, program.name, *kernel));
    }
    for (const std::string& each : words) fmt::print("{} {}\n", file, each);
    std::fflush(stdout);
  }

 private:
  std::string judge(const ObjectSpec& spec, const std::string& file, const std::string& name,
                    const InKernel& kernel) {
    const auto engine = Engine::create({.seed = 1});
    LoadOptions options;
    options.object_name = object_name_of(file);
    options.programs = {name};
    const auto object = engine ? (*engine)->load(spec, options) : make_error(engine.error());
    if (!object) {
      return problem(file, name, "refused", object.error().to_string());
    }
    ++sums_.loaded;
    std::size_t runs = 0;
    for (const NamedPacket& packet : packets_) {
      if (!runs_in_kernel(kernel, packet.bytes)) continue;
      ++runs;
      const auto ran = (*engine)->test_run(*(*object)->find_program(name), packet.bytes, {});
      if (ran && ran->traps.empty()) continue;
      ++sums_.traps;
      const std::string text = ran ? ran->traps[0].text : ran.error().to_string();
      return problem(file, name, "trap", packet.name + ": " + text);
    }
    sums_.runs += runs;
    return fmt::format("loaded, {} runs", runs);
  }

  std::string problem(const std::string& file, const std::string& name, const std::string& what,
                      const std::string& message) {
    if (const std::string* reason = exceptions_.find(file, name, what); reason != nullptr) {
      ++sums_.listed;
      sums_.by_cause["listed: " + *reason].push_back(file + " " + name);
      return fmt::format("{} (listed: {})", what, *reason);
    }
    ++sums_.failures;
    sums_.by_cause[what + ": " + cause_of(message)].push_back(file + " " + name);
    return fmt::format("{}: {}", what, message);
  }

  Exceptions& exceptions_;
  Sums& sums_;
  const std::vector<NamedPacket> packets_;
};

// --- every call

// What of the list of calls is not offered, by the reason that is given; false: one has no row.
bool print_calls(const std::string& path) {
  std::ifstream file(path);
  std::map<std::string, std::vector<std::string>> refused;
  std::size_t offered = 0;
  std::size_t unknown = 0;
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string kind;
    std::uint32_t number = 0;
    std::string name;
    words >> kind;
    if (kind == "helper") words >> number;
    words >> name;
    if (kind != "helper" && kind != "kfunc") continue;
    std::string_view reason;
    bool is_known = true;
    if (kind == "helper") {
      reason = helper_refusal(number);
      is_known = !reason.empty() || std::ranges::find(helper_protos(), number, &HelperProto::id) !=
                                        helper_protos().end();
    } else {
      const auto protos = kfunc_protos();
      const auto row = std::ranges::find(protos, name, &KfuncProto::name);
      is_known = row != protos.end();
      if (is_known) reason = row->refusal;
    }
    if (!is_known) {
      fmt::print("no row: {}\n", line);
      ++unknown;
    } else if (reason.empty()) {
      ++offered;
    } else {
      refused[std::string(reason)].push_back(name);
    }
  }
  std::size_t count = 0;
  for (const auto& [reason, names] : refused) {
    fmt::print("not offered: {} ({}): {}\n", names.size(), names[0], reason);
    count += names.size();
  }
  fmt::print("{} helpers and kernel functions offered, {} refused by name, {} unknown\n", offered,
             count, unknown);
  return unknown == 0 && offered > 0;
}

int quiet(enum libbpf_print_level, const char*, va_list) { return 0; }

int run(const std::vector<std::string>& words) {
  constexpr std::size_t kFixedWords = 2;
  if (words.size() < kFixedWords) {
    fmt::print(stderr, "usage: lmn_offered EXCEPTIONS CALLS OBJECT...\n");
    return 2;
  }
  libbpf_set_print(quiet);
  Exceptions exceptions(words[0]);
  Sums sums;
  Comparison comparison(exceptions, sums);
  for (std::size_t i = kFixedWords; i < words.size(); ++i) comparison.object(words[i]);
  const bool has_calls = print_calls(words[1]);
  if (sums.judged == 0) {
    fmt::print("SKIPPED: the kernel loads none of the programs: no rights, or no objects\n");
    return has_calls ? 0 : 1;
  }
  for (const auto& [cause, names] : sums.by_cause) {
    fmt::print("{}: {}\n", names.size(), cause);
    for (const std::string& name : names) fmt::print("    {}\n", name);
  }
  const auto unused = exceptions.unused();
  for (const std::string& row : unused) fmt::print("listed, but not needed: {}\n", row);
  fmt::print(
      "{} XDP programs that this kernel takes ({} that it does not): {} loaded, {} runs, {} "
      "trapped, {} listed, {} NOT LISTED\n",
      sums.judged, sums.left_out, sums.loaded, sums.runs, sums.traps, sums.listed, sums.failures);
  return sums.failures == 0 && unused.empty() && has_calls ? 0 : 1;
}

}  // namespace
}  // namespace lmn

int main(int count, char** words) { return lmn::run({words + 1, words + count}); }
