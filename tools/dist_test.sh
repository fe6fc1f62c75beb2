#!/usr/bin/env bash
# Evaluate on several GPUs (or, without GPUs, in several processes on the CPU) of one or more machines.
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]
# More machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of test.py]" >&2
    exit 2
fi
source "$(dirname "$0")/environment.sh"
run_distributed "$3" "$ROOT/tools/test.py" "$1" "$2" "${@:4}"
