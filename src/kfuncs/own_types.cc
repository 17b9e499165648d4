// SPDX-License-Identifier: Apache-2.0
//
// The tables of own_types.h. Tested by kernel_types_test.cc.
#include "kfuncs/own_types.h"

namespace lmn {
namespace {

constexpr OwnMember kInetAddr[] = {
    {"__u32[4]", "all", 0}, {"__be32", "ip", 0}, {"__be32[4]", "ip6", 0}};
constexpr OwnMember kConntrackUse[] = {{"int", "use", 0}};
constexpr OwnMember kZone[] = {{"__u16", "id", 0}, {"__u8", "flags", 2}, {"__u8", "dir", 3}};
constexpr OwnMember kPort[] = {{"__be16", "port", 0}};
constexpr OwnMember kProto[] = {{"__be16", "all", 0},
                                {"struct nf_conntrack_port", "tcp", 0},
                                {"struct nf_conntrack_port", "udp", 0}};
constexpr OwnMember kMan[] = {{"union nf_inet_addr", "u3", 0},
                              {"union nf_conntrack_man_proto", "u", 16},
                              {"__u16", "l3num", 18}};
constexpr OwnMember kFar[] = {{"union nf_inet_addr", "u3", 0},
                              {"union nf_conntrack_man_proto", "u", 16},
                              {"__u8", "protonum", 18},
                              {"__u8", "dir", 19}};
constexpr OwnMember kTuple[] = {{"struct nf_conntrack_man", "src", 0},
                                {"struct nf_conntrack_far", "dst", 20}};
constexpr OwnMember kTupleHash[] = {{"__u64[2]", "hnnode", 0},
                                    {"struct nf_conntrack_tuple", "tuple", 16}};
constexpr OwnMember kConnection[] = {{"struct nf_conntrack", "ct_general", 0},
                                     {"__u32", "timeout", 8},
                                     {"struct nf_conntrack_zone", "zone", 12},
                                     {"struct nf_conntrack_tuple_hash[2]", "tuplehash", 16},
                                     {"unsigned long", "status", 128},
                                     {"__u32", "mark", 168},
                                     {"__u32", "secmark", 172}};
constexpr OwnMember kNewConnection[] = {{"struct nf_conn", "ct", 0}};
constexpr OwnMember kCtOptions[] = {{"__s32", "netns_id", 0},    {"__s32", "error", 4},
                                    {"__u8", "l4proto", 8},      {"__u8", "dir", 9},
                                    {"__u16", "ct_zone_id", 10}, {"__u8", "ct_zone_dir", 12},
                                    {"__u8[3]", "reserved", 13}};

constexpr OwnMember kIn4[] = {{"__be32", "s_addr", 0}};
constexpr OwnMember kIn6[] = {{"__u8[16]", "s6_addr", 0}};
constexpr OwnMember kFlowSource[] = {{"struct in_addr", "src_v4", 0},
                                     {"struct in6_addr", "src_v6", 0}};
constexpr OwnMember kFlowTarget[] = {{"struct in_addr", "dst_v4", 0},
                                     {"struct in6_addr", "dst_v6", 0}};
constexpr OwnMember kEncapsulation[] = {{"__u16", "id", 0}, {"__be16", "proto", 2}};
constexpr OwnMember kFlowOut[] = {{"__u32", "ifidx", 0},
                                  {"__u32", "hw_ifidx", 4},
                                  {"__u8[6]", "h_source", 8},
                                  {"__u8[6]", "h_dest", 14}};
constexpr OwnMember kFlowTuple[] = {{"union flow_offload_source", "", 0},
                                    {"union flow_offload_target", "", 16},
                                    {"__be16", "src_port", 32},
                                    {"__be16", "dst_port", 34},
                                    {"int", "iifidx", 36},
                                    {"__u8", "l3proto", 40},
                                    {"__u8", "l4proto", 41},
                                    {"struct flow_offload_encap[2]", "encap", 42},
                                    {"__u8", "dir_and_kind", 50},
                                    {"__u16", "mtu", 52},
                                    {"struct flow_offload_out", "out", 56}};
constexpr OwnMember kFlowHash[] = {{"__u64", "node", 0}, {"struct flow_offload_tuple", "tuple", 8}};
constexpr OwnMember kFlowPorts[] = {{"__be16", "source", 0}, {"__be16", "dest", 2}};
constexpr OwnMember kFlowOptions[] = {{"__s32", "error", 0}};

// What a program finds behind its context (bpf_cast_to_kern_ctx).
constexpr OwnMember kNsCommon[] = {{"__u32", "inum", 24}};
constexpr OwnMember kNet[] = {{"struct ns_common", "ns", 144}};
constexpr OwnMember kPossibleNet[] = {{"struct net *", "net", 0}};
constexpr OwnMember kNetDevice[] = {{"__u32", "mtu", 56},
                                    {"int", "ifindex", 224},
                                    {"struct lmn_possible_net", "nd_net", 264},
                                    {"char[16]", "name", 280}};
constexpr OwnMember kReceiveQueue[] = {{"struct net_device *", "dev", 0},
                                       {"__u32", "queue_index", 8}};
constexpr OwnMember kTransmitQueue[] = {{"struct net_device *", "dev", 0}};
constexpr OwnMember kBuffer[] = {{"void *", "data", 0},
                                 {"void *", "data_end", 8},
                                 {"void *", "data_meta", 16},
                                 {"void *", "data_hard_start", 24},
                                 {"struct xdp_rxq_info *", "rxq", 32},
                                 {"struct xdp_txq_info *", "txq", 40},
                                 {"__u32", "frame_sz", 48},
                                 {"__u32", "flags", 52}};

constexpr OwnMember kFdb[] = {{"__u8[6]", "mac", 0},
                              {"__u16", "vlan_id", 6},
                              {"__u32", "ifindex", 8},
                              {"__u32", "flags", 12}};
constexpr OwnMember kOffsets[] = {{"__u16", "l3", 0},       {"__u16", "l4", 2},
                                  {"__u16", "payload", 4},  {"__be16", "l3_proto", 6},
                                  {"__u8", "l4_proto", 8},  {"__u8", "flags", 9},
                                  {"__u16", "reserved", 10}};

constexpr OwnStruct kStructs[] = {
    {"nf_inet_addr", 16, kInetAddr, true},
    {"nf_conntrack", 4, kConntrackUse},
    {"nf_conntrack_zone", 4, kZone},
    {"nf_conntrack_port", 2, kPort},
    {"nf_conntrack_man_proto", 2, kProto, true},
    {"nf_conntrack_man", 20, kMan},
    {"nf_conntrack_far", 20, kFar},
    {"nf_conntrack_tuple", 40, kTuple},
    {"nf_conntrack_tuple_hash", 56, kTupleHash},
    {"nf_conn", 248, kConnection},
    {"nf_conn___init", 248, kNewConnection},
    {"bpf_ct_opts", 16, kCtOptions},
    {"in_addr", 4, kIn4},
    {"in6_addr", 16, kIn6},
    {"flow_offload_source", 16, kFlowSource, true},
    {"flow_offload_target", 16, kFlowTarget, true},
    {"flow_offload_encap", 4, kEncapsulation},
    {"flow_offload_out", 20, kFlowOut},
    {"flow_offload_tuple", 80, kFlowTuple},
    {"flow_offload_tuple_rhash", 88, kFlowHash},
    {"flow_ports", 4, kFlowPorts},
    {"bpf_flowtable_opts", 4, kFlowOptions},
    {"ns_common", 80, kNsCommon, false, true, true},
    {"net", 4288, kNet, false, true, true},
    {"lmn_possible_net", 8, kPossibleNet, false, false},
    {"net_device", 2496, kNetDevice, false, true, true},
    {"xdp_rxq_info", 64, kReceiveQueue, false, true, true},
    {"xdp_txq_info", 8, kTransmitQueue, false, true, true},
    {"xdp_buff", 56, kBuffer, false, true, true},
    {"bpf_lmn_fdb", 16, kFdb, false, false},
    {"bpf_lmn_offsets", 12, kOffsets, false, false},
};

constexpr OwnParam kFdbParams[] = {
    {"struct xdp_md *", "ctx"}, {"struct bpf_lmn_fdb *", "fdb"}, {"__u32", "fdb__sz"}};
constexpr OwnParam kChecksumParams[] = {{"const struct xdp_md *", "ctx"}, {"__u32 *", "state"}};
constexpr OwnParam kMarkParams[] = {{"const struct xdp_md *", "ctx"}, {"__u32 *", "mark"}};
constexpr OwnParam kOffsetsParams[] = {{"const struct xdp_md *", "ctx"},
                                       {"struct bpf_lmn_offsets *", "offsets"},
                                       {"__u32", "offsets__sz"}};

constexpr OwnFunction kFunctions[] = {
    {"bpf_lmn_fdb_learn", "int", kFdbParams},
    {"bpf_lmn_fdb_lookup", "int", kFdbParams},
    {"bpf_lmn_metadata_rx_csum", "int", kChecksumParams},
    {"bpf_lmn_metadata_rx_mark", "int", kMarkParams},
    {"bpf_lmn_metadata_rx_offsets", "int", kOffsetsParams},
};

}  // namespace

std::span<const OwnStruct> own_structs() { return kStructs; }
std::span<const OwnFunction> own_functions() { return kFunctions; }

}  // namespace lmn
