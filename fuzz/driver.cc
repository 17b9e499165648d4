// SPDX-License-Identifier: Apache-2.0
//
// The driver of the smoke runs: main() around an LLVMFuzzerTestOneInput, for builds without
// libFuzzer.
//
//   <name>_smoke [--seconds N | --runs N] [--seed N] [--max-ms N] [--max-heap-mib N] [SEEDS...]
//       SEEDS are files or folders; then random mutants of them
//   <name>_smoke FILE --runs 0: only these inputs (a reproduction)
//
// libFuzzer is the better search, since it sees coverage; but it needs clang and an instrumented
// build, and the slice in
// ./dev test must run in every build. Half of the mutants come from a fixed seed, half from a fresh
// one; both are printed. A crash writes the input to <name>-crash.bin in the working folder and
// says how to run it again. Threads: one; the crash handler runs on it. Tested by mutator_test.cc
// and tests/repository/fuzz_driver_test.py.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>
#include <string>

#include "base/file.h"
#include "heap_meter.h"
#include "mutator.h"

extern "C" {
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
int LLVMFuzzerInitialize(int* argc, char*** argv) __attribute__((weak));
std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t size_max,
                                    unsigned seed) __attribute__((weak));
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizers' own name
void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));
std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t size_max);
}

namespace lmn::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;
using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kSeedBytesMax = 16u << 20;
constexpr std::size_t kPoolMax = 256;  // mutants kept to be mutated further
constexpr std::uint64_t kFixedSeed = 1;

struct Options {
  double seconds = 1;
  std::optional<std::uint64_t> runs;  // instead of seconds
  std::optional<std::uint64_t> seed;  // only this one
  std::uint64_t max_ms = 0;           // 0: no limit on one input
  std::uint64_t max_heap_mib = 0;     // the same; needs a build that measures (heap_meter.h)
  std::vector<std::string> seeds;
};

// What a crash handler can reach: a signal gives it no other way to the input. Written before each
// run.
struct CrashRecord {
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
  char path[512] = {};
};
CrashRecord crash_record;

void write_text(const char* text) {
  static_cast<void>(!::write(STDERR_FILENO, text, std::strlen(text)));
}

void keep_input() {
  const int fd = ::open(crash_record.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return write_text("fuzz: the input could not be written\n");
  static_cast<void>(!::write(fd, crash_record.data, crash_record.size));
  ::close(fd);
  write_text("fuzz: failed; the input is ");
  write_text(crash_record.path);
  write_text(" (run the same program with this file alone)\n");
}

void on_signal(int number) {
  keep_input();
  ::_exit(number == SIGABRT ? 1 : 2);
}

void install_crash_handler(const std::string& name) {
  const std::string path = name + "-crash.bin";
  path.copy(crash_record.path, sizeof crash_record.path - 1);
  ::signal(SIGABRT, on_signal);
  if (__sanitizer_set_death_callback != nullptr) return __sanitizer_set_death_callback(keep_input);
  for (int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) ::signal(number, on_signal);
}

// What this thread has used of a processor: on a busy machine the clock would blame the input for
// the time of others.
double cpu_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

// Runs one input and gives its processor time in milliseconds.
double run_input(const Bytes& bytes) {
  // A copy of exactly this size, so that a sanitizer sees the first byte read past the end.
  const std::vector<std::uint8_t> exact(bytes.begin(), bytes.end());
  crash_record.data = exact.data();
  crash_record.size = exact.size();
  heap_meter::reset_peak();
  const double start = cpu_ms();
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
  return cpu_ms() - start;
}

void add_seed_file(const std::string& path, std::vector<Bytes>& seeds) {
  auto bytes = read_file(path, kSeedBytesMax);
  if (!bytes) {
    fmt::print(stderr, "fuzz: {}\n", bytes.error().to_string());
    std::exit(2);
  }
  seeds.push_back(std::move(*bytes));
}

std::vector<Bytes> read_seeds(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());  // the order of a folder differs between machines
  std::vector<Bytes> seeds;
  for (const std::string& file : files) add_seed_file(file, seeds);
  return seeds;
}

