// SPDX-License-Identifier: Apache-2.0
//
// PortTable: which port has which ifindex, for those who ask at packet rate.
//
// bpf_redirect and bpf_check_mtu ask for each packet, from several threads, while ports come and
// go. So the table is immutable and replaced as a whole; who is asked must be a reader of the Epoch
// that the old tables are retired to (a worker is; a control thread takes an EpochScope).
// Threads: publish() control, one at a time; the questions any reader. Tested by engine_test.cc.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/epoch.h"
#include "packet/run_context.h"
#include "ports/port.h"

namespace lmn {

class PortTable final : public PortDirectory {
 public:
  explicit PortTable(Epoch& epoch) : epoch_(epoch) {}
  // These ports and no others are there from now on.
  void publish(std::span<const std::unique_ptr<Port>> ports);

  FrameSink* find_sink(std::uint32_t ifindex) noexcept override;
  std::optional<std::uint32_t> find_mtu(std::uint32_t ifindex) noexcept override;
  // Good for as long as the port is there.
  std::string_view find_name(std::uint32_t ifindex) noexcept override;

 private:
  struct Row {
    std::uint32_t ifindex;
    std::uint32_t mtu;
    FrameSink* sink;
    std::string name;
  };
  using Rows = std::vector<Row>;
  const Row* find(std::uint32_t ifindex) const noexcept;

  Epoch& epoch_;
  std::unique_ptr<const Rows> owned_;       // what rows_ points to
  std::atomic<const Rows*> rows_{nullptr};  // what readers load
};

}  // namespace lmn
