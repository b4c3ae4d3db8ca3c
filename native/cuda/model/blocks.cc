// The device side of the model: blocks of fibers, barriers, warp operations, asynchronous copies.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "cuda_model.h"
#include "fiber.h"
#include "launches.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(place, bytes) ((void)(place), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(place, bytes) ((void)(place), (void)(bytes))
#endif

namespace cuda_model {

__thread Thread* current = nullptr;

namespace {

constexpr int PATTERN = 0xFF;
/** Where shared memory begins: aligned to 16 bytes and to no more, so that whoever needs more must round up. */
constexpr size_t SHARED_ALIGNMENT = 1024;
constexpr size_t SHARED_OFFSET = SHARED_WINDOW;
/** Bytes behind shared memory that a kernel must not write. */
constexpr size_t SHARED_GUARD = 256;
constexpr unsigned NAMED_BARRIERS = 16;

enum class State { READY, WARP, GROUP, BLOCK, NAMED, CLUSTER, CONDITION, DONE };

struct Copy {
  void* to;
  const void* from;
  unsigned bytes, valid;
};

struct Runner : Thread {
  State state;
  const char* waits_for;
  uint32_t mask;
  unsigned warps;
  unsigned barrier;
  Complete complete;
  void* operand;
  bool (*holds)(void*);
  void* argument;
  unsigned cluster_arrivals;
  std::vector<Copy> copies;          // not yet committed
  std::vector<std::vector<Copy>> groups;  // committed, oldest first
};

struct Block {
  std::unique_ptr<unsigned char[]> memory;
  size_t memory_bytes = 0;
  unsigned char* shared = nullptr;
  unsigned waiting = 0, done = 0;
  unsigned named[NAMED_BARRIERS] = {};
};

/** One per OS thread that launches. */
struct Machine {
  FiberPool pool;
  std::vector<Runner> runners;
  std::vector<Block> blocks;
  std::vector<uint32_t> order;
  const std::function<void()>* body = nullptr;
  unsigned threads = 0;  // of a block
  size_t shared_bytes = 0;
  unsigned cluster_waiting = 0;
  std::vector<std::pair<const void*, std::function<void()>>> deferred;
  uint64_t random = 1;
  bool failed = false;
  std::string message;
};

thread_local Machine* machine = nullptr;

Machine& own_machine() {
  static thread_local Machine instance;
  machine = &instance;
  return instance;
}

uint32_t draw() {
  machine->random = machine->random * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)(machine->random >> 33);
}

Runner& self() { return *static_cast<Runner*>(current); }

void run_copy(const Copy& copy) {
  if (copy.valid > 0) memcpy(copy.to, copy.from, copy.valid);
  if (copy.valid < copy.bytes) memset(static_cast<char*>(copy.to) + copy.valid, 0, copy.bytes - copy.valid);
}

void fiber_entry() {
  machine->pool.entered();
  {
    Runner& runner = self();
    (*machine->body)();
    runner.state = State::DONE;
    Block& block = machine->blocks[runner.rank];
    block.done += 1;
    // Nobody may read the shared memory of a block that ended.
    if (block.done == machine->threads) ASAN_POISON_MEMORY_REGION(block.shared, machine->shared_bytes);
  }
  machine->pool.finish();
}

/** Gives up the turn until somebody makes this thread ready. */
void wait_as(State state, const char* name) {
  Runner& runner = self();
  runner.state = state;
  runner.waits_for = name;
  machine->pool.pause();
}

std::string place_of(const Runner& runner) {
  char text[160];
  snprintf(text, sizeof text, "block (%u, %u, %u) thread (%u, %u, %u)", runner.block.x, runner.block.y, runner.block.z,
           runner.thread.x, runner.thread.y, runner.thread.z);
  return text;
}

/** Nobody can go on: says who waits for what, and who ended. */
void report_stall(unsigned count) {
  const Runner *waiting = nullptr, *other = nullptr, *ended = nullptr;
  for (unsigned i = 0; i < count; i += 1) {
    const Runner& runner = machine->runners[i];
    if (runner.state == State::DONE) {
      if (ended == nullptr) ended = &runner;
    } else if (waiting == nullptr) {
      waiting = &runner;
    } else if (other == nullptr && (runner.state != waiting->state || runner.waits_for != waiting->waits_for)) {
      other = &runner;
    }
  }
  std::string text = place_of(*waiting) + " waits for ever in " + waiting->waits_for;
  if (other != nullptr) text += "; " + place_of(*other) + " waits in " + other->waits_for;
  if (ended != nullptr) text += "; " + place_of(*ended) + " has ended";
  machine->failed = true;
  machine->message = text;
}

void release(unsigned rank, State state, unsigned barrier) {
  for (unsigned i = 0; i < machine->threads; i += 1) {
    Runner& runner = machine->runners[rank * machine->threads + i];
    if (runner.state == state && (state != State::NAMED || runner.barrier == barrier)) runner.state = State::READY;
  }
}

void arrange(unsigned count) {
  Order order = settings().order;
  for (unsigned i = 0; i < count; i += 1) machine->order[i] = order == Order::DESCENDING ? count - 1 - i : i;
}

void shuffle_order(unsigned count) {
  for (unsigned i = count; i > 1; i -= 1) std::swap(machine->order[i - 1], machine->order[draw() % i]);
}

/** Runs the blocks of one cluster to their end. */
void run_cluster(unsigned count) {
  if (!machine->pool.prepare(count, fiber_entry)) {
    machine->failed = true;
    machine->message = "no memory for the stacks of the threads";
    return;
  }
  arrange(count);
  bool seeded = settings().order == Order::SEEDED;
  for (;;) {
    if (seeded) shuffle_order(count);
    bool ran = false;
    unsigned done = 0;
    for (unsigned place = 0; place < count; place += 1) {
      unsigned index = machine->order[place];
      Runner& runner = machine->runners[index];
      if (runner.state == State::CONDITION && runner.holds(runner.argument)) runner.state = State::READY;
      if (runner.state == State::READY) {
        ran = true;
        current = &runner;
        machine->pool.resume(index);
        current = nullptr;
        if (machine->failed) return;
      }
      done += runner.state == State::DONE;
    }
    if (done == count) break;
    if (!ran) return report_stall(count);
  }
  if (!machine->deferred.empty()) {
    machine->failed = true;
    machine->message = "a copy into shared memory that nobody waited for";
    return;
  }
  for (unsigned i = 0; i < count; i += 1) {
    if (machine->pool.stack_is_whole(i)) continue;
    machine->failed = true;
    machine->message = place_of(machine->runners[i]) + " wrote beyond its stack";
    return;
  }
}

void prepare_block(unsigned rank, size_t shared) {
  Block& block = machine->blocks[rank];
  size_t needed = SHARED_ALIGNMENT + SHARED_OFFSET + shared + SHARED_GUARD;
  if (block.memory_bytes < needed) {
    block.memory.reset(new unsigned char[needed]);
    block.memory_bytes = needed;
  }
  uintptr_t start = reinterpret_cast<uintptr_t>(block.memory.get());
  start = (start + SHARED_ALIGNMENT - 1) / SHARED_ALIGNMENT * SHARED_ALIGNMENT + SHARED_OFFSET;
  block.shared = reinterpret_cast<unsigned char*>(start);
  ASAN_UNPOISON_MEMORY_REGION(block.memory.get(), block.memory_bytes);
  memset(block.shared, PATTERN, shared + SHARED_GUARD);
  ASAN_POISON_MEMORY_REGION(block.memory.get(), (size_t)(block.shared - block.memory.get()));
  ASAN_POISON_MEMORY_REGION(block.shared + shared, SHARED_GUARD);
  block.waiting = block.done = 0;
  for (unsigned& arrived : block.named) arrived = 0;
}

void check_reach(unsigned rank, size_t shared) {
  Block& block = machine->blocks[rank];
  ASAN_UNPOISON_MEMORY_REGION(block.memory.get(), block.memory_bytes);
  for (size_t i = 0; i < SHARED_GUARD && !machine->failed; i += 1) {
    if (block.shared[shared + i] == PATTERN) continue;
    machine->failed = true;
    machine->message = "shared memory of " + std::to_string(shared) + " bytes: byte " + std::to_string(shared + i) +
                       " was written";
  }
}

/** In which order the clusters of a grid run: CUDA promises none. */
class Places {
 public:
  const uint64_t count;

