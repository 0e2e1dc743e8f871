"""Settings of a generator's training: a YAML file says what the papers' texts say."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from atoken.evaluation.yaml_files import read_yaml

from ..optimization import OptimizerSettings

GENERATORS = ("lightning-dit", "token-bridge")


@dataclass(frozen=True)
class GeneratorStage:
    """
    Holds one training of a generator.

    Attributes:
        name: of the training.
        generator: "lightning-dit" on latents, or "token-bridge" on codes.
        preset: size of the generator, see `from_preset` of its class.
        steps: optimizer steps.
        batch_size: images of a step, of all processes together.
        model: other arguments of the generator's class.
        optimizer: see `OptimizerSettings`.
        label_dropout: share of images whose class becomes "no class".
        uniform_time_from: step from which times are uniform instead of logit-normal; lightning-dit alone.
        mask_rate: mean, deviation and smallest value of the share of positions that is masked, a normal cut off there
            and at 1; token-bridge alone.
        share_digits: whether rows of codes begin with what their digits share, see `share_digits`; token-bridge alone.

    Raises:
        ValueError: a setting is out of range.
    """

    name: str
    generator: str
    preset: str
    steps: int
    batch_size: int
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: OptimizerSettings = OptimizerSettings()
    label_dropout: float = 0.1
    uniform_time_from: int | None = None
    mask_rate: tuple[float, float, float] = (1.0, 0.25, 0.7)
    share_digits: bool = False

    def __post_init__(self):
        if self.generator not in GENERATORS:
            raise ValueError(f"generator must be one of {', '.join(GENERATORS)}, got {self.generator!r}")
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout must be from 0 to 1, got {self.label_dropout}")
        if self.share_digits and self.generator != "token-bridge":
            raise ValueError(f"share_digits must be left out for {self.generator}, which has no codes, got True")
        mean, deviation, least = self.mask_rate
        if not 0 < least <= 1 or deviation <= 0 or mean <= 0:
            raise ValueError(
                f"mask_rate must be a mean, a deviation and a smallest share in (0, 1], got {self.mask_rate}"
            )

    @classmethod
    def read(cls, path: Path) -> "GeneratorStage":
        """
        Reads a YAML file with these names; `optimizer` is a table of its own.

        Raises:
            ValueError: a name is unknown or missing, or a setting is out of range.
        """
        values = read_yaml(path, "stage")
        known = {each.name for each in fields(cls)}
        if not isinstance(values, dict) or (unknown := values.keys() - known):
            raise ValueError(
                f"{path} must have names among {', '.join(sorted(known))}, got {', '.join(sorted(unknown))}"
            )
        missing = {"name", "generator", "preset", "steps", "batch_size"} - values.keys()
        if missing:
            raise ValueError(f"{path} must have {', '.join(sorted(missing))}")
        optimizer = dict(values.pop("optimizer", {}))
        if "betas" in optimizer:
            optimizer["betas"] = tuple(optimizer["betas"])
        if "mask_rate" in values:
            values["mask_rate"] = tuple(values["mask_rate"])
        return cls(**values, optimizer=OptimizerSettings(**optimizer))
