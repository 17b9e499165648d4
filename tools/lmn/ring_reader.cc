// SPDX-License-Identifier: Apache-2.0
//
// Records of ring buffers as lines.
#include "ring_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "packet_input.h"

namespace lmn {
namespace {

// How long the end of a run may have to wait for the reader.
constexpr int kPatienceMs = 20;

}  // namespace

Result<std::unique_ptr<RingReader>> RingReader::create(Engine& engine, const LoadedObject& object,
                                                       const std::vector<std::string>& names,
                                                       bool is_json) {
  auto reader = std::make_unique<RingReader>();
  reader->is_json_ = is_json;
  std::vector<std::string> known;
  for (const auto& map : object.maps) {
    known.push_back(map->spec().name);
    if (auto* ring = dynamic_cast<RingbufMap*>(map.get()); ring != nullptr) {
      reader->rings_.push_back({.name = map->spec().name, .map = ring});
    }
  }
  for (const std::string& name : names) {
    const auto ring = std::ranges::find(reader->rings_, name, &Ring::name);
    if (ring != reader->rings_.end()) {
      LMN_TRY(ring->bell, engine.reader_bell(*ring->map));
      ring->is_read = true;
      continue;
    }
    if (std::ranges::find(known, name) != known.end()) {
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("--read-ring: map '{}' is no ring buffer", name));
    }
    return make_error(ErrorCode::kNotFound,
                      fmt::format("--read-ring: the program uses no map '{}'; it uses: {}", name,
                                  fmt::join(known, ", ")));
  }
  return reader;
}

void RingReader::start() {
  const bool reads_any = std::ranges::any_of(rings_, [](const Ring& ring) { return ring.is_read; });
  if (reads_any) thread_ = std::jthread([this] { read_until_stopped(); });
}

void RingReader::stop() {
  if (!thread_.joinable()) return;
  is_stopping_.store(true, std::memory_order_release);
  thread_.join();
  drain();
}

void RingReader::read_until_stopped() {
  std::vector<pollfd> bells;
  for (const Ring& ring : rings_) {
    if (ring.is_read) bells.push_back({.fd = ring.bell, .events = POLLIN, .revents = 0});
  }
  while (!is_stopping_.load(std::memory_order_acquire)) {
    if (::poll(bells.data(), bells.size(), kPatienceMs) <= 0) continue;
    for (const pollfd& bell : bells) {
      std::uint64_t count = 0;
      if ((bell.revents & POLLIN) != 0) (void)!::read(bell.fd, &count, sizeof count);
    }
    drain();
  }
}

void RingReader::drain() {
  for (Ring& ring : rings_) {
    if (!ring.is_read) continue;
    ring.read_count += ring.map->consume([&](std::span<const std::uint8_t> record) {
      if (is_json_) {
        fmt::print("{{\"map\":\"{}\",\"record\":\"{}\"}}\n", ring.name, to_hex(record));
      } else {
        fmt::print("{}: {}\n", ring.name, to_hex(record));
      }
    });
  }
  std::fflush(stdout);
}

std::string RingReader::summary() const {
  std::string out;
  for (const Ring& ring : rings_) {
    const std::uint64_t lost = ring.map->lost_count();
    if (!ring.is_read && lost == 0) continue;
    if (is_json_) {
      out += fmt::format("{{\"map\":\"{}\",\"read\":{},\"lost\":{}}}\n", ring.name, ring.read_count,
                         lost);
    } else {
      out += fmt::format("ring {}: {} records read, {} lost{}\n", ring.name, ring.read_count, lost,
                         ring.is_read ? "" : ": it was full, and nobody reads it (--read-ring)");
    }
  }
  return out;
}

}  // namespace lmn
