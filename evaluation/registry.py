"""The names that a configuration may use for models and reports, and the classes and functions behind them."""

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
from .models.object_generators import ImageToObjectSamples, MeanKnownObject, NearestKnownObject, TrueTokens
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
    "image-to-object": ImageToObjectSamples,
    "true-tokens": TrueTokens,
    "nearest-object": NearestKnownObject,
    "mean-object": MeanKnownObject,
    "python": named_generator,
}
# What reads the numbers that other environments have written.
REPORTS: dict[str, Callable[..., Any]] = {
    "geneval": read_geneval,
    "vbench": read_vbench,
    "lmms-eval": read_lmms_results,
}
