// The functions of native/cpu/isa/tiles.h for counting: nothing is computed, every line that a load or a store touches goes
// through two caches of the size of a Sapphire Rapids core's, least recently used first out. `tileloops` built with
// POGO_TILE_COUNTS prints what each order of the sweep asks of them, on any machine.
#ifndef POGO_TILE_COUNTS_H
#define POGO_TILE_COUNTS_H

#include <stdint.h>

#include <new>
#include <vector>

struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

namespace {

/** A cache of lines of 64 bytes that writes back. */
class Cache {
 public:
  int64_t fills = 0, written_back = 0;
  Cache(int sets, int ways, Cache* next) : sets_(sets), ways_(ways), next_(next), lines_((size_t)(sets * ways)) {}

  void access(uint64_t line, bool write) {
    Line* set = &lines_[(size_t)(line % (uint64_t)sets_) * (size_t)ways_];
    int at = 0;
    while (at < ways_ && set[at].line != line) at++;
    Line mine = {line, write};
    if (at < ways_) {
      mine.dirty = mine.dirty || set[at].dirty;
    } else {
      at = ways_ - 1;
      fills++;
      if (next_) next_->access(line, false);
      if (set[at].dirty) {
        written_back++;
        if (next_) next_->access(set[at].line, true);
      }
    }
    for (; at > 0; at--) set[at] = set[at - 1];
    set[0] = mine;
  }

 private:
  struct Line {
    uint64_t line = ~0ull;
    bool dirty = false;
  };
  int sets_, ways_;
  Cache* next_;
  std::vector<Line> lines_;
};

/** What one core does: 48 KiB of L1 in 12 ways, 2 MiB of L2 in 16. */
struct Counts {
  Cache l2{2048, 16, nullptr}, l1{64, 12, &l2};
  int64_t products = 0, lines_loaded = 0, lines_stored = 0;
} counts;

void forget_counts() {
  counts.~Counts();
  new (&counts) Counts;
}

inline void touch(const void* p, int64_t bytes, bool write) {
  const uint64_t first = (uint64_t)p / 64, last = ((uint64_t)p + (uint64_t)bytes - 1) / 64;
  for (uint64_t line = first; line <= last; line++) {
    counts.l1.access(line, write);
    (write ? counts.lines_stored : counts.lines_loaded)++;
  }
}

/** A store that goes past both caches. */
inline void touch_past(const void*, int64_t bytes) {
  counts.lines_stored += bytes / 64;
  counts.l2.written_back += bytes / 64;
}

inline void tile_configure(const TileConfig*) {}
inline void tile_release() {}
template <int t>
void tile_zero() {}
template <int t>
void tile_load(const void* p, int64_t stride) {
  for (int r = 0; r < 16; r++) touch((const char*)p + r * stride, 64, false);
}
/** As a hint that is taken: what is not in L1 comes from L2 and does not enter L1. */
template <int t>
void tile_load_past(const void* p, int64_t stride) {
  for (int r = 0; r < 16; r++) {
    counts.l2.access(((uint64_t)p + (uint64_t)(r * stride)) / 64, false);
    counts.l1.fills++;
    counts.lines_loaded++;
  }
}
template <int t>
void tile_store(void* p, int64_t stride) {
  for (int r = 0; r < 16; r++) touch((const char*)p + r * stride, 64, true);
}
template <int c, int a, int b>
void tile_dot_signed() {
  counts.products++;
}
inline void ask_to_write(const void* p) { touch(p, 1, true); }

}  // namespace

#endif
