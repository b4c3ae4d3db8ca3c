// Tests of the device model itself: what it computes, and that it notices what it is there to notice.
// Exit code 0 passed, 1 failed. Messages of the model on stderr are expected.
#include <stdio.h>

#include <string>
#include <vector>

#include "../ptx.h"
#include "../tma.h"

namespace {

int checks = 0, failures = 0;

void expect(bool holds, const std::string& what) {
  checks += 1;
  if (holds) return;
  failures += 1;
  printf("FAILED %s\n", what.c_str());
}

constexpr uint32_t ALL = 0xFFFFFFFFu;

uint32_t hash(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7FEB352Du;
  x ^= x >> 15;
  x *= 0x846CA68Bu;
  return x ^ (x >> 16);
}

template <class T>
T* device_array(size_t count) {
  T* place = nullptr;
  expect(cudaMalloc(&place, count * sizeof(T)) == cudaSuccess, "cudaMalloc");
  return place;
}

void expect_error(cudaError_t error, const char* part, const std::string& what) {
  expect(error == cudaErrorLaunchFailure, what + ": refused");
  expect(std::string(cuda_model::last_message()).find(part) != std::string::npos,
         what + ": expected \"" + part + "\" in: " + cuda_model::last_message());
  cudaGetLastError();
}

__global__ void identity_kernel(uint32_t* out) {
  uint32_t block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  uint32_t thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1 + block * 1000 + thread;
}

void test_grid() {
  dim3 grid(3, 2, 2), block(5, 3, 2);
  size_t count = 12 * 30;
  uint32_t* out = device_array<uint32_t>(count);
  bool pattern = true;
  for (size_t i = 0; i < count; i += 1) pattern = pattern && out[i] == 0xFFFFFFFFu;
  expect(pattern, "fresh device memory holds the pattern");
  cudaMemset(out, 0, 4 * count);
  expect(POGO_LAUNCH(identity_kernel, grid, block, 0, nullptr, out) == cudaSuccess, "launch");
  bool right = true;
  for (size_t i = 0; i < count; i += 1) right = right && out[i] == 1 + i / 30 * 1000 + i % 30;
  expect(right, "every thread of every block runs once");
  cudaFree(out);
}

/** Sums over the block by shared memory; `broken` leaves out the barrier. */
__global__ void sum_kernel(const uint32_t* in, uint32_t* out, bool broken) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  shared[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];
  if (!broken) __syncthreads();
  uint32_t sum = 0;
  for (uint32_t i = 0; i < blockDim.x; i += 1) sum += shared[(threadIdx.x + i) % blockDim.x];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

void test_barrier() {
  uint32_t *in = device_array<uint32_t>(256), *out = device_array<uint32_t>(256);
  for (uint32_t i = 0; i < 256; i += 1) in[i] = i + 1;
  for (bool broken : {false, true}) {
    cudaError_t error = POGO_LAUNCH(sum_kernel, 2, 128, 512, nullptr, in, out, broken);
    expect(error == cudaSuccess, "sum_kernel");
    bool right = true;
    for (uint32_t i = 0; i < 256; i += 1) right = right && out[i] == (i < 128 ? 8256u : 24640u);
    expect(right != broken, broken ? "a missing barrier changes the result" : "sums over a block");
  }
  cudaFree(in);
  cudaFree(out);
}

__global__ void reach_kernel() { pogo_shared()[64 + threadIdx.x] = 1; }
__global__ void early_end_kernel() {
  if (threadIdx.x == 7) return;
  __syncthreads();
}
__global__ void divergent_kernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else if (threadIdx.x < 48) {
    __shfl_sync(ALL, 1, 0);
  } else {
    __syncwarp();
  }
}
__global__ void wrong_mask_kernel(uint32_t* out) { out[threadIdx.x] = __ballot_sync(1u, 1); }

