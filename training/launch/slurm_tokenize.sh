#!/bin/bash
# A corpus by an array of SLURM jobs, each of one machine, all on one folder:
#     sbatch --array 0-15 training/launch/slurm_tokenize.sh SOURCE OUT --model MODEL --size 256 --flip --keep label=cls
# Each job begins with its own files and then helps the others, so it does not matter when it starts or ends: submit the
# same line again after a failure. When all is done: atoken tokenize --verify OUT
#SBATCH --job-name=atoken-tokenize
#SBATCH --ntasks=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

srun atoken tokenize "$@" --devices all
