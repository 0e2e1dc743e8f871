"""A complete Hub repository of a model: weights, processor, remote code, `vae/` for diffusers, a card."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, HfApi, ModelCardData
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from atoken.autoencoder_atoken import AutoencoderAtoken
from atoken.configuration_atoken import AtokenConfig, AtokenVisionConfig
from atoken.conversion_atoken import OFFICIAL_LICENSE
from atoken.modeling_atoken import AtokenModel, AtokenVisionModel
from atoken.processing import AtokenImageProcessor, AtokenProcessor, AtokenVideoProcessor
from atoken.processing.pipelines_atoken import PIPELINES

NOTICE = "LICENSE_NOTICE.md"

# The files, by name, from which sentence-transformers knows how to embed: by the pooled features. Left to itself, it
# would average `last_hidden_state`, whose rows are the tokens of all samples.
SENTENCE_TRANSFORMERS: dict[str, Any] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Normalize",
            "type": "sentence_transformers.base.modules.normalize.Normalize",
        },
    ],
    "sentence_bert_config.json": {
        "transformer_task": "feature-extraction",
        "modality_config": {
            "text": {"method": "get_text_features", "method_output_name": "pooler_output"},
            "image": {"method": "get_image_features", "method_output_name": "pooler_output"},
            "video": {"method": "get_image_features", "method_output_name": "pooler_output"},
        },
        "module_output_name": "sentence_embedding",
    },
}

_REMOTE_CLASSES = {
    AtokenConfig: "AutoConfig",
    AtokenVisionConfig: "AutoConfig",
    AtokenModel: "AutoModel",
    AtokenVisionModel: "AutoModel",
    AtokenProcessor: "AutoProcessor",
    AtokenImageProcessor: "AutoImageProcessor",
    AtokenVideoProcessor: "AutoVideoProcessor",
    AutoencoderAtoken: "AutoModel",
}


@contextmanager
def _remote_code() -> Iterator[None]:
    """While it lasts, saving a model or processor copies its code along and names it in the configuration."""
    for remote_class, auto_class in _REMOTE_CLASSES.items():
        remote_class.register_for_auto_class(auto_class)
    try:
        yield
    finally:
        for remote_class in _REMOTE_CLASSES:
            remote_class._auto_class = None


def read_evaluation(path: Path) -> dict[str, Any]:
    """
    Reads the scores for a card from a JSON file such as `training.json`:
    {"protocol": text, "held_out": {set: {metric: number}}}.

    Raises:
        ValueError: if the file is not of that form.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        scores = {
            name: {metric: float(value) for metric, value in metrics.items()}
            for name, metrics in record["held_out"].items()
        }
        return {"protocol": str(record["protocol"]), "held_out": scores}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            'evaluation must be a JSON file {"protocol": text, "held_out": {set: {metric: number}}}, got '
            f"{path} ({error!r})"
        ) from error


def write_repository(
    model: AtokenModel,
    processor: AtokenProcessor,
    folder: Path,
    name: str,
    license: str,
    evaluation: dict[str, Any] | None = None,
    max_shard_size: str = "5GB",
) -> None:
    """
    Writes everything that a Hub repository of a model needs.

    Args:
        model: as it is to be stored, in its dtype.
        processor: goes along.
        folder: an existing, empty folder.
        name: the repository's name, for the card.
        license: an identifier that the Hub knows, or OFFICIAL_LICENSE.
        evaluation: as `read_evaluation` gives it.
        max_shard_size: weights above it are split.
    """
    with _remote_code():
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        processor.save_pretrained(folder)
        AutoencoderAtoken.from_atoken_model(model).save_pretrained(folder / "vae", max_shard_size=max_shard_size)
    _name_pipelines(folder / "config.json")
    if model.config.text_config is not None:
        for file_name, content in SENTENCE_TRANSFORMERS.items():
            (folder / file_name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(model, name, license, evaluation), encoding="utf-8")
    if license == OFFICIAL_LICENSE:
        (folder / NOTICE).write_text(NOTICE_TEXT, encoding="utf-8")


