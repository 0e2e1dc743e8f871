"""The tokenizer of a training on images and videos: AToken, or another autoencoder whose latents the corpora hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atoken.tokenizing.autoencoders import load_autoencoder
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.loading import LoadedModel, encoder_fingerprint, load_model


@dataclass(frozen=True)
class MediaTokenizer:
    """
    Holds what a training has to know of its tokenizer.

    Attributes:
        name: what leads to it.
        fingerprints: of the model and of its encoder, as the plans of its corpora have them.
        channels: of its latents.
        frames: r, frames of a video that become one latent frame; 1 of an autoencoder of pictures.
        is_causal: whether videos have 1 + r k frames, in place of r k.
        statistics: "mean" and "std" of latents in its configuration, or None.
        atoken: the loaded model, whose text tower may read captions; None of another autoencoder.
    """

    name: str
    fingerprints: tuple[str, str]
    channels: int
    frames: int
    is_causal: bool
    statistics: dict[str, list[float]] | None
    atoken: LoadedModel | None


def open_tokenizer(name: str, corpora: Mapping[str, AtokenTokens]) -> MediaTokenizer:
    """
    Loads a tokenizer on the CPU.

    Args:
        name: folder or Hub name, of AToken or, where a corpus is of another autoencoder, of that.
        corpora: that it has written.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be loaded.
    """
    if any("class" in corpus.plan.facts["model"] for corpus in corpora.values()):
        other = load_autoencoder(name, "cpu", "float32")
        config, fingerprints = other.model.config, (other.fingerprint, other.fingerprint)
        mean, std = config.get("latents_mean"), config.get("latents_std")
        statistics = None if mean is None or std is None else _as_lists(mean, std)
        return MediaTokenizer(name, fingerprints, other.channels, other.frames, other.frames > 1, statistics, None)
    loaded = load_model(name, "cpu")
    config, fingerprints = loaded.model.config, (loaded.fingerprint, encoder_fingerprint(loaded.model))
    channels, frames = config.latent_channels, config.vision_config.patch_size[0]
    statistics = _as_lists(config.latents_mean or [0.0] * channels, config.latents_std or [1.0] * channels)
    return MediaTokenizer(loaded.name, fingerprints, channels, frames, False, statistics, loaded)


def _as_lists(mean: Sequence[Any], std: Sequence[Any]) -> dict[str, list[float]]:
    return {"mean": [float(value) for value in mean], "std": [float(value) for value in std]}
