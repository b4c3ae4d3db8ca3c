#!/usr/bin/env bash
# Everything that a machine with a GPU can say: builds the CUDA kernels without Node, compares them with the vectors and the
# scalar kernels on random shapes, times them against the ceilings of the same run (scripts/gpu-run.sh); then, where Node is
# found, the whole backend (scripts/gpu-node.mjs: state roots beside the CPU's, step times, PyTorch's beside them).
#   scripts/gpu-test.sh [--quick] [--build FOLDER] [--out FOLDER]
#     --quick  no timings, and no Node part      --out  where results go (default bench/results/gpu; only if all is equal)
# Needs nvcc 12.8 to 13 (CUDACXX, PATH, CUDA_HOME, /usr/local/cuda, or scripts/cuda-compiler.mjs), CMake, a C++ compiler.
# A machine without compiler and network: scripts/gpu-bundle.mjs.
# Exit code 0 passed, 1 failed, 2 wrong use, 5 no compiler, 77 compiled but no usable GPU: then nothing was tested.
set -euo pipefail
cd "$(dirname "$0")/.."
build=native/cuda/build-test
out=bench/results/gpu
quick=""
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=1 ;;
    --build) build=${2:?--build needs a folder}; shift ;;
    --out) out=${2:?--out needs a folder}; shift ;;
    *) echo "gpu-test: unknown argument $1" >&2; exit 2 ;;
  esac
  shift
done

nvcc=""
for candidate in "${CUDACXX:-}" "$(command -v nvcc || true)" "${CUDA_HOME:-/nonexistent}/bin/nvcc" /usr/local/cuda/bin/nvcc \
  .tools/cuda-*/nvidia/cu13/bin/nvcc; do
  if [ -n "$candidate" ] && [ -x "$candidate" ]; then
    nvcc=$(realpath "$candidate")
    break
  fi
done
if [ -z "$nvcc" ]; then
  echo "gpu-test: no nvcc found; node scripts/cuda-compiler.mjs installs one" >&2
  exit 5
fi
release=$("$nvcc" --version | sed -nE 's/.*release ([0-9]+)\.([0-9]+).*/\1 \2/p')
read -r major minor <<<"$release"
if [ "$major" -lt 12 ] || { [ "$major" = 12 ] && [ "$minor" -lt 8 ]; }; then
  echo "gpu-test: $nvcc is CUDA $major.$minor, 12.8 or newer is needed" >&2
  exit 5
fi
echo "gpu-test: $nvcc (CUDA $major.$minor)"

cmake -S native/cuda -B "$build" -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$build" --parallel "$(nproc)"

status=0
scripts/gpu-run.sh "$build" "$out" ${quick:+--quick} || status=$?
if [ "$status" = 77 ]; then echo "gpu-test: compiled only, no GPU to run on" >&2; fi
if [ "$status" != 0 ] || [ -n "$quick" ]; then exit "$status"; fi

if command -v node >/dev/null; then
  # Through the addon: known answers, state roots against the CPU, step times against PyTorch where Python has it.
  node scripts/setup.mjs --cuda --require cuda && node scripts/gpu-node.mjs --out "$out" || status=$?
  node scripts/gpu-status.mjs
fi
exit "$status"
