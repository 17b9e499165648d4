// SPDX-License-Identifier: Apache-2.0
//
// Goal: what four threads do to one map at once, all of them writing, could have been done one
// after the other: each operation at one moment between its call and its return, key by key; queues
// and stacks as a whole; ring buffers in the order of their records.
// Method: each thread writes down every operation with a number drawn before and one after it from
// a common counter, and its answer. Then the history is judged: going through the numbers, the set
// of all states that the map could be in is kept, each with the operations that have taken effect
// in it though they have not returned; when one returns, the states in which it cannot have taken
// effect are dropped, and a history without a state left is no order of anything (Wing and Gong,
// "Testing and Verifying Concurrent Objects", 1993; Lowe, "Testing for linearizability", 2017).
// Updates are of all kinds (any, new, there already), so that their answers tell what was there.
// An LRU map may lose a key at any time. maps_concurrency_test.cc has what programs see through
// addresses of values.
//
// LMN_CONCURRENCY_OPERATIONS sets the operations per map (default 200,000);
// ./dev conformance maps_concurrent takes 10,000,000.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "base/epoch.h"
#include "maps/map.h"
#include "maps/ringbuf_map.h"

namespace lmn {
namespace {

constexpr std::uint32_t kThreads = 4;
constexpr std::uint64_t kBatch = 64;
constexpr std::uint64_t kRoundMax = 50'000;  // operations of a thread between two judgements

std::uint64_t operation_count() {
  const char* text = std::getenv("LMN_CONCURRENCY_OPERATIONS");
  return text == nullptr ? 200'000 : std::strtoull(text, nullptr, 0);
}

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

enum class What : std::uint8_t { kLookup, kUpdate, kErase, kTake, kPush, kPop, kPeek };

struct Operation {
  std::uint64_t begun = 0;
  std::uint64_t ended = 0;
  std::uint64_t value = 0;  // put in, or got
  std::int32_t result = 0;
  std::uint32_t key = 0;
  What what{};
  std::uint8_t flags = 0;
  std::uint8_t thread = 0;
};

// The common counter. Relaxed: the order of what is between two of its numbers is the maps' own
// matter, and the thread sanitizer shall not take the counter for theirs.
class Stamps {
 public:
  std::uint64_t next() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    const std::uint64_t stamp = next_.fetch_add(1, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return stamp;
  }

 private:
  std::atomic<std::uint64_t> next_{1};
};

// --- judging

// One key: what it holds, 0 for nothing. Appends what it may hold after `operation`.
struct KeyModel {
  using State = std::uint64_t;
  bool may_vanish = false;  // an LRU map drops keys
  bool is_always = false;   // an array's elements are there, 0 at first

  void apply(State held, const Operation& operation, std::vector<State>& out) const {
    apply_once(held, operation, out);
    if (may_vanish && held != 0) apply_once(0, operation, out);
  }

 private:
  void apply_once(State held, const Operation& operation, std::vector<State>& out) const {
    const bool is_there = is_always || held != 0;
    switch (operation.what) {
      case What::kLookup:
      case What::kTake:
        if (operation.result == 0 ? !is_there || operation.value != held
                                  : is_there || operation.result != -ENOENT) {
          return;
        }
        out.push_back(operation.what == What::kTake ? 0 : held);
        return;
      case What::kErase:
        if (operation.result == (is_there ? 0 : -ENOENT)) out.push_back(0);
        return;
      case What::kUpdate: {
        int wanted = 0;
        if (operation.flags == BPF_NOEXIST && is_there) wanted = -EEXIST;
        if (operation.flags == BPF_EXIST && !is_there) wanted = -ENOENT;
        if (operation.result == wanted) out.push_back(wanted == 0 ? operation.value : held);
        return;
      }
      case What::kPush:
      case What::kPop:
      case What::kPeek:
        return;
    }
  }
};

// A queue or stack of a few elements; the next to be taken is at the front.
struct QueueModel {
  static constexpr std::size_t kRoom = 4;
  struct State {
    std::array<std::uint64_t, kRoom> items{};
    std::size_t count = 0;
    bool operator==(const State&) const = default;
  };
  bool is_stack = false;