struct Tally {
  std::uint64_t runs = 0;
  double slowest_ms = 0;
  std::size_t heap_bytes_max = 0;  // of one input
  bool too_slow = false;
  bool too_large = false;
};

class Session {
 public:
  Session(std::vector<Bytes> seeds, const Options& options)
      : seeds_(std::move(seeds)), options_(options) {
    if (seeds_.empty()) seeds_.emplace_back();
    for (const Bytes& seed : seeds_) size_max_ = std::max(size_max_, 2 * seed.size());
  }

  void run_seeds() {
    for (const Bytes& seed : seeds_) account(seed, run_input(seed));
  }

  // Mutants of one random seed, for `seconds` or, when given, exactly `runs`.
  void run_mutants(std::uint64_t seed, double seconds, std::optional<std::uint64_t> runs) {
    Mutator mutator(seed);
    std::vector<Bytes> pool;
    const auto end = SteadyClock::now() + std::chrono::duration<double>(seconds);
    for (std::uint64_t i = 0; runs ? i < *runs : SteadyClock::now() < end; ++i) {
      Bytes bytes = pick(mutator, pool);
      const Bytes& other = seeds_[mutator.below(seeds_.size())];
      change(mutator, bytes, other);
      account(bytes, run_input(bytes));
      remember(mutator, pool, std::move(bytes));
    }
  }

  const Tally& tally() const { return tally_; }

 private:
  // Seeds three times out of four; else a mutant, so that changes pile up.
  Bytes pick(Mutator& mutator, const std::vector<Bytes>& pool) {
    if (pool.empty() || mutator.below(4) != 0) return seeds_[mutator.below(seeds_.size())];
    return pool[mutator.below(pool.size())];
  }

  void change(Mutator& mutator, Bytes& bytes, const Bytes& other) {
    if (LLVMFuzzerCustomMutator == nullptr || mutator.below(4) == 0)
      return mutator.mutate(bytes, other, size_max_);
    const std::size_t size = bytes.size();
    bytes.resize(size_max_);
    const auto seed = static_cast<unsigned>(mutator.below(1u << 31));
    bytes.resize(LLVMFuzzerCustomMutator(bytes.data(), size, size_max_, seed));
  }

  static void remember(Mutator& mutator, std::vector<Bytes>& pool, Bytes bytes) {
    if (pool.size() < kPoolMax) return pool.push_back(std::move(bytes));
    if (mutator.below(8) == 0) pool[mutator.below(kPoolMax)] = std::move(bytes);
  }

  void account(const Bytes& bytes, double ms) {
    ++tally_.runs;
    const std::size_t heap = heap_meter::peak_bytes();
    tally_.heap_bytes_max = std::max(tally_.heap_bytes_max, heap);
    if (options_.max_heap_mib != 0 && heap > options_.max_heap_mib << 20) {
      keep_first(bytes);
      tally_.too_large = true;
    }
    if (options_.max_ms != 0 && ms > static_cast<double>(options_.max_ms)) {
      // Others may have had the caches: an input is slow when it is always slow.
      for (int i = 0; i < 3; ++i) ms = std::min(ms, run_input(bytes));
      if (ms > static_cast<double>(options_.max_ms)) {
        keep_first(bytes);
        tally_.too_slow = true;
      }
    }
    tally_.slowest_ms = std::max(tally_.slowest_ms, ms);
  }

  void keep_first(const Bytes& bytes) {
    if (tally_.too_slow || tally_.too_large) return;
    crash_record.data = bytes.data();  // the copy of run_input is gone
    crash_record.size = bytes.size();
    keep_input();
  }

  std::vector<Bytes> seeds_;
  const Options& options_;
  std::size_t size_max_ = 4096;
  Tally tally_;
};

