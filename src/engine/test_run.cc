// SPDX-License-Identifier: Apache-2.0
//
// Engine::test_run: BPF_PROG_TEST_RUN for XDP, without live frames.
//
// As in the kernel (Linux 6.18, net/bpf/test_run.c, bpf_prog_test_run_xdp): the packet is copied
// into one frame at the usual head-room, the program runs `repeat` times on it without the packet
// being restored in between, the verdict of the last run and the packet as it then is come back,
// and nothing is sent anywhere: a redirect is only the number 4.
#include <fmt/format.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>

#include "engine/engine.h"
#include "exec/run_deferred.h"

namespace lmn {

Result<TestRunResult> Engine::test_run(Program& program, std::span<const std::uint8_t> packet,
                                       const TestRunOptions& options) {
  const std::size_t metadata = options.metadata_bytes;
  if (metadata > packet.size() || metadata % 4 != 0 || metadata > limits::kMetadataBytesMax) {
    return make_errno_error(
        ErrorCode::kInvalidArgument, EINVAL,
        fmt::format(
            "metadata of {} bytes: must be a multiple of 4, at most {} and within the packet",
            metadata, limits::kMetadataBytesMax));
  }
  const std::size_t length = packet.size() - metadata;
  if (length < limits::kPacketBytesMin || length > limits::kPacketBytesMax) {
    return make_errno_error(ErrorCode::kInvalidArgument, EINVAL,
                            fmt::format("packet of {} bytes: a frame takes {} to {}", length,
                                        limits::kPacketBytesMin, limits::kPacketBytesMax));
  }
  std::uint8_t* frame = pool_.allocate();
  if (frame == nullptr) return make_errno_error(ErrorCode::kLimitExceeded, ENOMEM, "no frame free");
  const RxQueueInfo rxq{options.ingress_ifindex, options.rx_queue_index, options.port_metadata};
  // The kernel's page is zeroed: what head and tail growth show is the same there and here.
  std::memset(frame, 0, limits::kFrameBytes);
  XdpBuff buff = make_xdp_buff(pool_, frame, rxq);
  std::memcpy(buff.data - metadata, packet.data(), packet.size());
  buff.data_meta = buff.data - metadata;
  buff.data_end = buff.data + length;
  buff.meta = options.meta;
  buff.rx_time_ns = options.rx_time_ns;

  TrapLog traps;
  EpochReader reader(epoch_);
  RunContext context = make_context();
  if (context.tables != nullptr) context.tables->refresh(context);
  context.traps = &traps;
  context.program_name = program.spec.name;
  TestRunResult result;
  const std::uint32_t repeat = options.repeat == 0 ? 1 : options.repeat;
  const std::uint64_t start_ns = clock_->monotonic_ns();
  for (std::uint32_t i = 0; i < repeat; ++i) {
    context.redirect = {};
    result.verdict = program.compiled->run(buff, context);
    reader.pass();
  }
  result.duration_ns = (clock_->monotonic_ns() - start_ns) / repeat;
  run_deferred_calls(context);
  result.packet.assign(buff.data, buff.data_end);
  result.traps = traps.records();
  reader_bells_.ring();
  pool_.free(frame);
  return result;
}

}  // namespace lmn