void test_refusals() {
#if !defined(__SANITIZE_ADDRESS__)
  // The sanitizer ends the process there instead.
  expect_error(POGO_LAUNCH(reach_kernel, 1, 32, 64, nullptr), "shared memory of 64 bytes", "a write behind shared memory");
#endif
  expect_error(POGO_LAUNCH(early_end_kernel, 1, 64, 0, nullptr), "thread (7, 0, 0) has ended", "a thread that ends early");
  expect_error(POGO_LAUNCH(divergent_kernel, 1, 64, 0, nullptr), "waits for ever", "a divergent barrier");
  uint32_t* out = device_array<uint32_t>(32);
  expect_error(POGO_LAUNCH(wrong_mask_kernel, 1, 32, 0, nullptr, out), "does not name the calling lane", "a wrong mask");
  cudaFree(out);
  expect(POGO_LAUNCH(reach_kernel, dim3(1, 70000), 32, 0, nullptr) == cudaErrorInvalidConfiguration, "a grid too high");
  expect(POGO_LAUNCH(reach_kernel, 1, 2048, 0, nullptr) == cudaErrorInvalidConfiguration, "a block too large");
  expect(POGO_LAUNCH(reach_kernel, 1, 32, 1 << 20, nullptr) == cudaErrorInvalidValue, "too much shared memory");
  void* place = nullptr;
  expect(cudaMalloc(&place, (size_t)1 << 50) == cudaErrorMemoryAllocation, "too much device memory");
  cudaGetLastError();
}

__global__ void warp_kernel(uint32_t* out) {
  uint32_t lane = threadIdx.x % 32, value = hash(threadIdx.x), *row = out + 16 * threadIdx.x;
  row[0] = __shfl_xor_sync(ALL, value, 5);
  row[1] = __shfl_down_sync(ALL, value, 3);
  row[2] = __shfl_up_sync(ALL, value, 3);
  row[3] = __shfl_sync(ALL, value, 9);
  row[4] = __reduce_max_sync(ALL, value);
  row[5] = __reduce_add_sync(ALL, value);
  row[6] = __ballot_sync(ALL, value & 1);
  row[7] = (uint32_t)__reduce_max_sync(ALL, (int)value);
  uint32_t half = lane < 16 ? 0x0000FFFFu : 0xFFFF0000u;
  row[8] = __reduce_add_sync(half, value);
  row[9] = __shfl_xor_sync(ALL, value, 4, 8);
  row[10] = __float_as_uint(__shfl_xor_sync(ALL, __uint_as_float(value), 1));
}

void test_warp() {
  uint32_t* out = device_array<uint32_t>(64 * 16);
  expect(POGO_LAUNCH(warp_kernel, 1, 64, 0, nullptr, out) == cudaSuccess, "warp_kernel");
  bool right = true;
  for (uint32_t t = 0; t < 64; t += 1) {
    uint32_t warp = t / 32 * 32, lane = t % 32, *row = out + 16 * t;
    uint32_t top = 0, sum = 0, bits = 0, half = 0;
    int32_t signed_top = INT32_MIN;
    for (uint32_t i = 0; i < 32; i += 1) {
      uint32_t value = hash(warp + i);
      top = value > top ? value : top;
      sum += value;
      bits |= (value & 1) << i;
      if (i / 16 == lane / 16) half += value;
      signed_top = (int32_t)value > signed_top ? (int32_t)value : signed_top;
    }
    right = right && row[0] == hash(warp + (lane ^ 5)) && row[1] == hash(warp + (lane + 3 < 32 ? lane + 3 : lane)) &&
            row[2] == hash(warp + (lane >= 3 ? lane - 3 : lane)) && row[3] == hash(warp + 9) && row[4] == top &&
            row[5] == sum && row[6] == bits && row[7] == (uint32_t)signed_top && row[8] == half &&
            row[9] == hash(warp + (lane ^ 4)) && row[10] == hash(warp + (lane ^ 1));
  }
  expect(right, "warp operations");
  cudaFree(out);
}

