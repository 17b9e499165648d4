// SPDX-License-Identifier: Apache-2.0
//
// Feeds an offload header and a packet to the cutter of super-frames.
//
// The first ten bytes are the header, the rest the packet. What is taken must come out: the pieces'
// payloads, one after the other, are the packet's payload, and no piece is longer than announced.
// Each piece is written to an allocation of exactly the announced size, for ASan.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "ports/offload/super_frame.h"

namespace {

void expect(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size < lmn::kOffloadHeaderBytes) return 0;
  const lmn::OffloadRequest request =
      lmn::parse_offload_header(lmn::ByteSpan(bytes, lmn::kOffloadHeaderBytes));
  const lmn::ByteSpan packet(bytes + lmn::kOffloadHeaderBytes, size - lmn::kOffloadHeaderBytes);
  lmn::SuperFrame super;
  if (!super.start(packet, request)) {
    expect(super.is_done());
    return 0;
  }
  expect(!super.is_done());
  std::vector<std::uint8_t> out(super.piece_length_max());
  const std::size_t headers = super.header_length();
  std::vector<std::uint8_t> payload;
  while (!super.is_done()) {
    const std::size_t length = super.next(out);
    expect(length <= out.size());
    expect(length > headers);
    payload.insert(payload.end(), out.begin() + static_cast<std::ptrdiff_t>(headers),
                   out.begin() + static_cast<std::ptrdiff_t>(length));
  }
  // Payload is never touched, so the pieces end as the packet does.
  expect(payload.size() + headers == packet.size());
  expect(std::equal(payload.rbegin(), payload.rend(), packet.rbegin()));
  return 0;
}
