"""Settings of a training on images and videos with captions: a YAML file says what the papers' texts say."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...optimization import OptimizerSettings
from ..stage import read_stage


@dataclass(frozen=True)
class TextToMediaStage:
    """
    Holds one training.

    Attributes:
        name: of the training.
        preset: size of the transformer, see `text_to_media_transformer`.
        steps: optimizer steps.
        image_batch_size, video_batch_size: images or videos of a step, of all processes together; a step has one kind.
        model: other arguments of the transformer's class.
        optimizer: see `OptimizerSettings`.
        text_dropout: share of samples whose whole condition becomes that of the empty text.
        image_share: share of steps that stay with images where there are videos too.
        logit_mean, logit_std: times are the sigmoid of such a normal, before they are shifted; 1 is noise.
        shift: of times; None takes that of the batch's size, see `time_shift`.
        buckets: sizes (latent frames, rows, columns) that samples may have; None takes those that there are.
        lora: rank, and optionally other arguments of peft's `LoraConfig`: only such matrices are trained, beside
            weights that stay as they are. None trains all weights.

    Raises:
        ValueError: a setting is out of range.
    """

    name: str
    preset: str
    steps: int
    image_batch_size: int
    video_batch_size: int = 1
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: OptimizerSettings = OptimizerSettings()
    text_dropout: float = 0.1
    image_share: float = 0.2
    logit_mean: float = 0.0
    logit_std: float = 1.0
    shift: float | None = None
    buckets: list[list[int]] | None = None
    lora: dict[str, Any] | None = None

    def __post_init__(self):
        for name in ("steps", "image_batch_size", "video_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.text_dropout <= 1:
            raise ValueError(f"text_dropout must be from 0 to 1, got {self.text_dropout}")
        if not 0 <= self.image_share < 1:
            raise ValueError(f"image_share must be from 0 to below 1, got {self.image_share}")
        if self.logit_std <= 0:
            raise ValueError(f"logit_std must be above 0, got {self.logit_std}")
        if self.shift is not None and self.shift <= 0:
            raise ValueError(f"shift must be above 0, got {self.shift}")
        for bucket in self.buckets or []:
            if len(bucket) != 3 or min(bucket) < 1:
                raise ValueError(f"buckets must be of latent frames, rows and columns, got {bucket}")
        if self.lora is not None and "r" not in self.lora:
            raise ValueError(f"lora must have r, the rank, got {self.lora}")

    @property
    def patch_size(self) -> int:
        """Gives the rows and columns of latents that become one token; 1 where the stage says nothing."""
        return self.model.get("patch_size", 1)

    @classmethod
    def read(cls, path: Path) -> "TextToMediaStage":
        """Reads a YAML file; see `read_stage`."""
        return read_stage(cls, path)
