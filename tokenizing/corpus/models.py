"""The models that make corpora, AToken and autoencoders of diffusers: which encoder and which facts each has."""

from typing import Any

from ..autoencoders import LoadedAutoencoder, load_autoencoder
from ..loading import LoadedModel, load_model
from .atoken_encoding import AtokenRowEncoder, atoken_facts
from .autoencoder_encoding import AutoencoderRowEncoder, autoencoder_facts, check_autoencoder_options
from .encoding import RowEncoder
from .options import TokenizeOptions

CorpusModel = LoadedModel | LoadedAutoencoder


def model_facts(loaded: CorpusModel, options: TokenizeOptions) -> dict[str, Any]:
    """
    Gives all of a model that decides the bytes of a corpus, JSON-ready.

    Raises:
        ValueError: the model cannot give what the options ask for.
    """
    if isinstance(loaded, LoadedAutoencoder):
        check_autoencoder_options(loaded, options)
        return autoencoder_facts(loaded)
    options.check_model(loaded.model.config)
    return atoken_facts(loaded, options)


def load_by_facts(facts: dict[str, Any], device: str, dtype: str) -> CorpusModel:
    """
    Loads the model that facts describe.

    Raises:
        FileNotFoundError: it is not where it was.
        ValueError: the device is not there, or the model cannot be loaded.
    """
    load = load_autoencoder if "class" in facts else load_model
    return load(facts["name"], device, dtype)


def new_encoder(loaded: CorpusModel, options: TokenizeOptions) -> RowEncoder:
    """Makes what encodes the rows of a corpus."""
    if isinstance(loaded, LoadedAutoencoder):
        return AutoencoderRowEncoder(loaded, options)
    return AtokenRowEncoder(loaded, options)
