"""Starts the trainer with sharding on a CPU: accelerate offers FSDP2 and DeepSpeed for accelerators alone.

    python -m torch.distributed.run --nproc_per_node 2 on_cpu.py STAGE --data ...

It is told that there are devices, and gets CPUs and gloo for them; all else is the trainer, accelerate, torch and
DeepSpeed as they are. Layer norms are computed in fp32, as autocast has them on CUDA, but not on a CPU.
"""

import os

import torch
import typer
from accelerate.state import PartialState
from accelerate.utils import DistributedType


def prepare_backend(self, cpu=False, sagemaker_dp=False, backend=None):
    return "gloo", DistributedType.MULTI_GPU


def set_device(self):
    self.device = torch.device("cpu")


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    if torch.is_autocast_enabled("cpu"):
        input, weight, bias = (None if each is None else each.float() for each in (input, weight, bias))
    return torch.layer_norm(input, normalized_shape, weight, bias, eps)


torch.nn.functional.layer_norm = layer_norm
PartialState._prepare_backend = prepare_backend
PartialState.set_device = set_device
os.environ["DS_ACCELERATOR"] = "cpu"

if __name__ == "__main__":
    from atoken.training.tokenizer.train import main

    typer.run(main)
