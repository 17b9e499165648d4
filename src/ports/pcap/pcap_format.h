// SPDX-License-Identifier: Apache-2.0
//
// The numbers of the pcap and pcapng file formats that reader and writer share.
// Source: draft-ietf-opsawg-pcap-06 and draft-ietf-opsawg-pcapng-04.
#pragma once

#include <cstdint>

namespace lmn::pcap_format {

inline constexpr std::uint32_t kMagicMicro = 0xa1b2c3d4;
inline constexpr std::uint32_t kMagicNano = 0xa1b23c4d;
inline constexpr std::uint32_t kLinkTypeMask = 0x03ffffff;  // above: length of the check sequence
inline constexpr std::uint32_t kLinkEthernet = 1;

inline constexpr std::uint32_t kSectionHeader = 0x0a0d0d0a;  // the same in both byte orders
inline constexpr std::uint32_t kByteOrderMagic = 0x1a2b3c4d;
inline constexpr std::uint32_t kInterfaceDescription = 1;
inline constexpr std::uint32_t kOldPacket = 2;
inline constexpr std::uint32_t kSimplePacket = 3;
inline constexpr std::uint32_t kEnhancedPacket = 6;

}  // namespace lmn::pcap_format
