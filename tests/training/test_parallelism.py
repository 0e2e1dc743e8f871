"""What the launcher's settings become, with plugins that stand in for those of accelerate."""

from types import SimpleNamespace

import pytest
from accelerate import DistributedType

from atoken.training import parallelism


def launched(kind: DistributedType, stage: int = 0, processes: int = 8, shard: int | None = None) -> SimpleNamespace:
    """What accelerate makes of a launcher's file."""
    plugin = SimpleNamespace(zero_stage=stage, deepspeed_config={"zero_optimization": {"stage": stage}})
    sizes = None if shard is None else SimpleNamespace(dp_shard_size=shard, dp_shard_enabled=shard > 1)
    state = SimpleNamespace(deepspeed_plugin=plugin)
    return SimpleNamespace(
        distributed_type=kind, num_processes=processes, parallelism_config=sizes, state=state, mixed_precision="bf16"
    )


@pytest.mark.parametrize(
    "kind, options, expected",
    [
        (DistributedType.NO, {"processes": 1}, False),
        (DistributedType.MULTI_GPU, {}, False),
        (DistributedType.DEEPSPEED, {"stage": 2}, False),
        (DistributedType.DEEPSPEED, {"stage": 3}, True),
        (DistributedType.FSDP, {}, True),
        (DistributedType.FSDP, {"shard": 4}, True),
        (DistributedType.FSDP, {"processes": 1}, False),
    ],
)
def test_who_has_whole_weights(kind, options, expected):
    assert parallelism.spreads_weights(launched(kind, **options)) is expected


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_adds_gradients_in_float32(stage, tmp_path, monkeypatch):
    made = launched(DistributedType.DEEPSPEED, stage)
    monkeypatch.setattr(parallelism, "Accelerator", lambda **options: made)
    config = parallelism.build_accelerator(0.5, "none", tmp_path).state.deepspeed_plugin.deepspeed_config
    assert config["communication_data_type"] == config["data_types"]["grad_accum_dtype"] == "fp32"
    assert config["gradient_clipping"] == 0.5 and config["zero_optimization"] == {"stage": stage}
