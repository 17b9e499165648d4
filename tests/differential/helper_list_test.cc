// SPDX-License-Identifier: Apache-2.0
//
// Goal: no helper without a comparison with the kernel's, and none that is only said to have one.
// Method: a row per helper that programs may call, with the file and the test that compares it, or
// the reason why nothing can. A helper without a row fails, and so does a row whose test or mention
// is not in the file.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "base/file.h"
#include "helpers/helpers.h"

namespace lmn {
namespace {

struct Row {
  const char* helper;  // without bpf_
  const char* file;    // in tests/differential; empty: the reason is why there is none
  const char* test;    // or the reason
};

constexpr const char* kPrograms = "helper_programs_test.cc";
constexpr const char* kHelpers = "helpers_test.cc";
constexpr const char* kCallersTask =
    "the kernel tells of the task that called the test run, we of none (helpers-1)";

constexpr Row kRows[] = {
    {"map_lookup_elem", kPrograms, "walks"},
    {"map_update_elem", kPrograms, "walks"},
    {"map_delete_elem", kPrograms, "walks"},
    {"ktime_get_ns", kHelpers, "ClocksAreTheKernels"},
    {"trace_printk", kHelpers, "TracePrintDifferential"},
    {"get_prandom_u32", "", "a random number; algorithms_test.cc holds the generator"},
    {"get_smp_processor_id", "place_helpers_test.cc", "PlaceHelpers"},
    {"tail_call", "generated_test.cc", "FixedSeedAgreesAndReachesEveryOperation"},
    {"get_current_pid_tgid", "", kCallersTask},
    {"get_current_uid_gid", "", kCallersTask},
    {"get_current_comm", "", kCallersTask},
    {"get_cgroup_classid", "place_helpers_test.cc", "PlaceHelpers"},
    {"redirect", kHelpers, "RedirectVerdicts"},
    {"perf_event_output", "perf_event_test.cc", "ResultsAndRecords"},
    {"csum_diff", kHelpers, "AnySizesAlignmentsAndSeeds"},
    {"get_numa_node_id", "place_helpers_test.cc", "PlaceHelpers"},
    {"xdp_adjust_head", kHelpers, "EveryDelta"},
    {"redirect_map", kHelpers, "RedirectMapVerdicts"},
    {"xdp_adjust_meta", kHelpers, "EveryDelta"},
    {"xdp_adjust_tail", kHelpers, "EveryDelta"},
    {"fib_lookup", "fib_lookup_test.cc", "EveryFlagOnEveryKindOfRoute"},
    {"get_current_cgroup_id", "", kCallersTask},
    {"sk_lookup_tcp", "sockets_test.cc", "EveryPairOfAddressesFindsTheSame"},
    {"sk_lookup_udp", "sockets_test.cc", "EveryPairOfAddressesFindsTheSame"},
    {"sk_release", "sockets_test.cc", "EveryPairOfAddressesFindsTheSame"},
    {"map_push_elem", kPrograms, "queues"},
    {"map_pop_elem", kPrograms, "queues"},
    {"map_peek_elem", kPrograms, "queues"},
    {"spin_lock", kPrograms, "locks"},
    {"spin_unlock", kPrograms, "locks"},
    {"skc_lookup_tcp", "sockets_test.cc", "EveryPairOfAddressesFindsTheSame"},
    {"tcp_check_syncookie", "sockets_test.cc", "ListenersMakeAndKnowCookies"},
    {"strtol", kHelpers, "Numbers"},
    {"strtoul", kHelpers, "Numbers"},
    {"tcp_gen_syncookie", "sockets_test.cc", "ListenersMakeAndKnowCookies"},
    {"probe_read_user", "place_helpers_test.cc", "IsAlwaysAFault"},
    {"probe_read_kernel", "place_helpers_test.cc", "MemoryThatIsThere"},
    {"probe_read_user_str", "place_helpers_test.cc", "IsAlwaysAFault"},
    {"probe_read_kernel_str", "place_helpers_test.cc", "MemoryThatIsThere"},
    {"jiffies64", kHelpers, "JiffiesCountAsTheKernels"},
    {"get_ns_current_pid_tgid", "", kCallersTask},
    {"get_current_ancestor_cgroup_id", "", kCallersTask},
    {"ktime_get_boot_ns", kHelpers, "ClocksAreTheKernels"},
    {"ringbuf_output", kPrograms, "rings"},
    {"ringbuf_reserve", kPrograms, "rings"},
    {"ringbuf_submit", kPrograms, "rings"},
    {"ringbuf_discard", kPrograms, "rings"},
    {"ringbuf_query", kPrograms, "rings"},
    {"snprintf_btf", "btf_show_test.cc", "TypesOfTheKernel"},
    {"ktime_get_coarse_ns", kHelpers, "ClocksAreTheKernels"},
    {"check_mtu", "device_helpers_test.cc", "PacketsLengthsAndChanges"},
    {"for_each_map_elem", kPrograms, "walks"},
    {"snprintf", kHelpers, "SnprintfNumbers"},
    {"timer_init", "value_programs_test.cc", "AnswerAsInTheKernel"},
    {"timer_set_callback", "value_programs_test.cc", "AnswerAsInTheKernel"},
    {"timer_start", "value_programs_test.cc", "AnswerAsInTheKernel"},
    {"timer_cancel", "value_programs_test.cc", "AnswerAsInTheKernel"},
    {"trace_vprintk", kHelpers, "TracePrintDifferential"},
    {"loop", kPrograms, "loops"},
    {"strncmp", kHelpers, "Strncmp"},
    {"xdp_get_buff_len", kHelpers, "GetBuffLen"},
    {"xdp_load_bytes", kHelpers, "EveryOffsetAndLengthAtTheEdges"},
    {"xdp_store_bytes", kHelpers, "EveryOffsetAndLengthAtTheEdges"},
    {"kptr_xchg", "value_programs_test.cc", "AnswerAsInTheKernel"},
    {"map_lookup_percpu_elem", kPrograms, "other_cpus"},
    {"dynptr_from_mem", "dynptr_test.cc", "MakeWriteReadResolve"},
    {"ringbuf_reserve_dynptr", kPrograms, "ring_dynptrs"},
    {"ringbuf_submit_dynptr", kPrograms, "ring_dynptrs"},
    {"ringbuf_discard_dynptr", kPrograms, "ring_dynptrs"},
    {"dynptr_read", "dynptr_test.cc", "MakeWriteReadResolve"},
    {"dynptr_write", "dynptr_test.cc", "MakeWriteReadResolve"},
    {"dynptr_data", "dynptr_test.cc", "MakeWriteReadResolve"},
    {"tcp_raw_gen_syncookie_ipv4", "device_helpers_test.cc", "EachSideKnowsItsOwnCookies"},
    {"tcp_raw_gen_syncookie_ipv6", "device_helpers_test.cc", "EachSideKnowsItsOwnCookies"},
    {"tcp_raw_check_syncookie_ipv4", "device_helpers_test.cc", "EachSideKnowsItsOwnCookies"},
    {"tcp_raw_check_syncookie_ipv6", "device_helpers_test.cc", "EachSideKnowsItsOwnCookies"},
    {"ktime_get_tai_ns", kHelpers, "ClocksAreTheKernels"},
    {"user_ringbuf_drain", "user_ringbuf_test.cc", "UserRingbufDifferential"},
};

constexpr std::string_view kPrefix = "bpf_";

TEST(HelperList, EveryHelperIsComparedOrSaysWhyNot) {
  std::set<std::string> names;
  for (const Row& row : kRows) {
    EXPECT_TRUE(names.insert(row.helper).second) << row.helper << " is there twice";
  }
  for (const HelperProto& proto : helper_protos()) {
    const std::string name(proto.name.substr(kPrefix.size()));
    EXPECT_EQ(names.erase(name), 1u) << proto.name << " has no row: which test compares it?";
  }
  EXPECT_TRUE(names.empty()) << *names.begin() << " is no helper that programs may call";
}

TEST(HelperList, EveryTestIsThere) {
  constexpr std::size_t kSourceBytesMax = std::size_t{1} << 20;
  for (const Row& row : kRows) {
    if (*row.file == '\0') continue;
    const std::string path = std::string(LMN_SOURCE_DIR) + "/tests/differential/" + row.file;
    const auto bytes = read_file(path, kSourceBytesMax);
    ASSERT_TRUE(bytes.has_value()) << bytes.error().to_string();
    const std::string_view text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
    EXPECT_TRUE(text.find(row.test) != std::string_view::npos)
        << row.file << " has no test " << row.test << " for " << row.helper;
  }
}

}  // namespace
}  // namespace lmn
