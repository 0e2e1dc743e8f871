"""The loss of a training step, task by task (paper, section 3.3, equations 4 to 8).

One module, so that whatever wraps a model for data parallelism or sharding sees one forward call per batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from atoken import AtokenModel, AtokenVisionModel, render
from atoken.processing import AtokenProcessor
from atoken.tokens_atoken import unpatchify

from ..agreement import Agreement
from ..contracts import Share
from ..data.batches import TrainingBatch
from .arithmetic import training_flops
from .losses import (
    distillation_loss,
    gather_texts,
    kl_loss,
    l1_loss,
    log_mse_loss,
    log_mse_of_views,
    sigmoid_loss,
)
from .noise import sample_noise
from .perceptual import DISTANCES, ClipLoss, TrunkLosses, perceptual_size
from .tiles import Tiles, last_frame

RECONSTRUCTION_WEIGHT, SEMANTIC_WEIGHT, KL_WEIGHT = 0.2, 1.0, 1e-8
# Parts of the reconstruction loss of each medium. Video and 3D have no perceptual terms in the paper; the released 3D
# decoder was trained with LPIPS and MS-SSIM on views.
LOSSES = {
    "image": ("l1", "log_mse", *DISTANCES, "gram", "clip"),
    "video": ("l1", "log_mse"),
    "3d": ("l1", "log_mse", "ms_ssim", "lpips"),
}
TRUNK_PARTS = (*DISTANCES, "gram")  # of one pass through one trunk
BY_TOKEN = ("l1", "kl")  # of images and videos: means over tokens; all else are means over samples
BLOCKS = ("AtokenBlock", "AtokenGaussianBlock", "Siglip2EncoderLayer")  # that sharding gathers one at a time
TEXTS_AT_ONCE = 256  # that the text tower embeds


@dataclass(frozen=True)
class Texts:
    """
    Holds the embeddings of all texts of a task in one step.

    Attributes:
        embeds: (M, d), of all processes and micro batches.
        first: where those of a micro batch begin.
    """

    embeds: torch.Tensor
    first: int


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
        tiles: how clips are cut; as the model does if None.
        agreement: with the other processes, where texts may come with their embeddings in some of them: a sharded text
            tower has to run as often in each. None if all have them, or none has.

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
        tiles: Tiles | None = None,
        agreement: Agreement | None = None,
    ):
        super().__init__()
        for medium, parts in weights.items():
            unknown = set(parts) - set(LOSSES.get(medium, ()))
            if unknown:
                known = ", ".join(LOSSES.get(medium, ())) or "none"
                raise ValueError(f"losses of {medium} must be among {known}, got {', '.join(sorted(unknown))}")
        seen = {part: medium for medium in ("3d", "image") for part in weights.get(medium, {})}
        for name, network, parts in (("trunk", trunk, TRUNK_PARTS), ("clip", clip, ("clip",))):
            if network is None and (missing := set(parts) & set(seen)):
                medium = seen[min(missing)]
                raise ValueError(f"{name} must be given for {medium} losses {', '.join(weights[medium])}, got None")
        if trunk is not None and (others := set(TRUNK_PARTS) & set(seen) - {trunk.part, "gram"}):
            raise ValueError(f"trunk must be that of {', '.join(sorted(others))}, got that of {trunk.part}")
        self.model, self.weights = model, weights
        names = {type(module).__name__ for module in model.modules()}
        self._no_split_modules = [name for name in BLOCKS if name in names]  # for wrappers that shard
        if model.text_model is not None:
            model.text_model.requires_grad_(False).eval()
        frozen = {"teacher": teacher, "trunk": trunk, "clip": clip}
        # In a plain dict they are no submodules: they are in no checkpoint, and no wrapper shards or casts them.
        self.frozen = {name: net.requires_grad_(False).eval() for name, net in frozen.items() if net is not None}
        self.teacher_scale, self.seed, self.processor = teacher_scale, seed, processor
        self.tiles = Tiles(model.config) if tiles is None else tiles
        self.agreement = agreement

    def count_flops(self, batch: TrainingBatch) -> float:
        """
        Counts the floating point operations of a forward and backward pass.

        It is the mean over steps where some cut clips in another way than others.
        """
        return training_flops(self.model, batch, self.has_teacher, self.tiles.cuts(batch.task, last_frame(batch)))

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

    def forward(
        self, batch: TrainingBatch | Sequence[TrainingBatch], share: Share | None = None, common: Texts | None = None
    ) -> dict[str, torch.Tensor] | list[Texts | None]:
        """
        Gives "loss", to be minimized, and its parts, detached: scalars, times the batch's share.

        Given all micro batches of a step instead, and no share, it gives the texts that each is to be called with.
        """
        if share is None:
            return self._texts(batch)
        if batch.task.endswith("understanding"):
            parts = {"semantic": share.samples * self._understanding(batch, share, common)}
            loss = SEMANTIC_WEIGHT * parts["semantic"]
        else:
            parts, loss = self._reconstruction(batch, share)
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    @torch.no_grad()
    def _texts(self, batches: Sequence[TrainingBatch]) -> list[Texts | None]:
        """Embeds a step's texts and gathers them from all processes; the tower is frozen, so there is no gradient."""
        found: list[Texts | None] = [None] * len(batches)
        for task in dict.fromkeys(batch.task for batch in batches if batch.task.endswith("understanding")):
            places = [place for place, batch in enumerate(batches) if batch.task == task]
            own = self._embedded([batches[place] for place in places])
            embeds, first = gather_texts(own, batches[places[0]].step_samples or None)
            for place in places:
                found[place] = Texts(embeds, first)
                first += batches[place].num_samples
        return found

    def _embedded(self, batches: list[TrainingBatch]) -> torch.Tensor:
        """Gives the embeddings (B, d) of this process's texts of a task: those that came with them, or the tower's."""
        device = self.model.logit_scale.device
        without = [batch.input_ids for batch in batches if batch.text_embeds is None]
        by_tower: Iterator[torch.Tensor] = iter(())
        if bool(without) if self.agreement is None else self.agreement.any(bool(without)):
            count = sum(map(len, without))
            # As many passes in every process, also where there are fewer texts, or none.
            passes = -(-max(batches[0].step_samples, default=count) // TEXTS_AT_ONCE)
            # Moved one by one: what is joined on the host is not pinned, and the device would be waited for.
            moved = [ids.to(device, non_blocking=True) for ids in without]
            input_ids = torch.cat(moved) if moved else torch.zeros(0, 1, dtype=torch.long, device=device)
            pieces = F.pad(input_ids, (0, 0, 0, max(0, passes - count))).tensor_split(passes)
            found = torch.cat([self.model.text_model(input_ids=piece).pooler_output for piece in pieces])
            by_tower = iter(found[:count].split([len(ids) for ids in without]))
        embeds = [
            next(by_tower) if batch.text_embeds is None else batch.text_embeds.to(device, non_blocking=True)
            for batch in batches
        ]
        return torch.cat([each.float() for each in embeds])

    def _understanding(self, batch: TrainingBatch, share: Share, texts: Texts) -> torch.Tensor:
        packed = batch.pixel_values, batch.coords, batch.cu_seqlens
        options = self.tiles.options(batch, share.step)
        prediction = self.model.vision_model(*packed, **options).pooler_output
        if batch.task == "image_understanding" and self.has_teacher:
            with torch.no_grad():
                target = self.frozen["teacher"](*packed, **options).pooler_output
            return distillation_loss(prediction, target, texts.embeds, self.teacher_scale)
        scale, bias = self.model.logit_scale, self.model.logit_bias
        return sigmoid_loss(prediction, texts.embeds, texts.first, scale, bias)

    def _reconstruction(self, batch: TrainingBatch, share: Share) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        options = self.tiles.options(batch, share.step)
        pixel_values, *places = self.tiles.packed(batch, share.step)
        encoded = self.model.encode(pixel_values, *places, pool=False, **options)
        latents, count = encoded.latents, batch.num_tokens
        mean, logvar = encoded.latent_dist.mean[:count], encoded.latent_dist.logvar[:count]
        if self.model.quantizer is None:
            noise = torch.exp(0.5 * logvar) * self._noise(batch, latents[:count])
            latents = latents + F.pad(noise, (0, 0, 0, len(latents) - count))
        medium = batch.task.removesuffix("_reconstruction")
        if medium == "3d":
            parts = self._compare_views(batch, latents, share)
        else:
            decoded = self.model.decode(latents, *places, **options).pixel_values
            if len(decoded) > count:
                # What fills windows up counts for nothing, but has to run backward, too.
                decoded = decoded[:count] + 0.0 * decoded[count:].sum()
            parts = self._compare_patches(batch, decoded)
        if self.model.quantizer is None:
            parts["kl"] = kl_loss(mean, logvar)
        by_token = ("kl",) if medium == "3d" else BY_TOKEN
        parts = {name: part * (share.tokens if name in by_token else share.samples) for name, part in parts.items()}
        weights = {"kl": KL_WEIGHT} | {
            name: RECONSTRUCTION_WEIGHT * weight for name, weight in self.weights[medium].items()
        }
        return parts, sum(weights[name] * part for name, part in parts.items())

    def _noise(self, batch: TrainingBatch, latents: torch.Tensor) -> torch.Tensor:
        numbers = torch.tensor(batch.numbers).to(latents.device, non_blocking=True)
        return sample_noise(self.seed, numbers, batch.cu_seqlens, *latents.shape).to(latents.dtype)

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
        trunk = self.frozen.get("trunk")
        resized = None
        if "clip" in weighed or (trunk is not None and trunk.crops is None):
            resized = [torch.cat([perceptual_size(one) for one in side]) for side in pictures]
        if set(TRUNK_PARTS) & set(weighed):
            if trunk.crops is None:
                losses = trunk.of_resized(*resized)
            else:
                losses = trunk.of_pictures(*pictures, f"{self.seed} {batch.numbers}")
            found = zip((trunk.part, "gram"), losses, strict=True)
            parts |= {name: part for name, part in found if name in weighed}
        if "clip" in weighed:
            parts["clip"] = self.frozen["clip"](*resized)
        return parts

    def _pictures(self, batch: TrainingBatch, patches: torch.Tensor) -> list[torch.Tensor]:
        """Unpacks images to (1, 3, H, W) in [-1, 1] each, what perceptual losses look at."""
        patch_size = self.model.vision_model.patch_size
        return [
            unpatchify(tokens.float().unflatten(0, (1, *grid)), patch_size)[:, 0]
            for tokens, grid in zip(patches.split(batch.lengths), batch.grids, strict=True)
        ]

    def _compare_views(self, batch: TrainingBatch, latents: torch.Tensor, share: Share) -> dict[str, torch.Tensor]:
        parts: dict[str, torch.Tensor] = {}
        options = self.tiles.options(batch, share.step)
        objects = self.model.decode_gaussians(latents, batch.coords, batch.cu_seqlens, **options)
        for gaussians, views, cameras in zip(objects, batch.views, batch.cameras, strict=True):
            with torch.autocast(latents.device.type, enabled=False):
                prediction = render(gaussians, cameras, views.shape[-1])
            for name, part in self._compare_pictures(prediction, views.float() / 255).items():
                parts[name] = parts.get(name, 0.0) + part / len(objects)
        return parts

    def _compare_pictures(self, prediction: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compares (K, 3, S, S) in [0, 1] on black."""
        weighed = self.weights["3d"]
        parts = {"l1": F.l1_loss(prediction, target)}
        if "log_mse" in weighed:
            parts["log_mse"] = log_mse_of_views(prediction, target)
        if "ms_ssim" in weighed:
            with torch.autocast(prediction.device.type, enabled=False):
                similarity = multiscale_structural_similarity_index_measure(
                    prediction, target, data_range=1.0, normalize="relu"
                )
            parts["ms_ssim"] = 1 - similarity
        if "lpips" in weighed:
            parts["lpips"] = self.frozen["trunk"](2 * prediction - 1, 2 * target - 1)[0]
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
