// SPDX-License-Identifier: Apache-2.0
//
// Hex, raw files and captures as packets.
#include "packet_input.h"

#include <fmt/format.h>

#include <optional>
#include <span>

#include "abi/limits.h"
#include "base/file.h"
#include "engine/engine.h"

namespace lmn {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Runs the capture through a port, so that there is one reader of captures.
Result<std::vector<PacketBytes>> read_capture(const std::string& path) {
  LMN_TRY(auto engine, Engine::create({}));
  LMN_TRY(const std::vector<Port*> ports, engine->open_port(fmt::format("pcap:in={}", path)));
  std::vector<PacketBytes> packets;
  FrameBatch batch;
  RxQueue& rx = ports[0]->rx_queue();
  while (rx.receive(batch) > 0) {
    for (std::size_t i = 0; i < batch.count; ++i) {
      packets.emplace_back(batch.buffs[i].data, batch.buffs[i].data_end);
      batch.buffs[i].pool->free(batch.buffs[i].hard_start);
    }
    batch.clear();
  }
  if (const std::string error = rx.input_error(); !error.empty())
    return make_error(ErrorCode::kMalformed, error);
  return packets;
}

}  // namespace

std::optional<PacketBytes> parse_hex(std::string_view text) {
  PacketBytes bytes;
  int high = -1;
  for (const char c : text) {
    if (high < 0 && (c == ' ' || c == ':' || c == '\n')) continue;
    const int digit = hex_digit(c);
    if (digit < 0) return std::nullopt;
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<std::uint8_t>(high << 4 | digit));
      high = -1;
    }
  }
  if (high >= 0) return std::nullopt;
  return bytes;
}

std::string to_hex(std::span<const std::uint8_t> bytes) {
  std::string out;
  for (const std::uint8_t byte : bytes) out += fmt::format("{:02x}", byte);
  return out;
}

Result<std::vector<PacketBytes>> read_packets(const std::string& text) {
  if (text.starts_with('@')) {
    LMN_TRY(PacketBytes bytes, read_file(text.substr(1), limits::kFrameBytes));
    return std::vector<PacketBytes>{std::move(bytes)};
  }
  if (std::optional<PacketBytes> bytes = parse_hex(text); bytes.has_value() && !bytes->empty()) {
    return std::vector<PacketBytes>{std::move(*bytes)};
  }
  Result<std::vector<PacketBytes>> packets = read_capture(text);
  if (packets) return packets;
  return make_error(std::move(packets).error().with_context(fmt::format("packets '{}'", text)));
}

}  // namespace lmn
