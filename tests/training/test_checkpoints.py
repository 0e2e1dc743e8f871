"""Checkpoints that are whole or not there."""

import json

import pytest

from atoken.training import checkpoints


def write(output, step, keep=3):
    folder = checkpoints.folder_for(output, step)
    partial = checkpoints.unfinished(folder)
    (partial / "state").mkdir(parents=True)
    (partial / "state/weights.bin").write_bytes(bytes(range(200)))
    (partial / "progress.json").write_text(json.dumps({"step": step}))
    checkpoints.complete(folder, keep)
    return folder


def test_the_last_ones_stay_and_the_newest_is_found(tmp_path):
    for step in (5, 10, 100, 1000):
        write(tmp_path, step)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "checkpoint-00000010",
        "checkpoint-00000100",
        "checkpoint-00001000",
    ]
    assert checkpoints.newest(tmp_path).name == "checkpoint-00001000"


def test_one_that_was_never_sealed_does_not_count(tmp_path):
    write(tmp_path, 5)
    partial = checkpoints.unfinished(checkpoints.folder_for(tmp_path, 10))
    partial.mkdir()
    assert checkpoints.newest(tmp_path).name == "checkpoint-00000005"
    assert checkpoints.newest(tmp_path / "nothing") is None


def _cut(folder):
    path = folder / "state/weights.bin"
    path.write_bytes(path.read_bytes()[:100])


def _flip(folder):
    path = folder / "state/weights.bin"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])


@pytest.mark.parametrize(
    "harm, message",
    [
        (_cut, "state/weights.bin has 100 bytes instead of 200"),
        (_flip, "state/weights.bin has been changed"),
        (lambda folder: (folder / "progress.json").unlink(), "progress.json is missing"),
        (lambda folder: (folder / "files.json").write_text("{"), "it has no readable files.json"),
    ],
)
def test_damage_is_found_and_the_one_before_is_used(tmp_path, caplog, harm, message):
    write(tmp_path, 5)
    harm(write(tmp_path, 10))
    assert checkpoints.newest(tmp_path).name == "checkpoint-00000005"
    assert f"checkpoint-00000010 is passed over: {message}" in caplog.text


def test_a_step_that_is_saved_again_replaces_the_first(tmp_path):
    write(tmp_path, 5)
    folder = write(tmp_path, 5)
    assert checkpoints.damage(folder) is None and len(list(tmp_path.iterdir())) == 1
