"""Files that the flat folders hold twice, as the Hub copies the folders apart from each other."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_a_name_means_one_file():
    """`atoken export` puts both folders into one, where a file of the same name would replace the other."""
    names = [
        {path.name for path in (ROOT / folder).glob("*_atoken.py")} for folder in ("modeling_atoken", "processing")
    ]
    assert names[0] & names[1] == {"atomic_files_atoken.py", "remote_code_atoken.py"}
    for name in names[0] & names[1]:
        assert (ROOT / "modeling_atoken" / name).read_bytes() == (ROOT / "processing" / name).read_bytes(), name


def test_a_language_model_and_its_encoder_share_one_file():
    """`save_with_code` puts the files of both into one folder."""
    names = [{path.name for path in (ROOT / folder).glob("*_atoken.py")} for folder in ("modeling_atoken", "mllm")]
    assert names[0] & names[1] == {"remote_code_atoken.py"}
    copies = [(ROOT / folder / "remote_code_atoken.py").read_bytes() for folder in ("modeling_atoken", "mllm")]
    assert copies[0] == copies[1]


def test_generators_and_tokenizer_share_one_file():
    """Each folder is copied alone, but what holds for attention on a device holds for both."""
    one, other = (ROOT / folder / "varlen_attention_atoken.py" for folder in ("modeling_atoken", "generation"))
    assert one.read_bytes() == other.read_bytes()
