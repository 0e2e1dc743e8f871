"""Checkpoints of several processes: written behind the run, and gone on from in any number of processes."""

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from accelerate import Accelerator, DistributedDataParallelKwargs
from safetensors.torch import load_file, save_file
from torch import nn

from atoken.training import checkpoints
from atoken.training.optimization import OptimizerSettings
from atoken.training.saving import CheckpointWriter
from atoken.training.trainer import Agreement, StoppedElsewhere, Trainer, TrainerSettings

SAMPLES = 12  # of every step, shared by all processes
pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")


@dataclass
class Numbered:
    values: torch.Tensor
    task: str = "fit"

    @property
    def num_samples(self) -> int:
        return len(self.values)

    num_tokens = num_samples

    def to(self, device: torch.device) -> "Numbered":
        return Numbered(self.values.to(device))


class Shared:
    """Gives each process its share of numbered samples, in two micro batches, and notes all numbers."""

    def __init__(self, rank: int, processes: int, fails_at: int | None = None):
        self.rank, self.processes, self.number, self.fails_at = rank, processes, 0, fails_at

    def __next__(self) -> list[Numbered]:
        if self.number == self.fails_at and self.rank == self.processes - 1:
            raise ValueError("damaged")
        numbers = range(self.number, self.number + SAMPLES)[self.rank :: self.processes]
        self.number += SAMPLES
        drawn = torch.stack([torch.randn(3, generator=torch.Generator().manual_seed(n)) for n in numbers])
        return [Numbered(part) for part in drawn.tensor_split(2)]

    def counters(self) -> dict[str, float]:
        return {"number": self.number}

    def state(self) -> dict[str, Any]:
        return {"number": self.number}

    def restore(self, state: dict[str, Any]) -> None:
        self.number = state["number"]

    def close(self) -> None:
        pass


class Sum(nn.Module):
    """Learns to add up three numbers; a layer that takes no part keeps no state in the optimizer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.ModuleDict({"used": nn.Linear(3, 1), "unused": nn.Linear(2, 2)})

    def forward(self, batch, share=None, common=None) -> Any:
        if share is None:
            return [None] * len(batch)
        error = self.model["used"](batch.values)[:, 0] - batch.values.sum(1)
        return {"loss": share.samples * error.square().mean()}

    def count_flops(self, batch: Numbered) -> None:
        return None

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        save_file(state, folder / "sum.safetensors")


def run(rank: int, processes: int, output: str, steps: int, port: int, fails_at: int | None = None) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    assert accelerator.num_processes == processes
    optimizer = OptimizerSettings(warm_up=0, rate=0.05, final_rate=0.05, average=0.5)
    settings = TrainerSettings(Path(output), steps, optimizer, save_every=2, log_every=1)
    trainer = Trainer(accelerator, Sum(), Shared(rank, processes, fails_at), settings)
    newest = checkpoints.newest(Path(output))
    if newest is not None:
        trainer.resume(newest)
    try:
        trainer.run()
        ended = "well"
    except (ValueError, StoppedElsewhere) as error:
        ended = type(error).__name__
    if fails_at is not None:
        (Path(output) / f"ended-{rank}").write_text(ended)
    accelerator.end_training()


def launch(processes: int, output: Path, steps: int, fails_at: int | None = None) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    mp.spawn(run, (processes, str(output), steps, port, fails_at), nprocs=processes)


def lines(output: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def test_two_then_one_then_three_processes_go_on_with_the_same_samples(tmp_path):
    launch(1, tmp_path / "whole", 6)
    for processes, steps in ((2, 2), (1, 4), (3, 6)):
        launch(processes, tmp_path / "changing", steps)
    expected, found = lines(tmp_path / "whole"), lines(tmp_path / "changing")
    assert [line["number"] for line in found] == [SAMPLES * step for step in range(1, 7)]
    assert [line["fit/loss"] for line in found] == pytest.approx([line["fit/loss"] for line in expected], rel=1e-5)
    models = [load_file(tmp_path / name / "model/sum.safetensors") for name in ("whole", "changing")]
    for name, value in models[0].items():
        torch.testing.assert_close(models[1][name], value, rtol=1e-5, atol=1e-6)
    written = sorted((tmp_path / "changing").glob("checkpoint-*"))
    assert [checkpoints.processes_of(path) for path in written] == [2, 1, 3]


def test_one_process_that_cannot_go_on_ends_all(tmp_path):
    launch(2, tmp_path, 6, fails_at=3 * SAMPLES)
    assert [(tmp_path / f"ended-{rank}").read_text() for rank in range(2)] == ["StoppedElsewhere", "ValueError"]


def test_what_is_written_is_what_there_was_when_it_began(tmp_path):
    writer = CheckpointWriter(tmp_path, 1, Agreement())
    weights = torch.arange(100_000.0)
    writer.begin(1, {"weights": weights}, {"step": 1})
    weights.zero_()
    writer.finish()
    writer.close()
    folder = checkpoints.newest(tmp_path)
    read = {"weights": torch.empty(100_000)}
    torch.distributed.checkpoint.load(read, checkpoint_id=folder / "tensors", no_dist=True)
    assert torch.equal(read["weights"], torch.arange(100_000.0))
    assert checkpoints.read_part(folder, 0)["step"] == 1


def test_a_checkpoint_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    writer = CheckpointWriter(tmp_path, 1, Agreement())

    def fail(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoints, "write_part", fail)
    writer.begin(1, {"weights": torch.zeros(3)}, {})
    with pytest.raises(OSError, match="no space left"):
        writer.finish()
    assert checkpoints.newest(tmp_path) is None
    writer.close()
