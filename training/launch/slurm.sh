#!/bin/bash
# One stage on several machines of a SLURM cluster:
#     sbatch --nodes 32 training/launch/slurm.sh training/tokenizer/stages/so400m-1.yaml --data DATA.yaml --init-from SIGLIP2 \
#         --teacher SIGLIP2 --output runs/1
# The job asks to be requeued before its time is over, and then goes on from its newest whole checkpoint.
#SBATCH --job-name=atoken
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

config=${CONFIG:-training/launch/fsdp2.yaml}
main=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
trap 'scontrol requeue "$SLURM_JOB_ID"' USR1

# Every machine starts one launcher, which starts one process for each of its GPUs.
srun bash -c 'accelerate launch --config_file "$0" --num_machines "$SLURM_NNODES" \
    --num_processes "$((SLURM_NNODES * SLURM_GPUS_ON_NODE))" --machine_rank "$SLURM_NODEID" \
    --main_process_ip "$1" --main_process_port 29500 --rdzv_backend static \
    -m atoken.training.tokenizer.train "${@:2}" --resume auto' "$config" "$main" "$@" &
wait