  void apply(const State& held, const Operation& operation, std::vector<State>& out) const {
    State state = held;
    if (operation.what == What::kPush) {
      const bool is_full = state.count == kRoom;
      const bool may_drop = operation.flags == BPF_EXIST;
      if (operation.result != (is_full && !may_drop ? -E2BIG : 0)) return;
      if (operation.result == 0) push(state, operation.value);
    } else {
      const bool is_empty = state.count == 0;
      if (operation.result != (is_empty ? -ENOENT : 0)) return;
      if (!is_empty && operation.value != state.items[0]) return;
      if (!is_empty && operation.what == What::kPop) remove_at(state, 0);
    }
    out.push_back(state);
  }

 private:
  static void remove_at(State& state, std::size_t at) {
    std::copy(state.items.begin() + at + 1, state.items.begin() + state.count,
              state.items.begin() + at);
    state.items[--state.count] = 0;
  }
  // A full queue drops its oldest, at the front; a full stack its oldest, at the end.
  void push(State& state, std::uint64_t value) const {
    if (state.count == kRoom) remove_at(state, is_stack ? kRoom - 1 : 0);
    if (!is_stack) {
      state.items[state.count++] = value;
      return;
    }
    std::copy_backward(state.items.begin(), state.items.begin() + state.count,
                       state.items.begin() + state.count + 1);
    state.items[0] = value;
    ++state.count;
  }
};

template <typename Model>
class Judge {
 public:
  using State = typename Model::State;
  explicit Judge(Model model) : model_(model) { possible_.push_back({State{}, 0}); }

  // Operations of one round; none is left open at its end. False: no order explains them.
  bool accept(std::vector<Operation> operations) {
    struct Event {
      std::uint64_t stamp;
      const Operation* operation;
    };
    std::vector<Event> events;
    for (const Operation& operation : operations) {
      events.push_back({operation.begun, &operation});
      events.push_back({operation.ended, &operation});
    }
    std::ranges::sort(events, {}, &Event::stamp);
    for (const Event& event : events) {
      if (event.stamp == event.operation->begun) {
        open_[event.operation->thread] = event.operation;
      } else if (!close(*event.operation)) {
        return false;
      }
    }
    return true;
  }
  // Operations that returned while another on the same was open.
  std::uint64_t overlap_count() const { return overlap_count_; }

 private:
  struct Configuration {
    State state;
    std::uint32_t effective;  // threads whose open operation has taken effect
    bool operator==(const Configuration&) const = default;
  };

  // `operation` returns: it has taken effect in every state that is left.
  bool close(const Operation& operation) {
    const std::uint32_t bit = 1u << operation.thread;
    const auto open_count = std::ranges::count_if(open_, [](auto* one) { return one != nullptr; });
    if (open_count > 1) ++overlap_count_;
    std::vector<Configuration> reached = possible_;
    std::vector<State> next;
    for (std::size_t i = 0; i < reached.size(); ++i) {
      if ((reached[i].effective & bit) != 0) continue;
      for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
        const bool is_effective = (reached[i].effective & 1u << thread) != 0;
        if (open_[thread] == nullptr || is_effective) continue;
        next.clear();
        model_.apply(reached[i].state, *open_[thread], next);
        for (const State& state : next) {
          add(reached, {state, reached[i].effective | 1u << thread});
        }
      }
    }
    possible_.clear();
    for (Configuration& one : reached) {
      if ((one.effective & bit) == 0) continue;
      one.effective &= ~bit;
      add(possible_, one);
    }
    open_[operation.thread] = nullptr;
    return !possible_.empty();
  }

  static void add(std::vector<Configuration>& to, const Configuration& one) {
    if (std::ranges::find(to, one) == to.end()) to.push_back(one);
  }

