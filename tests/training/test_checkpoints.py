"""Checkpoints that are whole or not there."""

import pytest

from atoken.training import checkpoints


def write(output, step, keep=3):
    folder = checkpoints.folder_for(output, step)
    partial = checkpoints.unfinished(folder)
    (partial / "tensors").mkdir(parents=True)
    for rank in range(2):
        (partial / f"tensors/__{rank}_0").write_bytes(bytes(range(200)))
    for rank in range(2):
        own = f"__{rank}_0"
        checkpoints.write_part(folder, rank, {"step": step}, lambda path, own=own: path.name == own)
    checkpoints.complete(folder, 2, keep)
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


def test_those_of_later_steps_are_set_aside_and_the_one_to_go_on_from_stays(tmp_path):
    for step in (5, 10, 15):
        write(tmp_path, step)
    (tmp_path / "checkpoint-of-mine").mkdir()
    assert checkpoints.set_aside_after(tmp_path, 15) is None
    aside = checkpoints.set_aside_after(tmp_path, 5)
    assert sorted(path.name for path in aside.iterdir()) == ["checkpoint-00000010", "checkpoint-00000015"]
    assert all(checkpoints.damage(path) is None for path in aside.iterdir())
    assert checkpoints.newest(tmp_path).name == "checkpoint-00000005"
    # As often as it happens, what was set aside before stays as it is.
    write(tmp_path, 10)
    again = checkpoints.set_aside_after(tmp_path, 0)
    assert again != aside and len(list(aside.iterdir())) == len(list(again.iterdir())) == 2
    assert checkpoints.newest(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["abandoned-1", "abandoned-2", "checkpoint-of-mine"]


def test_one_that_was_never_sealed_does_not_count(tmp_path):
    write(tmp_path, 5)
    partial = checkpoints.unfinished(checkpoints.folder_for(tmp_path, 10))
    partial.mkdir()
    assert checkpoints.newest(tmp_path).name == "checkpoint-00000005"
    assert checkpoints.newest(tmp_path / "nothing") is None


def _cut(folder):
    path = folder / "tensors/__1_0"
    path.write_bytes(path.read_bytes()[:100])


def _flip(folder):
    path = folder / "tensors/__1_0"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])


@pytest.mark.parametrize(
    "harm, message",
    [
        (_cut, "tensors/__1_0 has 100 bytes instead of 200"),
        (_flip, "tensors/__1_0 has been changed"),
        (lambda folder: (folder / "tensors/__0_0").unlink(), "tensors/__0_0 is missing"),
        (lambda folder: (folder / "part-00001.json").write_text("{}"), "part-00001.json has been changed"),
        (lambda folder: (folder / "complete.json").write_text("{"), "it has no readable complete.json"),
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


def test_processes_share_the_reading_and_one_of_them_finds_the_damage(tmp_path):
    folder = write(tmp_path, 5)
    _flip(folder)
    faults = [checkpoints.damage(folder, rank, 2) for rank in range(2)]
    assert faults == [None, "tensors/__1_0 has been changed"]


def test_what_a_process_wrote_is_read_back(tmp_path):
    folder = write(tmp_path, 5)
    assert checkpoints.processes_of(folder) == 2
    assert [checkpoints.read_part(folder, rank)["step"] for rank in (0, 1, 7)] == [5, 5, 5]