  Places(unsigned x, unsigned y, unsigned z) : count((uint64_t)x * y * z), x_(x), y_(y) {
    if (settings().order != Order::SEEDED || count == 0) return;
    first_ = draw() % count;
    do step_ = draw() % count + 1;
    while (std::gcd(step_, count) != 1);
  }

  dim3 at(uint64_t turn) const {
    const uint64_t i = settings().order == Order::DESCENDING ? count - 1 - turn
                                                             : (uint64_t)(((__uint128_t)turn * step_ + first_) % count);
    return {(unsigned)(i % x_), (unsigned)(i / x_ % y_), (unsigned)(i / x_ / y_)};
  }

 private:
  uint64_t x_, y_, first_ = 0, step_ = 1;
};

}  // namespace

void fail(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  machine->failed = true;
  machine->message = place_of(self()) + ": " + text;
  machine->pool.pause();
  abort();
}

std::string run_grid(const std::function<void()>& body, dim3 grid, dim3 block, unsigned cluster, size_t shared) {
  Machine& m = own_machine();
  unsigned blocks_together = cluster == 0 ? 1 : cluster;
  unsigned threads = block.x * block.y * block.z;
  unsigned count = blocks_together * threads;
  if (m.runners.size() < count) m.runners.resize(count);
  if (m.order.size() < count) m.order.resize(count);
  if (m.blocks.size() < blocks_together) m.blocks.resize(blocks_together);
  m.body = &body;
  m.threads = threads;
  m.shared_bytes = shared;
  m.random = settings().seed * 0x9E3779B97F4A7C15ull + 1;
  m.failed = false;
  const Places places(grid.x / blocks_together, grid.y, grid.z);
  for (uint64_t turn = 0; turn < places.count; turn += 1) {
    const dim3 cluster_at = places.at(turn);
    m.cluster_waiting = 0;
    m.deferred.clear();
    for (unsigned rank = 0; rank < blocks_together; rank += 1) {
      prepare_block(rank, shared);
      for (unsigned i = 0; i < threads; i += 1) {
        Runner& runner = m.runners[rank * threads + i];
        runner.thread = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
        runner.block = {cluster_at.x * blocks_together + rank, cluster_at.y, cluster_at.z};
        runner.block_size = block;
        runner.grid_size = grid;
        runner.shared = m.blocks[rank].shared;
        runner.shared_bytes = shared;
        runner.index = i;
        runner.rank = rank;
        runner.cluster_size = blocks_together;
        runner.state = State::READY;
        runner.waits_for = "";
        runner.cluster_arrivals = 0;
        runner.copies.clear();
        runner.groups.clear();
      }
    }
    run_cluster(count);
    for (unsigned rank = 0; rank < blocks_together; rank += 1) check_reach(rank, shared);
    if (m.failed) return m.message;
  }
  return "";
}

