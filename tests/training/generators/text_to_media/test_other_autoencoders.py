"""Images and videos of texts on latents of other autoencoders than AToken, as the paper compares them (Table 13)."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, HunyuanVideoTransformer3DModel
from transformers import AutoTokenizer, T5Config, T5EncoderModel

from atoken.generation import TextToMediaPipeline
from atoken.tokenizing.autoencoders import load_autoencoder
from atoken.tokenizing.corpus.finishing import finish
from atoken.tokenizing.corpus.opening import open_source
from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.plan import make_plan
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.corpus.work import work
from atoken.training.generators.text_to_media.statistics_file import read_statistics
from atoken.training.generators.text_to_media.train import main
from atoken.training.recipes.tiny_text_to_media.corpora import write_scenes

from ....autoencoder_samples import save_autoencoder, save_video_autoencoder
from .conftest import TOKENIZER, Files

COUNTS = {"image": 5, "video": 3}
FRAMES = 9


def write_corpus(scenes: Path, kind: str, autoencoder: Path, out: Path) -> Path:
    loaded = load_autoencoder(str(autoencoder), "cpu", "float32")
    options = {"kind": kind, "size": 32, "keep": {"caption": "caption"}}
    wanted = TokenizeOptions(**options, frames=FRAMES if kind == "video" else None)
    source = open_source(str(scenes), wanted)
    plan = make_plan(str(scenes), out, wanted, loaded, source)
    assert sum(record.rows for record in work(plan, loaded, source)) == COUNTS[kind]
    finish(plan)
    return out


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Files:
    """Corpora of an AutoencoderKLWan and of an AutoencoderKL, the autoencoders, and a T5 that reads the captions."""
    root = tmp_path_factory.mktemp("other")
    save_autoencoder(root / "kl")
    save_video_autoencoder(root / "wan")
    for kind, count in COUNTS.items():
        write_scenes(root / f"{kind}.parquet", kind, count)
        write_corpus(root / f"{kind}.parquet", kind, root / "wan", root / f"{kind}s")
    write_corpus(root / "image.parquet", "image", root / "kl", root / "kl-images")
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    sizes = {"d_model": 24, "d_kv": 12, "d_ff": 32, "num_layers": 1, "num_heads": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    T5EncoderModel(T5Config(vocab_size=len(tokenizer), **sizes)).save_pretrained(root / "t5")
    tokenizer.save_pretrained(root / "t5")
    return Files(root, root / "images", root / "videos", root / "captions")


# As the paper has them: patches of 2 x 2 latents of 8 x 8 pixels are tokens of the size of AToken's.
PATCHES = {"model": {"num_attention_heads": 2, "num_layers": 1, "patch_size": 2}}


def train(other: Files, tokenizer: str, output: Path, stage: dict | None = None, **options) -> Path:
    given = {"captions": other.captions, "text_encoder": str(other.root / "t5"), "log_every": 1, "save_every": 9}
    main(other.stage(**(stage or {})), str(other.root / tokenizer), output=output, **{**given, **options})
    return output / "model"


def pipeline_of(model: Path, vae: torch.nn.Module, root: Path) -> TextToMediaPipeline:
    pipeline = TextToMediaPipeline(
        HunyuanVideoTransformer3DModel.from_pretrained(model),
        vae.eval(),
        FlowMatchEulerDiscreteScheduler(),
        T5EncoderModel.from_pretrained(root / "t5"),
        AutoTokenizer.from_pretrained(root / "t5"),
        **read_statistics(model),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_images_and_videos_of_an_autoencoder_of_videos(other, tmp_path):
    model = train(other, "wan", tmp_path / "run", PATCHES, images=other.images, videos=other.videos)
    statistics = read_statistics(model)
    for kind, corpus in (("image", AtokenTokens(other.images)), ("video", AtokenTokens(other.videos))):
        assert corpus[0]["latents"].shape[1:] == ((8, 8) if kind == "image" else (3, 8, 8))
        assert statistics[f"{kind}_statistics"]["mean"] == corpus.mean.tolist()
    vae = AutoencoderKLWan.from_pretrained(other.root / "wan")
    assert statistics["vae_statistics"] == {"mean": vae.config.latents_mean, "std": vae.config.latents_std}
    pipeline = pipeline_of(model, vae, other.root)
    sizes = {"height": 32, "width": 32, "num_inference_steps": 2, "output_type": "pt"}
    assert pipeline("a red star", **sizes).images.shape == (1, 3, 32, 32)
    frames = pipeline(["a red star", "a blue star"], FRAMES, guidance_scale=9.0, **sizes).frames
    assert frames.shape == (2, FRAMES, 3, 32, 32) and frames.isfinite().all()
    with pytest.raises(ValueError, match="height must be a multiple of 8 pixels, got 36"):
        pipeline("a red star", **{**sizes, "height": 36})


def test_images_of_an_autoencoder_of_pictures(other, tmp_path):
    model = train(other, "kl", tmp_path / "run", images=other.root / "kl-images")
    # Its configuration has no statistics of latents.
    assert read_statistics(model).keys() == {"image_statistics"}
    pipeline = pipeline_of(model, AutoencoderKL.from_pretrained(other.root / "kl"), other.root)
    made = pipeline("a red star", height=32, width=32, num_inference_steps=2, output_type="pt").images
    assert made.shape == (1, 3, 32, 32) and made.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_encoder": None}, "text_encoder must be given where the tokenizer is not AToken"),
        ({"tokenizer": "kl"}, "images must be a corpus of the tokenizer '.*kl'.*got one of '.*wan'"),
        ({"stage": {"model": {**PATCHES["model"], "patch_size": 3}}}, "images must have latents that fill the stage's"),
        ({"images": "kl-images", "videos": "videos"}, "images must be a corpus of the tokenizer '.*wan'.*got one of"),
    ],
)
def test_what_is_refused(options, message, other, tmp_path):
    given = {"images": "images", "tokenizer": "wan", **options}
    paths = {name: other.root / given.pop(name) for name in ("images", "videos") if name in given}
    with pytest.raises(ValueError, match=message):
        train(other, given.pop("tokenizer"), tmp_path / "run", **paths, **given)


def test_another_autoencoder_of_the_same_class_is_refused(other, tmp_path):
    save_video_autoencoder(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match="images must be a corpus of the tokenizer '.*other' .*, got one of '.*wan'"):
        main(other.stage(), str(tmp_path / "other"), other.captions, tmp_path / "run", images=other.images)
