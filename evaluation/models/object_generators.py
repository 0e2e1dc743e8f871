"""3D objects of pictures for the harness: of a pipeline, and what it is compared with."""

from functools import cached_property
from typing import Any

import torch

from atoken.tokenizing.loading import load_model
from atoken.tokenizing.objects import decode_to_gaussians, encode_mesh

from ..fingerprints import model_fingerprints, network_fingerprint, settings_fingerprint
from ..interface import EvaluationSet, MadeObject, ObjectGenerator, PicturedObject
from ..metrics.known_objects import NearestObject, mean_object
from ..pictured_objects import pictured
from ..set_registry import open_set

_EMPTY = "structure with voxels"  # in the pipeline's error of an object without any
_PARTS = ("structure_vae", "structure_transformer", "latent_transformer", "vae", "image_encoder")


class ImageToObjectSamples(ObjectGenerator):
    """
    Makes objects with an `ImageToObjectPipeline`; object i depends on the seed, its picture and i alone.

    Args:
        model: a folder, an embedded generator's name, or a Hub name.
        seed: at least 0.
        structure_sampling, latent_sampling: settings by the names of `FlowSampling`; the others are the pipeline's own.
        device: "cpu", "cuda" or "auto".
        dtype: of the weights and the computation.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: an argument does not fit.
    """

    def __init__(
        self,
        model: str,
        seed: int = 0,
        structure_sampling: dict[str, Any] | None = None,
        latent_sampling: dict[str, Any] | None = None,
        device: str = "cpu",
        dtype: str = "float32",
    ):
        # These import diffusers, which other evaluations do without.
        from atoken.generation.flow_sampling_atoken import FlowSampling

        from .object_generator_loading import load_object_generator

        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
        self.pipeline, self.label = load_object_generator(model, device, dtype)
        self.name, self.seed, self.dtype = model, seed, dtype
        self.resolution = self.pipeline.latent_transformer.config.sample_size
        self.settings = {"structure_sampling": structure_sampling, "latent_sampling": latent_sampling}
        for name, given in self.settings.items():
            FlowSampling.of(name, self.pipeline.config[name], given)

    def make(self, given: PicturedObject, index: int) -> MadeObject | None:
        from ..seeded_images import image_generator

        try:
            made = self.pipeline(given.picture, generator=image_generator(self.seed, index), **self.settings)
        except ValueError as error:
            if _EMPTY not in str(error):
                raise
            return None
        return MadeObject(made.coords[:, 1:].cpu(), made.gaussians[0])

    def describe(self) -> dict[str, Any]:
        own = {name: dict(self.pipeline.config[name] or {}) for name in self.settings}
        facts = {"model": self.label, "seed": self.seed, "dtype": self.dtype, "settings": self.settings}
        return {"class": type(self).__name__, **facts, "own_settings": own}

    def fingerprints(self) -> dict[str, str]:
        parts = {name: getattr(self.pipeline, name, None) for name in _PARTS}
        found = {name: network_fingerprint(part) for name, part in parts.items() if part is not None}
        return {**found, "scheduler": settings_fingerprint(self.pipeline.scheduler)}


