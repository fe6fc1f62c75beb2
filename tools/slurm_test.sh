#!/usr/bin/env bash
# Evaluate as a Slurm job.
#   [GPUS=8] [GPUS_PER_NODE=8, or GPUS if fewer] [CPUS_PER_TASK=8] [PORT=29500] [SRUN_ARGS=...] \
#       tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]" >&2
    exit 2
fi
source "$(dirname "$0")/environment.sh"
run_slurm "$1" "$2" "$ROOT/tools/test.py" "${@:3}"
