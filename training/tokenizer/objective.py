"""The loss of a training step, task by task (paper, section 3.3, equations 4 to 8).

One module, so that whatever wraps a model for data parallelism or sharding sees one forward call per batch.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from atoken import AtokenModel, AtokenVisionModel, render
from atoken.processing import AtokenProcessor
from atoken.tokens_atoken import unpatchify

from ..data.batches import TrainingBatch
from .arithmetic import training_flops
from .losses import distillation_loss, kl_loss, l1_loss, log_mse_loss, sigmoid_loss
from .perceptual import DISTANCES, ClipLoss, TrunkLosses, perceptual_size

RECONSTRUCTION_WEIGHT, SEMANTIC_WEIGHT, KL_WEIGHT = 0.2, 1.0, 1e-8
# Parts of the reconstruction loss of each medium; video and 3D have no perceptual terms in the paper.
LOSSES = {
    "image": ("l1", "log_mse", *DISTANCES, "gram", "clip"),
    "video": ("l1", "log_mse"),
    "3d": ("l1", "ms_ssim"),
}
TRUNK_PARTS = (*DISTANCES, "gram")  # of one pass through one trunk


class Objective(nn.Module):
    """
    Holds the model and the frozen networks it is compared with, and computes the loss of a batch.

    Args:
        model: what is trained; its text tower is frozen here.
        weights: medium -> part -> weight, see `LOSSES`.
        teacher: the frozen vision tower that images are distilled from; without one they are trained contrastively, as
            videos and objects are.
        teacher_scale: logarithm of the factor that the teacher's cosines are multiplied by.
        trunk, clip: networks of the perceptual parts that have a weight.
        seed: of the posterior's noise, which follows from a sample's number alone.
        processor: is exported with the model.

    Raises:
        ValueError: a part without its network, or an unknown one.
    """

    def __init__(
        self,
        model: AtokenModel,
        weights: dict[str, dict[str, float]],
        teacher: AtokenVisionModel | None = None,
        teacher_scale: float = 0.0,
        trunk: TrunkLosses | None = None,
        clip: ClipLoss | None = None,
        seed: int = 0,
        processor: AtokenProcessor | None = None,
    ):
        super().__init__()
        for medium, parts in weights.items():
            unknown = set(parts) - set(LOSSES.get(medium, ()))
            if unknown:
                known = ", ".join(LOSSES.get(medium, ())) or "none"
                raise ValueError(f"losses of {medium} must be among {known}, got {', '.join(sorted(unknown))}")
        image = weights.get("image", {})
        for name, network, parts in (("trunk", trunk, TRUNK_PARTS), ("clip", clip, ("clip",))):
            if network is None and set(parts) & set(image):
                raise ValueError(f"{name} must be given for image losses {', '.join(image)}, got None")
        if trunk is not None and (others := set(TRUNK_PARTS) & set(image) - {trunk.part, "gram"}):
            raise ValueError(f"trunk must be that of {', '.join(sorted(others))}, got that of {trunk.part}")
        self.model, self.weights = model, weights
        self._no_split_modules = model._no_split_modules  # for wrappers that shard by block
        if model.text_model is not None:
            model.text_model.requires_grad_(False).eval()
        frozen = {"teacher": teacher, "trunk": trunk, "clip": clip}
        # In a plain dict they are no submodules: they are in no checkpoint, and no wrapper shards or casts them.
        self.frozen = {name: net.requires_grad_(False).eval() for name, net in frozen.items() if net is not None}
        self.teacher_scale, self.seed, self.processor = teacher_scale, seed, processor

    def count_flops(self, batch: TrainingBatch) -> float:
        """Counts the floating point operations of a forward and backward pass."""
        return training_flops(self.model, batch, self.has_teacher)

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes the model, with weights from a state dict of this module, and its processor into a folder."""
        self.model.save_pretrained(folder, state_dict=model_state(state))
        if self.processor is not None:
            self.processor.save_pretrained(folder)

    @property
    def has_teacher(self) -> bool:
        """Tells whether images are distilled."""
        return "teacher" in self.frozen

    def _apply(self, fn: Callable, recurse: bool = True) -> "Objective":
        """Moves frozen networks along."""
        super()._apply(fn, recurse)
        for network in self.frozen.values():
            network._apply(fn)
        return self

    def train(self, mode: bool = True) -> "Objective":
        """Changes the mode of what is trained; frozen networks stay in evaluation mode."""
        super().train(mode)
        if self.model.text_model is not None:
            self.model.text_model.eval()
        return self

    def forward(self, batch: TrainingBatch) -> dict[str, torch.Tensor]:
        """Gives "loss", to be minimized, and its parts, detached: scalars, means over this process's batch."""
        if batch.task.endswith("understanding"):
            parts = {"semantic": self._understanding(batch)}
            loss = SEMANTIC_WEIGHT * parts["semantic"]
        else:
            parts, loss = self._reconstruction(batch)
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def _understanding(self, batch: TrainingBatch) -> torch.Tensor:
        with torch.no_grad():
            texts = self.model.text_model(input_ids=batch.input_ids).pooler_output
        packed = batch.pixel_values, batch.coords, batch.cu_seqlens
        prediction = self.model.vision_model(*packed).pooler_output
        if batch.task == "image_understanding" and self.has_teacher:
            with torch.no_grad():
                target = self.frozen["teacher"](*packed).pooler_output
            return distillation_loss(prediction, target, texts, self.teacher_scale)
        return sigmoid_loss(prediction, texts, self.model.logit_scale, self.model.logit_bias)

    def _reconstruction(self, batch: TrainingBatch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        encoded = self.model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens, pool=False)
        posterior, latents = encoded.latent_dist, encoded.latents
        if self.model.quantizer is None:
            latents = latents + torch.exp(0.5 * posterior.logvar) * self._noise(batch, latents)
        medium = batch.task.removesuffix("_reconstruction")
        if medium == "3d":
            parts = self._compare_views(batch, latents)
        else:
            decoded = self.model.decode(latents, batch.coords, batch.cu_seqlens).pixel_values
            parts = self._compare_patches(batch, decoded)
        loss = RECONSTRUCTION_WEIGHT * sum(self.weights[medium][name] * part for name, part in parts.items())
        if self.model.quantizer is None:
            parts["kl"] = kl_loss(posterior.mean, posterior.logvar)
            loss = loss + KL_WEIGHT * parts["kl"]
        return parts, loss

    def _noise(self, batch: TrainingBatch, latents: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator(latents.device)
        parts = []
        for number, length in zip(batch.numbers, batch.lengths, strict=True):
            generator.manual_seed(self.seed * 2**40 + number)
            parts.append(torch.randn(length, latents.shape[1], generator=generator, device=latents.device))
        return torch.cat(parts).to(latents.dtype)

    def _compare_patches(self, batch: TrainingBatch, decoded: torch.Tensor) -> dict[str, torch.Tensor]:
        medium = batch.task.removesuffix("_reconstruction")
        target = batch.pixel_values
        if medium == "image":
            # Frames 2 to 4 of a picture's patches are padding.
            values = decoded.shape[-1] // self.model.vision_model.patch_size[0]
            compared = decoded[:, :values], target[:, :values]
        else:
            compared = decoded, target
        parts = {"l1": l1_loss(*compared)}
        if "log_mse" in self.weights[medium]:
            parts["log_mse"] = log_mse_loss(*compared, batch.lengths)
        weighed = self.weights["image"] if medium == "image" else {}
        if not {*TRUNK_PARTS, "clip"} & set(weighed):
            return parts
        pictures = self._pictures(batch, decoded), self._pictures(batch, batch.pixel_values)
        if set(TRUNK_PARTS) & set(weighed):
            trunk = self.frozen["trunk"]
            found = zip((trunk.part, "gram"), trunk.of_pictures(*pictures, f"{self.seed} {batch.numbers}"), strict=True)
            parts |= {name: part for name, part in found if name in weighed}
        if "clip" in weighed:
            resized = (torch.cat([perceptual_size(one) for one in side]) for side in pictures)
            parts["clip"] = self.frozen["clip"](*resized)
        return parts

    def _pictures(self, batch: TrainingBatch, patches: torch.Tensor) -> list[torch.Tensor]:
        """Unpacks images to (1, 3, H, W) in [-1, 1] each, what perceptual losses look at."""
        patch_size = self.model.vision_model.patch_size
        return [
            unpatchify(tokens.float().unflatten(0, (1, *grid)), patch_size)[:, 0]
            for tokens, grid in zip(patches.split(batch.lengths), batch.grids, strict=True)
        ]

    def _compare_views(self, batch: TrainingBatch, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        parts: dict[str, torch.Tensor] = {}
        objects = self.model.decode_gaussians(latents, batch.coords, batch.cu_seqlens)
        for gaussians, views, cameras in zip(objects, batch.views, batch.cameras, strict=True):
            prediction = render(gaussians.to(dtype=torch.float32), cameras, views.shape[-1])
            for name, part in self._compare_pictures(prediction, views.float() / 255).items():
                parts[name] = parts.get(name, 0.0) + part / len(objects)
        return parts

    def _compare_pictures(self, prediction: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compares (K, 3, S, S) in [0, 1] on black."""
        parts = {"l1": F.l1_loss(prediction, target)}
        if "ms_ssim" in self.weights["3d"]:
            similarity = multiscale_structural_similarity_index_measure(
                prediction, target, data_range=1.0, normalize="relu"
            )
            parts["ms_ssim"] = 1 - similarity
        return parts


def model_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Picks the model's part of an objective's state dict."""
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


def trained_parameters(objective: nn.Module) -> dict[str, Any]:
    """Counts how many parameters are trained and how many are frozen."""
    counts = {True: 0, False: 0}
    for parameter in objective.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    return {"trained": counts[True], "frozen": counts[False]}
