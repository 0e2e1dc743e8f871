"""A generator of images and videos, made for corpora and the tokenizer that has written them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import HunyuanVideoTransformer3DModel
from torch import nn

from atoken.generation import text_to_media_transformer
from atoken.tokenizing.corpus.models import CorpusModel
from atoken.tokenizing.corpus.reading import AtokenTokens

from .captions import CaptionConditions
from .stage import TextToMediaStage
from .statistics_file import read_statistics
from .tokenizers import fingerprints, own_statistics

# What LoRA is added to where the stage names nothing: the attention of both streams.
LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]


def check_corpus(name: str, corpus: AtokenTokens, kind: str, loaded: CorpusModel, patch_size: int) -> None:
    """
    Checks that a corpus has latents and captions of a kind, and that a tokenizer has written it.

    Args:
        name: of the corpus in the caller, for errors.
        corpus: that is to be learned of.
        kind: "image" or "video".
        loaded: the tokenizer.
        patch_size: rows and columns of latents that become one token of the transformer.

    Raises:
        ValueError: naming what does not fit; of another tokenizer, both.
    """
    options, planned = corpus.options, corpus.plan.facts["model"]
    if (options.kind, options.content) != (kind, "latents") or "caption" not in options.keep:
        raise ValueError(
            f"{name} must be a corpus of latents of {kind}s with a kept caption, got {options.content} of "
            f"{options.kind}s with {', '.join(options.keep) or 'nothing kept'}; tokenize with --kind {kind} and --keep "
            "caption"
        )
    if (planned["fingerprint"], planned["encoder"]) != fingerprints(loaded):
        raise ValueError(
            f"{name} must be a corpus of the tokenizer {loaded.name!r} (fingerprint {loaded.fingerprint}), got one of "
            f"{planned['name']!r} (fingerprint {planned['fingerprint']}); give the tokenizer that has written it"
        )
    # What other autoencoders have encoded has the frames that they can decode.
    if kind == "video" and "class" not in planned:
        ratio = planned["patch_size"][0]
        frames = {int(each) for each in corpus.column("frames")}
        wrong = sorted(each for each in frames if each % ratio or each < 2 * ratio)
        if wrong:
            raise ValueError(
                f"{name} must have videos of a multiple of {ratio} frames, from {2 * ratio} on, as images are those of "
                f"one latent frame, got {wrong[0]}; tokenize with --frames"
            )
    sizes = corpus.sizes()[:, 1:]
    uneven = (sizes % patch_size).any(1)
    if uneven.any():
        rows, columns = sizes[uneven][0].tolist()
        raise ValueError(
            f"{name} must have latents that fill the stage's patches of {patch_size} x {patch_size}, got "
            f"{rows} x {columns}"
        )


def statistics_of(corpora: Mapping[str, AtokenTokens], loaded: CorpusModel, start: Path | None) -> dict[str, Any]:
    """
    Gives the statistics that a pipeline of the trained transformer needs, by its arguments' names.

    Args:
        corpora: by kind.
        loaded: their tokenizer.
        start: folder of the training that this one goes on from, whose statistics hold for kinds that are left out.

    Raises:
        ValueError: the training before normalized one of the kinds with other statistics.
    """
    found: dict[str, Any] = {
        f"{kind}_statistics": {"mean": corpus.mean.tolist(), "std": corpus.std.tolist()}
        for kind, corpus in corpora.items()
    }
    own = own_statistics(loaded)
    if own is not None:
        found["vae_statistics"] = own
    if start is None:
        return found
    before = read_statistics(start)
    for name in before.keys() & found.keys():
        if before[name] != found[name]:
            raise ValueError(
                f"init_from must have been trained with the same {name} as the corpora given, got others in {start}; "
                "give the same corpus and tokenizer"
            )
    return {**before, **found}


def build_transformer(
    stage: TextToMediaStage, channels: int, captions: CaptionConditions, start: Path | None = None
) -> HunyuanVideoTransformer3DModel:
    """
    Makes the transformer that is trained.

    Args:
        stage: says its size, and what LoRA is added to.
        channels: of latents.
        captions: whose widths it takes.
        start: folder of weights to begin with, such as those of the image stage; no parameter is new in videos, unless
            the stage has more blocks.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: the weights are of other sizes.
    """
    states, pooled = captions.widths
    model = text_to_media_transformer(
        stage.preset, channels, **{"text_embed_dim": states, "pooled_projection_dim": pooled, **stage.model}
    )
    start_at_zero(model)
    if start is not None:
        load_start(model, start)
    elif stage.lora is not None:
        raise ValueError("init_from must be given where lora is, as LoRA adds to trained weights, got none")
    if stage.lora is not None:
        from peft import LoraConfig

        model.requires_grad_(False)
        model.add_adapter(LoraConfig(**{"lora_alpha": stage.lora["r"], "target_modules": LORA_TARGETS, **stage.lora}))
    return model


@torch.no_grad()
def start_at_zero(model: HunyuanVideoTransformer3DModel) -> None:
    """Lets all gates, shifts and scales and the last layer begin at zero, as diffusion transformers do (DiT)."""
    refiner = model.context_embedder.token_refiner.refiner_blocks
    gates = [block.norm_out.linear for block in refiner]
    gates += [norm.linear for block in model.transformer_blocks for norm in (block.norm1, block.norm1_context)]
    for layer in (*gates, model.norm_out.linear, model.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def load_start(model: HunyuanVideoTransformer3DModel, folder: Path) -> None:
    """
    Reads weights into a transformer of the same sizes, or of more blocks.

    Blocks that are added come last. As `start_at_zero` leaves them, they change nothing, so that the deeper model
    begins as the one that was trained.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: they are of other sizes.
    """
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"init_from must be the folder of a trained transformer, got {folder}")
    given = HunyuanVideoTransformer3DModel.from_pretrained(folder)
    names = [name for name in model.config if not name.startswith("_")]
    differing = [name for name in names if _plain(given.config[name]) != _plain(model.config[name])]
    if given.config["num_layers"] < model.config["num_layers"]:
        differing.remove("num_layers")
    if differing:
        name = differing[0]
        raise ValueError(
            f"init_from must have the sizes of the stage, got another {', '.join(differing)} in {folder}: {name} is "
            f"{given.config[name]}, not {model.config[name]}"
        )
    model.load_state_dict({**model.state_dict(), **given.state_dict()})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
