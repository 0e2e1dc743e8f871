"""Batches of two kinds: every row once an epoch, a share of images, the same for seed and step, in parts."""

from collections import Counter

import numpy as np
import pytest

from .samples import batches, media


def drawn(made, steps: int) -> list[tuple[str, list[int]]]:
    return [(kind, rows.tolist()) for kind, rows in map(made.rows, range(steps))]


def test_an_epoch_has_every_row_once_and_short_batches_too(tmp_path):
    made = batches(tmp_path, media(videos=0))
    rows = [made.rows(step)[1] for step in range(6)]
    for epoch in (rows[:3], rows[3:]):
        assert sorted(len(each) for each in epoch) == [2, 4, 4]
        assert sorted(np.concatenate(epoch).tolist()) == list(range(10))
    assert [each.tolist() for each in rows[:3]] != [each.tolist() for each in rows[3:]]


def test_one_step_in_five_stays_with_images(tmp_path):
    kinds = Counter(kind for kind, _ in drawn(batches(tmp_path), 50))
    assert kinds == {"image": 10, "video": 40}
    assert {kind for kind, _ in drawn(batches(tmp_path, image_share=0.0), 20)} == {"video"}
    assert {kind for kind, _ in drawn(batches(tmp_path, media(videos=0)), 20)} == {"image"}
    assert {kind for kind, _ in drawn(batches(tmp_path, media(images=0)), 20)} == {"video"}


def test_batches_follow_from_seed_and_step(tmp_path):
    first, second = batches(tmp_path), batches(tmp_path)
    ahead = second.rows(17)  # in any order
    assert drawn(first, 30) == drawn(second, 30) and first.rows(17)[1].tolist() == ahead[1].tolist()
    assert drawn(batches(tmp_path, seed=1), 30) != drawn(first, 30)


def test_processes_share_each_batch(tmp_path):
    whole, parts = batches(tmp_path), [batches(tmp_path, rank=rank, world_size=2) for rank in (0, 1)]
    for step in range(20):
        kind, rows = whole.rows(step)
        shares = [part.rows(step)[1].tolist() for part in parts]
        assert all(shares)
        if len(rows) > 1:
            assert sorted(shares[0] + shares[1]) == sorted(rows.tolist())
        else:  # each of both needs one
            assert shares[0] == shares[1] == rows.tolist()


def test_what_a_batch_holds(tmp_path):
    made = batches(tmp_path, image_share=0.5)
    for step in range(4):
        kind, rows = made.rows(step)
        (batch,) = next(made)
        assert (batch.kind, batch.step) == (kind, step)
        assert batch.latents.shape[1:] == (4, 1 if kind == "image" else 3, 2, 2)
        assert batch.latents[:, 0, 0, 0, 0].tolist() == rows.tolist()
        assert batch.condition.mask.sum(1).tolist() == [2] * len(rows)
        assert batch.num_tokens == len(rows) * (4 if kind == "image" else 12)
    made.close()


def test_a_run_goes_on_where_it_was(tmp_path):
    first, second = batches(tmp_path), batches(tmp_path)
    for _ in range(7):
        next(first)
    second.restore(first.state())
    for _ in range(5):
        assert next(first)[0].latents.equal(next(second)[0].latents)
    assert second.counters() == first.counters()
    first.close()
    second.close()


@pytest.mark.parametrize("change", [{"seed": 1}, {"image_batch_size": 5}, {"rows": media(images=9)}])
def test_a_changed_corpus_is_refused(change, tmp_path):
    state = batches(tmp_path).state()
    with pytest.raises(ValueError, match="corpora, seed and sizes of batches must be those that the run began with"):
        batches(tmp_path, **change).restore(state)


def test_sizes_without_a_bucket(tmp_path):
    batches(tmp_path, buckets=[[1, 2, 2], [3, 2, 2]])
    with pytest.raises(ValueError, match="buckets must have the size of every video, got 5 of 5 in none, .* 3 x 2 x 2"):
        batches(tmp_path, buckets=[[1, 2, 2]])
    assert batches(tmp_path).describe() == ["image 1 x 2 x 2: 10", "video 3 x 2 x 2: 5"]


def test_several_sizes_have_batches_of_their_own(tmp_path):
    rows = media(videos=0)
    rows["image"].sizes[:3, 2] = 1
    made = batches(tmp_path, rows)
    epoch = [made.rows(step)[1] for step in range(3)]
    assert sorted(len(each) for each in epoch) == [3, 3, 4]
    assert all(len({int(size) for size in rows["image"].sizes[each, 2]}) == 1 for each in epoch)
