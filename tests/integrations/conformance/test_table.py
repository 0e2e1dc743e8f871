"""The table of tests that cannot apply: nothing in it is out of date."""

import importlib
import inspect

import pytest
from transformers import testing_utils

from .fetch import unpacked_tests
from .harness import Conformance, common
from .not_applicable import MACHINE, NOT_APPLICABLE, matches, table_of
from .not_applicable_llava import NOT_APPLICABLE_LLAVA

common("test_modeling_common")

FILES = (
    *("configuration", "image_processor", "model", "processor", "video_processor", "vision_model"),
    *("llava_model", "llava_processors"),
)


@pytest.fixture(scope="module")
def tests() -> list[tuple[str, str]]:
    """Class and name of every test that conformance runs."""
    modules = [importlib.import_module(f"{__package__}.test_{name}") for name in FILES]
    classes = [value for module in modules for value in vars(module).values() if inspect.isclass(value)]
    return [
        (test_class.__name__, name)
        for test_class in classes
        if issubclass(test_class, Conformance) and test_class is not Conformance
        for name in dir(test_class)
        if name.startswith("test_") and callable(getattr(test_class, name))
    ]


def test_every_entry_means_a_test(tests):
    """And no entry before it means the same. That the test does not pass, the harness sees to."""
    for table in (NOT_APPLICABLE, NOT_APPLICABLE_LLAVA):
        meant = [test for test in tests if table_of(test[0]) is table]
        first = {next((key for key in table if matches(key, *test)), None) for test in meant}
        assert set(table) <= first


def test_every_lack_of_the_machine_is_one_that_a_test_names():
    sources = "".join(path.read_text(encoding="utf-8") for path in unpacked_tests().glob("test_*_common.py"))
    for key in MACHINE:
        decorators = [
            name
            for name, value in vars(testing_utils).items()
            if name.startswith("require_") and f'"{key}"' in inspect.getsource(value)
        ]
        assert any(f"@{name}\n" in sources for name in decorators), key


def test_reasons_say_what_is_demanded_and_why_it_cannot_be():
    for reason in {*NOT_APPLICABLE.values(), *NOT_APPLICABLE_LLAVA.values(), *MACHINE.values()}:
        demand, _, why = reason.partition("; ")
        assert demand and why, reason
