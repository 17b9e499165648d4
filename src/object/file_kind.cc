// SPDX-License-Identifier: Apache-2.0
//
// A table of magic numbers and, for ELF, of machines. Only formats that people really hand to a
// loader by mistake. Source: file(1)'s magic of version 5.44 for the numbers; System V ABI for the
// machines.
#include "object/file_kind.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace lmn {
namespace {

using namespace std::string_view_literals;

struct Magic {
  std::string_view start;
  std::string_view words;
  std::string_view remedy;
};

constexpr std::string_view kCompileAgain = "compile the source with clang -O2 -g -target bpf -c";

constexpr std::array kMagics = {
    Magic{"BC\xc0\xde"sv, "LLVM bitcode",
          "compile without -emit-llvm, or run llc -march=bpf -filetype=obj"},
    Magic{"\xde\xc0\x17\x0b"sv, "LLVM bitcode",
          "compile without -emit-llvm, or run llc -march=bpf -filetype=obj"},
    Magic{"; ModuleID"sv, "LLVM assembly", "run llc -march=bpf -filetype=obj"},
    Magic{"!<arch>\n"sv, "an archive (.a)", "give the object inside it (ar x)"},
    Magic{"\x89PNG"sv, "a PNG image", ""},
    Magic{"\xff\xd8\xff"sv, "a JPEG image", ""},
    Magic{"GIF8"sv, "a GIF image", ""},
    Magic{"%PDF"sv, "a PDF document", ""},
    Magic{"\x1f\x8b"sv, "a gzip archive", "unpack it first"},
    Magic{"\xfd"
          "7zXZ"sv,
          "an xz archive", "unpack it first"},
    Magic{"\x28\xb5\x2f\xfd"sv, "a zstd archive", "unpack it first"},
    Magic{"PK\x03\x04"sv, "a zip archive", "unpack it first"},
    Magic{"MZ"sv, "a Windows executable", ""},
    Magic{"\xcf\xfa\xed\xfe"sv, "a Mach-O file", "compile with -target bpf"},
    Magic{"\xd4\xc3\xb2\xa1"sv, "a packet capture (pcap)", "give it to --in or as a port"},
    Magic{"\xa1\xb2\xc3\xd4"sv, "a packet capture (pcap)", "give it to --in or as a port"},
    Magic{"\x4d\x3c\xb2\xa1"sv, "a packet capture (pcap)", "give it to --in or as a port"},
    Magic{"\x0a\x0d\x0d\x0a"sv, "a packet capture (pcapng)", "give it to --in or as a port"},
    Magic{"\x9f\xeb\x01"sv, "BTF data without an object", "give it as --btf"},
    Magic{"\xeb\x9f\x01"sv, "big-endian BTF data", ""},
    Magic{"#!"sv, "a script", ""},
};

struct Machine {
  std::uint16_t number;
  std::string_view name;
};

constexpr std::array kMachines = {
    Machine{3, "32-bit x86"},  Machine{8, "MIPS"},        Machine{20, "PowerPC"},
    Machine{21, "PowerPC 64"}, Machine{22, "S/390"},      Machine{40, "ARM"},
    Machine{62, "x86-64"},     Machine{183, "AArch64"},   Machine{243, "RISC-V"},
    Machine{247, "BPF"},       Machine{258, "LoongArch"},
};

std::string describe_elf(ByteSpan bytes) {
  if (bytes.size() < 20) return "the start of an ELF file";
  const std::endian order = bytes[5] == 2 ? std::endian::big : std::endian::little;
  const auto type = load_unaligned<std::uint16_t>(bytes.data() + 16, order);
  const auto machine = load_unaligned<std::uint16_t>(bytes.data() + 18, order);
  auto known = std::ranges::find(kMachines, machine, &Machine::number);
  const std::string name = known != kMachines.end() ? std::string(known->name)
                           : machine == 0           ? std::string("machine-less")
                                                    : fmt::format("machine {}", machine);
  constexpr std::array kTypes = {"ELF file"sv, "object file"sv, "executable"sv,
                                 "executable or shared library"sv, "core dump"sv};
  const std::string_view kind = type < kTypes.size() ? kTypes[type] : "ELF file";
  const bool vowel = name.starts_with("x86") || name.starts_with("A") || name.starts_with("S/");
  return fmt::format("{} {} {}{}", vowel ? "an" : "a", name, kind,
                     bytes[4] == 1 ? " (32-bit)" : "");
}

bool is_text(ByteSpan bytes) {
  return std::ranges::all_of(
      bytes.first(std::min<std::size_t>(bytes.size(), 512)), [](std::uint8_t byte) {
        return byte >= 0x20 ? byte != 0x7f
                            : byte == '\n' || byte == '\t' || byte == '\r' || byte == '\f';
      });
}

const Magic* find_magic(ByteSpan bytes) {
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()),
                               std::min<std::size_t>(bytes.size(), 16));
  auto found = std::ranges::find_if(
      kMagics, [&](const Magic& magic) { return start.starts_with(magic.start); });
  return found == kMagics.end() ? nullptr : &*found;
}

bool is_elf(ByteSpan bytes) {
  return bytes.size() >= 4 && bytes[0] == 0x7f && bytes[1] == 'E' && bytes[2] == 'L' &&
         bytes[3] == 'F';
}

}  // namespace

std::string describe_file(ByteSpan bytes) {
  if (bytes.empty()) return "an empty file";
  if (is_elf(bytes)) return describe_elf(bytes);
  if (const Magic* magic = find_magic(bytes)) {
    if (magic->start != "#!") return std::string(magic->words);
    const auto line_end = std::find(bytes.begin(), bytes.end(), '\n');
    const std::string line(bytes.begin(), line_end);
    return line.find("sh") != std::string::npos ? "a shell script" : "a script";
  }
  if (is_text(bytes)) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                                std::min<std::size_t>(bytes.size(), 4096));
    const bool is_c = text.find("#include") != text.npos || text.find("SEC(\"") != text.npos;
    return is_c ? "C source" : "a text file";
  }
  std::string start;
  for (const std::uint8_t byte : bytes.first(std::min<std::size_t>(bytes.size(), 4))) {
    start += fmt::format(" {:02x}", byte);
  }
  return fmt::format("a file of unknown kind (starts{})", start);
}

std::string remedy_for_file(ByteSpan bytes) {
  if (is_elf(bytes)) return std::string(kCompileAgain);
  if (const Magic* magic = find_magic(bytes)) return std::string(magic->remedy);
  return !bytes.empty() && is_text(bytes) ? std::string(kCompileAgain) : std::string();
}

}  // namespace lmn
