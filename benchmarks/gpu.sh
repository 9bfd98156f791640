#!/usr/bin/env bash
# What is to be measured on a GPU, in two parts of a few minutes, most wanted first; docs/how-to/benchmark.md says more.
#   bash benchmarks/gpu.sh 1 OUT          tests, a first epoch of every network, seconds an epoch, a layer of neurons
#   bash benchmarks/gpu.sh 2 OUT ROOT     networks of benchmarks/cifar10.py on CIFAR-10's files in ROOT, and their judgement
# Results and logs go to the folder OUT as they come. A step that fails or takes longer than its share leaves the others
# alone, and the second part goes on where it was cut.
set -u
part=${1:?give the part, 1 or 2}
mkdir -p "${2:?give a folder for the results}"
out=$(cd "$2" && pwd)
root=${3:+$(cd "$3" && pwd)}
cd "$(dirname "$0")/.."
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"

step() { # seconds, name, command ...
    local limit=$1 name=$2 started=$SECONDS
    shift 2
    timeout -k 5 "$limit" "$@" >"$out/$name.log" 2>&1
    local status=$?
    echo "== $name: exit $status after $((SECONDS - started)) s"
    tail -n "${lines:-12}" "$out/$name.log" | cut -c1-400
}

graphs="python benchmarks/cuda_graphs.py --rounds 5 --networks"
if [ "$part" = 1 ]; then
    step 90 tests python -m pytest -v -n 6 -p no:benchmark -o addopts= -p no:cacheprovider tests/test_cuda.py tests/test_cuda_graphs.py &
    if [ -n "$root" ]; then
        step 80 first python benchmarks/cifar10.py --root "$root" --out "$out/../first" --epochs 2 --jobs 9 --suites quick \
            --n 32 --eps 8/255 --seconds 75 &
    fi
    wait
    lines=45 step 80 vgg11 $graphs vgg11 --batch 64 --eager --profile --json "$out/vgg11.json"
    step 50 vgg11-256 $graphs vgg11 --batch 256 --json "$out/vgg11-256.json"
    step 60 wrn16 $graphs wide_resnet16 --batch 64 --json "$out/wrn16.json"
    step 45 neuron python -m robustsnn bench --device cuda --parts neuron --neuron_shapes 64x128x16x16 --neuron_rounds 5 \
        --json "$out/neuron.json"
else
    # Small networks leave most of a GPU idle: where the driver brings MPS, their processes run on it at once.
    mps=$(command -v nvidia-cuda-mps-control || ls /usr/local/nvidia/bin/nvidia-cuda-mps-control 2>/dev/null)
    export CUDA_MPS_PIPE_DIRECTORY="$out/../mps" CUDA_MPS_LOG_DIRECTORY="$out/../mps"
    mkdir -p "$CUDA_MPS_PIPE_DIRECTORY"
    if ! { [ -n "$mps" ] && timeout 10 "$mps" -d && timeout 30 python -c "import torch; torch.ones(9, device='cuda').sum().item()"; }; then
        unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
        mps=
    fi
    export TORCHINDUCTOR_COMPILE_THREADS=1
    step "${SECONDS_FOR_PART_2:-420}" cifar10 python benchmarks/cifar10.py --root "${root:?give the folder of CIFAR-10}" \
        --out "$out/../runs" --jobs 9 --seconds "$((${SECONDS_FOR_PART_2:-420} - 30))" ${CIFAR10:-}
    [ -z "$mps" ] || echo quit | timeout 10 "$mps"
fi
