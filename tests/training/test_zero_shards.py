"""Averages in a checkpoint of DeepSpeed, beside an engine that stands in for its own."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from atoken.training import zero_shards
from atoken.training.optimization import AveragedWeights


def accelerator(processes: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        process_index=0,
        num_processes=processes,
        device=torch.device("cpu"),
        save_state=lambda folder: None,
        load_state=lambda folder: None,
    )


def complete(folder: Path) -> None:
    (folder / "complete.json").write_text(json.dumps({"parts": {"part-00000.json": ""}}))


def test_averages_go_on_as_if_there_had_been_no_stop(tmp_path):
    # Of one shape, and in another order than that of their names, in which files have them.
    net = nn.ModuleDict({name: nn.Linear(3, 3) for name in ("late", "early", "middle")})
    average = AveragedWeights(net, 0.5, ramp=False)
    zero_shards.save(accelerator(), average, tmp_path)
    complete(tmp_path)
    resumed = AveragedWeights(net, 0.5, ramp=False)
    zero_shards.load(accelerator(), resumed, tmp_path)
    assert list(resumed.values) == list(average.values)
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            parameter.add_(number)
    for each in (average, resumed):
        each.update(net, 1)
    assert all(torch.equal(resumed.values[name], value) for name, value in average.values.items())


def test_another_number_of_processes_is_refused(tmp_path):
    complete(tmp_path)
    with pytest.raises(ValueError, match="processes must be 1 with DeepSpeed, .*, got 2; launch as many"):
        zero_shards.load(accelerator(2), AveragedWeights(nn.Linear(1, 1), 0.5), tmp_path)
