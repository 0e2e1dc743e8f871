#!/bin/bash
# One stage on several machines of a SLURM cluster:
#     sbatch --nodes 32 training/launch/slurm.sh training/tokenizer/stages/so400m-1.yaml --data DATA.yaml \
#         --init-from SIGLIP2 --teacher SIGLIP2 --output runs/1
# Five minutes before its time is over, the job saves, ends and is requeued, to go on from that checkpoint. A job whose
# machine fails is requeued by SLURM. CONFIG names another launcher file. --resume holds for the first start alone.
#SBATCH --job-name=atoken
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

export CONFIG=${CONFIG:-training/launch/hsdp.yaml}
MAIN=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MAIN
# The trainers save at their next step when they get the signal; launchers and shells between ignore it.
over=""
trap 'over=yes; scancel --signal=USR1 "$SLURM_JOB_ID.0"' USR1

# A job that was requeued goes on from its own newest checkpoint, whatever its first start was told.
if [[ ${SLURM_RESTART_COUNT:-0} -gt 0 ]]; then
    set -- "$@" --resume auto
fi

# Every machine starts one launcher, which starts one process for each of its GPUs.
srun bash -c 'trap "" USR1
    sizes=(--num_machines "$SLURM_NNODES" --num_processes "$((SLURM_NNODES * SLURM_GPUS_ON_NODE))")
    if grep -q "^parallelism_config:" "$CONFIG"; then
        sizes+=(--parallelism_config_dp_replicate_size "$SLURM_NNODES")
        sizes+=(--parallelism_config_dp_shard_size "$SLURM_GPUS_ON_NODE")
    fi
    accelerate launch --config_file "$CONFIG" "${sizes[@]}" --machine_rank "$SLURM_NODEID" \
        --main_process_ip "$MAIN" --main_process_port 29500 --rdzv_backend static \
        -m atoken.training.tokenizer.train "$@"' launcher "$@" &
launchers=$!
status=0
while kill -0 "$launchers" 2> /dev/null; do
    wait "$launchers" # a signal ends this before the launchers do
    status=$?
done
if [[ -n $over ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
