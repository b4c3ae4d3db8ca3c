// Which places of a 64 x 64 block a causal product needs.
#ifndef POGO_CPU_ATTENTION_REACH_H
#define POGO_CPU_ATTENTION_REACH_H

/** All places; those whose column is at most the row; those whose column is at least the row. */
enum AttentionReach { REACH_ALL, REACH_UP_TO_ROW, REACH_FROM_ROW };

// With tiles of the processor (AMX) simd_amx.h has this.
#if !defined(POGO_TILES)
namespace {
/** What the unit that multiplies blocks needs while an operation runs: nothing where it is the vector unit. */
struct AttentionUnit {
  AttentionUnit() {}
};
}  // namespace
#endif

#endif