/** d = a b by fragments that come through shared memory and ldmatrix, and without it. */
__global__ void mma_kernel(const uint8_t* a, const uint8_t* b, int32_t* d, bool unsigned_a, bool by_matrix) {
  unsigned char* shared = pogo_shared();
  int lane = (int)threadIdx.x;
  // a: 16 rows of 32 bytes; b: 8 columns of 32 bytes.
  cp_async16(shared + 16 * lane, a + 16 * lane, true);
  if (lane < 16) cp_async16(shared + 512 + 16 * lane, b + 16 * lane, true);
  cp_async_commit();
  cp_async_wait<0>();
  __syncwarp();
  uint32_t fa[4], fb[2];
  if (by_matrix) {
    // Matrices: rows 0..7 and 8..15 of the left half, then of the right half.
    ldmatrix_x4(fa, shared + 32 * (lane % 16) + 16 * (lane / 16));
    ldmatrix_x2(fb, shared + 512 + 32 * (lane % 8) + 16 * (lane / 8 % 2));
  } else {
    for (int w = 0; w < 4; w += 1) memcpy(&fa[w], a + 32 * pogo_mma_a_row(lane, w) + pogo_mma_a_column(lane, w), 4);
    for (int w = 0; w < 2; w += 1) memcpy(&fb[w], b + 32 * pogo_mma_b_column(lane) + pogo_mma_b_row(lane, w), 4);
  }
  int32_t sums[4];
  for (int i = 0; i < 4; i += 1) sums[i] = d[8 * pogo_mma_d_row(lane, i) + pogo_mma_d_column(lane, i)];
  __syncwarp();
  if (unsigned_a) {
    mma_u8s8(sums, fa, fb);
  } else {
    mma_s8s8(sums, fa, fb);
  }
  for (int i = 0; i < 4; i += 1) d[8 * pogo_mma_d_row(lane, i) + pogo_mma_d_column(lane, i)] = sums[i];
}

void test_mma() {
  uint8_t *a = device_array<uint8_t>(512), *b = device_array<uint8_t>(256);
  int32_t* d = device_array<int32_t>(128);
  for (uint32_t i = 0; i < 512; i += 1) a[i] = (uint8_t)hash(i);
  for (uint32_t i = 0; i < 256; i += 1) b[i] = (uint8_t)hash(1000 + i);
  for (int form = 0; form < 4; form += 1) {
    bool unsigned_a = form & 1, by_matrix = form & 2;
    for (int i = 0; i < 128; i += 1) d[i] = i;
    expect(POGO_LAUNCH(mma_kernel, 1, 32, 768, nullptr, a, b, d, unsigned_a, by_matrix) == cudaSuccess, "mma_kernel");
    bool right = true;
    for (int i = 0; i < 128; i += 1) {
      int32_t sum = i;
      for (int k = 0; k < 32; k += 1) {
        int32_t x = unsigned_a ? (int32_t)a[32 * (i / 8) + k] : (int32_t)(int8_t)a[32 * (i / 8) + k];
        sum += x * (int8_t)b[32 * (i % 8) + k];
      }
      right = right && d[i] == sum;
    }
    expect(right, "mma, form " + std::to_string(form));
  }
  cudaFree(a);
  cudaFree(b);
  cudaFree(d);
}

__global__ void cluster_kernel(uint32_t* out) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  shared[threadIdx.x] = hash(blockIdx.x * 64 + threadIdx.x);
  cluster_sync();
  uint32_t sum = 0;
  for (uint32_t rank = 0; rank < cluster_size(); rank += 1) sum += map_shared(shared, rank)[threadIdx.x];
  // Nobody may leave while others read its memory.
  cluster_sync();
  out[blockIdx.x * 64 + threadIdx.x] = sum * 8 + cluster_rank();
}

void test_cluster() {
  uint32_t* out = device_array<uint32_t>(8 * 64);
  expect(POGO_LAUNCH_CLUSTER(cluster_kernel, 8, 64, 4, 256, nullptr, out) == cudaSuccess, "cluster_kernel");
  bool right = true;
  for (uint32_t i = 0; i < 8 * 64; i += 1) {
    uint32_t sum = 0;
    for (uint32_t rank = 0; rank < 4; rank += 1) sum += hash(i / 256 * 256 + rank * 64 + i % 64);
    right = right && out[i] == sum * 8 + i / 64 % 4;
  }
  expect(right, "clusters share memory");
  expect(POGO_LAUNCH_CLUSTER(cluster_kernel, 6, 64, 4, 256, nullptr, out) == cudaErrorInvalidConfiguration,
         "a grid of no whole clusters");
  cuda_model::settings().major = 8;
  expect(POGO_LAUNCH_CLUSTER(cluster_kernel, 8, 64, 4, 256, nullptr, out) == cudaErrorNotSupported, "no clusters on sm_80");
  cuda_model::settings().major = 9;
  cudaGetLastError();
  cudaFree(out);
}

