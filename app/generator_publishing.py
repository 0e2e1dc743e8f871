"""A complete Hub repository of a generator: its pipeline with all parts, their code, and a card."""

import ast
import json
import shutil
import sys
from pathlib import Path

from diffusers import DiffusionPipeline
from huggingface_hub import ModelCardData

from atoken.autoencoder_atoken import AutoencoderAtoken
from atoken.conversion_atoken import OFFICIAL_LICENSE
from atoken.generation import TextToMediaPipeline

from .publishing import NOTICE, NOTICE_TEXT


def write_generator_repository(pipeline: DiffusionPipeline, folder: Path, name: str, license: str) -> None:
    """
    Writes everything that a Hub repository of a generator needs; who loads it needs only diffusers and trusts its code.

    Args:
        pipeline: of `atoken.generation`.
        folder: an existing, empty folder.
        name: the repository's name, for the card.
        license: an identifier that the Hub knows, or OFFICIAL_LICENSE.
    """
    AutoencoderAtoken.register_for_auto_class("AutoModel")
    try:
        pipeline.save_pretrained(folder)
    finally:
        AutoencoderAtoken._auto_class = None
    index_file = folder / "model_index.json"
    index = json.loads(index_file.read_text(encoding="utf-8"))
    index["_class_name"] = [_copy_code(type(pipeline).__module__, folder), type(pipeline).__name__]
    for part, entry in index.items():
        if isinstance(entry, list) and str(entry[0]).startswith("atoken."):
            index[part] = [_copy_code(entry[0], folder / part), entry[1]]
    index_file.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(pipeline, name, license), encoding="utf-8")
    if license == OFFICIAL_LICENSE:
        (folder / NOTICE).write_text(NOTICE_TEXT, encoding="utf-8")


def _copy_code(module: str, folder: Path) -> str:
    """Copies the file of a module, and those beside it that it needs, into a folder; gives the file's name."""
    path = Path(str(sys.modules[module].__file__))
    waiting, copied = [path], set()
    while waiting:
        file = waiting.pop()
        if file in copied:
            continue
        copied.add(file)
        shutil.copy(file, folder / file.name)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
                waiting.append(path.with_name(f"{node.module}.py"))
    return path.stem


def _card(pipeline: DiffusionPipeline, name: str, license: str) -> str:
    research, of_texts = license == OFFICIAL_LICENSE, isinstance(pipeline, TextToMediaPipeline)
    metadata = ModelCardData(
        library_name="diffusers",
        license="other" if research else license,
        license_name=license if research else None,
        license_link=NOTICE if research else None,
        tags=[*_TAGS[of_texts], "diffusers", "atoken"],
        pipeline_tag="text-to-video" if of_texts else "unconditional-image-generation",
    )
    transformer = pipeline.transformer
    facts = {
        "metadata": metadata.to_yaml(),
        "title": name.split("/")[-1],
        "name": name,
        "kind": type(transformer).__name__,
        "parameters": f"{transformer.num_parameters() / 1e6:.1f} M",
        "license": NOTICE_TEXT if research else f"Weights: {license}. Code: Apache-2.0.",
    }
    if of_texts:
        return _CARD_OF_TEXTS.format(**facts)
    names = transformer.config.id2label or {}
    shown = next(iter(names.values()), None)
    return _CARD.format(
        **facts, classes=transformer.config.num_classes, label=repr(str(shown).split(",")[0]) if shown else 0
    )


_TAGS = {False: ["class-conditional-image-generation"], True: ["text-to-image", "text-to-video"]}
_CARD = """\
---
{metadata}
---

# {title}

A `{kind}` ({parameters} parameters) that generates images of {classes} classes out of the tokens of AToken
([paper](https://arxiv.org/abs/2509.14476), section 5), with the autoencoder that decodes them.

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{name}", trust_remote_code=True)
image = pipeline({label}).images[0]
```

## License

{license}
"""
_CARD_OF_TEXTS = """\
---
{metadata}
---

# {title}

A `{kind}` ({parameters} parameters) that generates images and videos of texts out of the tokens of AToken
([paper](https://arxiv.org/abs/2509.14476), section 5), with the autoencoder that decodes them.

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{name}", trust_remote_code=True)
image = pipeline("a red star").images[0]
frames = pipeline("a red star moving left", num_frames=16).frames[0]
```

## License

{license}
"""
