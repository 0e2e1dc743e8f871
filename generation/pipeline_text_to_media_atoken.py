"""Images and videos of texts: noise to latents to pixels (AToken paper, section 5.4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.loaders import HunyuanVideoLoraLoaderMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from diffusers.video_processor import VideoProcessor

# Loading this file as remote code from a local folder, diffusers copies the modules named here and no others. So all
# siblings that are needed are named, even those that only other siblings use.
from .flow_sampling_atoken import FlowSampling, sample_flow
from .flow_schedulers_atoken import check_scheduler
from .input_checks_atoken import check_generators, check_output_type
from .latent_statistics_atoken import check_autoencoder  # noqa: F401
from .media_autoencoders_atoken import decode_media, describe_autoencoder
from .media_checks_atoken import check_condition, check_media_parts, check_negatives, check_num_frames, check_texts
from .media_sampling_atoken import MediaSampling, media_sampling
from .media_statistics_atoken import Statistics, denormalized_media
from .step_callbacks_atoken import check_callback_names, run_callback
from .text_conditions_atoken import TextCondition, encode_texts


@dataclass
class TextToMediaPipelineOutput(BaseOutput):
    """
    Holds what was made; one of the two is None.

    Attributes:
        images: B images of the type that was asked for.
        frames: B videos.
    """

    images: Any = None
    frames: Any = None


class TextToMediaPipeline(DiffusionPipeline, HunyuanVideoLoraLoaderMixin):
    r"""
    Generates images and videos of texts, with one set of weights.

    ```python
    pipeline = TextToMediaPipeline.from_pretrained(folder)
    image = pipeline("a red star", generator=torch.Generator().manual_seed(0)).images[0]
    frames = pipeline("a clip of a red star moving left", num_frames=16).frames[0]
    ```

    Args:
        transformer ([`HunyuanVideoTransformer3DModel`]): Gives velocities from data to noise; see
            `text_to_media_transformer`.
        vae ([`AutoencoderAtoken`]): Decodes latents; or an autoencoder of diffusers: AutoencoderKL and AutoencoderDC of
            images, AutoencoderKLWan, HunyuanVideo, Cosmos and QwenImage also of videos.
        scheduler ([`FlowMatchEulerDiscreteScheduler`]): Or another for flow matching that takes sigmas and draws no
            noise.
        text_encoder, tokenizer (*optional*): Of transformers; gives the states of a text's tokens. Without them, calls
            need embeddings.
        text_encoder_2, tokenizer_2 (*optional*): Give the vector of a whole text, such as CLIP's; without them the
            first encoder does.
        image_statistics, video_statistics (`dict`, *optional*): "mean" and "std" of latents by channel, which the
            transformer was trained with; what has none cannot be decoded.
        vae_statistics (`dict`, *optional*): The autoencoder's own, as they were in training.
        image_sampling, video_sampling (`dict`, *optional*): Settings by the names of `MediaSampling`, which count
            before its defaults.

    All of these are kept in the pipeline's configuration. LoRA weights are loaded as into any pipeline of diffusers,
    with `load_lora_weights`.

    Raises:
        ValueError: the parts do not fit together.
    """

    model_cpu_offload_seq = "text_encoder->text_encoder_2->transformer->vae"
    _optional_components = ["text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"]
    _callback_tensor_inputs = ["latents"]
    _lora_loadable_modules = ["transformer"]

    def __init__(
        self,
        transformer: Any,
        vae: Any,
        scheduler: Any,
        text_encoder: Any = None,
        tokenizer: Any = None,
        text_encoder_2: Any = None,
        tokenizer_2: Any = None,
        image_statistics: Statistics | None = None,
        video_statistics: Statistics | None = None,
        vae_statistics: Statistics | None = None,
        image_sampling: dict[str, Any] | None = None,
        video_sampling: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.register_modules(
            transformer=transformer,
            vae=vae,
            scheduler=scheduler,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=text_encoder_2,
            tokenizer_2=tokenizer_2,
        )
        self.register_to_config(
            image_statistics=image_statistics,
            video_statistics=video_statistics,
            vae_statistics=vae_statistics,
            image_sampling=image_sampling,
            video_sampling=video_sampling,
        )
        check_media_parts(self)
        self.video_processor = VideoProcessor(vae_scale_factor=describe_autoencoder(vae).side)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        num_frames: int = 1,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_rescale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        shift: float | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        condition: TextCondition | None = None,
        negative_condition: TextCondition | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> TextToMediaPipelineOutput | tuple:
        """
        Generates one image or one video of each text.

        Args:
            prompt: a text or a list of texts.
            num_frames: 1 for images; of videos a multiple of 4, from 8 on, as whole latent frames are made, and with an
                autoencoder whose first latent frame is one frame, 1 + 4 k.
            height, width: in pixels, multiples of what one token shows, 16 with AToken; None for the pipeline's own.
            num_inference_steps, guidance_scale, guidance_rescale, guidance_interval, shift: see `MediaSampling`; None
                for the pipeline's own.
            negative_prompt: what guidance leads away from, a text or a list of one for each item; None for the empty
                text, which is what training knows.
            generator: of noise, or a list of one for each item, so that an item does not depend on others.
            latents: (B, C, T, h, w) noise to begin with instead, T = num_frames / 4, or 1 of images; T = 1 + k with an
                autoencoder of 1 + 4 k frames.
            condition, negative_condition: of `encode_prompt`, instead of texts; the latter of one or of B texts.
            output_type: "pil", "np", "pt", or "latent" for normalized latents (B, C, T, h, w).
            return_dict: False for a tuple.
            callback_on_step_end: is called with pipeline, step, time in [0, 1000], and a dict with `latents`.
            callback_on_step_end_tensor_inputs: names in that dict.

        Returns:
            `images` or `frames`, of `output_type`: lists of Pillow's images, of each video one; "np" (B, [T,] H, W, 3)
            and "pt" (B, [T,] 3, H, W) in [0, 1].

        Raises:
            ValueError: an argument does not fit, or there are no statistics of the latents that are to be decoded.
        """
        given = {
            "height": height,
            "width": width,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "guidance_rescale": guidance_rescale,
            "guidance_interval": guidance_interval,
            "shift": shift,
        }
        texts = [prompt] if isinstance(prompt, str) else prompt
        negatives = [negative_prompt] if isinstance(negative_prompt, str) else negative_prompt
        sampling = self.check_inputs(
            texts,
            num_frames,
            given,
            condition,
            negative_condition,
            output_type,
            negatives,
            callback_on_step_end_tensor_inputs,
        )
        count = len(texts) if condition is None else len(condition)
        check_generators(generator, count)
        shape = self._latents_shape(count, num_frames, sampling)
        patch = self.transformer.config.patch_size
        flow = sampling.flow(shape[-1] * shape[-2] // patch**2, shape[2])
        device = self._execution_device
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        elif tuple(latents.shape) != shape or not latents.is_floating_point():
            raise ValueError(f"latents must be {shape} and floating point, got {tuple(latents.shape)} {latents.dtype}")
        condition = self.encode_prompt(texts) if condition is None else condition
        if flow.guidance_scale != 1 and negative_condition is None:
            negative_condition = self.encode_prompt([""] if negatives is None else negatives)
        latents = self._sampled(
            latents.to(device, torch.float32),
            flow,
            condition,
            negative_condition,
            callback_on_step_end,
            callback_on_step_end_tensor_inputs,
        )
        made = latents if output_type == "latent" else self._decoded(latents, num_frames, output_type)
        self.maybe_free_model_hooks()
        if not return_dict:
            return (made,)
        return TextToMediaPipelineOutput(**{"images" if num_frames == 1 else "frames": made})

    def encode_prompt(self, texts: Sequence[str]) -> TextCondition:
        """
        Encodes texts with the pipeline's text encoders; what `condition` takes.

        Raises:
            ValueError: there is no text encoder, or a text is too long.
        """
        if self.text_encoder is None or self.tokenizer is None:
            raise ValueError(
                "prompt must be left out of a pipeline without text_encoder and tokenizer, and condition (and with "
                "guidance negative_condition) given instead"
            )
        return encode_texts(texts, self.tokenizer, self.text_encoder, self.tokenizer_2, self.text_encoder_2)

    def check_inputs(
        self,
        texts: Sequence[str] | None,
        num_frames: int = 1,
        settings: dict[str, Any] | None = None,
        condition: TextCondition | None = None,
        negative_condition: TextCondition | None = None,
        output_type: str = "pil",
        negative_texts: Sequence[str] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> MediaSampling:
        """
        Checks what is generated, before the work.

        Args:
            texts: this and the others are those of a call.
            settings: those of sampling, by the names of `MediaSampling`.

        Returns:
            All settings, with those that were not given.

        Raises:
            ValueError: an argument does not fit, or there are no statistics of the latents that are to be decoded.
        """
        check_scheduler(self.scheduler, takes_sigmas=True)
        check_callback_names(self, callback_on_step_end_tensor_inputs)
        check_texts(texts, condition is not None)
        check_negatives(negative_texts, negative_condition, len(texts if condition is None else condition))
        about = describe_autoencoder(self.vae)
        check_num_frames(num_frames, about)
        kind = "image" if num_frames == 1 else "video"
        own = self.config[f"{kind}_sampling"]
        sampling = media_sampling(1 if num_frames == 1 else 2, (f"{kind}_sampling", own), ("settings", settings))
        side = about.side * self.transformer.config.patch_size
        for name in ("height", "width"):
            value = getattr(sampling, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < side or value % side:
                raise ValueError(f"{name} must be a multiple of {side} pixels, got {value!r}")
        sampling.flow(1, 1)
        for name, each in (("condition", condition), ("negative_condition", negative_condition)):
            check_condition(name, each, self.transformer.config)
        check_output_type(output_type)
        if output_type != "latent" and self.config[f"{kind}_statistics"] is None:
            raise ValueError(
                f"the pipeline must have {kind}_statistics to decode {kind}s, got none: it was not trained on {kind}s; "
                f'give it those of the corpus it was trained on, or take output_type="latent"'
            )
        return sampling

    def _latents_shape(self, count: int, num_frames: int, sampling: MediaSampling) -> tuple[int, ...]:
        about, channels = describe_autoencoder(self.vae), self.transformer.config.in_channels
        rows, columns = sampling.height // about.side, sampling.width // about.side
        return count, channels, about.latent_frames(num_frames), rows, columns

    def _sampled(
        self,
        noise: torch.Tensor,
        flow: FlowSampling,
        condition: TextCondition,
        negative: TextCondition | None,
        call_back: Callable | None,
        names: Sequence[str],
    ) -> torch.Tensor:
        """Goes from noise to normalized latents, both (B, C, T, h, w) fp32."""
        model, device, count = self.transformer, noise.device, len(noise)
        seen = condition.to(device, model.dtype)
        null = None if negative is None else negative.to(device, model.dtype).repeated(count)

        def velocity(data: torch.Tensor, time: float, step: int | None) -> torch.Tensor:
            text = null if step is None else seen
            times = torch.full((count,), 1000 * time, dtype=torch.float32, device=device)
            found = model(data.to(model.dtype), times, text.embeds, text.mask, text.pooled, return_dict=False)
            return found[0].float()

        def deviation(data: torch.Tensor) -> torch.Tensor:
            return data.flatten(1).std(1).view(-1, 1, 1, 1, 1)

        with self.progress_bar(total=flow.num_inference_steps) as bar:

            def after_step(step: int, timestep: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
                bar.update()
                return run_callback(self, call_back, names, step, timestep, data)

            return sample_flow(self.scheduler, flow, noise, velocity, deviation, after_step)

    def _decoded(self, latents: torch.Tensor, num_frames: int, output_type: str) -> Any:
        kind = "image" if num_frames == 1 else "video"
        whole = denormalized_media(latents, self.config[f"{kind}_statistics"]).to(self.vae.dtype)
        media = decode_media(self.vae, whole, num_frames).float()
        if num_frames == 1:
            return self.video_processor.postprocess(media, output_type=output_type)
        return self.video_processor.postprocess_video(media, output_type=output_type)
