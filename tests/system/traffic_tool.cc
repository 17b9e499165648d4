// SPDX-License-Identifier: Apache-2.0
//
// The two sides of pcap_million.sh: the same generated packets into a capture, and into the kernel.
//
//   traffic_tool capture SEED COUNT FILE           writes the packets as a pcap
//   traffic_tool kernel SEED COUNT OBJECT FOLDER   runs the object's first program on each packet
//   by
//       BPF_PROG_TEST_RUN; then FOLDER/verdicts holds "NUMBER COUNT" lines and FOLDER/MAP.json what
//       `bpftool map dump -j` says of each map (MAP without the object's name before a section)
//
// Exit status 77 with a line "skipped: REASON" when the kernel or bpftool cannot be used.
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <string>

#include "harness/traffic.h"
#include "ports/pcap/pcap_writer.h"
#include "runners/object_runner.h"

namespace lmn {
namespace {

constexpr int kSkipStatus = 77;
constexpr std::uint64_t kPacketIntervalNs = 1000;

int fail(const std::string& message) {
  std::fprintf(stderr, "traffic_tool: %s\n", message.c_str());
  return 1;
}

int skip(const std::string& reason) {
  std::printf("skipped: %s\n", reason.c_str());
  return kSkipStatus;
}

int write_capture(std::uint64_t seed, std::uint64_t count, const std::string& path) {
  auto writer = PcapWriter::create(path, PcapWriter::Format::kPcap);
  if (!writer) return fail(writer.error().to_string());
  TrafficGenerator traffic(seed);
  for (std::uint64_t i = 0; i < count; ++i) {
    if (!writer->write(traffic.next(), i * kPacketIntervalNs)) break;
  }
  const auto finished = writer->finish();
  return finished ? 0 : fail(finished.error().to_string());
}

// ".bss" of "traffic.bss": libbpf names global data after the object too.
std::string file_name_of(const std::string& map) {
  const std::size_t dot = map.rfind('.');
  return dot == std::string::npos ? map : map.substr(dot);
}

int dump_maps(ObjectRunner& runner, const std::string& folder) {
  for (const MapShape& map : runner.maps()) {
    const std::string command = "bpftool -j map dump id " + std::to_string(map.id) + " > '" +
                                folder + "/" + file_name_of(map.name) + ".json'";
    if (std::system(command.c_str()) != 0) return fail("failed: " + command);
  }
  return 0;
}

int feed_kernel(std::uint64_t seed, std::uint64_t count, const std::string& object,
                const std::string& folder) {
  if (auto reason = why_no_runner(RunnerKind::kKernel)) return skip(*reason);
  if (std::system("bpftool version > /dev/null 2>&1") != 0) return skip("no bpftool");
  auto runner = open_runner(RunnerKind::kKernel, object, "");
  if (!runner) return fail(runner.error().to_string());
  TrafficGenerator traffic(seed);
  std::map<std::uint32_t, std::uint64_t> verdicts;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto result = (*runner)->run(traffic.next());
    if (!result) return fail(result.error().to_string());
    ++verdicts[result->verdict];
  }
  std::ofstream file(folder + "/verdicts");
  for (const auto& [verdict, packets] : verdicts) file << verdict << ' ' << packets << '\n';
  file.close();
  return file.good() ? dump_maps(**runner, folder) : fail("cannot write " + folder + "/verdicts");
}

int run(int argc, char** argv) {
  std::uint64_t seed = 0;
  std::uint64_t count = 0;
  const auto number = [](const char* text, std::uint64_t& out) {
    const char* end = text + std::strlen(text);
    return std::from_chars(text, end, out).ptr == end;
  };
  const std::string_view verb = argc > 1 ? argv[1] : "";
  const int expected = verb == "capture" ? 5 : 6;
  if ((verb != "capture" && verb != "kernel") || argc != expected || !number(argv[2], seed) ||
      !number(argv[3], count))
    return fail("usage: capture SEED COUNT FILE | kernel SEED COUNT OBJECT FOLDER");
  return verb == "capture" ? write_capture(seed, count, argv[4])
                           : feed_kernel(seed, count, argv[4], argv[5]);
}

}  // namespace
}  // namespace lmn

int main(int argc, char** argv) { return lmn::run(argc, argv); }