class _OfTokens(ObjectGenerator):
    """
    Decodes tokens to Gaussians.

    Args:
        model: a tokenizer with a Gaussian decoder: an embedded name, a folder or a Hub name.
        device, dtype: of the weights and the computation.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: it has no Gaussian decoder.
    """

    def __init__(self, model: str, device: str = "cpu", dtype: str = "float32"):
        self.loaded, self.name, self.dtype = load_model(model, device, dtype), model, dtype
        if self.loaded.model.gaussian_decoder is None:
            raise ValueError(f"model must have a Gaussian decoder, got {model}, which has none")
        self.resolution = self.loaded.processor.voxel_processor.resolution

    def _decoded(self, latents: torch.Tensor, coords: torch.Tensor) -> MadeObject:
        """Decodes latents (N, C) at voxels (N, 3)."""
        gaussians, _ = decode_to_gaussians(self.loaded, latents, torch.nn.functional.pad(coords, (1, 0)))
        return MadeObject(coords.long(), gaussians)

    def _encoded(self, mesh: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Encodes a mesh: latents (N, C) and voxels (N, 3)."""
        item = encode_mesh(self.loaded, mesh)
        return item.latents, item.coords[:, 1:]

    def describe(self) -> dict[str, Any]:
        return {"class": type(self).__name__, "model": self.loaded.name, "dtype": self.dtype}

    def fingerprints(self) -> dict[str, str]:
        return model_fingerprints(self.loaded, ("vision_model", "latent_proj", "decoder", "gaussian_decoder"))


class TrueTokens(_OfTokens):
    """Gives the true object through the tokenizer: the most that a generator of its tokens can reach."""

    def make(self, given: PicturedObject, index: int) -> MadeObject:
        return self._decoded(*self._encoded(given.mesh))


class _OfKnownObjects(_OfTokens):
    """
    Gives something of known objects, those that a generator has learned.

    Args:
        objects: a set of objects as in `sets:` of an evaluation, such as {set: object-folder, folder: train}.
        model, device, dtype: as of `TrueTokens`.
    """

    def __init__(self, model: str, objects: dict[str, Any], device: str = "cpu", dtype: str = "float32"):
        super().__init__(model, device, dtype)
        self.objects: EvaluationSet = open_set(objects, "objects")
        if self.objects.kind != "object":
            raise ValueError(f"objects must be a set of objects, got one of {self.objects.kind}s")

    def describe(self) -> dict[str, Any]:
        known = {"name": self.objects.name, "checksum": self.objects.checksum, "protocol": self.objects.protocol}
        return {**super().describe(), "objects": known}


class NearestKnownObject(_OfKnownObjects):
    """
    Gives the known object whose picture looks most like the given one, through the tokenizer.

    Args:
        model, objects, device, dtype: see `TrueTokens`; `objects` is a set of objects as in `sets:` of an evaluation.
        picture_size: side to which pictures are cut out to be compared by the tokenizer's own tokens.
    """

    def __init__(
        self,
        model: str,
        objects: dict[str, Any],
        device: str = "cpu",
        dtype: str = "float32",
        picture_size: int = 256,
    ):
        super().__init__(model, objects, device, dtype)
        if not isinstance(picture_size, int) or picture_size < 32 or picture_size % 16:
            raise ValueError(f"picture_size must be a multiple of 16 from 32 on, got {picture_size!r}")
        self.picture_size = picture_size

    def make(self, given: PicturedObject, index: int) -> MadeObject:
        row = self._nearest.row(self._condition(given))
        return self._decoded(*self._encoded(self.objects.samples[row].load()))

    @cached_property
    def _nearest(self) -> NearestObject:
        count = len(self.objects.samples)
        return NearestObject([self._condition(pictured(self.objects, row))[None] for row in range(count)])

    @torch.no_grad()
    def _condition(self, given: PicturedObject) -> torch.Tensor:
        """Gives the tokens (M, c) by which pictures are compared."""
        from atoken.generation.object_conditions_atoken import picture_condition
        from atoken.generation.object_pictures_atoken import object_picture

        pixels = torch.from_numpy(object_picture(given.picture, self.picture_size)).permute(2, 0, 1)[None]
        placed = pixels.to(self.loaded.model.execution_device).float() / 255
        return picture_condition(placed, None, self.loaded.model)[0].cpu()

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "picture_size": self.picture_size}


class MeanKnownObject(_OfKnownObjects):
    """
    Gives the mean of known objects: voxels that half of them have, with their mean latents.

    Args:
        model, objects, device, dtype: as of `NearestKnownObject`.
    """

    def make(self, given: PicturedObject, index: int) -> MadeObject:
        return self._mean

    @cached_property
    def _mean(self) -> MadeObject:
        known = (self._encoded(sample.load()) for sample in self.objects.samples)
        coords, latents = mean_object(known, self.resolution, self.loaded.model.config.latent_channels)
        return self._decoded(latents, coords)
