// SPDX-License-Identifier: Apache-2.0
//
// The numbers of the ELF-64 format that an object of the BPF target uses, by their standard names
// in our spelling. Written out here because <elf.h> brings structs that invite casts, and because
// the set we know is the set we check. Source: System V ABI, chapter 4; LLVM 19,
// llvm/BinaryFormat/ELF.h and ELFRelocs/BPF.def.
#pragma once

#include <cstdint>

namespace lmn::elf {

inline constexpr std::size_t kHeaderBytes = 64;
inline constexpr std::size_t kSectionHeaderBytes = 64;
inline constexpr std::size_t kSymbolBytes = 24;
inline constexpr std::size_t kRelBytes = 16;

inline constexpr std::uint8_t kClass64 = 2;
inline constexpr std::uint8_t kDataLittle = 1;
inline constexpr std::uint8_t kDataBig = 2;
inline constexpr std::uint16_t kTypeRelocatable = 1;
inline constexpr std::uint16_t kMachineNone = 0;
inline constexpr std::uint16_t kMachineBpf = 247;

enum SectionType : std::uint32_t {
  kNull = 0,
  kProgbits = 1,
  kSymtab = 2,
  kStrtab = 3,
  kRela = 4,
  kNobits = 8,
  kRel = 9,
};

inline constexpr std::uint64_t kFlagExec = 4;
inline constexpr std::uint64_t kFlagCompressed = 0x800;

inline constexpr std::uint32_t kSectionUndefined = 0;
inline constexpr std::uint32_t kSectionReservedFirst = 0xff00;
inline constexpr std::uint32_t kSectionAbsolute = 0xfff1;
inline constexpr std::uint32_t kSectionCommon = 0xfff2;
inline constexpr std::uint32_t kSectionExtended = 0xffff;

enum SymbolType : std::uint8_t { kNotype = 0, kObject = 1, kFunc = 2, kSection = 3 };
enum SymbolBind : std::uint8_t { kLocal = 0, kGlobal = 1, kWeak = 2 };
enum SymbolVisibility : std::uint8_t { kDefault = 0, kInternal = 1, kHidden = 2 };

}  // namespace lmn::elf
