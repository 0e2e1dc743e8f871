"""A generator and its objective, made for a corpus and the tokenizer that has written it."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from atoken import AutoencoderAtoken
from atoken.generation import LightningDiTTransformer2DModel, TokenBridgeModel
from atoken.tokenizing.autoencoders import load_autoencoder
from atoken.tokenizing.corpus.reading import AtokenTokens

from .code_start import share_digits
from .lightning_dit_objective import LightningDiTObjective
from .stage import GeneratorStage
from .token_bridge_objective import TokenBridgeObjective


def open_tokenizer(name: str, corpus: AtokenTokens) -> Any:
    """
    Loads the autoencoder that has written a corpus, as a model of diffusers on the CPU.

    Args:
        name: folder or Hub name, of AToken or, where the corpus is of another one, of that.
        corpus: says which it was.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is another one.
    """
    planned = corpus.plan.facts["model"]
    if "class" not in planned:
        return AutoencoderAtoken.from_pretrained(name)
    loaded = load_autoencoder(name, "cpu", "float32")
    if loaded.fingerprint != planned["fingerprint"]:
        raise ValueError(
            f"tokenizer must be the {planned['class']} that has written the corpus, {planned['name']!r} (fingerprint "
            f"{planned['fingerprint']}), got {loaded.name!r} (fingerprint {loaded.fingerprint})"
        )
    return loaded.model


def build_generator(
    stage: GeneratorStage, corpus: Any, vae: Any, class_names: Sequence[str] | None = None
) -> LightningDiTTransformer2DModel | TokenBridgeModel:
    """
    Makes a generator with random weights, in the sizes of a corpus of images.

    Args:
        stage: says which.
        corpus: an `AtokenTokens`, whose first row shows the sizes and whose statistics normalize latents.
        vae: the autoencoder that has written it, whose statistics are noted.
        class_names: one for each class, else the labels of the stage's `num_classes` have no names.

    Raises:
        ValueError: the corpus has no labels, the other kind of tokens, or tokens of several sizes, or the autoencoder
            has other tokens.
    """
    first = corpus[0]
    wanted = "latents" if stage.generator == "lightning-dit" else "codes"
    if wanted not in first or "label" not in first:
        raise ValueError(
            f"corpus must hold {wanted} and a kept label for {stage.generator}, got {', '.join(sorted(first))}; "
            "tokenize with the other kind of model, or with --keep label"
        )
    sizes = {tuple(size) for size in corpus.sizes().tolist()}
    rows, columns = first[wanted].shape[1:] if wanted == "latents" else first[wanted].shape[:2]
    if len(sizes) > 1 or rows != columns:
        raise ValueError(f"tokens must be of squares of one size, got {len(sizes)} sizes, the first {rows} x {columns}")
    options: dict[str, Any] = {"sample_size": int(rows)}
    for name in ("latents_mean", "latents_std"):
        # Other autoencoders than AToken have none, or not in their configuration.
        noted = vae.config.get(name)
        options[f"vae_{name}"] = None if noted is None else list(noted)
    if class_names is not None:
        options |= {"num_classes": len(class_names), "id2label": dict(enumerate(class_names))}
    if wanted == "latents":
        channels = first["latents"].shape[0]
        if channels != vae.config.latent_channels:
            raise ValueError(f"tokenizer must have the corpus's {channels} channels, got {vae.config.latent_channels}")
        options |= {"in_channels": channels, "latents_mean": corpus.mean.tolist(), "latents_std": corpus.std.tolist()}
        return LightningDiTTransformer2DModel.from_preset(stage.preset, **{**options, **stage.model})
    quantizer = getattr(vae, "quantizer", None)
    if quantizer is None or quantizer.num_codebooks != first["codes"].shape[-1]:
        raise ValueError(f"tokenizer must have the corpus's {first['codes'].shape[-1]} codes of each token")
    options |= {
        "num_codes": quantizer.num_codebooks,
        "codebook_size": quantizer.codebook_size,
        "code_channels": quantizer.codebook_dim,
        "code_levels": quantizer.levels,
    }
    model = TokenBridgeModel.from_preset(stage.preset, **{**options, **stage.model})
    if stage.share_digits:
        share_digits(model)
    return model


def build_objective(model: nn.Module, stage: GeneratorStage, seed: int) -> LightningDiTObjective | TokenBridgeObjective:
    """Makes what a generator learns by."""
    if isinstance(model, LightningDiTTransformer2DModel):
        return LightningDiTObjective(model, stage, seed)
    assert isinstance(model, TokenBridgeModel)
    return TokenBridgeObjective(model, stage, seed)
