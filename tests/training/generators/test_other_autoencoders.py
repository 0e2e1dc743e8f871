"""Lightning-DiT on latents of another autoencoder than AToken, in patches of 2 x 2."""

import pytest
import yaml
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler

from atoken.generation import LightningDiTPipeline, LightningDiTTransformer2DModel
from atoken.tokenizing.autoencoders import load_autoencoder
from atoken.tokenizing.corpus.finishing import finish
from atoken.tokenizing.corpus.opening import open_source
from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.plan import make_plan
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.corpus.work import work
from atoken.training.generators.building import open_tokenizer
from atoken.training.generators.train import main
from atoken.training.recipes.tiny_generators.corpora import write_pictures

from ...autoencoder_samples import save_autoencoder
from .conftest import SIZES


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with an autoencoder, a corpus of its latents and a stage file."""
    root = tmp_path_factory.mktemp("other")
    loaded = load_autoencoder(str(save_autoencoder(root / "vae")), "cpu")
    write_pictures(root / "pictures.parquet", 12)
    options = TokenizeOptions(size=32, keep={"label": "label"})
    source = open_source(str(root / "pictures.parquet"), options)
    plan = make_plan(str(root / "pictures.parquet"), root / "corpus", options, loaded, source)
    assert [record.rows for record in work(plan, loaded, source)] == [12]
    finish(plan)
    stage = {"name": "other", "generator": "lightning-dit", "preset": "tiny/2", "steps": 3, "batch_size": 4}
    stage |= {"model": {**SIZES["lightning-dit"], "num_classes": 64}}
    (root / "stage.yaml").write_text(yaml.safe_dump(stage))
    return root


def test_it_is_trained_and_makes_images(root):
    main(root / "stage.yaml", root / "corpus", str(root / "vae"), root / "run", draw_every=3)
    assert (root / "run/samples/00000003.png").is_file()
    model = LightningDiTTransformer2DModel.from_pretrained(root / "run/model")
    corpus = AtokenTokens(root / "corpus")
    assert (model.config.in_channels, model.config.sample_size, model.grid) == (4, 8, 4)
    assert model.config.latents_mean == corpus.mean.tolist() and model.config.vae_latents_mean is None
    vae = AutoencoderKL.from_pretrained(root / "vae")
    pipeline = LightningDiTPipeline(model, vae, FlowMatchEulerDiscreteScheduler())
    pipeline.set_progress_bar_config(disable=True)
    # The settings of VA-VAE guide the first three channels.
    images = pipeline([3, 5], 2, guidance_scale=6.7, guidance_channels=3, output_type="pt").images
    assert images.shape == (2, 3, 32, 32) and images.isfinite().all()


def test_another_tokenizer_than_that_of_the_corpus_is_refused(root, tmp_path):
    corpus = AtokenTokens(root / "corpus")
    assert isinstance(open_tokenizer(str(root / "vae"), corpus), AutoencoderKL)
    with pytest.raises(ValueError, match="tokenizer must be the AutoencoderKL that has written the corpus"):
        open_tokenizer(str(save_autoencoder(tmp_path / "vae", seed=1)), corpus)