std::uint64_t number_or_exit(const char* option, const char* text) {
  char* end = nullptr;
  const std::uint64_t value = text == nullptr ? 0 : std::strtoull(text, &end, 0);
  if (text != nullptr && *text != 0 && *end == 0) return value;
  fmt::print(stderr, "fuzz: {} wants a number\n", option);
  std::exit(2);
}

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (!word.starts_with("--")) {
      options.seeds.push_back(word);
      continue;
    }
    const std::uint64_t value = number_or_exit(argv[i], i + 1 < argc ? argv[i + 1] : nullptr);
    ++i;
    if (word == "--seconds")
      options.seconds = static_cast<double>(value);
    else if (word == "--runs")
      options.runs = value;
    else if (word == "--seed")
      options.seed = value;
    else if (word == "--max-ms")
      options.max_ms = value;
    else if (word == "--max-heap-mib")
      options.max_heap_mib = value;
    else {
      fmt::print(stderr,
                 "usage: {} [--seconds N | --runs N] [--seed N] [--max-ms N] [--max-heap-mib N] "
                 "[SEEDS...]\n",
                 argv[0]);
      std::exit(2);
    }
  }
  // One file and nothing else: a reproduction.
  if (argc == 2 && options.seeds.size() == 1 && std::filesystem::is_regular_file(options.seeds[0]))
    options.runs = 0;
  return options;
}

int run(int argc, char** argv) {
  if (LLVMFuzzerInitialize != nullptr) LLVMFuzzerInitialize(&argc, &argv);
  const std::string name = std::filesystem::path(argv[0]).filename().string();
  const Options options = parse_options(argc, argv);
  install_crash_handler(name);
  const bool is_heap_known = heap_meter::start();
  if (options.max_heap_mib != 0 && !is_heap_known) {
    fmt::print(stderr, "{}: --max-heap-mib needs a build with AddressSanitizer\n", name);
    return 2;
  }
  std::vector<Bytes> seeds = read_seeds(options.seeds);
  const std::size_t seed_count = seeds.size();
  Session session(std::move(seeds), options);
  session.run_seeds();

  std::vector<std::uint64_t> random_seeds = {kFixedSeed, std::random_device{}()};
  if (options.seed) random_seeds = {*options.seed};
  const auto share = static_cast<double>(random_seeds.size());
  std::uint64_t runs_left = options.runs.value_or(0);
  for (std::size_t i = 0; i < random_seeds.size(); ++i) {
    const std::uint64_t runs = runs_left / (random_seeds.size() - i);
    runs_left -= runs;
    fmt::print("{}: random seed {}\n", name, random_seeds[i]);
    std::fflush(stdout);
    session.run_mutants(random_seeds[i], options.seconds / share,
                        options.runs ? std::optional(runs) : std::nullopt);
  }

  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const Tally& tally = session.tally();
  fmt::print("{}: {} inputs from {} seed files, slowest {:.3f} ms, peak memory {} MiB\n", name,
             tally.runs, seed_count, tally.slowest_ms, usage.ru_maxrss / 1024);
  if (is_heap_known)
    fmt::print("{}: most heap for one input {:.2f} MiB\n", name,
               static_cast<double>(tally.heap_bytes_max) / (1 << 20));
  if (tally.too_slow)
    fmt::print(stderr, "{}: an input took longer than {} ms\n", name, options.max_ms);
  if (tally.too_large)
    fmt::print(stderr, "{}: an input took more than {} MiB\n", name, options.max_heap_mib);
  return tally.too_slow || tally.too_large ? 1 : 0;
}

}  // namespace
}  // namespace lmn::fuzz

// libFuzzer's general mutation, for custom mutators that call it.
std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t size_max) {
  std::uint64_t seed = size;
  for (std::size_t i = 0; i < size; ++i) seed = seed * 1099511628211u + data[i];
  std::vector<std::uint8_t> bytes(data, data + size);
  lmn::fuzz::Mutator(seed).mutate(bytes, {}, size_max);
  std::copy(bytes.begin(), bytes.end(), data);
  return bytes.size();
}

int main(int argc, char** argv) { return lmn::fuzz::run(argc, argv); }