void warp_collective(uint32_t mask, Complete complete, void* operand, const char* name) {
  Runner& own = self();
  unsigned warp = own.index / 32 * 32;
  unsigned lane = own.index % 32;
  if (((mask >> lane) & 1u) == 0) fail("%s: mask %08x does not name the calling lane %u", name, mask, lane);
  // A block may end within a warp: lanes that never were take no part.
  unsigned lanes = machine->threads - warp < 32 ? machine->threads - warp : 32;
  if (lanes < 32 && mask == 0xFFFFFFFFu) mask = (1u << lanes) - 1u;
  if (lanes < 32 && (mask >> lanes) != 0) fail("%s: mask %08x names lanes beyond the block", name, mask);
  Runner* first = &machine->runners[own.rank * machine->threads + warp];
  own.mask = mask;
  own.complete = complete;
  own.operand = operand;
  void* operands[32] = {};
  for (unsigned i = 0; i < lanes; i += 1) {
    if (((mask >> i) & 1u) == 0) continue;
    Runner& other = first[i];
    if (&other != &own && (other.state != State::WARP || other.mask != mask || other.complete != complete)) {
      return wait_as(State::WARP, name);
    }
    // An operation without operands still takes part.
    operands[i] = other.operand;
  }
  complete(operands, 32);
  for (unsigned i = 0; i < lanes; i += 1) {
    if ((mask >> i) & 1u) first[i].state = State::READY;
  }
}

void group_collective(unsigned warps, Complete complete, void* operand, const char* name) {
  Runner& own = self();
  unsigned size = 32 * warps;
  unsigned begin = own.index / size * size;
  if (begin + size > machine->threads) fail("%s: the block has no %u warps from thread %u on", name, warps, begin);
  Runner* first = &machine->runners[own.rank * machine->threads + begin];
  own.warps = warps;
  own.complete = complete;
  own.operand = operand;
  std::vector<void*> operands(size);
  for (unsigned i = 0; i < size; i += 1) {
    Runner& other = first[i];
    if (&other != &own && (other.state != State::GROUP || other.warps != warps || other.complete != complete)) {
      return wait_as(State::GROUP, name);
    }
    operands[i] = other.operand;
  }
  complete(operands.data(), (int)size);
  for (unsigned i = 0; i < size; i += 1) first[i].state = State::READY;
}

void block_barrier() {
  Runner& own = self();
  Block& block = machine->blocks[own.rank];
  block.waiting += 1;
  // Threads that ended are not counted: a barrier that some left out is an error, whatever hardware does.
  if (block.waiting < machine->threads) return wait_as(State::BLOCK, "__syncthreads");
  block.waiting = 0;
  release(own.rank, State::BLOCK, 0);
}

