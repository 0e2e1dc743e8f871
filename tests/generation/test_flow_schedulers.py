"""Schedulers of diffusers: which are refused, and that the model is asked at the times at which the others are."""

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    UniPCMultistepScheduler,
)

from atoken.generation import LightningDiTPipeline
from atoken.generation.flow_sampling_atoken import FlowSampling, sample_flow
from atoken.generation.flow_schedulers_atoken import check_scheduler, scheduled

from .helpers import autoencoder, lightning_dit, lightning_pipeline
from .media_helpers import media_pipeline
from .object_helpers import object_pipeline, picture

FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
# With a grid of times.
FITTING = {
    "Euler": FlowMatchEulerDiscreteScheduler(),
    "another shift": FlowMatchEulerDiscreteScheduler(shift=7.0),
    "Karras": FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
    "exponential": FlowMatchEulerDiscreteScheduler(use_exponential_sigmas=True),
    "a terminal": FlowMatchEulerDiscreteScheduler(shift_terminal=0.1),
    "UniPC": UniPCMultistepScheduler(**FLOW),
    "UniPC of order 3": UniPCMultistepScheduler(solver_order=3, **FLOW),
    "UniPC with a terminal": UniPCMultistepScheduler(shift_terminal=0.1, **FLOW),
}
REFUSED = {
    "dynamic shifting": (FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), "use_dynamic_shifting=False"),
    "inverted": (FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "along its own times .*invert_sigmas=True"),
    "stochastic": (
        FlowMatchEulerDiscreteScheduler(stochastic_sampling=True),
        "draw no noise.*stochastic_sampling=True",
    ),
    "LCM": (FlowMatchLCMScheduler(), "draw no noise, .* got FlowMatchLCMScheduler"),
    "not of flows": (EulerDiscreteScheduler(), "for flow matching, .* got EulerDiscreteScheduler"),
    "UniPC not of flows": (UniPCMultistepScheduler(), "others need use_flow_sigmas=True and prediction_type"),
    "UniPC of noise": (
        UniPCMultistepScheduler(use_flow_sigmas=True),
        "along its own times .*prediction_type='epsilon'",
    ),
    "UniPC with Karras": (UniPCMultistepScheduler(use_karras_sigmas=True, **FLOW), "UniPC.*use_karras_sigmas=True"),
    "UniPC dynamic": (UniPCMultistepScheduler(use_dynamic_shifting=True, **FLOW), "take UniPCMultistepScheduler.from"),
    "UniPC that stops before": (UniPCMultistepScheduler(final_sigmas_type="sigma_min", **FLOW), "final_sigmas_type="),
}
SDE = DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", **FLOW)


@pytest.mark.parametrize("name", FITTING)
def test_the_model_is_asked_at_the_times_that_the_scheduler_is_at(name):
    """Velocities 2 t c lead from x to x - c, as 2 t has the integral 1: every other time of asking leads elsewhere."""
    noise = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    change, asked = torch.tensor([1.0, -2.0, 3.0]), []

    def velocity(data, time, step):
        asked.append(time)
        return (2 * time * change).expand_as(data)

    sampling = FlowSampling(200, guidance_scale=1.0, shift=3.0)
    end = sample_flow(FITTING[name], sampling, noise, velocity, lambda data: data, lambda step, time, data: data)
    assert len(asked) == 200 and asked == sorted(asked, reverse=True)
    assert float((end - (noise - change)).abs().max()) < 0.06  # of Euler's 200 steps


@pytest.mark.parametrize("name", ["Euler", "another shift", "UniPC"])
def test_shifts_are_taken_by_the_schedulers_own_name(name):
    _, times = scheduled(FITTING[name], 10, 3.0, torch.device("cpu"))
    even = np.linspace(1, 0, 11)[:-1]
    np.testing.assert_allclose(times, 3 * even / (1 + 2 * even), rtol=0, atol=1.1e-3)  # UniPC rounds times down


def test_times_that_a_scheduler_rounds_stay_the_authors():
    """So an interval of guidance has the times that it ends at: 0.7 in fp32 is below it."""
    guided = []

    def velocity(data, time, step):
        guided.extend([time] * (step is None))
        return data

    sampling = FlowSampling(10, guidance_scale=2.0, guidance_interval=(0.7, 1.0), shift=1.0)
    noise = torch.ones(1, 1)
    sample_flow(FITTING["Euler"], sampling, noise, velocity, lambda data: data, lambda step, time, data: data)
    assert guided == sampling.times[:4] and guided[3] == pytest.approx(0.7, abs=1e-15)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("takes_sigmas", [True, False])
def test_schedulers_that_lead_elsewhere_are_refused(name, takes_sigmas):
    scheduler, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        check_scheduler(scheduler, takes_sigmas)


def test_grids_are_asked_for_where_they_are_needed():
    heun = FlowMatchHeunDiscreteScheduler()
    check_scheduler(heun, takes_sigmas=False)
    with pytest.raises(ValueError, match="scheduler must take sigmas, .* got FlowMatchHeunDiscreteScheduler"):
        check_scheduler(heun, takes_sigmas=True)
    check_scheduler(DPMSolverMultistepScheduler(**FLOW), takes_sigmas=False)
    with pytest.raises(ValueError, match="draw no noise, .*algorithm_type='sde-dpmsolver"):
        check_scheduler(SDE, takes_sigmas=False)


@pytest.mark.parametrize(
    "make",
    [
        lambda scheduler: LightningDiTPipeline(lightning_dit(), autoencoder(), scheduler),
        lambda scheduler: media_pipeline(scheduler=scheduler),
        lambda scheduler: object_pipeline(scheduler=scheduler),
    ],
    ids=["classes", "texts", "pictures"],
)
def test_pipelines_refuse_schedulers_when_they_are_made(make):
    with pytest.raises(ValueError, match="draw no noise, .* got FlowMatchLCMScheduler"):
        make(FlowMatchLCMScheduler())


@pytest.mark.parametrize(
    ("make", "given"),
    [(lightning_pipeline, 0), (media_pipeline, "a star"), (object_pipeline, picture())],
    ids=["classes", "texts", "pictures"],
)
def test_pipelines_refuse_schedulers_that_were_put_into_them(make, given):
    pipeline = make()
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    with pytest.raises(ValueError, match="scheduler must have use_dynamic_shifting=False"):
        pipeline(given, output_type="latent")


def test_texts_and_pictures_with_another_scheduler():
    """Of many steps by Euler and fewer by UniPC the ends meet, as both follow one curve."""
    noise = torch.randn(1, 4, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    euler, unipc = (
        media_pipeline(scheduler=FITTING[name])(
            "a star", num_inference_steps=steps, guidance_scale=1.0, latents=noise, output_type="latent"
        ).images
        for name, steps in (("Euler", 100), ("UniPC", 20))
    )
    assert float((euler - unipc).abs().max()) < 0.1 * float(euler.abs().max())
    made = object_pipeline(scheduler=FITTING["UniPC"])(
        picture(), generator=torch.Generator().manual_seed(0), output_type="latent"
    )
    assert made.latents.isfinite().all()
