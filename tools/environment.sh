# Sourced by the shell scripts beside it: where the project is, and its Python.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# The project's own environment, unless another one is active or PYTHON names one.
if [ -z "${PYTHON:-}${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$ROOT/.venv/bin/python" ]; then
    PYTHON=$ROOT/.venv/bin/python
fi
PYTHON=${PYTHON:-python}
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

# Start a tool in $1 processes on this machine, one of $NNODES: run_distributed GPUS TOOL [arguments]
run_distributed() {
    "$PYTHON" -m torch.distributed.run \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="${PORT:-29500}" \
        --nproc_per_node="$1" \
        "${@:2}" --launcher pytorch
}

# Start a tool as a Slurm job: run_slurm PARTITION JOB_NAME TOOL [arguments]
run_slurm() {
    local gpus=${GPUS:-8}
    local gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    # mmengine's default is 29500, in which two jobs on one machine would meet.
    if [ -n "${PORT:-}" ]; then export MASTER_PORT=$PORT; fi
    # SRUN_ARGS is a list of options, so it is left unquoted.
    # shellcheck disable=SC2086
    srun --partition="$1" \
        --job-name="$2" \
        --gres="gpu:$gpus_per_node" \
        --ntasks="$gpus" \
        --ntasks-per-node="$gpus_per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-8}" \
        --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} \
        "$PYTHON" -u "${@:3}" --launcher slurm
}
