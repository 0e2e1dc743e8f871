"""Images of classes with Lightning-DiT: noise to latents to pixels (AToken paper, section 5.2)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor

# Loading this file as remote code from a local folder, diffusers copies the modules named here and no others. So all
# siblings that are needed are named, even those that only other siblings use.
from .attention_atoken import GeneratorAttention  # noqa: F401
from .class_names_atoken import ClassLabels, class_numbers
from .flow_schedulers_atoken import check_scheduler, scheduled
from .input_checks_atoken import check_generators, check_output_type
from .latent_statistics_atoken import check_autoencoder, denormalized
from .modulation_atoken import Modulation  # noqa: F401
from .step_callbacks_atoken import check_callback_names, run_callback
from .transformer_lightning_dit_atoken import LightningDiTTransformer2DModel


class LightningDiTPipeline(DiffusionPipeline):
    r"""
    Generates images of classes.

    ```python
    pipeline = LightningDiTPipeline.from_pretrained(folder)
    images = pipeline(["red star", "blue disk"], generator=torch.Generator().manual_seed(0)).images
    ```

    Args:
        transformer ([`LightningDiTTransformer2DModel`]): Gives velocities; its configuration has the statistics of
            latents and the names of classes.
        vae ([`AutoencoderAtoken`]): Or another autoencoder of diffusers with as many channels.
        scheduler ([`FlowMatchEulerDiscreteScheduler`]): Or another for flow matching that draws no noise.

    Raises:
        ValueError: the autoencoder is not the one that the transformer was trained on, or the scheduler does not lead
            from noise to data.
    """

    model_cpu_offload_seq = "transformer->vae"
    _callback_tensor_inputs = ["latents"]

    def __init__(self, transformer: LightningDiTTransformer2DModel, vae: Any, scheduler: Any):
        super().__init__()
        self.register_modules(transformer=transformer, vae=vae, scheduler=scheduler)
        channels = vae.config.get("latent_channels")
        if channels is not None and channels != transformer.config.in_channels:
            raise ValueError(
                f"vae must have the transformer's {transformer.config.in_channels} latent channels, got {channels}"
            )
        check_autoencoder(transformer, vae)
        check_scheduler(scheduler, takes_sigmas=False)
        self.image_processor = VaeImageProcessor()

    @torch.no_grad()
    def __call__(
        self,
        class_labels: ClassLabels,
        num_inference_steps: int = 249,
        guidance_scale: float = 1.65,
        guidance_channels: int | None = None,
        guidance_start: float = 0.125,
        shift: float = 0.3,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ImagePipelineOutput | tuple:
        """
        Generates one image of each class given.

        Args:
            class_labels: numbers or names of classes, or a list of them.
            num_inference_steps: Euler steps. The authors' count of grid points is one more, 250.
            guidance_scale: w of v = v_null + w (v_class - v_null); 1 is off.
            guidance_channels: guides only so many channels, from the first on; None for all.
            guidance_start: time from which guidance is on, in [0, 1], where 0 is noise. Before it, the model does not
                run for "no class".
            shift: s of t -> s t / (1 + (s - 1) t); below 1 there are more steps near noise, 1 for even steps.
            generator: of noise, or a list of one for each image, so that an image does not depend on others.
            latents: (B, C, H, W) noise to begin with instead.
            output_type: "pil", "np", "pt", or "latent" for normalized latents.
            return_dict: False for a tuple.
            callback_on_step_end: is called with pipeline, step, time, and a dict with `latents`.
            callback_on_step_end_tensor_inputs: names in that dict.

        Returns:
            `images`: of `output_type`.

        Raises:
            ValueError: an argument does not fit, or the transformer's configuration has no statistics of latents.
        """
        config, device = self.transformer.config, self._execution_device
        numbers = self.check_inputs(
            class_labels,
            num_inference_steps,
            guidance_scale,
            guidance_channels,
            guidance_start,
            shift,
            generator,
            latents,
            output_type,
            callback_on_step_end_tensor_inputs,
        )
        channels = config.in_channels if guidance_channels is None else guidance_channels
        if latents is None:
            shape = self._latents_shape(len(numbers))
            latents = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        latents = latents.to(device, torch.float32)
        labels = torch.tensor(numbers, device=device)
        both_labels = torch.cat([labels, torch.full_like(labels, config.num_classes)])
        scheduler, noise_times = scheduled(self.scheduler, num_inference_steps, 1 / shift, device)
        times = (1 - noise_times).tolist()  # 1 is data here
        for step, timestep in enumerate(self.progress_bar(scheduler.timesteps)):
            time = times[step]
            is_guided = guidance_scale != 1 and time >= guidance_start
            velocity = self._velocity(latents, time, both_labels if is_guided else labels)
            if is_guided:
                with_class, without = velocity.chunk(2)
                guided = without + guidance_scale * (with_class - without)
                velocity = torch.cat([guided[:, :channels], with_class[:, channels:]], dim=1)
            latents = scheduler.step(-velocity, timestep, latents, return_dict=False)[0]
            latents = run_callback(
                self, callback_on_step_end, callback_on_step_end_tensor_inputs, step, timestep, latents
            )
        if output_type == "latent":
            images = latents
        else:
            decoded = self.vae.decode(denormalized(latents, config).to(self.vae.dtype), return_dict=False)[0]
            images = self.image_processor.postprocess(decoded.float(), output_type=output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def check_inputs(
        self,
        class_labels: ClassLabels,
        num_inference_steps: int,
        guidance_scale: float,
        guidance_channels: int | None,
        guidance_start: float,
        shift: float,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> list[int]:
        """
        Checks what images are generated of, before the work.

        Args:
            class_labels: this and the others are those of a call.

        Returns:
            The numbers of the classes.

        Raises:
            ValueError: an argument does not fit, or the transformer's configuration has no statistics of latents.
        """
        check_scheduler(self.scheduler, takes_sigmas=False)
        check_callback_names(self, callback_on_step_end_tensor_inputs)
        config = self.transformer.config
        numbers = class_numbers(class_labels, config.num_classes, config.id2label)
        if not isinstance(num_inference_steps, int) or num_inference_steps < 1:
            raise ValueError(f"num_inference_steps must be an integer of at least 1, got {num_inference_steps!r}")
        if not 0 <= guidance_scale < math.inf:
            raise ValueError(f"guidance_scale must be at least 0, got {guidance_scale}")
        every = range(1, config.in_channels + 1)
        if guidance_channels is not None and guidance_channels not in every:
            raise ValueError(
                f"guidance_channels must be from 1 to {config.in_channels}, or None for all, got {guidance_channels}"
            )
        if not 0 <= guidance_start <= 1:
            raise ValueError(f"guidance_start must be from 0, noise, to 1, data, got {guidance_start}")
        if not 0 < shift < math.inf:
            raise ValueError(f"shift must be above 0, and 1 for even steps, got {shift}")
        check_generators(generator, len(numbers))
        check_output_type(output_type)
        shape = self._latents_shape(len(numbers))
        if latents is not None and (tuple(latents.shape) != shape or not latents.is_floating_point()):
            raise ValueError(f"latents must be {shape} and floating point, got {tuple(latents.shape)} {latents.dtype}")
        if output_type != "latent":
            denormalized(torch.zeros(1, config.in_channels, 1, 1), config)
        return numbers

    def _latents_shape(self, images: int) -> tuple[int, int, int, int]:
        config = self.transformer.config
        return images, config.in_channels, config.sample_size, config.sample_size

    def _velocity(self, latents: torch.Tensor, time: float, labels: torch.Tensor) -> torch.Tensor:
        """Gives velocities in fp32, of each image once for every label: (B, C, H, W) -> (labels, C, H, W)."""
        copies = len(labels) // len(latents)
        noisy = latents.repeat(copies, 1, 1, 1).to(self.transformer.dtype)
        times = torch.full((len(labels),), time, dtype=torch.float32, device=latents.device)
        return self.transformer(noisy, times, labels, return_dict=False)[0].float()
