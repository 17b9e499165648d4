// SPDX-License-Identifier: Apache-2.0
//
// A network namespace with devices, routes and neighbours of every kind, and bpf_fib_lookup asked
// in the kernel and in LMN.
//
// The namespace belongs to a thread that in_fib_world() makes; ip(8) fills it. Devices: 101 (in and
// out), 102 (out, small MTU), 103 (does not forward), their peers 111 to 113.
//
//   const std::string why = in_fib_world([](FibLookup& lookup) {
//     lookup.mirror();
//     lookup.ask({.destination = "10.3.0.1"}, 0);
//   });
//   if (!why.empty()) GTEST_SKIP() << why;
//
// Tested by what uses it: fib_lookup_test.cc, host_tables_test.cc.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "differential/helper_caller.h"
#include "packet/route_table.h"

namespace lmn {

// What one question puts into the struct.
struct Question {
  const char* destination;
  const char* source = "10.9.0.1";
  std::uint32_t ifindex = 101;
  std::uint32_t tot_len = 100;
  std::uint32_t tos = 0;
  std::uint32_t table = 0;
  std::uint32_t mark = 0;
  std::uint8_t protocol = 17;
  std::uint16_t source_port = 0x1234;
  std::uint16_t destination_port = 0x1234;
};

class FibLookup {
 public:
  FibLookup();
  bool is_loaded() const { return caller_.error() == 0; }
  // The table from text, or read from the namespace.
  void set_table(const std::string& text);
  void mirror();
  // Asks both and counts the answers.
  void ask(const Question& question, std::uint64_t flags,
           std::uint64_t size_bytes = sizeof(struct bpf_fib_lookup));
  void ask(const struct bpf_fib_lookup& params, std::uint64_t flags, std::uint64_t size_bytes,
           const std::string& what);
  // For answers that need not be equal.
  Comparison compare(const Question& question, std::uint64_t flags);

  std::map<std::int64_t, int> answers;

 private:
  RouteTable table_;
  HelperCaller caller_;
};

bool run_ip(const std::string& arguments);
// net/PATH of /proc/sys.
bool write_setting(const std::string& path, std::string_view text);

// Runs `body` in a new namespace that is set up. Empty, or why that cannot be done here.
std::string in_fib_world(const std::function<void(FibLookup&)>& body);
// Rules by mark, source, destination and device.
void add_fib_rules();
// Every destination with every flag, and many lengths, devices, sources, tables.
void ask_everything(FibLookup& lookup);
void ask_nonsense(FibLookup& lookup);

}  // namespace lmn
