// SPDX-License-Identifier: Apache-2.0
//
// Every limit of LMN, in one place, with the reason. A limit that imitates Linux names its source;
// each is tested at the limit and one past it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lmn::limits {

// --- programs (Linux 6.18: include/linux/bpf_verifier.h, include/linux/filter.h,
// include/linux/bpf.h)
inline constexpr std::size_t kInsnSlotsMax =
    1'000'000;  // BPF_COMPLEXITY_LIMIT_INSNS, for privileged loaders
inline constexpr std::uint64_t kInsnProcessedMax =
    1'000'000;  // the same limit on verified instructions
inline constexpr std::size_t kStackBytes =
    512;  // MAX_BPF_STACK: one frame, and all frames of a chain
inline constexpr std::size_t kStackBytesBeforeTailCall = 256;  // a caller that leads to a tail call
inline constexpr std::size_t kCallFramesMax = 8;               // MAX_CALL_FRAMES
inline constexpr std::size_t kSubprogramsMax = 256;            // BPF_MAX_SUBPROGS
inline constexpr std::size_t kUsedMapsMax = 64;                // MAX_USED_MAPS
inline constexpr std::size_t kKfuncsMax = 256;                 // MAX_KFUNC_DESCS
inline constexpr std::size_t kPendingBranchesMax = 8192;       // BPF_COMPLEXITY_LIMIT_JMP_SEQ
inline constexpr std::size_t kVerifierBytesMax =
    64u << 20;  // states kept while one program is verified
inline constexpr std::size_t kVerifierLogBytesMax =
    16u << 20;  // its log in the kernel's form; tools give bpf(2) buffers of up to 16 MiB
inline constexpr std::uint32_t kTailCallsMax = 33;             // MAX_TAIL_CALL_CNT
inline constexpr std::size_t kObjectNameBytes = 16;            // BPF_OBJ_NAME_LEN, zero included
inline constexpr std::uint32_t kLoopIterationsMax = 8u << 20;  // BPF_MAX_LOOPS, for bpf_loop
// Executed instructions of one packet in the checked interpreter. The kernel has no such limit;
// ours must let every accepted program finish (8 Mi bpf_loop iterations are refused in practice by
// people), and stop a runaway.
inline constexpr std::uint64_t kInsnExecutedMax = 1ull << 32;

// --- maps (Linux 6.18: kernel/bpf/hashtab.c, arraymap.c, syscall.c)
inline constexpr std::uint64_t kMapBytesMax =
    1ull << 36;  // one map's memory: a typing slip must not take the host
inline constexpr std::size_t kCpuCountMax = 1024;  // CPUs of per-CPU maps

// --- objects: what the reader takes from one file
inline constexpr std::size_t kObjectBytesMax = 64u << 20;
inline constexpr std::size_t kSectionsMax = 65'535;
inline constexpr std::size_t kProgramsMax = 16'384;
inline constexpr std::size_t kMapsMax = 16'384;
inline constexpr std::size_t kNameBytesMax = 512;  // one symbol or section name (KSYM_NAME_LEN)
inline constexpr std::size_t kObjectSlotsMax =
    1'000'000;  // instructions of all programs, subprograms repeated
inline constexpr std::size_t kObjectFunctionsMax =
    131'072;  // functions of all programs, repeated likewise
inline constexpr std::size_t kObjectLinesMax =
    262'144;  // line records of all programs, repeated likewise
inline constexpr std::size_t kLineTextBytesMax = 8u << 20;     // source text in those
inline constexpr std::size_t kObjectNamesBytesMax = 4u << 20;  // of functions and externs, likewise
inline constexpr std::size_t kObjectDefectsMax = 4096;         // relocations that mean nothing
inline constexpr std::size_t kObjectExternsMax = 4096;
inline constexpr std::size_t kObjectMapSlotsMax = 65'536;      // initial entries of all maps
inline constexpr std::size_t kObjectMapMembersMax = 1u << 20;  // met in map definitions
inline constexpr std::size_t kCoreCandidatesMax = 1u << 18;    // types of a CO-RE target
inline constexpr std::size_t kBtfTypesMax = 1u << 20;          // BTF_MAX_TYPE
inline constexpr std::size_t kBtfDepthMax = 32;                // MAX_RESOLVE_DEPTH
inline constexpr std::size_t kBtfNestingMax = 64;              // structs inside structs, by value
inline constexpr std::size_t kBtfVisitsMax = 65'536;  // types one recursive question may look at
inline constexpr std::size_t kBtfTextBytesMax = 256u << 20;  // one graph as text, C or JSON
inline constexpr std::size_t kBtfTextDepthMax = 512;         // types inside types, as C
inline constexpr std::size_t kBtfTextVisitsMax = 1u << 26;   // types met while making C

// --- packets (rules.md section 1; Linux 6.18: include/uapi/linux/bpf.h, include/net/xdp.h)
inline constexpr std::size_t kHeadroomBytes = 256;  // XDP_PACKET_HEADROOM
inline constexpr std::size_t kFrameHeaderBytes =
    40;  // sizeof(struct xdp_frame), kept free in the head-room
inline constexpr std::size_t kTailroomBytes =
    320;  // skb_shared_info, aligned, x86-64 with 17 frags
inline constexpr std::size_t kFrameBytes =
    4096;  // one page, as the kernel's page-based drivers and test runs
inline constexpr std::size_t kPacketBytesMax =
    kFrameBytes - kHeadroomBytes - kTailroomBytes;     // 3520
inline constexpr std::size_t kPacketBytesMin = 14;     // ETH_HLEN
inline constexpr std::size_t kMetadataBytesMax = 252;  // Linux 6.9 and later; multiples of 4
inline constexpr std::size_t kBatchSize = 64;          // NAPI_POLL_WEIGHT: frames per poll
inline constexpr std::size_t kFramesDefault = 4096;    // frames in an engine's pool

// --- ports
inline constexpr std::size_t kMtuMax =
    kPacketBytesMax - 14 - 4;  // Ethernet header and one VLAN tag
inline constexpr std::size_t kCapturedPacketBytesMax =
    256u << 10;  // MAXIMUM_SNAPLEN of libpcap for Ethernet
inline constexpr std::size_t kCaptureBlockBytesMax =
    1u << 20;  // a pcapng block that must be understood
inline constexpr std::size_t kCaptureInterfacesMax = 1024;  // interfaces in one pcapng section
inline constexpr std::size_t kVethQueueFrames = 1024;    // one direction of an in-engine veth pair
inline constexpr std::size_t kMemoryQueueFrames = 4096;  // each side of a memory port
inline constexpr std::size_t kTxPendingFrames = 1024;    // frames waiting for a socket to take them
inline constexpr std::size_t kSuperFrameBytesMax =
    8 * 65535 + 64;  // GSO_MAX_SIZE (Linux 6.18) and link headers

static_assert(kPacketBytesMax == 3520, "the MTU tables of XDP on veth are made from this number");
static_assert(kMetadataBytesMax % 4 == 0, "metadata comes in words");

}  // namespace lmn::limits
