"""Images of classes with TokenBridge: codes, drawn step by step, to pixels (AToken paper, section 5.3)."""

from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.image_processor import VaeImageProcessor

# Loading this file as remote code from a local folder, diffusers copies the modules named here and no others. So all
# siblings that are needed are named, even those that only other siblings use.
from .attention_atoken import GeneratorAttention  # noqa: F401
from .class_names_atoken import ClassLabels, class_numbers
from .code_values_atoken import fsq_code_values  # noqa: F401
from .drawing_atoken import Generators
from .latent_statistics_atoken import check_autoencoder
from .modulation_atoken import Modulation  # noqa: F401
from .token_bridge_checks_atoken import check_sampling  # noqa: F401
from .token_bridge_head_atoken import TokenBridgeHead  # noqa: F401
from .transformer_token_bridge_atoken import TokenBridgeModel


class TokenBridgePipeline(DiffusionPipeline):
    r"""
    Generates images of classes.

    Args:
        transformer ([`TokenBridgeModel`]): Generates codes; its configuration has the names of classes.
        vae ([`AutoencoderAtoken`]): With a quantizer of the same codes.

    Raises:
        ValueError: the autoencoder has no codes or others, or is not the one that the transformer was trained on.
    """

    model_cpu_offload_seq = "transformer->vae"

    def __init__(self, transformer: TokenBridgeModel, vae: Any):
        super().__init__()
        self.register_modules(transformer=transformer, vae=vae)
        quantizer = getattr(vae, "quantizer", None)
        if quantizer is None:
            raise ValueError("vae must have codes, as a discrete AutoencoderAtoken does, got one without a quantizer")
        expected = {name: transformer.config[name] for name in ("num_codes", "codebook_size")}
        given = {"num_codes": quantizer.num_codebooks, "codebook_size": quantizer.codebook_size}
        if given != expected:
            raise ValueError(f"vae must have the transformer's codes, {expected}, got {given}")
        check_autoencoder(transformer, vae)
        self.image_processor = VaeImageProcessor()

    @torch.no_grad()
    def __call__(
        self,
        class_labels: ClassLabels,
        num_inference_steps: int | None = None,
        guidance_scale: float = 3.1,
        guidance_schedule: str = "linear",
        temperature: float = 0.96,
        order: torch.Tensor | None = None,
        first_element: str = "training",
        generator: Generators = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """
        Generates one image of each class given.

        Args:
            class_labels: numbers or names of classes, or a list of them.
            num_inference_steps: from 1 to N positions; N, one position a step, when not given, as in the paper.
            guidance_scale, guidance_schedule, temperature, order, first_element: see `TokenBridgeModel.generate`.
            generator: of random numbers, or a list of one for each image, so that an image does not depend on others.
            output_type: "pil", "np", "pt", or "latent" for codes (B, G, h, w).
            return_dict: False for a tuple.

        Returns:
            `images`: of `output_type`.

        Raises:
            ValueError: an argument does not fit.
        """
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f'output_type must be "pil", "np", "pt" or "latent", got {output_type!r}')
        config, device = self.transformer.config, self._execution_device
        labels = torch.tensor(class_numbers(class_labels, config.num_classes, config.id2label), device=device)
        steps = self.transformer.num_positions if num_inference_steps is None else num_inference_steps
        with self.progress_bar(total=steps) as bar:
            codes = self.transformer.generate(
                labels,
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
                guidance_schedule=guidance_schedule,
                temperature=temperature,
                order=order,
                first_element=first_element,
                generator=generator,
                callback=lambda step: bar.update(),
            )
        side = config.sample_size
        codes = codes.transpose(1, 2).unflatten(2, (side, side))  # (B, N, G) -> (B, G, h, w)
        if output_type == "latent":
            images = codes
        else:
            decoded = self.vae.decode(self.vae.latents_from_codes(codes), return_dict=False)[0]
            images = self.image_processor.postprocess(decoded.float(), output_type=output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)