__global__ void named_barrier_kernel(uint32_t* out) {
  uint32_t* shared = reinterpret_cast<uint32_t*>(pogo_shared());
  if (threadIdx.x < 32) {
    shared[threadIdx.x] = threadIdx.x;
    named_barrier_arrive(3, 64);
  } else {
    named_barrier(3, 64);
    out[threadIdx.x - 32] = shared[63 - threadIdx.x];
  }
}

void test_named_barrier() {
  uint32_t* out = device_array<uint32_t>(32);
  expect(POGO_LAUNCH(named_barrier_kernel, 1, 64, 128, nullptr, out) == cudaSuccess, "named_barrier_kernel");
  bool right = true;
  for (uint32_t i = 0; i < 32; i += 1) right = right && out[i] == 31 - i;
  expect(right, "named barriers");
  cudaFree(out);
}

/** How tiles_kernel goes wrong. */
enum class Flaw { NONE, NOT_BEGUN, TOO_MANY, NOT_AWAITED };

/** Each of two blocks loads eight rows for both; out: the 16 rows as they lie in a block's shared memory. */
__global__ void tiles_kernel(pogo::TileMap map, uint8_t* out, Flaw flaw) {
  unsigned char* shared = pogo_shared() + 1008;
  auto* barrier = reinterpret_cast<pogo::PhaseBarrier*>(shared + 2048);
  if (threadIdx.x == 0 && flaw != Flaw::NOT_BEGUN) pogo::phase_begin(barrier, 1);
  pogo::phase_publish();
  cluster_sync();
  const uint32_t rank = cluster_rank();
  if (threadIdx.x == 0) {
    pogo::phase_arrive_expecting(barrier, 2048);
    if (flaw == Flaw::TOO_MANY) pogo::phase_arrive_at(pogo::phase_of_block(barrier, rank), 0);
    pogo::tile_load(shared + rank * 1024, &map, 16, 8 * rank, barrier, 3);
  }
  if (flaw != Flaw::NOT_AWAITED) {
    pogo::phase_wait(barrier, 0);
    for (uint32_t i = threadIdx.x; i < 2048; i += 64) out[rank * 2048 + i] = shared[i];
  }
  cluster_sync();
}

/** Rows of 80 bytes: what lies behind them, and behind the tenth row, is zero. */
void test_tiles() {
  int8_t* data = device_array<int8_t>(10 * 80);
  uint8_t* out = device_array<uint8_t>(2 * 2048);
  for (uint32_t i = 0; i < 800; i += 1) data[i] = (int8_t)(1 + i % 127);
  pogo::TileMap map;
  expect(pogo::make_tile_map(data, 10, 72, 8, &map) == cudaErrorInvalidValue, "a map of rows of no multiple of 16 bytes");
  expect(pogo::make_tile_map(data, 10, 80, 8, &map) == cudaSuccess, "make_tile_map");
  expect(POGO_LAUNCH_CLUSTER(tiles_kernel, 2, 64, 2, 4096, nullptr, map, out, Flaw::NONE) == cudaSuccess, "tiles_kernel");
  bool right = true;
  for (uint32_t i = 0; i < 4096; i += 1) {
    const uint32_t row = i % 2048 / 128, byte = (i % 128) ^ (row % 8 * 16);
    right = right && out[i] == (row < 10 && 16 + byte < 80 ? (uint8_t)data[row * 80 + 16 + byte] : 0);
  }
  expect(right, "boxes in both blocks, swizzled, zero outside the tensor");
  for (Flaw flaw : {Flaw::NOT_BEGUN, Flaw::TOO_MANY, Flaw::NOT_AWAITED}) {
    // Copies that are done at once need no wait here.
    if (flaw == Flaw::NOT_AWAITED && cuda_model::settings().order != cuda_model::Order::ASCENDING) continue;
    expect_error(POGO_LAUNCH_CLUSTER(tiles_kernel, 2, 64, 2, 4096, nullptr, map, out, flaw),
                 flaw == Flaw::NOT_BEGUN  ? "not initialized"
                 : flaw == Flaw::TOO_MANY ? "more arrivals"
                                          : "nobody waited for",
                 "tiles");
  }
  cudaFree(out);
  cudaFree(data);
}

