"""AToken behind the harness's interface: images, videos and objects to latents or codes and back, and embeddings."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from atoken.processing.cameras_atoken import Cameras
from atoken.processing.mesh_reading_atoken import ColoredMesh
from atoken.processing.views_atoken import mesh_views
from atoken.tokenizing.latent_files import bits_per_token
from atoken.tokenizing.loading import load_model
from atoken.tokenizing.objects import decode_to_gaussians, encode_mesh, gaussian_pictures, stored
from atoken.tokenizing.streams import MediaStream

from ..dtypes import checked_dtype
from ..fingerprints import model_fingerprints
from ..interface import Embedder, Encoded, MediaTokenizer, ObjectTokenizer

VOXEL_BITS = 18  # a place on the 64^3 grid


class _Loaded:
    """
    Loads a model, and counts what its latents or codes cost.

    Args:
        model: an embedded name, a folder or a Hub name.
        device: "cpu", "cuda" or "auto".
        dtype: of the weights and the computation.
        latent_dtype: in which continuous latents are stored; codes are exact.

    Attributes:
        parts: of the model, on whose weights results depend.
    """

    parts: tuple[str, ...] = ("vision_model", "latent_proj", "decoder")

    def __init__(self, model: str, device: str = "cpu", dtype: str = "float32", latent_dtype: str = "bfloat16"):
        checked_dtype(latent_dtype, "latent_dtype")
        self.loaded = load_model(model, device, dtype)
        self.name, self.dtype, self.latent_dtype = model, dtype, latent_dtype
        quantizer = self.loaded.model.config.quantizer_config if self.loaded.discrete else None
        self.codebook_sizes = (quantizer.codebook_size,) * quantizer.num_codebooks if quantizer else ()
        self.content = "codes" if quantizer else "latents"

    def bits_per_token(self) -> float:
        return bits_per_token(self.loaded.model.config, self.content, getattr(torch, self.latent_dtype))

    def describe(self) -> dict[str, Any]:
        return {
            "class": type(self).__name__,
            "model": self.loaded.name,
            "decoder_fingerprint": self.loaded.fingerprint,
            "dtype": self.dtype,
            "stored_as": self.content if self.loaded.discrete else self.latent_dtype,
        }

    def fingerprints(self) -> dict[str, str]:
        return model_fingerprints(self.loaded, self.parts)


class AtokenMedia(_Loaded, MediaTokenizer):
    """Stores whole images and videos; videos pass tile by tile, with the model's own cache."""

    kinds = frozenset({"image", "video"})

    def encode(self, media: torch.Tensor) -> Encoded:
        stream = MediaStream.of_frames(self.loaded, media.permute(0, 2, 3, 1).numpy())
        pieces = self.loaded.model.encode_stream((piece.patches for piece in stream), as_patches=True)
        latents = torch.cat([piece.cpu() for piece in pieces])  # (t, h, w, channels)
        bits = round(math.prod(latents.shape[:3]) * self.bits_per_token())
        codes = None
        if self.loaded.discrete:
            codes = kept = self.loaded.model.quantizer.to_codes(latents)
        else:
            kept = latents.to(getattr(torch, self.latent_dtype))
        return Encoded((kept, stream), bits, tuple(kept.shape), codes)

    def decode(self, encoded: Encoded) -> torch.Tensor:
        kept, stream = encoded.payload
        latents = self.loaded.model.quantizer.from_codes(kept) if self.loaded.discrete else kept
        decoded = self.loaded.model.decode_stream([latents.to(self.loaded.model.dtype)], as_patches=True)
        frames = torch.cat([torch.from_numpy(stream.to_pixels(piece.float().cpu())) for piece in decoded])
        # The last patch may end with frames that padded it.
        return frames[: stream.frames].permute(0, 3, 1, 2).contiguous()


