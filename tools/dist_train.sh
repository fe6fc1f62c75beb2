#!/usr/bin/env bash
# Train on several GPUs (or, without GPUs, in several processes on the CPU) of one or more machines.
#   tools/dist_train.sh CONFIG GPUS [arguments of train.py]
# More machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [arguments of train.py]" >&2
    exit 2
fi
source "$(dirname "$0")/environment.sh"
run_distributed "$2" "$ROOT/tools/train.py" "$1" "${@:3}"
