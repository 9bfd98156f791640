#!/usr/bin/env bash
# Everything that is to be measured on a GPU, most wanted first: bash benchmarks/gpu.sh OUT
# Results and logs go to the folder OUT. A part that fails or takes longer than its share leaves the others alone.
set -u
mkdir -p "${1:?give a folder for the results}"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"

part() { # seconds, name, command ...
    local limit=$1 name=$2 started=$SECONDS
    shift 2
    timeout -k 10 "$limit" "$@" >"$out/$name.log" 2>&1
    local status=$?
    echo "$name: exit $status after $((SECONDS - started)) s"
    tail -n 25 "$out/$name.log"
}

bench="python -m robustsnn bench --device cuda --steps 8 --batch 64"
part 150 vgg11 $bench --parts step --networks vgg11 --precisions bfloat16 --json "$out/bench-step-vgg11-gpu.json"
part 120 graphs python benchmarks/cuda_graphs.py --networks vgg11 --json "$out/cuda-graphs-vgg11.json"
part 90 neuron $bench --parts neuron --neuron_shapes 16x128x16x16,64x512x8x8 --neuron_steps 8 --json "$out/bench-neuron-gpu.json"
part 90 triton python benchmarks/triton_neuron.py --json "$out/triton-neuron.json"
part 120 tests python -m pytest -q -o addopts= -p no:cacheprovider tests/test_cuda.py tests/test_cuda_graphs.py tests/data tests/encoders
part 150 wrn16 $bench --parts step --networks wide_resnet16 --precisions bfloat16 --json "$out/bench-step-wrn16-gpu.json"
part 120 graphs-wrn16 python benchmarks/cuda_graphs.py --networks wide_resnet16 --json "$out/cuda-graphs-wrn16.json"
part 150 rest $bench --parts attack,growth,data --networks vgg11 --json "$out/bench-rest-gpu.json"
part 150 yardstick python benchmarks/research_style.py --batch 64 --rounds 5 --json "$out/research-style-gpu.json"
