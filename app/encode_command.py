"""`atoken encode`: media to files of latents or codes."""

from .errors import UsageError
from .jobs import Job, assign_outputs, find_media, run_jobs
from .loading import load
from .options import (
    LATENTS_SUFFIX,
    AsCodes,
    AsJson,
    Device,
    DeviceName,
    Dtype,
    DtypeName,
    Inputs,
    LatentDtype,
    ModelName,
    OutputFolder,
    Overwrite,
)
from .rows import StoredRow
from .tables import about, report, stored_table


def encode(
    inputs: Inputs,
    output: OutputFolder,
    codes: AsCodes = None,
    model: ModelName = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    latent_dtype: LatentDtype = Dtype.bfloat16,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Encode images, videos and meshes to latents or codes, one .safetensors file each, for `decode`."""
    jobs, record = find_media(inputs)
    jobs = assign_outputs(jobs, output, lambda job: LATENTS_SUFFIX, overwrite, record)
    rows, loaded = [], None
    if jobs:
        from .media_jobs import encode_media
        from .object_jobs import encode_object

        loaded = load(model, device, dtype)
        if codes and not loaded.discrete:
            raise UsageError(f"--codes needs a discrete model, but {loaded.name} has no quantizer; use --latents")
        content = "codes" if codes or (codes is None and loaded.discrete) else "latents"

        def work(job: Job) -> StoredRow:
            encode_job = encode_object if job.kind == "object" else encode_media
            return encode_job(loaded, job, content, latent_dtype.value)

        rows = run_jobs(jobs, record, work, "encoding")
    report(rows, record, as_json, stored_table, about(loaded))
