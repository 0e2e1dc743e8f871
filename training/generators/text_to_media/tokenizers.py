"""The tokenizer of a training on images and videos: AToken, or another autoencoder whose latents the corpora hold."""

from collections.abc import Mapping

from atoken.tokenizing.autoencoders import LoadedAutoencoder
from atoken.tokenizing.corpus.models import CorpusModel, load_by_facts
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.loading import encoder_fingerprint


def open_tokenizer(name: str, corpora: Mapping[str, AtokenTokens]) -> CorpusModel:
    """
    Loads a tokenizer on the CPU.

    Args:
        name: folder or Hub name, of AToken or, where the first corpus is of another autoencoder, of that.
        corpora: that it has written, by kind.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be loaded.
    """
    first = next(iter(corpora.values()))
    return load_by_facts({**first.plan.facts["model"], "name": name}, "cpu", "float32")


def fingerprints(loaded: CorpusModel) -> tuple[str, str]:
    """Gives the fingerprints of a model and of its encoder, as plans of corpora have them."""
    if isinstance(loaded, LoadedAutoencoder):
        return loaded.fingerprint, loaded.fingerprint
    return loaded.fingerprint, encoder_fingerprint(loaded.model)


def channels_of(loaded: CorpusModel) -> int:
    """Counts the channels of a model's latents."""
    return loaded.channels if isinstance(loaded, LoadedAutoencoder) else loaded.model.config.latent_channels


def own_statistics(loaded: CorpusModel) -> dict[str, list[float]] | None:
    """Gives "mean" and "std" of latents of a model's own configuration, by which it is known again, or None."""
    config = loaded.model.config
    mean, std = (getattr(config, f"latents_{part}", None) for part in ("mean", "std"))
    if not isinstance(loaded, LoadedAutoencoder):
        mean, std = mean or [0.0] * config.latent_channels, std or [1.0] * config.latent_channels
    return None if mean is None or std is None else {"mean": list(mean), "std": list(std)}
