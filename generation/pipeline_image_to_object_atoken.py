"""Pictures of objects to 3D Gaussians: voxels, then their latents, then what the tokenizer decodes (paper, 5.5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor

# Loading this file as remote code from a local folder, diffusers copies the modules named here and no others. So all
# siblings that are needed are named, even those that only other siblings use.
from .attention_atoken import GeneratorAttention  # noqa: F401
from .attention_conditioned_atoken import PackedAttention  # noqa: F401
from .autoencoder_sparse_structure_atoken import SparseStructureAutoencoder, occupied_voxels
from .conditioned_flow_atoken import ConditionedFlowModel
from .flow_sampling_atoken import FlowSampling, sample_flow
from .flow_schedulers_atoken import check_scheduler
from .latent_statistics_atoken import check_autoencoder
from .modulation_atoken import Modulation  # noqa: F401
from .object_conditions_atoken import condition_width, grouped, picture_condition, picture_size
from .object_pictures_atoken import object_picture, with_alpha
from .packed_sequences_atoken import PackedSequences
from .sparse_blocks_atoken import SparseConv3d  # noqa: F401
from .sparse_grid_atoken import SparseLayout
from .step_callbacks_atoken import check_callback_names, run_callback
from .transformer_lightning_dit_atoken import check_statistics  # noqa: F401
from .transformer_sparse_structure_atoken import SparseStructureFlowModel
from .transformer_structured_latent_atoken import StructuredLatentFlowModel
from .varlen_attention_atoken import has_kernel  # noqa: F401

MIXINGS = ("stochastic", "multidiffusion")


@dataclass
class ImageToObjectPipelineOutput(BaseOutput):
    """
    Holds generated objects.

    Attributes:
        gaussians: one `Gaussians` for each object, or None where latents alone were asked for.
        latents: (N, C) of the tokenizer, not normalized, of all objects' voxels.
        coords: (N, 4) int64 [0, x, y, z].
        cu_seqlens: (B + 1,) int32, where each object starts.
    """

    gaussians: list | None
    latents: torch.Tensor
    coords: torch.Tensor
    cu_seqlens: torch.Tensor


class ImageToObjectPipeline(DiffusionPipeline):
    r"""
    Generates 3D objects from pictures.

    ```python
    pipeline = ImageToObjectPipeline.from_pretrained(folder)
    (gaussians,) = pipeline(Image.open("shot.png"), generator=torch.Generator().manual_seed(0)).gaussians
    ```

    Args:
        structure_vae ([`SparseStructureAutoencoder`]): Decodes which voxels are occupied.
        structure_transformer ([`SparseStructureFlowModel`]): Gives the velocities of its latents.
        latent_transformer ([`StructuredLatentFlowModel`]): Gives the velocities of the voxels' latents; its
            configuration has their statistics.
        vae ([`AtokenModel`]): Decodes latents of voxels to Gaussians.
        scheduler ([`FlowMatchEulerDiscreteScheduler`]): Or another for flow matching that takes sigmas and draws no
            noise.
        image_encoder ([`Dinov2WithRegistersModel`], *optional*): Encodes pictures; without one, the encoder of `vae`
            does, and the transformers have to be trained with it.
        structure_sampling, latent_sampling (`dict`, *optional*): Settings of the two stages by the names of
            `FlowSampling`, kept in the pipeline's configuration.
        picture_size (`int`): Side of the pictures in pixels where `vae` encodes them.

    Raises:
        ValueError: the parts do not fit together.
    """

    model_cpu_offload_seq = "image_encoder->structure_transformer->structure_vae->latent_transformer->vae"
    _optional_components = ["image_encoder"]
    _callback_tensor_inputs = ["latents"]

    def __init__(
        self,
        structure_vae: SparseStructureAutoencoder,
        structure_transformer: SparseStructureFlowModel,
        latent_transformer: StructuredLatentFlowModel,
        vae: Any,
        scheduler: Any,
        image_encoder: Any = None,
        structure_sampling: dict[str, Any] | None = None,
        latent_sampling: dict[str, Any] | None = None,
        picture_size: int = 256,
    ):
        super().__init__()
        self.register_modules(
            structure_vae=structure_vae,
            structure_transformer=structure_transformer,
            latent_transformer=latent_transformer,
            vae=vae,
            scheduler=scheduler,
            image_encoder=image_encoder,
        )
        FlowSampling.of("structure_sampling", structure_sampling)
        FlowSampling.of("latent_sampling", latent_sampling)
        self.register_to_config(
            structure_sampling=structure_sampling, latent_sampling=latent_sampling, picture_size=picture_size
        )
        self._check_parts()

    @torch.no_grad()
    def __call__(
        self,
        images: Any,
        masks: Any = None,
        structure_sampling: Mapping[str, Any] | None = None,
        latent_sampling: Mapping[str, Any] | None = None,
        picture_mixing: str = "stochastic",
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "gaussians",
        return_dict: bool = True,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ImageToObjectPipelineOutput | tuple:
        """
        Generates one object of each picture, or of several pictures of it.

        Args:
            images: a picture, a list of pictures of one object each, or a list of lists of pictures of one object; of
                Pillow or uint8 (H, W, 3 or 4), with an alpha channel that is 0 behind the object, or with masks.
            masks: in the same lists, of Pillow in mode L or 1, or bool or uint8 (H, W), where the object is.
            structure_sampling, latent_sampling: settings that count before the pipeline's own.
            picture_mixing: of several pictures, "stochastic" for one at a step, in turn, or "multidiffusion" for the
                mean of all velocities.
            generator: of noise, or a list of one for each object, so that an object does not depend on others.
            output_type: "gaussians", or "latent" to leave out decoding.
            return_dict: False for a tuple.
            callback_on_step_end: is called with pipeline, step, time in [0, 1000], and a dict with `latents`: first for
                the structure's steps, then for the voxels'.
            callback_on_step_end_tensor_inputs: names in that dict.

        Returns:
            `gaussians`, `latents`, `coords` and `cu_seqlens`.

        Raises:
            ValueError: an argument does not fit, a picture shows no object, or the structure found has no voxel.
        """
        config = self.config
        structure = FlowSampling.of("structure_sampling", config.structure_sampling, structure_sampling)
        latent = FlowSampling.of("latent_sampling", config.latent_sampling, latent_sampling)
        pictures = self._pictures(images, masks)  # (B, n, 3, H, W)
        self._check_call(picture_mixing, output_type, generator, len(pictures), callback_on_step_end_tensor_inputs)

        def call_back(step: int, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
            return run_callback(self, callback_on_step_end, callback_on_step_end_tensor_inputs, step, timestep, latents)

        conditions = self._conditions(pictures.to(self._execution_device))
        coords, counts = self._structure(conditions, structure, picture_mixing, generator, call_back)
        sequences = PackedSequences.of(counts, coords.device)
        latents = self._latents(coords, sequences, conditions, latent, picture_mixing, generator, call_back)
        gaussians = None
        if output_type == "gaussians":
            self._wake_vae()
            gaussians = self.vae.decode_gaussians(latents.to(self.vae.dtype), coords, sequences.cu_seqlens)
        self.maybe_free_model_hooks()
        if not return_dict:
            return gaussians, latents, coords, sequences.cu_seqlens
        return ImageToObjectPipelineOutput(
            gaussians=gaussians, latents=latents, coords=coords, cu_seqlens=sequences.cu_seqlens
        )

    def _pictures(self, images: Any, masks: Any) -> torch.Tensor:
        """Gives the prepared pictures, (B, n, 3, H, W) fp32 in [0, 1], of B objects with n pictures each."""
        size, prepared = picture_size(self.image_encoder, self.config.picture_size), []
        for index, pictures in enumerate(grouped(images, masks)):
            for number, (image, mask) in enumerate(pictures):
                name = f"images[{index}]" + (f"[{number}]" if len(pictures) > 1 else "")
                prepared.append(object_picture(with_alpha(image, mask, name), size, name))
        stacked = torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2).float() / 255
        return stacked.unflatten(0, (-1, len(pictures)))

    def _conditions(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Gives the conditions (B, M, c) of each object's first pictures, of their second, and so on."""
        if self.image_encoder is None:
            self._wake_vae()
        return [picture_condition(each, self.image_encoder, self.vae) for each in pictures.unbind(1)]

    def _structure(
        self,
        conditions: list[torch.Tensor],
        sampling: FlowSampling,
        mixing: str,
        generator: torch.Generator | list[torch.Generator] | None,
        call_back: Callable,
    ) -> tuple[torch.Tensor, list[int]]:
        """Gives the voxels (N, 4) of all objects, and how many each has."""
        model, config = self.structure_transformer, self.structure_transformer.config
        batch, side = len(conditions[0]), config.sample_size
        shape = (batch, config.in_channels, side, side, side)
        noise = randn_tensor(shape, generator=generator, device=self._execution_device, dtype=torch.float32)

        def velocity(data: torch.Tensor, time: torch.Tensor, keys: Any) -> torch.Tensor:
            return model(data.to(model.dtype), time, keys, return_dict=False)[0]

        def deviation(data: torch.Tensor) -> torch.Tensor:
            return data.flatten(1).std(1).view(-1, 1, 1, 1, 1)

        run = self._velocities(model, conditions, mixing, velocity)
        latents = self._sample(sampling, noise, run, deviation, call_back)
        logits = self.structure_vae.decode(latents, return_dict=False)[0]
        coords, counts = occupied_voxels(logits)
        if 0 in counts:
            index = counts.index(0)
            raise ValueError(
                f"images[{index}] must lead to a structure with voxels, got none: the largest logit is "
                f"{float(logits[index].max()):.3g}; give another seed or picture, or other structure_sampling"
            )
        return coords, counts

    def _latents(
        self,
        coords: torch.Tensor,
        sequences: PackedSequences,
        conditions: list[torch.Tensor],
        sampling: FlowSampling,
        mixing: str,
        generator: torch.Generator | list[torch.Generator] | None,
        call_back: Callable,
    ) -> torch.Tensor:
        """Gives the tokenizer's latents (N, C) fp32 of voxels."""
        model, config, device = self.latent_transformer, self.latent_transformer.config, coords.device
        generators = generator if isinstance(generator, list) else [generator] * len(sequences.lengths)
        noise = torch.cat(
            [
                randn_tensor((length, config.in_channels), generator=one, device=device, dtype=torch.float32)
                for length, one in zip(sequences.lengths, generators, strict=True)
            ]
        )
        layout = SparseLayout.build(coords, sequences.cu_seqlens, config.sample_size)

        def velocity(data: torch.Tensor, time: torch.Tensor, keys: Any) -> torch.Tensor:
            noisy = data.to(model.dtype)
            return model(noisy, coords, sequences.cu_seqlens, time, keys, layout=layout, return_dict=False)[0]

        def deviation(data: torch.Tensor) -> torch.Tensor:
            each = torch.stack([part.std() for part in data.split(list(sequences.lengths))])
            return each[sequences.sample][:, None]

        run = self._velocities(model, conditions, mixing, velocity)
        latents = self._sample(sampling, noise, run, deviation, call_back)
        mean, std = (latents.new_tensor(values) for values in (config.latents_mean, config.latents_std))
        return latents * std + mean

    def _velocities(
        self, model: ConditionedFlowModel, conditions: list[torch.Tensor], mixing: str, velocity: Callable
    ) -> Callable[[torch.Tensor, float, int | None], torch.Tensor]:
        """Gives what computes velocities of a step with the pictures' conditions, whose keys are computed here."""
        keys, batch = [model.condition_keys(condition) for condition in conditions], len(conditions[0])

        def run(data: torch.Tensor, time: float, step: int | None) -> torch.Tensor:
            times = torch.full((batch,), 1000 * time, dtype=torch.float32, device=data.device)
            if step is None:
                return velocity(data, times, None).float()
            if mixing == "stochastic":
                return velocity(data, times, keys[step % len(keys)]).float()
            return torch.stack([velocity(data, times, each).float() for each in keys]).mean(0)

        return run

    def _sample(
        self, sampling: FlowSampling, noise: torch.Tensor, run: Callable, deviation: Callable, call_back: Callable
    ) -> torch.Tensor:
        with self.progress_bar(total=sampling.num_inference_steps) as bar:

            def after_step(step: int, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
                bar.update()
                return call_back(step, timestep, latents)

            return sample_flow(self.scheduler, sampling, noise, run, deviation, after_step)

    def _wake_vae(self) -> None:
        """Brings an offloaded tokenizer back, as accelerate's hook waits for a call of the whole model."""
        hook = getattr(self.vae, "_hf_hook", None)
        if hook is not None:
            hook.pre_forward(self.vae)

    def _check_call(
        self, mixing: str, output_type: str, generator: Any, objects: int, callback_names: Sequence[str]
    ) -> None:
        check_scheduler(self.scheduler, takes_sigmas=True)
        check_callback_names(self, callback_names)
        if mixing not in MIXINGS:
            raise ValueError(f'picture_mixing must be "stochastic" or "multidiffusion", got {mixing!r}')
        if output_type not in ("gaussians", "latent"):
            raise ValueError(f'output_type must be "gaussians" or "latent", got {output_type!r}')
        if isinstance(generator, list) and len(generator) != objects:
            raise ValueError(
                f"generator must be one, or a list of {objects}, one for each object, got {len(generator)}"
            )
        if output_type == "gaussians" and self.vae.gaussian_decoder is None:
            raise ValueError('vae must have a Gaussian decoder, got none; give output_type="latent" to do without')
        if self.latent_transformer.config.latents_mean is None:
            raise ValueError(
                "latent_transformer must have latents_mean and latents_std in its config, got none; set them with "
                "latent_transformer.register_to_config(latents_mean=[...], latents_std=[...])"
            )

    def _check_parts(self) -> None:
        structure, latents, vae = self.structure_transformer.config, self.latent_transformer.config, self.vae.config
        width = condition_width(self.image_encoder, self.vae)
        side = structure.sample_size * self.structure_vae.spatial_compression_ratio
        gaussians = vae.gaussian_config
        expectations = [
            (
                "structure_vae must have latent_channels",
                structure.in_channels,
                self.structure_vae.config.latent_channels,
            ),
            ("vae must have latent_channels", latents.in_channels, vae.latent_channels),
            ("structure_transformer must have cross_attention_dim", width, structure.cross_attention_dim),
            ("latent_transformer must have cross_attention_dim", width, latents.cross_attention_dim),
            ("latent_transformer must have sample_size", side, latents.sample_size),
            ("vae must have a Gaussian decoder with resolution", side, gaussians.resolution if gaussians else side),
        ]
        for what, expected, given in expectations:
            if given != expected:
                raise ValueError(f"{what} {expected}, which the other parts have, got {given}")
        check_autoencoder(self.latent_transformer, self.vae)
        check_scheduler(self.scheduler, takes_sigmas=True)
        size, patch = self.config.picture_size, vae.vision_config.patch_size
        if self.image_encoder is None and (size < 1 or size % patch[1] or size % patch[2]):
            raise ValueError(f"picture_size must be a multiple of the patch of vae, {list(patch[1:])}, got {size}")
