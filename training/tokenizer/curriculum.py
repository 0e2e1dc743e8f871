"""The four stages (paper, section 3.4 and Table 2): what is trained in which order, and what changes between stages."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from atoken import AtokenGaussianConfig, AtokenGaussianDecoder, AtokenModel, AtokenQuantizerConfig
from atoken.evaluation.yaml_files import read_yaml
from atoken.gaussian_conversion_atoken import attach_gaussian_decoder
from atoken.quantization_atoken import AtokenQuantizer

from ..data.batches import TrainingBatch
from ..data.samples import Limits
from ..optimization import OptimizerSettings

DISTILLED = "image_understanding"  # in every step, so it is not in the round
# Reconstruction and understanding of images, videos and 3D objects, which take turns.
TASKS = ("image_reconstruction", "video_understanding", "video_reconstruction", "3d_understanding", "3d_reconstruction")

# Weights of the reconstruction loss (paper, section 3.3).
PAPER_LOSSES = {
    "image": {"l1": 1.0, "lpips": 10.0, "gram": 1000.0, "clip": 1.0},
    "video": {"l1": 1.0},
    "3d": {"l1": 1.0},
}


@dataclass(frozen=True)
class Stage:
    """
    Holds one row of Table 2, and what the text says beside it.

    Attributes:
        name: of the stage.
        latent_channels: of the model in this stage.
        steps: optimizer steps.
        ratios: share of each of `TASKS` that takes turns beside the distillation; they need not add up to 1. Without
            any, only the understanding of images is trained.
        batch_sizes: samples of a step of all processes together, of each of `tasks`: a number, or the smallest and the
            largest, between which `step_tokens` decides.
        max_tokens: of a micro-batch of one process, and of a sample: what memory holds.
        step_tokens: tokens that a step of reconstruction is filled to, of all processes together.
        image_resolution, video_resolution: smallest and largest geometric mean of the sides in pixels, or None without
            that medium.
        frames, understanding_tokens, understanding_frames, max_voxels, object_voxels, views: see `Limits`.
        tile_frames, cached_share: of temporal tiles, see `Tiles`.
        quantize: whether latents pass through FSQ.
        gaussian: options of `AtokenGaussianConfig` for a Gaussian decoder that a model without one gets; None for none.
        gradient_checkpointing: whether blocks are computed again in the backward pass, or None, which is decided by
            what the memory of the device allows (see `memory.py`).
        trained: the modules that learn, such as "decoder" and "gaussian_decoder", or None for all but the text tower.
            Without the encoder and `latent_proj`, latents and codes stay what they are, and no step understands.
        losses: weights of the parts of the reconstruction loss of each medium.
        optimizer: see `OptimizerSettings`.
    """

    name: str
    latent_channels: int
    steps: int
    ratios: dict[str, float]
    batch_sizes: dict[str, int | list[int]]
    image_resolution: tuple[int, int]
    video_resolution: tuple[int, int] | None = None
    max_tokens: int = 32768
    step_tokens: int | None = None
    frames: tuple[int, ...] = Limits.frames
    understanding_tokens: int = Limits.understanding_tokens
    understanding_frames: int = Limits.understanding_frames
    max_voxels: int | None = None
    object_voxels: int | None = None
    views: int = Limits.views
    tile_frames: int | str | None = None
    cached_share: float = 0.0
    quantize: bool = False
    gaussian: dict[str, Any] | None = None
    gradient_checkpointing: bool | None = None
    trained: tuple[str, ...] | None = None
    losses: dict[str, dict[str, float]] = field(default_factory=lambda: PAPER_LOSSES)
    optimizer: OptimizerSettings = OptimizerSettings()

    def __post_init__(self):
        unknown = set(self.ratios) - set(TASKS)
        if unknown:
            raise ValueError(f"ratios must be of {', '.join(TASKS)}, got {', '.join(sorted(unknown))}")
        if min(self.ratios.values(), default=1) <= 0:
            raise ValueError(f"ratios must be positive, got {self.ratios}")
        missing = set(self.tasks) - set(self.batch_sizes)
        if missing:
            raise ValueError(f"batch_sizes must have {', '.join(sorted(missing))}, got {', '.join(self.batch_sizes)}")
        for name in ("image_resolution", "video_resolution"):
            given = getattr(self, name)
            if given is not None and not 0 < given[0] <= given[1]:
                raise ValueError(f"{name} must be the smallest and the largest side, got {given}")
        if self.video_resolution is None and any(task.startswith("video") for task in self.ratios):
            raise ValueError("video_resolution must be given for tasks with videos, got None")
        if self.gaussian is not None:
            known = AtokenGaussianConfig().to_dict()
            if unknown := set(self.gaussian) - set(known):
                raise ValueError(
                    f"gaussian must have options of AtokenGaussianConfig, got {', '.join(sorted(unknown))}"
                )
            AtokenGaussianConfig(**self.gaussian)
        understood = [task for task in self.ratios if task.endswith("understanding")]
        if understood and DISTILLED not in self.tasks:
            raise ValueError(
                f"trained must have a part of vision_model for {', '.join(understood)}, got {self.trained}"
            )
        if not self.tasks:
            raise ValueError("ratios must have a task when no part of vision_model is trained, got none")
        for name in ("steps", "latent_channels", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    @classmethod
    def read(cls, path: Path) -> "Stage":
        """
        Reads a stage from a YAML file.

        Raises:
            ValueError: an unknown, missing or wrong entry, with the file's name.
        """
        values: dict[str, Any] = read_yaml(path, "stage")
        known = cls.__dataclass_fields__
        unknown = set(values) - set(known)
        if unknown:
            raise ValueError(f"{path}: entries must be among {', '.join(known)}, got {', '.join(sorted(unknown))}")
        try:
            for name in ("image_resolution", "video_resolution", "frames", "trained"):
                if values.get(name) is not None:
                    values[name] = tuple(values[name])
            if "optimizer" in values:
                values["optimizer"] = OptimizerSettings(**values["optimizer"])
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    @property
    def tasks(self) -> list[str]:
        """Lists what a step can have: the distillation, if the vision tower learns, and the tasks that take turns."""
        learns = self.trained is None or any(name.split(".")[0] == "vision_model" for name in self.trained)
        return [*([DISTILLED] if learns else []), *self.ratios]

    @property
    def limits(self) -> Limits:
        """Says what samples of this stage may be."""
        return Limits(**{each.name: getattr(self, each.name) for each in fields(Limits)})


@dataclass
class TaskRound:
    """
    Gives tasks their turns by their ratios, endlessly and as evenly as can be: after n steps every task has had its
    share of them to within one.

    It draws nothing at random, so that every process picks the same task without a word; `state` is all that has to be
    kept to go on.
    """

    ratios: dict[str, float]
    state: dict[str, float] = field(default_factory=dict)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        total = sum(self.ratios.values())
        for task, ratio in self.ratios.items():
            self.state[task] = self.state.get(task, 0.0) + ratio / total
        # The first of equals, whatever rounding has made of them.
        chosen = max(self.ratios, key=lambda task: round(self.state[task], 9))
        self.state[chosen] -= 1.0
        return chosen


@torch.no_grad()
def grow_latents(
    model: AtokenModel,
    latent_channels: int,
    generator: torch.Generator | None = None,
    template: AtokenModel | None = None,
) -> None:
    """
    Widens the latents in place, such as from 32 to 48 channels between stages 1 and 2.

    The first channels keep their weights. The decoder does not look at new channels yet, so reconstructions are what
    they were; the encoder fills them with small values, so that both sides have a gradient. With a
    template both sides know the new channels from it.

    Args:
        latent_channels: at least as many as there are.
        generator: of the new weights of the encoder's projection.
        template: a model with as many channels, whose weights the new ones take.

    Raises:
        ValueError: fewer channels than there are, a model that is quantized already, or a template of another size.
    """
    before = model.config.latent_channels
    if latent_channels < before:
        raise ValueError(f"latent_channels must be at least the {before} of the model, got {latent_channels}")
    if model.quantizer is not None:
        raise ValueError("model must be continuous for its latents to grow, got a quantized one")
    projection, entrance = model.latent_proj, model.decoder.input_layer
    if template is not None and template.latent_proj.weight.shape != (2 * latent_channels, projection.in_features):
        raise ValueError(
            f"template must have {latent_channels} latents of the same width, got a projection of "
            f"{tuple(template.latent_proj.weight.shape)}"
        )
    # Rows of means, then rows of log-variances.
    rows = torch.zeros(2, latent_channels, projection.in_features, dtype=torch.float32)
    rows.normal_(std=model.config.initializer_range, generator=generator)
    rows = rows.to(projection.weight)
    if template is not None:
        rows = template.latent_proj.weight.detach().clone().unflatten(0, (2, latent_channels))
    rows[:, :before] = projection.weight.unflatten(0, (2, before))
    columns = entrance.weight.new_zeros(entrance.out_features, latent_channels)
    if template is not None:
        columns.copy_(template.decoder.input_layer.weight)
    columns[:, :before] = entrance.weight
    projection.weight = torch.nn.Parameter(rows.flatten(0, 1))
    entrance.weight = torch.nn.Parameter(columns)
    projection.out_features, entrance.in_features = 2 * latent_channels, latent_channels
    model.decoder.in_features = latent_channels
    model.config.latent_channels = model.config.decoder_config.latent_channels = latent_channels
    # Statistics of other latents would mislead.
    model.config.latents_mean = model.config.latents_std = None


@torch.no_grad()
def prepare_model(model: AtokenModel, stage: Stage, generator: torch.Generator | None = None) -> None:
    """
    Makes the model of the stage before into that of `stage`, in place: latents that grow, a Gaussian decoder, FSQ.

    Args:
        generator: of new weights of the encoder's projection; those of a Gaussian decoder are drawn by torch's own.

    Raises:
        ValueError: latents that would have to shrink, a quantized model in a stage that is not, objects to reconstruct
            without a Gaussian decoder, or a module to be trained that is not there.
    """
    if model.quantizer is not None and not stage.quantize:
        raise ValueError(f"model must be continuous for stage {stage.name!r}, got a quantized one")
    if model.config.latent_channels != stage.latent_channels:
        grow_latents(model, stage.latent_channels, generator)
    if stage.gaussian is not None and model.gaussian_decoder is None:
        attach_gaussian_decoder(model, AtokenGaussianDecoder(AtokenGaussianConfig(**stage.gaussian)))
    if "3d_reconstruction" in stage.ratios and model.gaussian_decoder is None:
        raise ValueError(
            f"stage {stage.name!r} must have a section `gaussian` for a model without a Gaussian decoder, got none"
        )
    if stage.quantize and model.quantizer is None:
        config = AtokenQuantizerConfig()
        channels = config.num_codebooks * config.codebook_dim
        if channels != stage.latent_channels:
            raise ValueError(f"latent_channels must be the {channels} of FSQ, got {stage.latent_channels}")
        model.config.quantizer_config = config
        model.quantizer = AtokenQuantizer(config)
        model.config.latents_mean = model.config.latents_std = None
    if stage.trained is not None:
        _train_alone(model, stage.trained)


def _train_alone(model: AtokenModel, names: tuple[str, ...]) -> None:
    """Lets only these modules of a model learn."""
    modules = dict(model.named_modules())
    if missing := [name for name in names if name not in modules]:
        known = ", ".join(name for name, _ in model.named_children())
        raise ValueError(f"trained must name modules of the model ({known}, or of these), got {', '.join(missing)}")
    model.requires_grad_(False)
    for name in names:
        modules[name].requires_grad_(True)


# Standard deviation of a latent before FSQ at which its four levels are used about equally.
FSQ_DEVIATION = 0.8


@torch.no_grad()
def fit_to_quantizer(model: AtokenModel, deviations: torch.Tensor) -> None:
    """
    Scales every latent to the range in which FSQ has its levels, and the decoder's entrance back, in place.

    Args:
        deviations: (latent_channels,), standard deviations of the latents as they are.
    """
    factors = FSQ_DEVIATION / deviations.float().clamp(min=1e-4).to(model.latent_proj.weight.device)
    model.latent_proj.weight[: len(factors)] *= factors[:, None].to(model.latent_proj.weight)
    model.decoder.input_layer.weight /= factors[None].to(model.decoder.input_layer.weight)


@torch.no_grad()
def latent_deviations(model: AtokenModel, batches: Iterable[TrainingBatch], device: torch.device) -> torch.Tensor:
    """
    Measures the standard deviation of every latent over the batches of all processes.

    Args:
        model: on the device; its quantizer, if it has one already, is passed by.
        batches: of this process.

    Returns:
        (latent_channels,) float64, the same in all processes.
    """
    sums = torch.zeros(3, model.config.latent_channels, dtype=torch.float64, device=device)
    for batch in batches:
        batch = batch.to(device)
        encoded = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens, pool=False, layout=batch.layout)
        latents = encoded.latent_dist.mode().double()
        sums += torch.stack([torch.ones_like(latents), latents, latents.square()]).sum(1)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(sums)
    count, mean, square = sums[0], sums[1] / sums[0], sums[2] / sums[0]
    return ((square - mean.square()) * count / (count - 1)).clamp(min=0).sqrt()
