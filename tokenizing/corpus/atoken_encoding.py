"""Rows encoded by AToken itself: dense or packed, to latents or codes."""

from typing import Any

import torch

from atoken.configuration_atoken import AtokenConfig
from atoken.outputs_atoken import AtokenEncoderOutput
from atoken.processing.image_processing_atoken import output_statistics
from atoken.tokens_atoken import grid_coords, patchify

from ..loading import LoadedModel, encoder_fingerprint, quantizer_sizes
from ..streams import to_pixels
from .decoding import DecodedRow
from .encoding import RowEncoder
from .options import TokenizeOptions


def stored_dtype(config: AtokenConfig, content: str) -> torch.dtype:
    """Gives the number type of what is stored: bfloat16, or the smallest integers that hold all codes."""
    if content == "latents":
        return torch.bfloat16
    return torch.int16 if config.quantizer_config.codebook_size <= 2**15 else torch.int32


def atoken_facts(loaded: LoadedModel, options: TokenizeOptions) -> dict[str, Any]:
    """Gives all of a model that decides the bytes of a corpus, JSON-ready."""
    config, quantizer = loaded.model.config, loaded.model.config.quantizer_config
    processors = loaded.processor.image_processor, loaded.processor.video_processor
    return {
        "name": loaded.name,
        "fingerprint": loaded.fingerprint,
        "encoder": encoder_fingerprint(loaded.model),
        "channels": config.latent_channels,
        "codebooks": None if quantizer is None else quantizer.num_codebooks,
        "entries": None if quantizer is None else quantizer.codebook_size,
        "quantizer": quantizer_sizes(loaded.model),
        "patch_size": list(config.vision_config.patch_size),
        "dtype": str(stored_dtype(config, options.content)).removeprefix("torch."),
        "processor": [[list(each.image_mean), list(each.image_std)] for each in processors],
        "voxels": loaded.processor.voxel_processor.to_dict() if options.kind == "object" else None,
        "tile_frames": config.vision_config.tile_frames,
        "cache_frames": config.vision_config.cache_frames,
    }


class AtokenRowEncoder(RowEncoder):
    """
    Encodes rows with AToken.

    Args:
        loaded: the model.
        options: say what is stored.
    """

    def __init__(self, loaded: LoadedModel, options: TokenizeOptions):
        patch = tuple(loaded.model.config.vision_config.patch_size)
        super().__init__(options, patch, loaded.model.execution_device, loaded.processor.voxel_processor)
        self.loaded, self.model, self.dtype = loaded, loaded.model, loaded.model.dtype
        self.stored_as = stored_dtype(loaded.model.config, options.content)
        processor = loaded.processor
        processor = processor.image_processor if options.kind == "image" else processor.video_processor
        mean, std = (torch.as_tensor(each, dtype=torch.float32) for each in output_statistics(processor))
        # One multiplication and one addition make 8-bit values what the model takes.
        self._scale = (1 / (255 * std)).reshape(-1, 1, 1).to(self.device)
        self._shift = (-mean / std).reshape(-1, 1, 1).to(self.device)

    def encode_dense(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        pixels = self._normalized(pixels)
        if self.options.kind == "image":
            pixels = pixels[:, 0]
        return self._stored(self.model.encode(pixels, batch_tokens=self.options.batch_tokens, pool=False))

    def encode_packed(self, rows: list[DecodedRow], flip: bool) -> dict[str, torch.Tensor]:
        features, coords, lengths = [], [], [0]
        for row in rows:
            if row.pixels is None:
                rgb = self.to_device(row.rgb).float() / 127.5 - 1
                rest = self.model.config.vision_config.patch_dim - rgb.shape[1]
                features.append(torch.nn.functional.pad(rgb, (0, rest)).to(self.dtype))
                coords.append(torch.nn.functional.pad(self.to_device(row.coords).long(), (1, 0)))
            else:
                pixels = self.to_device(self.pixels(row, flip))
                patches = patchify(self._normalized(pixels)[None], self.patch)
                features.append(patches.flatten(0, 3))
                coords.append(grid_coords(tuple(patches.shape[1:4]), self.device))
            lengths.append(lengths[-1] + len(features[-1]))
        cu_seqlens = torch.tensor(lengths, dtype=torch.int32)
        packed = torch.cat(features), torch.cat(coords), cu_seqlens
        return self._stored(self.model.encode(*packed, batch_tokens=self.options.batch_tokens, pool=False))

    def decode(self, values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        latents = self.model.quantizer.from_codes(values) if self.options.content == "codes" else values
        decoding = self.model.decode_stream([latents.to(self.dtype)], as_patches=True)
        patches = torch.cat([piece.float().cpu() for piece in decoding])
        return torch.from_numpy(to_pixels(self.loaded, self.options.kind, patches, size)).permute(0, 3, 1, 2)

    def _normalized(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.float() * self._scale + self._shift).to(self.dtype)

    def _stored(self, encoded: AtokenEncoderOutput) -> dict[str, torch.Tensor]:
        """What is stored, still on the device."""
        if self.options.content == "codes":
            return {"values": encoded.codes.to(self.stored_as)}
        results = {"values": encoded.latents.to(self.stored_as)}
        if self.options.moments:
            results["logvar"] = encoded.latent_dist.logvar.to(self.stored_as)
        return results
