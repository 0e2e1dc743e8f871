"""Settings of a training of image to 3D: a YAML file says what the paper takes over from TRELLIS (section 5.5)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...optimization import OptimizerSettings
from ..stage import read_stage

OBJECT_GENERATORS = ("structure-vae", "structure-flow", "structured-latent-flow")


@dataclass(frozen=True)
class ObjectStage:
    """
    Holds one training of a part of image to 3D; the defaults are TRELLIS's.

    Attributes:
        name: of the training.
        generator: "structure-vae", "structure-flow" (stage 1) or "structured-latent-flow" (stage 2).
        steps: optimizer steps.
        batch_size: objects of a step, of all processes together.
        preset: size of a flow, see `from_preset` of its class.
        model: other arguments of the model's class.
        optimizer: see `OptimizerSettings`.
        max_voxels: larger objects are left out.
        micro_batches: parts of a process's objects that gradients are added up over, with voxels as even as can be.
        condition_dropout: share of objects whose condition becomes zeros; of the flows.
        times: "logit-normal" or "uniform"; of the flows.
        logit_mean: mean of the normal whose sigmoid is a time, where 1 is noise; its deviation is 1.
        kl_weight: of the structure VAE's divergence.
        cross_entropy_weight: of the mean binary cross-entropy of voxels, which is added to the structure VAE's Dice
            loss: alone, that begins with a long plateau where few voxels are occupied. TRELLIS goes without.
        lora: rank r, and optionally other arguments of peft's `LoraConfig`: only such matrices are trained, beside
            weights that stay as they are; of the flows. None trains all weights.
        start_logvar: log-variance of latents that the structure VAE begins with, None for about 0. With noise as strong
            as that, short trainings lose what latents say to the divergence. TRELLIS goes without.
        start_logit: of every voxel that the structure VAE begins with, None for about 0; that of the share of occupied
            voxels saves learning it. TRELLIS goes without.
        start_variance: whether the structure VAE's convolutions begin without biases and with weights that keep the
            variance. PyTorch's default shrinks what latents say by 0.58 at each convolution, so that the decoder's
            biases drown it for a long time. TRELLIS goes without.
        crop: voxels along a side of the cube, at a random place, that the structure VAE sees of a grid; None for all.

    Raises:
        ValueError: a setting is out of range.
    """

    name: str
    generator: str
    steps: int
    batch_size: int
    preset: str = "L"
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: OptimizerSettings = OptimizerSettings()
    max_voxels: int = 32_768
    micro_batches: int = 1
    condition_dropout: float = 0.1
    times: str = "logit-normal"
    logit_mean: float = 1.0
    kl_weight: float = 1e-3
    cross_entropy_weight: float = 0.0
    lora: dict[str, Any] | None = None
    start_logvar: float | None = None
    start_logit: float | None = None
    start_variance: bool = False
    crop: int | None = None

    def __post_init__(self):
        if self.generator not in OBJECT_GENERATORS:
            raise ValueError(f"generator must be one of {', '.join(OBJECT_GENERATORS)}, got {self.generator!r}")
        for name in ("steps", "batch_size", "max_voxels", "micro_batches", "crop"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 <= self.condition_dropout <= 1:
            raise ValueError(f"condition_dropout must be from 0 to 1, got {self.condition_dropout}")
        if self.times not in ("logit-normal", "uniform"):
            raise ValueError(f'times must be "logit-normal" or "uniform", got {self.times!r}')
        for name in ("kl_weight", "cross_entropy_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

        if self.lora is not None and ("r" not in self.lora or self.generator == "structure-vae"):
            raise ValueError(f"lora must have r, the rank, and be of a flow, got {self.lora} of {self.generator}")

    @classmethod
    def read(cls, path: Path) -> "ObjectStage":
        """Reads a YAML file; see `read_stage`."""
        return read_stage(cls, path)
