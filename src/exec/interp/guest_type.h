// SPDX-License-Identifier: Apache-2.0
//
// GuestType: what the interpreter must be told of a program type to run its programs: how the
// context is laid out and whether packets are read in the way of classic BPF.
//
// LMN runs XDP programs, and of those the interpreter knows the context from Environment::context.
// As reference machine it is compared with the kernel on programs of every type, since most of what
// such a program computes has nothing to do with its type. Whoever does that describes the type by
// one of these tables (InterpreterOptions::guest) and brings context, helpers and maps; none of it
// is in the engine. A run of an XDP program never looks here.
//
// A context is bytes in the layout that the program was compiled for (struct __sk_buff), next to
// the packet: the owner derives a type from XdpBuff, whose head is what packet pointers mean.
// Fields of numbers lie in those bytes, and programs write them there where they may; pointers and
// the length of the packet are made when they are loaded.
//
// Threads: a table is immutable; the bytes belong to the worker that runs the program.
// Tested by exec_test.cc and tests/conformance/.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "packet/xdp_buff.h"

namespace lmn {

class Map;

struct GuestField {
  enum class Kind : std::uint8_t {
    kNumber,
    kLength,  // of the packet now
    kPacketData,
    kPacketEnd,
    kPacketMeta,
    kMemory,  // an address in the bytes: readable memory of target_bytes, or null
  };
  // Which aligned parts of a number may be accessed by themselves.
  enum class Parts : std::uint8_t { kNone, kLoaded, kLoadedAndStored };

  std::string_view name;
  std::uint32_t offset;
  std::uint32_t size_bytes;
  Kind kind = Kind::kNumber;
  bool is_writable = false;
  Parts parts = Parts::kNone;
  // How much of the field there is behind it: a part of at least that many bytes, wherever it lies
  // in the field, gives the whole number, as Linux's rewritten loads do. 0: all of it.
  std::uint32_t stored_bytes = 0;
  std::uint32_t target_bytes = 0;  // of kMemory
};

struct GuestType {
  std::span<const GuestField> fields;  // of which none overlap
  std::uint32_t context_bytes = 0;
  // Where the context of this packet lies.
  std::uint8_t* (*context)(XdpBuff& buff) noexcept = nullptr;
  // LD_ABS and LD_IND: out.size() bytes at `offset` of the packet. False: they are not there, and
  // the function ends with 0. Null: the type has no such loads.
  bool (*read_packet)(const XdpBuff& buff, std::int32_t offset,
                      std::span<std::uint8_t> out) noexcept = nullptr;

  // What programs may read through a pointer to a map, the struct that the kernel has there. Null:
  // nothing.
  std::span<const std::uint8_t> (*map_bytes)(XdpBuff& buff, const Map& map) noexcept = nullptr;

  // The field that holds [offset, offset + size) and allows such an access, or null.
  const GuestField* find(std::int64_t offset, std::uint32_t size_bytes, bool is_write) const;
};

}  // namespace lmn