  Model model_;
  std::vector<Configuration> possible_;
  std::array<const Operation*, kThreads> open_{};
  std::uint64_t overlap_count_ = 0;
};

Operation op(What what, std::uint8_t thread, std::uint64_t begun, std::uint64_t ended,
             std::uint64_t value, int result, std::uint8_t flags = 0) {
  return {begun, ended, value, result, 0, what, flags, thread};
}

// The judge itself: histories that are orders of something, and such as are not.
TEST(Linearizability, TheJudgeKnowsRightFromWrong) {
  using enum What;
  const auto is_accepted = [](std::vector<Operation> history) {
    return Judge(KeyModel{}).accept(std::move(history));
  };
  // A read beside two writes sees either, and what is read later is not older.
  const Operation first = op(kUpdate, 0, 1, 10, 7, 0);
  const Operation second = op(kUpdate, 1, 2, 11, 8, 0);
  EXPECT_TRUE(is_accepted({first, second, op(kLookup, 2, 3, 4, 7, 0), op(kLookup, 2, 5, 6, 8, 0)}));
  EXPECT_TRUE(is_accepted({first, second, op(kLookup, 2, 3, 4, 0, -ENOENT)}));
  EXPECT_FALSE(is_accepted({first, second, op(kLookup, 2, 3, 4, 7, 0), op(kLookup, 2, 5, 6, 8, 0),
                            op(kLookup, 2, 7, 8, 7, 0)}));
  EXPECT_FALSE(is_accepted({first, op(kLookup, 2, 12, 13, 0, -ENOENT)})) << "it had returned";
  EXPECT_FALSE(is_accepted({op(kLookup, 2, 1, 2, 7, 0), op(kUpdate, 0, 3, 4, 7, 0)}));
  // Two that both found nothing there cannot both have put it there.
  EXPECT_FALSE(is_accepted(
      {op(kUpdate, 0, 1, 3, 7, 0, BPF_NOEXIST), op(kUpdate, 1, 2, 4, 8, 0, BPF_NOEXIST)}));
  EXPECT_TRUE(is_accepted(
      {op(kUpdate, 0, 1, 3, 7, 0, BPF_NOEXIST), op(kUpdate, 1, 2, 4, 8, -EEXIST, BPF_NOEXIST)}));
  // One element is taken once.
  EXPECT_FALSE(is_accepted({first, op(kTake, 2, 20, 23, 7, 0), op(kTake, 3, 21, 22, 7, 0)}));
  EXPECT_FALSE(is_accepted({first, op(kErase, 2, 20, 23, 0, 0), op(kErase, 3, 21, 22, 0, 0)}));
  // An LRU map may lose it, and not make it up.
  Judge lossy(KeyModel{.may_vanish = true});
  EXPECT_TRUE(lossy.accept({first, op(kLookup, 2, 12, 13, 0, -ENOENT)}));
  EXPECT_FALSE(lossy.accept({op(kLookup, 2, 14, 15, 7, 0)}));
  // Queues and stacks.
  const std::vector<Operation> pushes = {op(kPush, 0, 1, 2, 7, 0), op(kPush, 0, 3, 4, 8, 0)};
  for (const bool is_stack : {false, true}) {
    Judge judge(QueueModel{.is_stack = is_stack});
    EXPECT_TRUE(judge.accept(pushes));
    EXPECT_TRUE(judge.accept({op(kPeek, 1, 5, 6, is_stack ? 8 : 7, 0)}));
    EXPECT_TRUE(judge.accept({op(kPush, 0, 7, 8, 9, 0), op(kPush, 0, 9, 10, 10, 0)}));
    EXPECT_TRUE(judge.accept({op(kPush, 0, 11, 12, 11, -E2BIG)}));
    EXPECT_TRUE(judge.accept({op(kPush, 0, 13, 14, 12, 0, BPF_EXIST)}));
    EXPECT_TRUE(judge.accept({op(kPop, 1, 15, 16, is_stack ? 12 : 8, 0)}));
    EXPECT_FALSE(judge.accept({op(kPop, 1, 17, 18, 7, 0)})) << "it was dropped";
  }
}

// --- histories

struct Shape {
  const char* name;
  std::uint32_t type;
  std::uint32_t max_entries;
  std::uint32_t keys;
  std::uint32_t flags = 0;
};

class History {
 public:
  explicit History(const Shape& shape) : shape_(shape) {
    NoHost host;
    epoch_.start();
    auto made = create_map({.name = "m",
                            .type = shape.type,
                            .key_size = is_queue()  ? 0u
                                        : is_trie() ? 8u
                                                    : 4u,
                            .value_size = is_array() || is_queue() ? 8u : 16u,
                            .max_entries = shape.max_entries,
                            .map_flags = shape.flags},
                           {.cpu_count = kThreads, .hash_seed = 5, .epoch = &epoch_}, host);
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    map_ = std::move(*made);
  }

