// SPDX-License-Identifier: Apache-2.0
//
// Bytes to instructions and back: the border where a program stops being untrusted bytes.
//
// Decoding is strict, as the kernel's is: an unknown opcode, a register above 10, a field that the
// operation does not use and that is not 0, or half an lddw is refused, with its slot and bytes. So
// later stages never look at reserved fields again, and an instruction that a future kernel gives a
// meaning to is not run without it.
// What decoding leaves to the verifier: where jumps lead, which registers may be written, which
// calls exist.
//
// Difference from Linux: the kernel checks most reserved fields only where its analysis gets to, we
// check all slots.
//
// encode_program is the exact inverse: encode(decode(bytes)) == bytes in the same byte order.
// Threads: pure functions. Tested by codec_test.cc and kernel_test.cc.
// Source: RFC 9669 section 3; Linux 6.18, kernel/bpf/verifier.c (resolve_pseudo_ldimm64,
// check_alu_op, do_check, check_atomic, check_ld_imm, check_ld_abs) and kernel/bpf/core.c
// (bpf_opcode_in_insntable).
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "base/byte_reader.h"
#include "base/result.h"
#include "insn/insn.h"

namespace lmn {

// The instructions of `raw`, one element per slot. `order` is the byte order of off and imm, and
// says which half of the register byte is dst. Errors: kMalformed with errno EINVAL, "insn 14:
// opcode 0x8f is unknown (bytes 8f 01 00 00 00 00 00 00)". REQUIRES nothing of the length: no slots
// give an empty program, bytes left over an error.
Result<std::vector<Insn>> decode_program(ByteSpan raw, std::endian order = std::endian::little);

// The bytes of `insns`, 8 per element.
// REQUIRES: every kLddw is followed by a kLddwHigh; other invariants of insn.h.
std::vector<std::uint8_t> encode_program(std::span<const Insn> insns,
                                         std::endian order = std::endian::little);

// What is wrong with the fields of `insn`, or nullptr: the same checks for instructions that did
// not come from bytes.
const char* field_problem(const Insn& insn);

}  // namespace lmn
