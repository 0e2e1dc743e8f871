"""Processes of a run: whatever `accelerate launch` was told, made to fit the trainer."""

from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType, InitProcessGroupKwargs


def build_accelerator(micro_batches: int, clip: float, tracker: str, output: Path) -> Accelerator:
    """
    Makes the accelerator of a run.

    Args:
        micro_batches: batches whose gradients make one step.
        clip: largest norm of the gradient, which DeepSpeed has to know itself.
        tracker: "tensorboard", "trackio" or "none".
        output: where trackers write.
    """
    accelerator = Accelerator(
        gradient_accumulation_steps=micro_batches,
        log_with=None if tracker == "none" else tracker,
        project_dir=output,
        kwargs_handlers=[
            # A task uses only some of the parameters.
            DistributedDataParallelKwargs(find_unused_parameters=True),
            # The other processes wait while one validates.
            InitProcessGroupKwargs(timeout=timedelta(hours=2)),
        ],
    )
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        config = accelerator.state.deepspeed_plugin.deepspeed_config
        # Batches are filled by tokens and come from no DataLoader that could tell; nothing is computed from it here.
        config["train_micro_batch_size_per_gpu"] = 1
        config["gradient_accumulation_steps"] = micro_batches
        config["gradient_clipping"] = clip
        # Groups of their own rates and Muon are none of the optimizers that DeepSpeed has tested.
        config["zero_allow_untested_optimizer"] = True
    return accelerator