void named_barrier(unsigned id, unsigned threads, bool arrive) {
  Runner& own = self();
  if (id >= NAMED_BARRIERS || threads % 32 != 0) fail("barrier %u of %u threads does not exist", id, threads);
  Block& block = machine->blocks[own.rank];
  own.barrier = id;
  block.named[id] += 1;
  if (block.named[id] > threads) fail("barrier %u: more than %u threads came", id, threads);
  if (block.named[id] < threads) {
    if (!arrive) wait_as(State::NAMED, "a named barrier");
    return;
  }
  block.named[id] = 0;
  release(own.rank, State::NAMED, id);
}

void cluster_arrive() {
  Runner& own = self();
  own.cluster_arrivals += 1;
  machine->cluster_waiting += 1;
}

static bool cluster_came(void* argument) {
  Runner* own = static_cast<Runner*>(argument);
  return machine->cluster_waiting >= own->cluster_arrivals * own->cluster_size * machine->threads;
}

void cluster_wait() { wait_until(cluster_came, current, "a barrier of the cluster"); }

void* map_shared(const void* place, unsigned rank) {
  Runner& own = self();
  const unsigned char* at = static_cast<const unsigned char*>(place);
  if (rank >= own.cluster_size) fail("rank %u of a cluster of %u", rank, own.cluster_size);
  if (at < own.shared || at >= own.shared + own.shared_bytes) fail("map_shared of a place outside shared memory");
  return machine->blocks[rank].shared + (at - own.shared);
}

void wait_until(bool (*holds)(void*), void* argument, const char* name) {
  Runner& own = self();
  own.holds = holds;
  own.argument = argument;
  if (!holds(argument)) wait_as(State::CONDITION, name);
}

void yield() { wait_as(State::READY, "yield"); }

bool at_once() {
  Order order = settings().order;
  return order == Order::SEEDED ? (draw() & 1u) != 0 : order == Order::DESCENDING;
}

void defer(const void* key, std::function<void()> copy) {
  if (at_once()) return copy();
  machine->deferred.emplace_back(key, std::move(copy));
}

void run_deferred(const void* key) {
  // Copies of one key keep their order; a copy may defer nothing.
  std::vector<std::pair<const void*, std::function<void()>>> left;
  for (auto& each : machine->deferred) {
    if (each.first == key) {
      each.second();
    } else {
      left.push_back(std::move(each));
    }
  }
  machine->deferred = std::move(left);
}

void async_copy(void* to, const void* from, unsigned bytes, unsigned valid) {
  Copy copy = {to, from, bytes, valid};
  if (at_once()) return run_copy(copy);
  self().copies.push_back(copy);
}

void async_commit() {
  Runner& own = self();
  own.groups.push_back(std::move(own.copies));
  own.copies.clear();
}

void async_wait(unsigned left) {
  Runner& own = self();
  while (own.groups.size() > left) {
    for (const Copy& copy : own.groups.front()) run_copy(copy);
    own.groups.erase(own.groups.begin());
  }
}

#define POGO_MODEL_GATHER(name, type, start, step)       \
  void name(void* const* operands, int) {                \
    type total = start;                                  \
    for (int lane = 0; lane < 32; lane += 1) {           \
      if (operands[lane] == nullptr) continue;           \
      type value = (type)static_cast<Gather*>(operands[lane])->value; \
      total = (step);                                    \
    }                                                    \
    for (int lane = 0; lane < 32; lane += 1) {           \
      if (operands[lane] != nullptr) static_cast<Gather*>(operands[lane])->result = (uint32_t)total; \
    }                                                    \
  }
POGO_MODEL_GATHER(complete_max, uint32_t, 0u, total > value ? total : value)
POGO_MODEL_GATHER(complete_min, uint32_t, 0xFFFFFFFFu, total < value ? total : value)
POGO_MODEL_GATHER(complete_signed_max, int32_t, INT32_MIN, total > value ? total : value)
POGO_MODEL_GATHER(complete_signed_min, int32_t, INT32_MAX, total < value ? total : value)
POGO_MODEL_GATHER(complete_add, uint32_t, 0u, total + value)
POGO_MODEL_GATHER(complete_or, uint32_t, 0u, total | value)
POGO_MODEL_GATHER(complete_and, uint32_t, 0xFFFFFFFFu, total & value)
POGO_MODEL_GATHER(complete_ballot, uint32_t, 0u, total | (value << lane))
void complete_nothing(void* const*, int) {}

}  // namespace cuda_model
