"""Statistics of corpora, against numpy in float64."""

import json

import numpy as np
import pytest
import torch

from atoken.tokenizing.corpus.finishing import STATISTICS, write_into_config
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.corpus.statistics import TokenStatistics
from atoken.tokenizing.loading import load_model

from ...cli_samples import save_model
from .samples import complete


def test_latents():
    latents = torch.randn(1000, 5, generator=torch.Generator().manual_seed(0)).mul(3).add(7).bfloat16()
    parts = []
    for piece in latents.split([10, 0, 500, 490]):
        parts.append(TokenStatistics.of_latents(5))
        parts[-1].add(piece)
    merged = TokenStatistics.of_latents(5)
    for part in parts:
        merged.merge(TokenStatistics.from_json(json.loads(json.dumps(part.as_json()))))
    exact = latents.double().numpy()
    np.testing.assert_allclose(merged.summary()["mean"], exact.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(merged.summary()["std"], exact.std(axis=0), rtol=1e-12)


def test_codes():
    codes = np.random.default_rng(0).integers(0, 9, (400, 2)).astype(np.int16)
    codes[:, 1] //= 2
    statistics = TokenStatistics.of_codes(2, 16)
    statistics.add(torch.from_numpy(codes[:150]))
    other = TokenStatistics.of_codes(2, 16)
    other.add(torch.from_numpy(codes[150:]))
    statistics.merge(TokenStatistics.from_json(json.loads(json.dumps(other.as_json()))))
    summary = statistics.summary()
    for book in range(2):
        _, counts = np.unique(codes[:, book], return_counts=True)
        shares = counts / counts.sum()
        assert summary["used"][book] == len(counts)
        assert summary["perplexity"][book] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert TokenStatistics.of_latents(3).summary() == {"tokens": 0}


def test_statistics_of_a_corpus_are_those_of_all_its_rows(loaded, pictures, tmp_path):
    plan = complete(pictures, tmp_path / "out", loaded["continuous"], flip=True)
    facts = json.loads((tmp_path / "out" / STATISTICS).read_text())
    tokens = AtokenTokens(plan.folder, normalize=False)
    values = np.concatenate([item["latents"].double().flatten(1).T.numpy() for item in tokens])
    assert facts["tokens"] == len(values) and facts["rows"] == 20 and facts["failures"] == 0
    np.testing.assert_allclose(facts["mean"], values.mean(axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(facts["std"], values.std(axis=0), rtol=1e-10)


def test_statistics_go_into_the_configuration_of_the_model(loaded, models, pictures, tmp_path):
    save_model(tmp_path / "model")
    save_model(tmp_path / "other", seed=1)
    plan = complete(pictures, tmp_path / "out", loaded["continuous"])
    before = json.loads((tmp_path / "model/config.json").read_text())
    write_into_config(plan, tmp_path / "model")
    after = json.loads((tmp_path / "model/config.json").read_text())
    facts = json.loads((tmp_path / "out" / STATISTICS).read_text())
    assert after.pop("latents_mean") == facts["mean"] and after.pop("latents_std") == facts["std"]
    before.pop("latents_mean", None), before.pop("latents_std", None)
    assert after == before
    with pytest.raises(ValueError, match="model must be the one that the corpus was made with"):
        write_into_config(plan, tmp_path / "other")
    other = save_model(tmp_path / "encoder")  # the same decoder, with another encoder, which latents are of
    with torch.no_grad():
        other.vision_model.post_layernorm.weight[0] += 1
    other.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match="model must be the one that the corpus was made with, .* encoder"):
        write_into_config(plan, tmp_path / "encoder")
    with pytest.raises(ValueError, match="must be the folder of an AtokenModel"):
        write_into_config(plan, tmp_path)
    codes = complete(pictures, tmp_path / "codes", loaded["discrete"], content="codes")
    with pytest.raises(ValueError, match="must hold latents for latents_mean"):
        write_into_config(codes, models / "discrete")


def test_statistics_of_a_corpus_in_half_precision_go_into_the_configuration(models, pictures, tmp_path):
    """The encoder is told by its rounded weights then, and the folder has the others."""
    half = load_model(str(models / "continuous"), "cpu", "bfloat16")
    plan = complete(pictures, tmp_path / "out", half, dtype="bfloat16")
    save_model(tmp_path / "model")
    write_into_config(plan, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["latents_mean"] == json.loads((tmp_path / "out" / STATISTICS).read_text())["mean"]
