"""Zero-shot accuracy and retrieval against tables worked out by hand."""

import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from atoken.evaluation.metrics.understanding import (
    CLIP_TEMPLATES,
    IMAGENET_TEMPLATES,
    ZeroShotAccuracy,
    class_embeddings,
    retrieval,
)


def test_there_are_80_templates_and_the_bare_name():
    assert len(set(CLIP_TEMPLATES)) == 80
    assert {"a photo of a {}.", "itap of my {}.", "the origami {}.", "a {} in a video game."} <= set(CLIP_TEMPLATES)
    assert set(IMAGENET_TEMPLATES) - set(CLIP_TEMPLATES) == {"{}"}


def test_classes_are_means_of_unit_vectors_of_canonical_prompts():
    known = {
        "a red cat": [3.0, 0.0],
        "red cat": [0.0, 5.0],
        "a dog": [0.0, 1.0],
        "dog": [0.0, 2.0],
    }
    found = class_embeddings(lambda texts: torch.tensor([known[t] for t in texts]), ["Red_Cat", "dog"], ["A {}.", "{}"])
    expected = torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_prompts_may_come_as_they_are_written():
    seen = []

    def embed(texts):
        seen.extend(texts)
        return torch.ones(len(texts), 2)

    class_embeddings(embed, ["Red_Cat"], ["A {}."], canonical=False)
    assert seen == ["A Red_Cat."]


def test_accuracy_is_that_of_torchmetrics_in_any_batches():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(200, 12, generator=generator)
    labels = torch.randint(0, 12, (200,), generator=generator)
    accuracy = ZeroShotAccuracy()
    for rows, targets in zip(scores.split(33), labels.split(33), strict=True):
        accuracy.update(rows, targets)
    for k, name in ((1, "top1"), (5, "top5")):
        expected = multiclass_accuracy(scores, labels, num_classes=12, average="micro", top_k=k)
        assert accuracy.compute()[name] == pytest.approx(float(expected), abs=1e-6)


def test_an_encoder_that_says_nothing_is_right_only_for_the_first_class():
    accuracy = ZeroShotAccuracy()
    accuracy.update(torch.zeros(10, 10), torch.arange(10))
    assert accuracy.compute() == {"top1": pytest.approx(0.1), "top5": pytest.approx(0.5)}


def test_retrieval_by_hand():
    # Three samples on axes; five texts, with cosines that can be read off.
    samples = torch.eye(3)
    texts = torch.tensor(
        [
            [3.0, 1, 0],  # of sample 0, nearest to it
            [1.0, 3, 0],  # of sample 0, nearest to 1, then to 0
            [0.0, 4, 3],  # of sample 1, nearest to it
            [2.0, 3, 1],  # of sample 2, nearest to 1, 0, then 2
            [0.0, 3, 4],  # of sample 2, nearest to it
        ]
    )
    found = retrieval(samples, texts, torch.tensor([0, 0, 1, 2, 2]), ks=(1, 2))
    # Text to sample: first, second, first, third, first.
    assert found["text_to_sample_r1"] == pytest.approx(3 / 5)
    assert found["text_to_sample_r2"] == pytest.approx(4 / 5)
    # Sample 0: text 0 (0.95) is nearest: right. Sample 1: text 1 (0.95), then 3 (0.80) and its own 2 (0.80).
    # Sample 2: text 4 (0.8) is nearest: right.
    assert found["sample_to_text_r1"] == pytest.approx(2 / 3)
    assert found["sample_to_text_r2"] == pytest.approx(2 / 3)


def test_retrieval_in_blocks_is_that_by_sorting():
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(1100, 8, generator=generator)
    owner = torch.arange(1100).repeat_interleave(2)[torch.randperm(2200, generator=generator)]
    texts = samples[owner] + torch.randn(2200, 8, generator=generator)
    found = retrieval(samples, texts, owner)
    unit = [torch.nn.functional.normalize(x.double(), dim=1) for x in (samples, texts)]
    scores = unit[1] @ unit[0].T
    nearest = scores.argsort(1, descending=True)[:, :5]
    assert found["text_to_sample_r5"] == pytest.approx(float((nearest == owner[:, None]).any(1).double().mean()))
    nearest = scores.T.argsort(1, descending=True)[:, :10]
    right = (owner[nearest] == torch.arange(1100)[:, None]).any(1).double().mean()
    assert found["sample_to_text_r10"] == pytest.approx(float(right))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: class_embeddings(lambda t: torch.ones(len(t), 2), ["a"], ["no place"]), "templates"),
        (lambda: class_embeddings(lambda t: torch.ones(len(t), 2), [], ["{}"]), "class_names"),
        (lambda: ZeroShotAccuracy().update(torch.zeros(2, 3), torch.zeros(3).long()), "labels"),
        (lambda: ZeroShotAccuracy().update(torch.zeros(1, 3), torch.tensor([3])), "labels"),
        (lambda: ZeroShotAccuracy().update(torch.full((1, 3), torch.nan), torch.tensor([0])), "finite"),
        (lambda: retrieval(torch.eye(2), torch.eye(2), torch.tensor([0, 0])), "owner"),
        (lambda: retrieval(torch.eye(2), torch.eye(3), torch.tensor([0, 1, 1])), "embeddings"),
        (lambda: retrieval(torch.eye(2) * torch.nan, torch.eye(2), torch.tensor([0, 1])), "finite"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
