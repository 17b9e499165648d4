// SPDX-License-Identifier: Apache-2.0
//
// What ports without a kernel netdev cost per frame: reading a capture into frames, writing one,
// moving frames over an in-engine pair.
//
// The capture has a million packets of 64 bytes and lies in the temporary directory, in the page
// cache after the first pass. PcapRead/reader walks it in memory without taking frames: the
// difference is what frames cost. Times are per frame.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include "base/file.h"
#include "ports/pcap/pcap_reader.h"
#include "ports/pcap/pcap_writer.h"
#include "ports/port.h"

namespace {

using namespace lmn;

constexpr std::size_t kPackets = 1'000'000;
constexpr std::size_t kPacketBytes = 64;

// A capture that lives as long as the program.
class Capture {
 public:
  explicit Capture(PcapWriter::Format format) {
    const char* directory = std::getenv("TMPDIR");
    path_ = std::string(directory == nullptr ? "/tmp" : directory) + "/lmn_bench_" +
            std::to_string(::getpid()) +
            (format == PcapWriter::Format::kPcap ? ".pcap" : ".pcapng");
    auto writer = PcapWriter::create(path_, format);
    if (!writer) return;
    const std::array<std::uint8_t, kPacketBytes> packet{};
    for (std::size_t i = 0; i < kPackets; ++i) writer->write(packet, i);
    is_ready_ = writer->finish().has_value();
  }
  ~Capture() { ::unlink(path_.c_str()); }
  const std::string& path() const { return path_; }
  bool is_ready() const { return is_ready_; }

 private:
  std::string path_;
  bool is_ready_ = false;
};

struct World {
  FramePool pool = *FramePool::create(limits::kFramesDefault);
  SystemClock clock;
  PortResources resources;
  World() {
    resources.pool = &pool;
    resources.clock = &clock;
  }
  OpenedPorts open(const std::string& spec) {
    auto parsed = parse_port_spec(spec);
    if (!parsed) return {};
    auto ports = open_port(*parsed, resources);
    return ports ? std::move(*ports) : OpenedPorts{};
  }
};

void free_all(FrameBatch& batch) {
  for (std::size_t i = 0; i < batch.count; ++i)
    batch.buffs[i].pool->free(batch.buffs[i].hard_start);
  batch.clear();
}

void read_capture_file(benchmark::State& state, PcapWriter::Format format) {
  const Capture capture(format);
  if (!capture.is_ready()) return state.SkipWithError("no room for a capture");
  World world;
  OpenedPorts ports = world.open("pcap:loop=0,in=" + capture.path());
  FrameBatch batch;
  std::int64_t frames = 0;
  for (auto _ : state) {
    frames += static_cast<std::int64_t>(ports[0]->rx_queue().receive(batch));
    free_all(batch);
  }
  state.SetItemsProcessed(frames);
}

void walk_capture(benchmark::State& state, PcapWriter::Format format) {
  const Capture capture(format);
  const auto bytes = read_file(capture.path(), std::size_t{1} << 30);
  if (!bytes) return state.SkipWithError("no capture");
  std::int64_t packets = 0;
  for (auto _ : state) {
    PcapReader reader;
    reader.set_window(*bytes, PcapReader::Tail::kEnd);
    CapturedPacket packet;
    while (reader.next(packet) == PcapReader::Step::kPacket) {
      benchmark::DoNotOptimize(packet);
      ++packets;
    }
  }
  state.SetItemsProcessed(packets);
}

XdpFrame* make_frame(FramePool& pool, const RxQueueInfo& rxq) {
  XdpBuff buff = make_xdp_buff(pool, pool.allocate(), rxq);
  buff.data_end += kPacketBytes;
  return to_frame(buff);
}

void write_capture(benchmark::State& state, const char* target) {
  World world;
  OpenedPorts ports = world.open(std::string("pcap:out=") + target);
  if (ports.empty()) return state.SkipWithError("cannot write");
  for (auto _ : state) {
    for (std::size_t i = 0; i < limits::kBatchSize; ++i) {
      ports[0]->tx_queue().enqueue(make_frame(world.pool, ports[0]->rx_queue().info()));
    }
    ports[0]->tx_queue().flush();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(limits::kBatchSize));
}

void cross_pair(benchmark::State& state) {
  World world;
  OpenedPorts ports = world.open("veth:a,b");
  FrameBatch batch;
  for (auto _ : state) {
    for (std::size_t i = 0; i < limits::kBatchSize; ++i) {
      ports[0]->tx_queue().enqueue(make_frame(world.pool, ports[0]->rx_queue().info()));
    }
    ports[0]->tx_queue().flush();
    ports[1]->rx_queue().receive(batch);
    free_all(batch);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(limits::kBatchSize));
}

BENCHMARK_CAPTURE(read_capture_file, pcap, PcapWriter::Format::kPcap)->Name("PcapRead/pcap");
BENCHMARK_CAPTURE(read_capture_file, pcapng, PcapWriter::Format::kPcapng)->Name("PcapRead/pcapng");
BENCHMARK_CAPTURE(walk_capture, pcap, PcapWriter::Format::kPcap)->Name("PcapRead/reader");
BENCHMARK_CAPTURE(write_capture, null, "/dev/null")->Name("PcapWrite/null");
BENCHMARK(cross_pair)->Name("VethPair/there");

}  // namespace