class AtokenObjects(_Loaded, ObjectTokenizer):
    """
    Stores meshes as latents or codes of their voxels, and the places of these (18 bits); decodes them to Gaussians.

    Raises:
        ValueError: the model has no Gaussian decoder.
    """

    kinds = frozenset({"object"})
    parts = (*_Loaded.parts, "gaussian_decoder")

    def __init__(self, model: str, device: str = "cpu", dtype: str = "float32", latent_dtype: str = "bfloat16"):
        super().__init__(model, device, dtype, latent_dtype)
        if self.loaded.model.gaussian_decoder is None:
            raise ValueError(f"model must have a Gaussian decoder to reconstruct objects, got {model}, which has none")

    def encode(self, mesh: ColoredMesh) -> Encoded:
        item = encode_mesh(self.loaded, mesh)
        latents = stored(self.loaded, item.latents, self.latent_dtype)
        codes = self.loaded.model.quantizer.to_codes(latents) if self.loaded.discrete else None
        bits = round(len(latents) * (self.bits_per_token() + VOXEL_BITS))
        shape = tuple((latents if codes is None else codes).shape)
        return Encoded((latents, item.coords), bits, shape, codes)

    def render(self, encoded: Encoded, cameras: Cameras, size: int) -> torch.Tensor:
        gaussians, _ = decode_to_gaussians(self.loaded, *encoded.payload)
        return torch.from_numpy(gaussian_pictures(gaussians, cameras, size)).permute(0, 3, 1, 2).contiguous()


class AtokenEmbedder(Embedder):
    """
    Gives the pooled embeddings of images, videos and objects, and those of texts.

    Args:
        model, device, dtype: as for the tokenizers.
        video: "frames" embeds every frame as an image and averages unit vectors (paper, Table 7); "whole" takes the
            video's own embedding.

    Raises:
        ValueError: the model has no text tower, no tokenizer files or no pooling head.
    """

    kinds = frozenset({"image", "video", "object"})

    def __init__(self, model: str, device: str = "cpu", dtype: str = "float32", video: str = "frames"):
        if video not in ("frames", "whole"):
            raise ValueError(f'video must be "frames" or "whole", got {video!r}')
        self.loaded, self.name, self.dtype, self.video = load_model(model, device, dtype), model, dtype, video
        if self.loaded.model.text_model is None:
            raise ValueError(f"model must have a text tower to compare texts with, got {model}, which has none")
        if self.loaded.processor.tokenizer is None:
            raise ValueError(
                f"model must have the files of a text tokenizer, got {model}, which has a text tower alone"
            )
        if not self.loaded.model.config.vision_config.vision_use_head:
            raise ValueError(f"model must have a pooling head to make embeddings, got {model}, which has none")

    def embed(self, samples: Sequence[torch.Tensor | ColoredMesh]) -> torch.Tensor:
        return torch.stack([self._embed_one(sample) for sample in samples])

    def _embed_one(self, sample: torch.Tensor | ColoredMesh) -> torch.Tensor:
        """Embeds one sample: (d,) float32."""
        if isinstance(sample, ColoredMesh):
            return self._pooled(voxels=[mesh_views(sample)])[0]
        if len(sample) > 1 and self.video == "whole":
            options = {"do_sample_frames": False, "input_data_format": "channels_first"}
            return self._pooled(videos=[sample.numpy()], videos_kwargs=options)[0]
        options = {"input_data_format": "channels_first"}
        frames = self._pooled(images=[frame.numpy() for frame in sample], images_kwargs=options)
        return frames[0] if len(frames) == 1 else F.normalize(frames, dim=-1).mean(0)

    @torch.no_grad()
    def _pooled(self, **inputs: Any) -> torch.Tensor:
        packed = self.loaded.processor(**inputs).to(self.loaded.model.device)
        features = self.loaded.model.get_image_features(packed.pixel_values, packed.coords, packed.cu_seqlens)
        return features.pooler_output.float().cpu()

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        length = min(64, self.loaded.model.config.text_config.max_position_embeddings)
        packed = self.loaded.processor(text=list(texts), text_kwargs={"max_length": length})
        features = self.loaded.model.get_text_features(packed.input_ids.to(self.loaded.model.device))
        return features.pooler_output.float().cpu()

    def describe(self) -> dict[str, Any]:
        return {
            "class": type(self).__name__,
            "model": self.loaded.name,
            "dtype": self.dtype,
            "video": self.video,
        }

    def fingerprints(self) -> dict[str, str]:
        return model_fingerprints(self.loaded, ("vision_model", "text_model"))
