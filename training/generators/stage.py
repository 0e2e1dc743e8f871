"""Settings of a generator's training: a YAML file says what the papers' texts say."""

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from atoken.evaluation.yaml_files import read_yaml

from ..optimization import OptimizerSettings

Stage = TypeVar("Stage")
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
        """Reads a YAML file; see `read_stage`."""
        return read_stage(cls, path)


def read_stage(stage_class: type[Stage], path: Path) -> Stage:
    """
    Reads the settings of a training from a YAML file with the names of its class; `optimizer` is a table of its own.

    Raises:
        ValueError: a name is unknown or missing, or a setting is out of range.
    """
    values = read_yaml(path, "stage")
    known = {each.name: each for each in fields(stage_class)}
    if not isinstance(values, dict) or (unknown := values.keys() - known):
        found = ", ".join(sorted(unknown)) if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"{path} must have names among {', '.join(sorted(known))}, got {found}")
    required = {name for name, each in known.items() if each.default is MISSING and each.default_factory is MISSING}
    if missing := required - values.keys():
        raise ValueError(f"{path} must have {', '.join(sorted(missing))}")
    optimizer = _with_tuples(dict(values.pop("optimizer", {})), OptimizerSettings)
    return stage_class(**_with_tuples(values, stage_class), optimizer=OptimizerSettings(**optimizer))


def _with_tuples(values: dict[str, Any], owner: type) -> dict[str, Any]:
    """Gives lists as tuples where the default is one, as YAML has no tuples."""
    wanted = {each.name for each in fields(owner) if isinstance(each.default, tuple)}
    return {name: tuple(value) if name in wanted else value for name, value in values.items()}