void test_streams() {
  bool kept = cuda_model::settings().deferred;
  cuda_model::settings().deferred = true;
  cudaStream_t first, second;
  cudaEvent_t event;
  cudaStreamCreate(&first);
  cudaStreamCreate(&second);
  cudaEventCreate(&event);
  uint32_t* place = device_array<uint32_t>(30);
  uint32_t host[30];
  cudaMemsetAsync(place, 0, 120, first);
  POGO_LAUNCH(identity_kernel, 1, dim3(5, 3, 2), 0, first, place);
  expect(place[3] == 0xFFFFFFFFu, "deferred work has not run");
  cudaEventRecord(event, first);
  cudaStreamWaitEvent(second, event);
  cudaMemcpyAsync(host, place, 120, cudaMemcpyDeviceToHost, second);
  cudaStreamSynchronize(second);
  expect(host[3] == 4, "a stream waits for another's event");
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  cudaStreamBeginCapture(first, cudaStreamCaptureModeThreadLocal);
  POGO_LAUNCH(identity_kernel, 1, dim3(5, 3, 2), 0, first, place);
  cudaStreamEndCapture(first, &graph);
  cudaGraphInstantiate(&exec, graph);
  for (int i = 0; i < 2; i += 1) cudaGraphLaunch(exec, first);
  cudaStreamSynchronize(first);
  expect(place[3] == 12, "a captured graph is replayed");
  // Work of another stream that nothing leads back, and a wait in the middle.
  for (bool joined : {true, false}) {
    cudaStreamBeginCapture(first, cudaStreamCaptureModeThreadLocal);
    POGO_LAUNCH(identity_kernel, 1, dim3(5, 3, 2), 0, first, place);
    cudaEventRecord(event, first);
    cudaStreamWaitEvent(second, event);
    cudaMemcpyAsync(host, place, 120, cudaMemcpyDeviceToHost, second);
    if (joined) {
      cudaEventRecord(event, second);
      cudaStreamWaitEvent(first, event);
    }
    cudaGraph_t forked;
    expect(cudaStreamEndCapture(first, &forked) == (joined ? cudaSuccess : cudaErrorStreamCaptureUnjoined), "a fork in a capture");
    if (!joined) continue;
    cudaGraphExec_t whole;
    cudaGraphInstantiate(&whole, forked);
    cudaGraphLaunch(whole, first);
    cudaStreamSynchronize(first);
    expect(host[3] == 16, "a graph keeps the order that events give");
    cudaGraphExecDestroy(whole);
    cudaGraphDestroy(forked);
  }
  cudaStreamBeginCapture(first, cudaStreamCaptureModeThreadLocal);
  expect(cudaStreamSynchronize(first) == cudaErrorStreamCaptureUnsupported, "no wait for a stream that records");
  cudaGraph_t none;
  expect(cudaStreamEndCapture(first, &none) == cudaErrorStreamCaptureInvalidated && none == nullptr, "a broken capture");
  cudaGetLastError();
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaEventDestroy(event);
  cudaStreamDestroy(first);
  cudaStreamDestroy(second);
  cudaFree(place);
  cuda_model::settings().deferred = kept;
}

}  // namespace

int main() {
  for (cuda_model::Order order : {cuda_model::Order::ASCENDING, cuda_model::Order::DESCENDING, cuda_model::Order::SEEDED}) {
    cuda_model::settings().order = order;
    test_grid();
    test_barrier();
    test_refusals();
    test_warp();
    test_mma();
    test_cluster();
    test_named_barrier();
    test_tiles();
    test_streams();
  }
  printf("model_test: %d passed, %d failed\n", checks - failures, failures);
  return failures == 0 ? 0 : 1;
}
