#!/usr/bin/env bash
# What scripts/gpu-test.sh and a bundle (scripts/gpu-bundle.mjs) run on a machine with a GPU, most telling first, so that a machine
# that goes away early has said the most: every kernel against vectors and scalar kernels; index arithmetic and odd shapes; times of
# the products with their epilogues and of attention, one report each; then all times in one report that replaces these.
#   scripts/gpu-run.sh PROGRAMS OUT [--quick] [--vectors FOLDER]
#     PROGRAMS  folder of kernel_test, gemm_test, attention_test      OUT  where reports go, as soon as they are there
#     --quick   no timings
# A step that takes longer than its limit is ended and counts as failed: a kernel may hang. Where a step fails, the products are tried
# again on mma.sync (POGO_CUDA_WGMMA=0), which tells the two forms apart.
# Exit code 0 passed, 1 failed, 2 wrong use, 77 no usable GPU: then nothing was tested.
set -uo pipefail
programs=${1:?gpu-run: expected the folder of the programs}
out=${2:?gpu-run: expected a folder for reports}
shift 2
quick=""
vectors=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=1 ;;
    --vectors) vectors=(--vectors "${2:?--vectors needs a folder}"); shift ;;
    *) echo "gpu-run: unknown argument $1" >&2; exit 2 ;;
  esac
  shift
done
FIRST=(linearQkv linearGelu attentionBackward linearGeluInputGradient attentionForward headForward linearResidual weightGradient4 gemm
  commitLeaves blake3Trees)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# step SECONDS COMMAND…: 77 ends everything.
step() {
  local limit=$1 code=0
  shift
  echo "gpu-run: $(basename "$1") ${*:2}"
  timeout "$limit" "$@" || code=$?
  if [ "$code" = 77 ]; then
    echo "gpu-run: no GPU to run on" >&2
    exit 77
  fi
  if [ "$code" = 124 ]; then echo "gpu-run: ended after $limit s" >&2; fi
  if [ "$code" != 0 ]; then status=1; fi
  return "$code"
}

kernel_test=("$programs/kernel_test" ${vectors[@]+"${vectors[@]}"})
step 600 "${kernel_test[@]}" --large --require-all
step 300 "$programs/gemm_test"
step 300 "$programs/attention_test"
if [ "$status" != 0 ]; then
  echo "gpu-run: again without wgmma"
  POGO_CUDA_WGMMA=0 timeout 600 "${kernel_test[@]}" --large || true
  exit 1
fi
if [ -n "$quick" ]; then exit 0; fi

mkdir -p "$out"
# keep REPORT NAME: a report under the date, the device and the name.
keep() {
  local device
  device=$(sed -nE 's/.*"device":"([^"]*)".*/\1/p' "$1" | tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9]+/-/g; s/^-|-$//g')
  kept=$out/$(date -u +%F)-$device$2.kernels.json
  cp "$1" "$kept"
}
parts=()
for operation in "${FIRST[@]}"; do
  if step 120 "${kernel_test[@]}" --only "$operation" --cases 0 --time --json "$work/part.json"; then
    keep "$work/part.json" "-$operation"
    parts+=("$kept")
  fi
done
if step 600 "${kernel_test[@]}" --large --require-all --time --json "$work/all.json"; then
  keep "$work/all.json" ""
  rm -f ${parts[@]+"${parts[@]}"}
  echo "gpu-run: results in $kept"
fi
exit "$status"
