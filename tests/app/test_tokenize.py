"""`atoken tokenize`: what it prints and writes, goes on with, and refuses."""

import json

import pytest

from ..autoencoder_samples import save_autoencoder
from ..cli_samples import names, run, run_json, save_model
from ..tokenizing.corpus.samples import contents, write_folder, write_tars


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    save_model(root / "continuous")
    save_model(root / "discrete", discrete=True)
    return root


@pytest.fixture
def source(tmp_path):
    return write_folder(tmp_path / "source")


def test_a_corpus_is_made_and_verified_and_gone_on_with(models, source, tmp_path):
    out, options = tmp_path / "out", ["--model", models / "continuous", "--keep", "caption,label", "--unit-rows", 4]
    answer = run_json("tokenize", source, out, *options, "--flip")
    assert (answer["units"], answer["missing"], answer["rows"], answer["damaged"]) == (3, 0, 20, [])
    assert len(answer["mean"]) == 12
    before = contents(out)
    (out / "part-00001.json").unlink()
    assert "20" in run("tokenize", source, out, *options, "--flip").stdout
    assert contents(out) == before
    found = run_json("tokenize", "--verify", out, "--decode", 2)
    assert found["problems"] == [] and len(found["decoded"]) == 2 and found["rows"] == 20
    table = run("tokenize", "--verify", out, "--decode", 2).stdout
    assert "PSNR, lowest and mean" in table and "largest difference" in table
    result = run("tokenize", source, out, *options, code=1)
    assert "options.flip: True became False" in result.stderr and contents(out) == before


def test_codes_are_stored_of_discrete_models(models, source, tmp_path):
    answer = run_json("tokenize", source, tmp_path / "out", "--model", models / "discrete", "--size", 32)
    assert answer["entries"] == 4096 and len(answer["used"]) == 2 and answer["tokens"] == 40


def test_corpora_are_made_of_other_autoencoders(models, source, tmp_path):
    vae = save_autoencoder(tmp_path / "vae")
    answer = run_json("tokenize", source, tmp_path / "out", "--autoencoder", vae, "--size", 32)
    assert (answer["rows"], answer["tokens"], len(answer["mean"])) == (10, 640, 4)
    both = run("tokenize", source, tmp_path / "no", "--autoencoder", vae, "--model", models / "continuous", code=2)
    assert "--autoencoder takes the place of --model" in both.stderr


def test_failures_are_listed_and_end_with_exit_code_1(models, source, tmp_path):
    (source / "class0/bad.png").write_text("nothing")
    (source / "notes.md").write_text("nothing")
    result = run("tokenize", source, tmp_path / "out", "--model", models / "continuous", code=1)
    assert "1 of the source's rows could not be used" in result.stderr and "not an image" in result.stderr
    assert "passed over, 1 of them: notes.md" in result.stderr
    assert run_json("tokenize", "--verify", tmp_path / "out")["failures"] == 1


def test_damaged_shards_are_named(models, tmp_path):
    (tmp_path / "tars").mkdir()
    source = write_tars(tmp_path / "tars")
    (source / "1.tar").write_bytes((source / "1.tar").read_bytes()[:9000])
    result = run("tokenize", source, tmp_path / "out", "--model", models / "continuous", code=1)
    assert "unit 1: source: " in result.stderr and "1.tar is truncated" in result.stderr
    answer = run_json("tokenize", source, tmp_path / "out", "--model", models / "continuous", code=1)
    assert answer["missing"] == 1 and len(answer["damaged"]) == 1


def test_shards_come_from_the_option_or_the_launcher(models, source, tmp_path, monkeypatch):
    from atoken_app import corpus_jobs

    seen = []
    real = corpus_jobs.work
    monkeypatch.setattr(corpus_jobs, "work", lambda *args: (seen.append(args[3:5]), real(*args))[1])
    options = ["--model", models / "continuous", "--unit-rows", 4]
    run("tokenize", source, tmp_path / "a", *options, "--shard", "1/3")
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    run("tokenize", source, tmp_path / "a", *options)
    for name, value in {"ID": "5", "MIN": "5", "COUNT": "8"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    run("tokenize", source, tmp_path / "a", *options)
    assert seen == [(1, 3), (2, 4), (0, 8)]


def test_statistics_go_into_a_model(source, tmp_path):
    save_model(tmp_path / "model")
    options = ["--model", tmp_path / "model", "--into-config", tmp_path / "model"]
    run("tokenize", source, tmp_path / "out", *options)
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert len(config["latents_mean"]) == len(config["latents_std"]) == 12
    # The fingerprints are of weights and sizes: the corpus can be gone on with.
    run("tokenize", source, tmp_path / "out", *options)


def test_columns_named_twice_or_not_at_all(models, source, tmp_path):
    for keep in ("caption,caption", "=x", "caption,,=label"):
        result = run("tokenize", source, tmp_path / "out", "--keep", keep, code=2)
        assert "--keep" in result.stderr


@pytest.mark.parametrize(
    "arguments, code, says",
    [
        (["nowhere", "out"], 1, "which is none of them"),
        (["{}"], 2, "OUT must be given"),
        (["{}", "out", "--shard", "3/3"], 2, "--shard must be I/N"),
        (["{}", "out", "--shard", "a"], 2, "--shard must be I/N"),
        (["{}", "out", "--ray", "--shard", "0/2"], 2, "--ray shares the work out by itself"),
        (["{}", "out", "--decode", "3"], 2, "--decode needs --verify"),
        (["{}", "out", "--devices", "all", "--device", "cpu"], 2, "--devices is for GPUs"),
        (["{}", "out", "--codes"], 2, "--codes needs a discrete model"),
        (["{}", "out", "--size", "40"], 1, "size must be a multiple of the patch of 16 x 16 pixels, got 40"),
        (["{}", "out", "--size", "32", "--max-tokens", "3"], 1, "max_tokens must be left out"),
        (["{}", "out", "--kind", "video"], 1, "must hold media of the kind"),
        (["{}", "out", "--keep", "text"], 1, "keep must be among caption, label, folder"),
        (["{}", "out", "--format", "safetensors"], 1, "which is what Lightning-DiT reads"),
        (["--verify", "{}"], 1, "which has no plan.json"),
        (["{}", "{}"], 1, "must be a new folder or that of a corpus"),
        (["{}", "{}/class0/000.png"], 2, "is a file; expected a folder"),
    ],
)
def test_wrong_options_and_sources(arguments, code, says, models, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = names(tmp_path)
    model = [] if "--verify" in arguments else ["--model", models / "continuous"]
    result = run("tokenize", *(argument.format(source) for argument in arguments), *model, code=code)
    assert says in result.stderr and "Traceback" not in result.stderr and names(tmp_path) == before
