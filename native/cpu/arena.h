// Owner's side of the scratch memory; kernels only see pogo_take.
#ifndef POGO_CPU_ARENA_H
#define POGO_CPU_ARENA_H

#include "kernel_table.h"

PogoArena* pogo_arena_new();
void pogo_arena_delete(PogoArena* arena);
/** Ends an operation: everything taken is free again. */
void pogo_arena_reset(PogoArena* arena);
/** Blocks of memory asked for since it was made. */
size_t pogo_arena_allocations(const PogoArena* arena);

#endif