  bool is_queue() const {
    return shape_.type == BPF_MAP_TYPE_QUEUE || shape_.type == BPF_MAP_TYPE_STACK;
  }
  bool is_array() const { return shape_.type == BPF_MAP_TYPE_ARRAY; }
  std::uint64_t torn_count() const { return torn_.load(); }

  // The operations of one round, in no order.
  std::vector<Operation> run(std::uint64_t operations_per_thread) {
    std::array<std::vector<Operation>, kThreads> logs;
    std::vector<std::thread> threads;
    for (std::uint32_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        EpochReader reader(epoch_);
        logs[t].reserve(operations_per_thread);
        for (std::uint64_t i = 0; i < operations_per_thread; ++i) {
          logs[t].push_back(is_queue() ? queue_operation(t) : keyed_operation(t));
          if (i % kBatch == 0) reader.pass();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    std::vector<Operation> all;
    for (const auto& log : logs) all.insert(all.end(), log.begin(), log.end());
    return all;
  }

 private:
  struct Value {
    std::uint64_t number;
    std::uint64_t check;
  };
  struct Key {
    std::uint32_t first;
    std::uint32_t second;
  };
  struct alignas(64) Source {
    std::mt19937_64 random;
    std::uint64_t last_number = 0;
  };

  bool is_trie() const { return shape_.type == BPF_MAP_TYPE_LPM_TRIE; }
  static std::uint64_t check_of(std::uint64_t number) { return number * 0x9e3779b97f4a7c15ull; }
  // Of a trie: 10.number.0.0/16; of an array the number; else something that is spread.
  Key key_of(std::uint32_t number) const {
    if (is_trie()) return {16, 10 | number << 8};
    return {is_array() ? number : number * 0x9e3779b9u, 0};
  }

  Operation keyed_operation(std::uint32_t thread) {
    Source& source = sources_[thread];
    Operation made;
    made.thread = static_cast<std::uint8_t>(thread);
    made.key = static_cast<std::uint32_t>(source.random() % shape_.keys);
    const Key key = key_of(made.key);
    Value value{};
    const std::uint64_t dice = source.random() % 16;
    const std::span bytes(reinterpret_cast<std::uint8_t*>(&value), map_->user_value_bytes());
    if (dice < 6) {
      made.what = What::kLookup;
      made.begun = stamps_.next();
      made.result = map_->user_lookup(&key, bytes, 0);
    } else if (dice < 12 || is_array()) {
      constexpr std::uint8_t kFlags[] = {BPF_ANY, BPF_NOEXIST, BPF_EXIST};
      made.what = What::kUpdate;
      made.flags = kFlags[source.random() % std::size(kFlags)];
      made.value = std::uint64_t{thread + 1} << 48 | ++source.last_number;
      value = {made.value, check_of(made.value)};
      made.begun = stamps_.next();
      made.result = source.random() % 2 == 0 ? map_->user_update(&key, bytes, made.flags)
                                             : map_->update(&key, &value, made.flags, thread);
    } else if (dice < 14 || is_trie()) {
      made.what = What::kErase;
      made.begun = stamps_.next();
      made.result = source.random() % 2 == 0 ? map_->user_erase(&key) : map_->erase(&key);
    } else {
      made.what = What::kTake;
      made.begun = stamps_.next();
      made.result = map_->user_lookup_and_erase(&key, bytes, 0);
    }
    made.ended = stamps_.next();
    const bool is_read = made.what == What::kLookup || made.what == What::kTake;
    if (is_read && made.result == 0) {
      made.value = value.number;
      if (!is_array() && value.check != check_of(value.number)) ++torn_;
    }
    return made;
  }

  Operation queue_operation(std::uint32_t thread) {
    Source& source = sources_[thread];
    Operation made;
    made.thread = static_cast<std::uint8_t>(thread);
    const std::uint64_t dice = source.random() % 8;
    if (dice < 4) {
      made.what = What::kPush;
      made.flags = dice == 0 ? BPF_EXIST : BPF_ANY;
      made.value = std::uint64_t{thread + 1} << 48 | ++source.last_number;
      made.begun = stamps_.next();
      made.result = map_->push(&made.value, made.flags);
    } else {
      std::uint64_t value = 0;
      made.what = dice == 4 ? What::kPeek : What::kPop;
      made.begun = stamps_.next();
      made.result = made.what == What::kPop ? map_->pop(&value) : map_->peek(&value);
      made.value = value;
    }
    made.ended = stamps_.next();
    return made;
  }

  Shape shape_;
  Epoch epoch_;
  std::unique_ptr<Map> map_;
  Stamps stamps_;
  std::array<Source, kThreads> sources_{
      {{std::mt19937_64(1)}, {std::mt19937_64(2)}, {std::mt19937_64(3)}, {std::mt19937_64(4)}}};
  std::atomic<std::uint64_t> torn_{0};
};

class Linearizable : public testing::TestWithParam<Shape> {
 protected:
  // Calls judge(operations) for each round.
  template <typename JudgeRound>
  void for_each_round(History& history, JudgeRound judge) {
    std::uint64_t left = operation_count() / kThreads;
    std::uint64_t answers = 0;
    while (left > 0) {
      const std::uint64_t count = std::min(left, kRoundMax);
      const std::vector<Operation> operations = history.run(count);
      for (const Operation& operation : operations) answers += operation.result == 0;
      ASSERT_TRUE(judge(operations)) << left * kThreads << " operations before the end";
      left -= count;
    }
    EXPECT_EQ(history.torn_count(), 0u);
    EXPECT_GT(answers, operation_count() / 4);
    std::printf("%s: %llu operations, %llu succeeded, ", GetParam().name,
                static_cast<unsigned long long>(operation_count()),
                static_cast<unsigned long long>(answers));
  }
};

// How often the threads met: on one core hardly ever.
void print_overlaps(std::uint64_t count) {
  std::printf("%llu beside another\n", static_cast<unsigned long long>(count));
}

using LinearizableKeys = Linearizable;
using LinearizableQueues = Linearizable;

TEST_P(LinearizableKeys, EveryHistoryIsAnOrder) {
  const Shape& shape = GetParam();
  History history(shape);
  KeyModel model;
  model.may_vanish = shape.type == BPF_MAP_TYPE_LRU_HASH;
  model.is_always = history.is_array();
  std::vector<Judge<KeyModel>> judges(shape.keys, Judge(model));
  for_each_round(history, [&](const std::vector<Operation>& operations) {
    std::vector<std::vector<Operation>> of_key(shape.keys);
    for (const Operation& operation : operations) of_key[operation.key].push_back(operation);
    for (std::uint32_t key = 0; key < shape.keys; ++key) {
      if (!judges[key].accept(std::move(of_key[key]))) return false;
    }
    return true;
  });
  std::uint64_t overlaps = 0;
  for (const auto& judge : judges) overlaps += judge.overlap_count();
  print_overlaps(overlaps);
}

TEST_P(LinearizableQueues, EveryHistoryIsAnOrder) {
  History history(GetParam());
  Judge judge(QueueModel{.is_stack = GetParam().type == BPF_MAP_TYPE_STACK});
  for_each_round(
      history, [&](const std::vector<Operation>& operations) { return judge.accept(operations); });
  print_overlaps(judge.overlap_count());
}

constexpr auto kNameOf = [](const auto& row) { return std::string(row.param.name); };

// Few keys, so that the threads meet.
INSTANTIATE_TEST_SUITE_P(
    Types, LinearizableKeys,
    testing::Values(Shape{"hash", BPF_MAP_TYPE_HASH, 8, 8},
                    Shape{"hash_no_prealloc", BPF_MAP_TYPE_HASH, 8, 8, BPF_F_NO_PREALLOC},
                    Shape{"lru_hash", BPF_MAP_TYPE_LRU_HASH, 32, 48},
                    Shape{"lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, 8, BPF_F_NO_PREALLOC},
                    Shape{"array", BPF_MAP_TYPE_ARRAY, 8, 8}),
    kNameOf);
INSTANTIATE_TEST_SUITE_P(Types, LinearizableQueues,
                         testing::Values(Shape{"queue", BPF_MAP_TYPE_QUEUE, QueueModel::kRoom, 0},
                                         Shape{"stack", BPF_MAP_TYPE_STACK, QueueModel::kRoom, 0}),
                         kNameOf);

// --- ring buffer

// Records of several producers come in one order, and it is that of the calls: none comes before
// another that had been sent before its call began.
TEST(LinearizableRing, RecordsComeInTheOrderOfTheCalls) {
  constexpr std::uint32_t kProducers = kThreads - 1;
  struct Record {
    std::uint64_t begun;
    std::uint32_t producer;
    std::uint32_t number;
  };
  NoHost host;
  const auto map = std::move(
      *create_map({.name = "r", .type = BPF_MAP_TYPE_RINGBUF, .max_entries = 4096}, {}, host));
  auto& ring = static_cast<RingbufMap&>(*map);
  Stamps stamps;
  std::array<std::vector<std::uint64_t>, kProducers> ended;  // of each record that was sent
  std::atomic<std::uint32_t> running{kProducers};
  std::vector<Record> taken;
  const auto take = [&](std::span<const std::uint8_t> bytes) {
    Record record;
    ASSERT_EQ(bytes.size(), sizeof record);
    std::memcpy(&record, bytes.data(), sizeof record);
    taken.push_back(record);
  };
  std::vector<std::thread> threads;
  for (std::uint32_t producer = 0; producer < kProducers; ++producer) {
    threads.emplace_back([&, producer] {
      for (std::uint64_t i = 0; i < operation_count() / kThreads; ++i) {
        Record record{stamps.next(), producer, static_cast<std::uint32_t>(ended[producer].size())};
        const std::span bytes(reinterpret_cast<const std::uint8_t*>(&record), sizeof record);
        if (ring.output(bytes, BPF_RB_NO_WAKEUP) == 0) {
          ended[producer].push_back(stamps.next());
        } else {
          std::this_thread::yield();  // full
        }
      }
      --running;
    });
  }
  while (running.load() > 0) {
    ring.consume(take);
    std::this_thread::yield();
  }
  ring.consume(take);
  for (std::thread& thread : threads) thread.join();
  std::uint64_t latest_begin = 0;
  std::array<std::uint32_t, kProducers> next{};
  for (const Record& record : taken) {
    ASSERT_LT(record.producer, kProducers);
    ASSERT_EQ(record.number, next[record.producer]++) << "of producer " << record.producer;
    ASSERT_GT(ended[record.producer][record.number], latest_begin)
        << "a record that was sent before another began comes after it";
    latest_begin = std::max(latest_begin, record.begun);
  }
  for (std::uint32_t producer = 0; producer < kProducers; ++producer) {
    EXPECT_EQ(next[producer], ended[producer].size());
  }
  EXPECT_GT(taken.size(), operation_count() / 20);
  std::printf("ring buffer: %zu records\n", taken.size());
}

}  // namespace
}  // namespace lmn
