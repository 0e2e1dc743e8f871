"""What a step of a stage needs of a device's memory, and whether blocks have to be computed again for it."""

from dataclasses import dataclass

import torch
from torch import nn

from atoken import AtokenModel

from ..data.samples import PATCH
from .arithmetic import encoder_learns
from .curriculum import Stage

# Bytes that a block keeps of a token for the backward pass, under bf16 autocast and with a kernel that keeps no scores:
# for each channel of its width, and for each of its MLP's. Measured as tensors saved by a So400m block: 40.3 kB in the
# encoder, 68.4 kB in the decoder, whose norms of heads and RMS norms keep float32 copies.
KEPT = {"encoder": (20.0, 4.0), "decoder": (44.4, 4.0)}
# A block that is computed again keeps its input alone, in float32.
KEPT_INPUT = 4.0
# Weights, gradients, two moments of Adam and the average, all in float32; a frozen weight is there once.
TRAINED, FROZEN = 20, 4
# Of the memory is for what is not counted: perceptual networks, gathered shards, kernels, fragments.
RESERVE = 0.15


@dataclass(frozen=True)
class Memory:
    """
    Holds the estimate for one device, in bytes.

    Attributes:
        states: weights, gradients, optimizer and averages.
        activations: what all blocks keep of the largest micro batch.
        inputs: what they keep with gradient checkpointing.
        device: what there is, or None where that is not known, as on a CPU.
    """

    states: float
    activations: float
    inputs: float
    device: int | None

    @property
    def needs_checkpointing(self) -> bool:
        """Tells whether activations do not fit."""
        return self.device is not None and self.states + self.activations > (1 - RESERVE) * self.device

    def describe(self, checkpointing: bool) -> str:
        """Writes the estimate and what follows from it in one line."""
        room = "a device of unknown memory" if self.device is None else f"{self.device / 1e9:.1f} GB"
        text = (
            f"memory: {self.states / 1e9:.1f} GB of states and {self.activations / 1e9:.1f} GB of activations "
            f"({self.inputs / 1e9:.1f} GB with gradient checkpointing) on {room}; gradient checkpointing is "
            f"{'on' if checkpointing else 'off'}"
        )
        kept = self.inputs if checkpointing else self.activations
        if self.device is not None and self.states + kept > (1 - RESERVE) * self.device:
            text += "; this may be too much: lower max_tokens of the stage"
        return text


def estimate(
    model: AtokenModel, frozen: nn.Module | None, stage: Stage, processes: int, shards: int, device: int | None
) -> Memory:
    """
    Estimates what one device needs.

    Args:
        model: of the stage.
        frozen: the teacher.
        processes: of the run, which share its batches.
        shards: over how many devices weights and states are spread; 1 for whole copies.
        device: bytes of memory, or None.
    """
    counts = {True: 0, False: 0}
    for name, parameter in model.named_parameters():
        counts[parameter.requires_grad and not name.startswith("text_model.")] += parameter.numel()
    states = (TRAINED * counts[True] + FROZEN * counts[False]) / shards
    if frozen is not None:
        states += FROZEN * sum(parameter.numel() for parameter in frozen.parameters())
    towers = {"encoder": model.config.vision_config, "decoder": model.config.decoder_config}
    kept = {
        name: tower.num_hidden_layers * (KEPT[name][0] * tower.hidden_size + KEPT[name][1] * tower.intermediate_size)
        for name, tower in towers.items()
    }
    inputs = {name: tower.num_hidden_layers * KEPT_INPUT * tower.hidden_size for name, tower in towers.items()}
    if not encoder_learns(model):
        kept["encoder"] = inputs["encoder"] = 0.0  # nothing waits for a backward pass that does not come
    again = {name: kept[name] / towers[name].num_hidden_layers for name in kept}  # the block in work
    understood, rebuilt = largest_batches(stage, processes)
    return Memory(
        states,
        max(understood * kept["encoder"], rebuilt * (kept["encoder"] + kept["decoder"])),
        max(
            understood * (inputs["encoder"] + again["encoder"]),
            rebuilt * (inputs["encoder"] + inputs["decoder"] + max(again.values())),
        ),
        device,
    )


def largest_batches(stage: Stage, processes: int) -> tuple[int, int]:
    """Gives the most tokens of one micro batch of understanding and of reconstruction."""
    most = {"understanding": 0, "reconstruction": 0}
    for task in stage.tasks:
        size = stage.batch_sizes[task]
        samples = -(-(size if isinstance(size, int) else size[1]) // processes)
        kind = task.rpartition("_")[2]
        most[kind] = max(most[kind], min(stage.max_tokens, samples * _largest_sample(stage, task)))
    return most["understanding"], most["reconstruction"]


def _largest_sample(stage: Stage, task: str) -> int:
    if task == "image_understanding":
        return stage.understanding_tokens
    if task == "video_understanding":
        return stage.understanding_tokens * -(-stage.understanding_frames // 4)
    if task == "image_reconstruction":
        return round((stage.image_resolution[1] / PATCH) ** 2)
    if task == "video_reconstruction":
        return round((stage.video_resolution[1] / PATCH) ** 2) * max(stage.frames) // 4
    return (stage.max_voxels if task == "3d_reconstruction" else stage.object_voxels) or stage.max_tokens


def device_memory(device: torch.device) -> int | None:
    """Gives the bytes of a CUDA device, None of others."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
