"""Reading a corpus back: by this package, by datasets, webdataset and torch, and by what is the wrong reader for it."""

import json
import math
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import load_dataset
from safetensors.torch import load, load_file
from torch.utils.data import DataLoader

from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.plan import make_plan
from atoken.tokenizing.corpus.reading import AtokenTokens, SizeBuckets, stored_tensors

from ...cli_samples import save_clip
from .samples import COUNT, complete, order, pixels_of, write_parquet

KEEP = {"caption": "caption", "label": "label"}


@pytest.fixture(scope="module")
def corpus(loaded, pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return complete(pictures, folder / "out", loaded["continuous"], keep=KEEP, moments=True)


def test_rows_are_those_of_the_source(corpus):
    tokens = AtokenTokens(corpus.folder)
    assert len(tokens) == COUNT
    for item, index in zip([tokens[i] for i in range(COUNT)], order(), strict=True):
        assert item["caption"] == f"picture {index}" and item["label"] == index % 3
        grid = [-(-side // 16) for side in pixels_of(index).shape[:2]]
        assert item["latents"].shape == item["logvar"].shape == (12, *grid) and item["latents"].dtype == torch.float32
    assert tokens.column("caption") == [f"picture {index}" for index in order()]
    assert tokens[-1]["key"] == tokens[COUNT - 1]["key"]
    with pytest.raises(IndexError, match=r"index must be in \[0, 10\), got 10"):
        tokens[COUNT]


def test_normalized_latents_have_mean_0_and_standard_deviation_1(corpus):
    stored, normalized = AtokenTokens(corpus.folder, normalize=False), AtokenTokens(corpus.folder)
    values = torch.cat([item["latents"].flatten(1) for item in normalized], dim=1).double()
    torch.testing.assert_close(values.mean(1), torch.zeros(12).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(1, correction=0), torch.ones(12).double(), atol=1e-5, rtol=0)
    # A sample of the posterior is normalized as its mean is.
    for name in ("logvar", "latents"):
        assert not torch.equal(stored[0][name], normalized[0][name])
    std = torch.tensor(json.loads((corpus.folder / "statistics.json").read_text())["std"])[:, None, None]
    deviation = (stored[0]["logvar"] / 2).exp() / std
    torch.testing.assert_close((normalized[0]["logvar"] / 2).exp(), deviation, atol=1e-4, rtol=1e-4)


def test_batches_of_one_size_through_a_loader_with_processes(corpus):
    tokens = AtokenTokens(corpus.folder, transform=lambda item: (item["latents"], item["key"]))
    tokens[0]  # opened before the fork
    loader = DataLoader(tokens, batch_sampler=tokens.bucket_by_size(7), num_workers=1)
    keys = []
    for latents, names in loader:
        assert latents.ndim == 4 and len(latents) == len(names)
        keys += names
    assert sorted(keys) == sorted(tokens[index][1] for index in range(COUNT))


def test_buckets():
    sizes = np.array([[1, 2, 2]] * 5 + [[1, 3, 2]] * 4)
    full = SizeBuckets(sizes, 2, 0, True)
    assert len(full) == 4 == len(list(full))
    for batch in full:
        assert len(batch) == 2 and len({tuple(sizes[index]) for index in batch}) == 1
    every = SizeBuckets(sizes, 2, 0, False)
    assert len(every) == 5 and sorted(sum(every, [])) == list(range(9))
    first = list(every)
    assert list(every) == first
    every.set_epoch(1)
    assert list(every) != first
    with pytest.raises(ValueError, match="batch_size must be positive, got 0"):
        SizeBuckets(sizes, 0, 0, True)


def test_sizes_that_are_too_rare_for_a_batch_are_told():
    sizes = np.array([[1, 2, 2]] * 5 + [[1, 3, 2]] * 2 + [[1, 4, 2]])
    with pytest.warns(UserWarning, match="3 of 8 rows are never shown: fewer than batch_size=3 are of their size"):
        buckets = SizeBuckets(sizes, 3, 0, True)
    assert len(buckets) == 1 == len(list(buckets))
    with pytest.raises(ValueError, match="batch_size must be at most 5 with drop_last=True, .* got 6.* none of 8 rows"):
        SizeBuckets(sizes, 6, 0, True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sorted(sum(SizeBuckets(sizes, 6, 0, False), [])) == list(range(8))
        assert len(SizeBuckets(sizes[:5], 3, 0, True)) == 1


def test_datasets_reads_it(corpus, tmp_path):
    rows = load_dataset(
        "parquet", data_files=str(corpus.folder / "*.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    tokens = AtokenTokens(corpus.folder, normalize=False)
    assert list(rows["caption"]) == [f"picture {index}" for index in order()]
    row = rows[3]
    latents = torch.frombuffer(bytearray(row["latents"]), dtype=torch.bfloat16).view(row["t"], row["h"], row["w"], -1)
    torch.testing.assert_close(latents[0].permute(2, 0, 1).float(), tokens[3]["latents"], atol=0, rtol=0)


def test_codes_and_videos_and_columns_of_other_types(loaded, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    save_clip(source / "a.mp4")
    plan = complete(source, tmp_path / "out", loaded["discrete"], kind="video", content="codes")
    tokens = AtokenTokens(plan.folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        item = tokens[0]
    assert item["codes"].shape == (5, 2, 3, 2) and item["codes"].dtype == torch.int64
    assert item["codes"].flatten().tolist() == pq.read_table(plan.files.part(0))["codes"].to_pylist()[0]
    (tmp_path / "parquet").mkdir()
    write_parquet(tmp_path / "parquet")
    keep = {"score": "score", "key": "text"}
    plan = complete(tmp_path / "parquet", tmp_path / "second", loaded["discrete"], content="codes", keep=keep)
    tokens = AtokenTokens(plan.folder)
    item = tokens[1]
    assert item["score"] == order()[1] / 2 and item["key"] == f"picture {order()[1]}"
    # Several rows in one group: each begins somewhere else.
    parts = [pq.read_table(plan.files.part(unit)) for unit in range(len(plan.units))]
    stored = [codes for part in parts for codes in part["codes"].to_pylist()]
    assert [tokens[place]["codes"].flatten().tolist() for place in range(COUNT)] == stored
    assert len(set(map(tuple, stored))) > 1
    row = tokens.row(1)
    assert row["codes"].dtype == np.int16 and stored_tensors(row, "int16")["codes"].dtype == torch.int16


def test_webdataset_reads_it(loaded, pictures, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    plan = complete(pictures, tmp_path / "out", loaded["continuous"], keep=KEEP, format="webdataset", flip=True)
    files = [str(plan.files.part(unit)) for unit in range(3)]
    samples = list(webdataset.WebDataset(files, shardshuffle=False))
    assert len(samples) == 2 * COUNT
    for sample, index in zip(samples[::2], order(), strict=True):
        facts = json.loads(sample["json"])
        assert facts["caption"] == f"picture {index}" and facts["label"] == index % 3 and not facts["flipped"]
        latents = load(sample["safetensors"])["latents"]
        assert latents.shape == (facts["t"], facts["h"], facts["w"], 12) and latents.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="must hold a corpus of format parquet, got webdataset in .*WebDataset reads"):
        AtokenTokens(plan.folder)


def test_the_layout_of_lightning_dit(loaded, pictures, tmp_path):
    """Names, shapes and types as its ImgLatentDataset asks for them."""
    keep = {"label": "label"}
    plan = complete(
        pictures, tmp_path / "out", loaded["continuous"], keep=keep, format="safetensors", flip=True, size=32
    )
    shards = [load_file(path) for path in sorted(plan.folder.glob("*.safetensors"))]
    assert torch.cat([shard["labels"] for shard in shards]).tolist() == [index % 3 for index in order()]
    for shard in shards:
        assert set(shard) == {"latents", "latents_flip", "labels"}
        assert shard["latents"].shape == shard["latents_flip"].shape == (len(shard["labels"]), 12, 2, 2)
    statistics = torch.load(plan.folder / "latents_stats.pt", weights_only=True)
    both = torch.cat([torch.cat([shard["latents"], shard["latents_flip"]]) for shard in shards]).double()
    torch.testing.assert_close(statistics["mean"].double(), both.mean((0, 2, 3), keepdim=True), atol=1e-6, rtol=1e-5)
    std = both.std((0, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(statistics["std"].double(), std, atol=1e-6, rtol=1e-5)
    assert ((shards[0]["latents"][0:1] - statistics["mean"]) / statistics["std"]).shape == (1, 12, 2, 2)
    with pytest.raises(ValueError, match="got safetensors in .*Lightning-DiT's ImgLatentDataset reads"):
        AtokenTokens(plan.folder)


def test_corpora_that_cannot_be_read_say_why(loaded, pictures, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no plan.json"):
        AtokenTokens(tmp_path)
    plan = make_plan(str(pictures), tmp_path / "begun", TokenizeOptions(unit_rows=4), loaded["continuous"])
    with pytest.raises(ValueError, match="must hold all 3 units, got .* without 3 of them, the first is 0"):
        AtokenTokens(plan.folder)
    plan = complete(pictures, tmp_path / "out", loaded["continuous"])
    part = plan.files.part(1)
    part.write_bytes(b"x" * part.stat().st_size)
    with pytest.raises(ValueError, match="part-00001.parquet is truncated or damaged.*verify"):
        AtokenTokens(plan.folder)[4]
    (plan.folder / "statistics.json").unlink()
    with pytest.raises(FileNotFoundError, match="must hold statistics.json"):
        AtokenTokens(plan.folder)
    assert len(AtokenTokens(plan.folder, normalize=False)) == COUNT


def test_a_part_of_another_corpus_is_refused(loaded, pictures, tmp_path):
    first = complete(pictures, tmp_path / "a", loaded["continuous"])
    second = complete(pictures, tmp_path / "b", loaded["discrete"])
    for path in second.folder.glob("part-*"):
        (first.folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="must be of this corpus, got the part of another one"):
        AtokenTokens(first.folder)[0]


def test_row_groups_are_small_enough_for_random_access(loaded, tmp_path):
    from atoken.tokenizing.corpus.encoding import EncodedRow
    from atoken.tokenizing.corpus.parts import new_writer

    options = TokenizeOptions()
    writer = new_writer(tmp_path / "a.parquet", options, {"dtype": "bfloat16"}, {})
    for index in range(200):
        values = torch.zeros(256, 48, dtype=torch.bfloat16)
        writer.write(EncodedRow(index, str(index), {}, grid=(1, 16, 16), media_size=(1, 256, 256), values=values))
    writer.close()
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert metadata.num_rows == 200
    sizes = [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
    assert max(sizes) < 2 * 2**20 and len(sizes) <= math.ceil(200 * 256 * 48 * 2 / 2**20)
