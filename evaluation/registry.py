"""The names that a configuration may use, and where their classes and functions are; imported when asked for."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

# name -> module:attribute (an attribute may be a classmethod)
TOKENIZERS = {
    "atoken": "atoken_tokenizers:AtokenMedia",
    "atoken-objects": "atoken_tokenizers:AtokenObjects",
    "autoencoder-kl": "diffusers_tokenizers:KLTokenizer",
    "wan": "diffusers_tokenizers:WanTokenizer",
    "hunyuan-video": "diffusers_tokenizers:HunyuanVideoTokenizer",
    "cosmos": "diffusers_tokenizers:CosmosTokenizer",
    "qwen-image": "diffusers_tokenizers:QwenImageTokenizer",
    "autoencoder-dc": "diffusers_tokenizers:DCTokenizer",
    "vq-model": "diffusers_tokenizers:VQTokenizer",
    "emu3": "transformers_tokenizers:Emu3Tokenizer",
    "chameleon": "transformers_tokenizers:ChameleonTokenizer",
    "flat-voxels": "object_baselines:FlatVoxels",
    "image-codec": "image_codecs:ImageCodec",
    "video-codec": "video_codecs:VideoCodec",
    "pca": "pca_tokenizer:PcaTokenizer.load",
}
EMBEDDERS = {
    "atoken": "atoken_tokenizers:AtokenEmbedder",
    "atoken-features": "atoken_features:AtokenFeatures",
    "image-text": "transformers_embedders:ImageTextEmbedder",
    "video-text": "transformers_embedders:VideoTextEmbedder",
}
SETS = {
    "image-folder": "image_sets:image_folder",
    "labelled-folder": "image_sets:labelled_folder",
    "imagenet-v2": "image_sets:imagenet_v2",
    "imagenet-val": "image_sets:imagenet_val",
    "coco": "image_sets:coco",
    "flickr30k": "image_sets:flickr30k",
    "hub-images": "image_sets:hub_images",
    "davis": "video_sets:davis",
    "tokenbench": "video_sets:tokenbench",
    "video-folder": "video_sets:video_folder",
    "msrvtt-1ka": "video_sets:msrvtt_1ka",
    "msvd": "video_sets:msvd",
    "toys4k": "object_sets:toys4k",
    "object-folder": "object_sets:object_folder",
    "miniature-classification": "miniature_sets:miniature_classification",
    "miniature-retrieval": "miniature_sets:miniature_retrieval",
}


def find(table: dict[str, str], name: str, what: str) -> Callable[..., Any]:
    """
    Raises:
        ValueError: no such name.
    """
    if name not in table:
        raise ValueError(f"{what}: there is no {name!r}; there are {', '.join(sorted(table))}")
    module, _, path = table[name].partition(":")
    found = importlib.import_module(f".{module}", __package__)
    for attribute in path.split("."):
        found = getattr(found, attribute)
    return found


def check_options(function: Callable[..., Any], options: dict[str, Any], what: str) -> None:
    """
    Raises:
        ValueError: an option that `function` does not take, or one that it needs and is not given.
    """
    signature = inspect.signature(function)
    unknown = [name for name in options if name not in signature.parameters]
    if unknown:
        raise ValueError(f"{what}: unknown {', '.join(unknown)}; it takes {signature}")
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ValueError(f"{what}: {error}; it takes {signature}") from error