def _name_pipelines(path: Path) -> None:
    """Names the pipelines, whose code goes along with the processor's, in the configuration of a model."""
    config = json.loads(path.read_text(encoding="utf-8"))
    auto_classes = {"image-feature-extraction": "AutoModel"}
    if config.get("text_config") is not None:
        auto_classes["zero-shot-image-classification"] = "AutoModelForZeroShotImageClassification"
    for auto_class in auto_classes.values():
        config["auto_map"][auto_class] = config["auto_map"]["AutoModel"]
    config["custom_pipelines"] = {
        task: {"impl": f"pipelines_atoken.{PIPELINES[task].__name__}", "pt": [auto_class]}
        for task, auto_class in auto_classes.items()
    }
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def model_card(model: AtokenModel, name: str, license: str, evaluation: dict[str, Any] | None) -> str:
    """Writes the README of a repository, from the configuration and the evaluation."""
    config, quantizer = model.config, model.config.quantizer_config
    results = None
    if evaluation is not None:
        results = [
            EvalResult(
                task_type="image-to-image",
                dataset_type=dataset,
                dataset_name=dataset,
                metric_type=metric,
                metric_value=value,
            )
            for dataset, metrics in evaluation["held_out"].items()
            for metric, value in metrics.items()
            if metric != "count"
        ]
    research = license == OFFICIAL_LICENSE
    metadata = ModelCardData(
        library_name="transformers",
        license="other" if research else license,
        license_name=license if research else None,
        license_link=NOTICE if research else None,
        tags=["vision", "tokenizer", "autoencoder", "image-feature-extraction", "video", "atoken"],
        model_name=name.split("/")[-1],
        eval_results=results,
    )
    frames, rows, columns = config.vision_config.patch_size
    tokens = f"{config.latent_channels} latent channels"
    if quantizer is not None:
        tokens = f"{quantizer.num_codebooks} codes of {quantizer.codebook_size} values"
    parts = {"encoder": config.vision_config, "decoder": config.decoder_config}
    latents = "encoded.latents, inputs.coords" if quantizer is None else "codes=encoded.codes, coords=inputs.coords"
    gaussians = ""
    if config.gaussian_config is not None:
        parts["Gaussian decoder"] = config.gaussian_config
        gaussians = _GAUSSIANS.format(decode=latents)
    sizes = "\n".join(
        f"| {part} | {part_config.hidden_size} | {part_config.num_hidden_layers} | "
        f"{part_config.num_attention_heads} | {part_config.intermediate_size} |"
        for part, part_config in parts.items()
    )
    return _CARD.format(
        metadata=metadata.to_yaml(),
        title=name.split("/")[-1],
        name=name,
        tokens=tokens,
        patch=f"{frames} x {rows} x {columns}",
        parameters=f"{model.num_parameters() / 1e6:.1f} M",
        dtype=str(model.dtype).removeprefix("torch."),
        text_tower="with" if config.text_config is not None else "without",
        sizes=sizes,
        decode=latents,
        gaussians=gaussians,
        evaluation=_evaluation_section(evaluation),
        license=NOTICE_TEXT if research else f"Weights: {license}. Code: Apache-2.0.",
    )


def _evaluation_section(evaluation: dict[str, Any] | None) -> str:
    if evaluation is None:
        return "None was given."
    metrics = sorted({metric for scores in evaluation["held_out"].values() for metric in scores})
    lines = [f"| data | {' | '.join(metrics)} |", f"|---|{'---|' * len(metrics)}"]
    for dataset, scores in evaluation["held_out"].items():
        cells = (f"{scores[metric]:.4g}" if metric in scores else "" for metric in metrics)
        lines.append(f"| {dataset} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Protocol: {evaluation['protocol']}."])


def push_repository(folder: Path, name: str, private: bool, kind: str = "model") -> str:
    """
    Uploads a folder to the Hub.

    Args:
        folder: what to upload.
        name: of the repository, which is created if need be.
        private: whether a new one is.
        kind: "model" or "space".

    Returns:
        The address of the commit.

    Raises:
        ConnectionError: with what the Hub said.
    """
    api = HfApi()
    try:
        sdk = "gradio" if kind == "space" else None
        api.create_repo(name, exist_ok=True, private=private, repo_type=kind, space_sdk=sdk)
        return str(api.upload_folder(repo_id=name, repo_type=kind, folder_path=folder, commit_message="Upload AToken"))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ConnectionError(
            f"{name} could not be written (log in with `hf auth login`); the folder {folder} is complete: {error}"
        ) from error


NOTICE_TEXT = """\
The weights are converted from the authors' AToken checkpoints. **They stay under the authors' research license:
research only, no commercial use.** Read the license that came with the original file, and pass it on. The code is
Apache-2.0.
"""

_GAUSSIANS = """
With `inputs` from the `AtokenVoxelProcessor` of the package `atoken`, voxels decode to 3D Gaussians, one set for each
object:

```python
gaussians = model.decode_gaussians({decode}, cu_seqlens=inputs.cu_seqlens)
```
"""

_CARD = """\
---
{metadata}
---

# {title}

An AToken tokenizer ([paper](https://arxiv.org/abs/2509.14476)): images and videos to 4D tokens and back, and embeddings
of both. A token is {tokens} for {patch} (frames x rows x columns) pixels. {parameters} parameters, {dtype},
{text_tower} text tower.

| | width | blocks | heads | MLP |
|---|---|---|---|---|
{sizes}

## Use

With transformers; with the package `atoken` installed and imported, `trust_remote_code` is not needed:

```python
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("{name}", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("{name}", trust_remote_code=True)
inputs = processor(images=["photo.jpg"])
encoded = model.encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens)
decoded = model.decode({decode}, cu_seqlens=inputs.cu_seqlens)
(photo,) = processor.post_process(decoded.pixel_values, inputs.coords, inputs.cu_seqlens, inputs.media_sizes)
```
{gaussians}
As the autoencoder of a diffusion model:

```python
from diffusers import AutoModel

vae = AutoModel.from_pretrained("{name}", subfolder="vae", trust_remote_code=True)
latents = vae.encode(video).latent_dist.mode()  # (B, 3, T, H, W) in [-1, 1]
video = vae.decode(latents).sample
```

## Evaluation

{evaluation}

## License

{license}
"""
