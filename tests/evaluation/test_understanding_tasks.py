"""Zero-shot accuracy and retrieval of a model with a text tower through `atoken evaluate`, and by hand."""

import pytest
import torch
import yaml
from torch.nn import functional as F

from atoken.evaluation.models.atoken_tokenizers import AtokenEmbedder
from atoken.evaluation.runner import evaluate
from atoken.evaluation.sets.miniature_sets import miniature_classification, miniature_retrieval
from atoken.processing import AtokenProcessor

from ..cli_samples import save_model
from ..processing.samples import tiny_tokenizer

IMAGES = {"kind": "image", "attribute": "colour", "count": 16, "size": 32}
VIDEOS = {"kind": "video", "count": 6, "size": 32, "frames": 5}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    return folder, save_model(folder, text=True, tokenizer=tiny_tokenizer())


@torch.no_grad()
def test_videos_are_means_of_frames_or_whole(model):
    folder, network = model
    sample = miniature_retrieval(**VIDEOS).samples[0].load()
    frames = torch.cat([network.get_image_features(frame[None] / 127.5 - 1).pooler_output for frame in sample])
    expected = F.normalize(frames, dim=-1).mean(0)
    torch.testing.assert_close(AtokenEmbedder(str(folder)).embed([sample])[0], expected, atol=1e-5, rtol=1e-4)
    processor = AtokenProcessor.from_pretrained(folder)
    inputs = processor(videos=[sample.permute(0, 2, 3, 1).numpy()], videos_kwargs={"do_sample_frames": False})
    whole = network.get_image_features(inputs.pixel_values, inputs.coords, inputs.cu_seqlens).pooler_output
    found = AtokenEmbedder(str(folder), video="whole").embed([sample])
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_objects_have_embeddings(model):
    folder, network = model
    mesh = miniature_retrieval("object", count=1).samples[0].load()
    found = AtokenEmbedder(str(folder)).embed([mesh])
    assert found.shape == (1, network.config.vision_config.hidden_size) and found.isfinite().all()


@torch.no_grad()
def test_numbers_are_those_by_hand(model, tmp_path):
    folder, network = model
    config = {
        "title": "Understanding",
        "sets": {
            "colours": {"set": "miniature-classification", "task": "classification", **IMAGES},
            "clips": {"set": "miniature-retrieval", "task": "retrieval", **VIDEOS},
        },
        "embedders": {"ours": {"adapter": "atoken", "model": str(folder)}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    results = evaluate(tmp_path / "config.yaml", tmp_path / "out").results
    found = {one.set: one.numbers for one in results}
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "paper, Table 5" in page and "paper, Table 7" in page

    samples = miniature_classification(**IMAGES)
    embedder = AtokenEmbedder(str(folder))
    texts = [template.format(name) for name in samples.class_names for template in samples.templates]
    prompts = F.normalize(embedder.embed_texts([text.lower().replace(".", "") for text in texts]).double(), dim=-1)
    classes = F.normalize(prompts.view(len(samples.class_names), -1, prompts.shape[1]).mean(1), dim=-1)
    right = 0
    for sample in samples.samples:
        vector = network.get_image_features(sample.load() / 127.5 - 1).pooler_output[0].double()
        scores = classes @ F.normalize(vector, dim=0)
        right += int(scores.argmax()) == sample.label
    assert found["colours"]["top1"] == pytest.approx(right / 16) and found["colours"]["chance"] == 1 / 8

    clips = miniature_retrieval(**VIDEOS).samples
    vectors = F.normalize(embedder.embed([sample.load() for sample in clips]).double(), dim=-1)
    captions = F.normalize(embedder.embed_texts([sample.captions[0] for sample in clips]).double(), dim=-1)
    scores = captions @ vectors.T
    if all(len(sample.captions) == 1 for sample in clips):
        hits = sum(int(row.argmax()) == index for index, row in enumerate(scores))
        assert found["clips"]["text_to_sample_r1"] == pytest.approx(hits / 6)
    assert found["clips"]["text_to_sample_r10"] == 1.0 and found["clips"]["chance_at_1"] == 1 / 6
