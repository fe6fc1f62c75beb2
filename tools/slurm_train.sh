#!/usr/bin/env bash
# Train as a Slurm job.
#   [GPUS=8] [GPUS_PER_NODE=8, or GPUS if fewer] [CPUS_PER_TASK=8] [PORT=29500] [SRUN_ARGS=...] \
#       tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of train.py]
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [arguments of train.py]" >&2
    exit 2
fi
source "$(dirname "$0")/environment.sh"
run_slurm "$1" "$2" "$ROOT/tools/train.py" "${@:3}"
