#include "fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
#define POGO_FIBER_ASSEMBLY
#else
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define POGO_FIBER_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POGO_FIBER_ASAN
#endif
#endif
#if defined(POGO_FIBER_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(POGO_FIBER_ASSEMBLY)
// Saves the registers that a call must keep, stores the stack pointer in *save, takes `load` as the new one.
extern "C" void pogo_fiber_switch(void** save, void* load) __attribute__((visibility("hidden")));
#if defined(__x86_64__)
asm(R"(
  .text
  .p2align 4
  .globl pogo_fiber_switch
  .hidden pogo_fiber_switch
  .type pogo_fiber_switch, @function
pogo_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size pogo_fiber_switch, .-pogo_fiber_switch
)");
static constexpr size_t SAVED_WORDS = 6;
static constexpr size_t RETURN_WORD = 6;
static constexpr size_t FRAME_WORDS = 8;
#else
asm(R"(
  .text
  .p2align 4
  .globl pogo_fiber_switch
  .hidden pogo_fiber_switch
  .type pogo_fiber_switch, %function
pogo_fiber_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
  .size pogo_fiber_switch, .-pogo_fiber_switch
)");
static constexpr size_t SAVED_WORDS = 20;
static constexpr size_t RETURN_WORD = 11;
static constexpr size_t FRAME_WORDS = 20;
#endif
#endif

namespace cuda_model {
namespace {

// Sanitized frames are several times larger.
#if defined(POGO_FIBER_ASAN)
constexpr size_t STACK_BYTES = 512 * 1024;
#else
constexpr size_t STACK_BYTES = 128 * 1024;
#endif
constexpr size_t CANARY_BYTES = 64;
constexpr int CANARY = 0xC7;

#if !defined(POGO_FIBER_ASSEMBLY)
ucontext_t* context_of(Fiber& fiber) { return static_cast<ucontext_t*>(fiber.place); }
#endif

void switch_between(Fiber& from, Fiber& to, bool ends) {
#if defined(POGO_FIBER_ASAN)
  __sanitizer_start_switch_fiber(ends ? nullptr : &from.sanitizer, to.stack, to.stack_bytes);
#endif
  (void)ends;
#if defined(POGO_FIBER_ASSEMBLY)
  pogo_fiber_switch(&from.place, to.place);
#else
  swapcontext(context_of(from), context_of(to));
#endif
#if defined(POGO_FIBER_ASAN)
  __sanitizer_finish_switch_fiber(from.sanitizer, nullptr, nullptr);
#endif
}

}  // namespace

FiberPool::~FiberPool() { release(); }

void FiberPool::release() {
#if !defined(POGO_FIBER_ASSEMBLY)
  for (size_t i = 0; i < count_; i += 1) delete context_of(fibers_[i]);
  delete context_of(main_);
  main_.place = nullptr;
#endif
  delete[] fibers_;
  fibers_ = nullptr;
  count_ = 0;
  if (memory_ != nullptr) munmap(memory_, memory_bytes_);
  memory_ = nullptr;
}

bool FiberPool::prepare(size_t count, void (*entry)()) {
  if (count > count_) {
    release();
    memory_bytes_ = count * STACK_BYTES;
    void* memory = mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    memory_ = static_cast<unsigned char*>(memory);
    fibers_ = new Fiber[count];
    count_ = count;
    for (size_t i = 0; i < count; i += 1) {
      fibers_[i].stack = memory_ + i * STACK_BYTES;
      fibers_[i].stack_bytes = STACK_BYTES;
      memset(fibers_[i].stack, CANARY, CANARY_BYTES);
    }
#if !defined(POGO_FIBER_ASSEMBLY)
    for (size_t i = 0; i < count; i += 1) fibers_[i].place = new ucontext_t;
    main_.place = new ucontext_t;
#endif
  }
  for (size_t i = 0; i < count; i += 1) {
    Fiber& fiber = fibers_[i];
    fiber.sanitizer = nullptr;
#if defined(POGO_FIBER_ASAN)
    // A fiber that was given up in the middle of a kernel left its frames' red zones behind.
    __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);
#endif
#if defined(POGO_FIBER_ASSEMBLY)
    uintptr_t* frame = reinterpret_cast<uintptr_t*>(fiber.stack + STACK_BYTES) - FRAME_WORDS;
    for (size_t w = 0; w < FRAME_WORDS; w += 1) frame[w] = 0;
    static_assert(SAVED_WORDS <= FRAME_WORDS, "the frame holds what the switch restores");
    frame[RETURN_WORD] = reinterpret_cast<uintptr_t>(entry);
    fiber.place = frame;
#else
    getcontext(context_of(fiber));
    context_of(fiber)->uc_stack.ss_sp = fiber.stack;
    context_of(fiber)->uc_stack.ss_size = STACK_BYTES;
    context_of(fiber)->uc_link = nullptr;
    makecontext(context_of(fiber), entry, 0);
#endif
  }
  return true;
}

void FiberPool::resume(size_t index) {
  running_ = index;
  switch_between(main_, fibers_[index], false);
}

void FiberPool::entered() {
#if defined(POGO_FIBER_ASAN)
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
  main_.stack = static_cast<unsigned char*>(const_cast<void*>(bottom));
  main_.stack_bytes = bytes;
#endif
}

void FiberPool::pause() { switch_between(fibers_[running_], main_, false); }

void FiberPool::finish() {
  switch_between(fibers_[running_], main_, true);
  abort();
}

bool FiberPool::stack_is_whole(size_t index) const {
  for (size_t i = 0; i < CANARY_BYTES; i += 1) {
    if (fibers_[index].stack[i] != CANARY) return false;
  }
  return true;
}

}  // namespace cuda_model
