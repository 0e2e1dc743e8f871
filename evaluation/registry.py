"""The names that a configuration may use, and the classes and functions behind them."""

from collections.abc import Callable
from typing import Any

from .models.atoken_features import AtokenFeatures
from .models.atoken_tokenizers import AtokenEmbedder, AtokenMedia, AtokenObjects
from .models.cosmos_torchscript import CosmosTorchScript
from .models.diffusers_tokenizers import (
    CosmosTokenizer,
    DCTokenizer,
    HunyuanVideoTokenizer,
    KLTokenizer,
    QwenImageTokenizer,
    VQTokenizer,
    WanTokenizer,
)
from .models.generators import PipelineSamples, StoredSamples
from .models.image_codecs import ImageCodec
from .models.named_classes import named_embedder, named_generator, named_tokenizer
from .models.object_baselines import FlatVoxels
from .models.open_clip_embedders import OpenClipEmbedder
from .models.pca import PcaTokenizer
from .models.stored_reconstructions import CommandReconstructions, FolderReconstructions
from .models.text_to_media import StoredMedia, TextToMediaSamples
from .models.transformers_embedders import ImageTextEmbedder, VideoTextEmbedder
from .models.transformers_tokenizers import ChameleonTokenizer, Emu3Tokenizer
from .models.video_codecs import VideoCodec
from .reports.geneval import read_geneval
from .reports.lmms_results import read_lmms_results
from .reports.vbench import read_vbench
from .sets.array_sets import adm_reference
from .sets.caption_sets import geneval_prompts, prompt_file, vbench_prompts
from .sets.image_sets import coco, flickr30k, hub_images, image_folder, imagenet_v2, imagenet_val, labeled_folder
from .sets.miniature_sets import miniature_captions, miniature_classification, miniature_retrieval
from .sets.object_sets import object_folder, toys4k
from .sets.photo_words import photo_words
from .sets.video_sets import davis, msrvtt_1ka, msvd, tokenbench, video_folder

TOKENIZERS: dict[str, Callable[..., Any]] = {
    "atoken": AtokenMedia,
    "atoken-objects": AtokenObjects,
    "autoencoder-kl": KLTokenizer,
    "wan": WanTokenizer,
    "hunyuan-video": HunyuanVideoTokenizer,
    "cosmos": CosmosTokenizer,
    "cosmos-0.1": CosmosTorchScript,
    "qwen-image": QwenImageTokenizer,
    "autoencoder-dc": DCTokenizer,
    "vq-model": VQTokenizer,
    "emu3": Emu3Tokenizer,
    "chameleon": ChameleonTokenizer,
    "flat-voxels": FlatVoxels,
    "image-codec": ImageCodec,
    "video-codec": VideoCodec,
    "pca": PcaTokenizer.load,
    "python": named_tokenizer,
    "folder": FolderReconstructions,
    "command": CommandReconstructions,
}
EMBEDDERS: dict[str, Callable[..., Any]] = {
    "atoken": AtokenEmbedder,
    "atoken-features": AtokenFeatures,
    "image-text": ImageTextEmbedder,
    "open-clip": OpenClipEmbedder,
    "video-text": VideoTextEmbedder,
    "python": named_embedder,
}
GENERATORS: dict[str, Callable[..., Any]] = {
    "pipeline": PipelineSamples,
    "samples": StoredSamples,
    "text-to-media": TextToMediaSamples,
    "stored-media": StoredMedia,
    "python": named_generator,
}
SETS: dict[str, Callable[..., Any]] = {
    "image-folder": image_folder,
    "labelled-folder": labeled_folder,
    "imagenet-v2": imagenet_v2,
    "imagenet-val": imagenet_val,
    "coco": coco,
    "flickr30k": flickr30k,
    "hub-images": hub_images,
    "davis": davis,
    "tokenbench": tokenbench,
    "video-folder": video_folder,
    "msrvtt-1ka": msrvtt_1ka,
    "msvd": msvd,
    "toys4k": toys4k,
    "object-folder": object_folder,
    "miniature-classification": miniature_classification,
    "miniature-retrieval": miniature_retrieval,
    "miniature-captions": miniature_captions,
    "photo-words": photo_words,
    "adm-reference": adm_reference,
    "prompt-file": prompt_file,
    "geneval-prompts": geneval_prompts,
    "vbench-prompts": vbench_prompts,
}

# What reads the numbers that other environments have written.
REPORTS: dict[str, Callable[..., Any]] = {
    "geneval": read_geneval,
    "vbench": read_vbench,
    "lmms-eval": read_lmms_results,
}


def find(table: dict[str, Callable[..., Any]], name: str, what: str) -> Callable[..., Any]:
    """
    Finds what a name stands for.

    Args:
        what: how an error calls it.

    Raises:
        ValueError: no such name.
    """
    if name not in table:
        raise ValueError(f"{what} must be one of {', '.join(sorted(table))}, got {name!r}")
    return table[name]
