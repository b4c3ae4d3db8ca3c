#!/usr/bin/env bash
# Builds the CUDA kernels without Node and compares them, on the GPU of this machine, with the known answers.
#   scripts/gpu-test.sh [BUILD_FOLDER]
# Needs nvcc (CUDA 13; CUDACXX, PATH, CUDA_HOME or /usr/local/cuda), CMake, a C++ compiler. Exit code 0 passed, 1 failed,
# 5 no compiler, 77 compiled but no usable GPU: then nothing was tested.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-native/cuda/build-test}

nvcc=""
for candidate in "${CUDACXX:-}" "$(command -v nvcc || true)" "${CUDA_HOME:-/nonexistent}/bin/nvcc" /usr/local/cuda/bin/nvcc \
  .tools/cuda-*/nvidia/cu13/bin/nvcc; do
  if [ -n "$candidate" ] && [ -x "$candidate" ]; then
    nvcc=$candidate
    break
  fi
done
if [ -z "$nvcc" ]; then
  echo "gpu-test: no nvcc found; node scripts/cuda-compiler.mjs installs one" >&2
  exit 5
fi

cmake -S native/cuda -B "$build" -DCMAKE_CUDA_COMPILER="$(realpath "$nvcc")" -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$build" --parallel 2
status=0
"$build/kernel_test" || status=$?
if [ "$status" = 0 ]; then "$build/gemm_test" || status=$?; fi
if [ "$status" = 77 ]; then echo "gpu-test: compiled only, no GPU to run on" >&2; fi
exit "$status"
