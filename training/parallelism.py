"""Processes of a run: whatever `accelerate launch` was told, made to fit the trainer."""

from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType, InitProcessGroupKwargs
from torch.distributed.fsdp import MixedPrecisionPolicy

from .agreement import PATIENCE

# Weights travel and multiply in bf16, gradients are added in fp32. Inputs stay as they are: a rotary table in bf16
# would tell few positions apart. Autocast chooses the precision of each operation, as without sharding.
BF16_SHARDS = MixedPrecisionPolicy(
    param_dtype=torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32, cast_forward_inputs=False
)


def build_accelerator(clip: float, tracker: str, output: Path) -> Accelerator:
    """
    Makes the accelerator of a run.

    Args:
        clip: largest norm of the gradient, which DeepSpeed has to know itself.
        tracker: "tensorboard", "trackio" or "none".
        output: where trackers write.

    Raises:
        ValueError: the launcher asks for FSDP of the first version, or for fp16 shards.
    """
    accelerator = Accelerator(
        log_with=None if tracker == "none" else tracker,
        project_dir=output,
        kwargs_handlers=[
            # A task uses only some of the parameters; the model's buffers are constants.
            DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False),
            InitProcessGroupKwargs(timeout=PATIENCE),
        ],
    )
    if accelerator.distributed_type == DistributedType.FSDP:
        if not accelerator.is_fsdp2 or accelerator.mixed_precision not in ("no", "bf16"):
            raise ValueError(
                "the launcher's file must have fsdp_version 2 and mixed_precision bf16 or no, got "
                f"{accelerator.state.fsdp_plugin.fsdp_version} and {accelerator.mixed_precision}"
            )
        if accelerator.mixed_precision == "bf16":
            accelerator.state.fsdp_plugin.mixed_precision_policy = BF16_SHARDS
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        config = accelerator.state.deepspeed_plugin.deepspeed_config
        # The trainer says which backward pass ends a step; nothing is computed from these.
        config["train_micro_batch_size_per_gpu"] = 1
        config["gradient_accumulation_steps"] = 1
        config["gradient_clipping"] = clip
        # By default it adds gradients up in the model's precision, bf16, within a process and over processes.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
        config["communication_data_type"] = "fp32"
    return accelerator


def shards_of(accelerator: Accelerator) -> int:
    """Counts the devices over which weights and optimizer states are spread: 1 where every process has whole copies."""
    if accelerator.distributed_type == DistributedType.FSDP:
        config = accelerator.parallelism_config
        return config.dp_shard_size if config is not None and config.dp_shard_enabled else accelerator.num_processes
    return accelerator.num_processes if accelerator.distributed_type == DistributedType.DEEPSPEED else 1


def spreads_weights(accelerator: Accelerator) -> bool:
    """Tells whether a pass through the model needs several processes, as each has a part of the weights alone."""
    is_deepspeed = accelerator.distributed_type == DistributedType.DEEPSPEED
    if is_deepspeed and accelerator.state.deepspeed_plugin.zero_stage < 3:
        return False
    return shards_of(accelerator) > 1
