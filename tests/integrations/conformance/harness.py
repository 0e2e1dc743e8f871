"""Runs transformers' common tests against the classes of this project.

A test class of this folder inherits from `Conformance` and from one of the library's testers. Each inherited test must
then pass, or be explained in `not_applicable.py`: a skip without an explanation is a failure, and so is an explanation
of a test that passes.
"""

import functools
import importlib
import importlib.util
import sys
import unittest
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest
from transformers import testing_utils

from .fetch import unpacked_tests
from .not_applicable import machine_reason, not_applicable_reason

_ALIAS = "transformers_common_tests"
_MEDIA = Path(__file__).parents[3] / "examples" / "media"
_STANDING_IN = {".png": str(_MEDIA / "cat.jpg"), ".jpg": str(_MEDIA / "cat.jpg"), ".mp4": str(_MEDIA / "cup.mp4")}


def common(name: str) -> ModuleType:
    """A module of transformers' `tests` folder. Skips the test file that asks, if the folder has not been fetched."""
    folder = unpacked_tests()
    if not folder.is_dir():
        pytest.skip(
            f"the common tests of {folder.parent.name} are not here; `make conformance` fetches them",
            allow_module_level=True,
        )
    if _ALIAS not in sys.modules:
        # An alias, as a package called `tests` is there already.
        spec = importlib.util.spec_from_file_location(
            _ALIAS, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        sys.modules[_ALIAS] = importlib.util.module_from_spec(spec)
        _stand_in_for_what_is_left_out()
        # "Slow" is no reason to skip: all of it takes minutes.
        testing_utils._run_slow_tests = True
    return importlib.import_module(f"{_ALIAS}.{name}")


def _stand_in_for_what_is_left_out() -> None:
    """The source distribution holds the files of the `tests` folder, but no folder within it, which they import."""
    general_settings = {
        # No default among them, so that one that is not kept shows.
        "architectures": ["AtokenModel"],
        "chunk_size_feed_forward": 5,
        "dtype": "float16",
        "id2label": {0: "cat"},
        "label2id": {"cat": 0},
        "output_hidden_states": True,
        "problem_type": "regression",
        "return_dict": False,
    }
    for name, contents in {
        f"{_ALIAS}.exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
        f"{_ALIAS}.generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
        f"{_ALIAS}.utils.test_configuration_utils": {"config_common_kwargs": general_settings},
        # It caches files of the Hub, which tests do not reach; what is read here is as good.
        "fetch_hub_objects_for_ci": {"url_to_local_path": lambda url: _STANDING_IN.get(Path(url).suffix, url)},
    }.items():
        module = ModuleType(name)
        vars(module).update(contents)
        sys.modules[name] = module


class Conformance:
    """Comes before the library's tester among the bases of a test class."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name in dir(cls):
            test = getattr(cls, name)
            if name.startswith("test_") and callable(test):
                setattr(cls, name, _explained(test, cls.__name__, name))

    def subTest(self, *args, **kwargs):
        # The first failure or skip within a test stands for all of it.
        return nullcontext()


def _explained(test: Callable, class_name: str, name: str) -> Callable:
    """A test that passes, or skips with the reason of the table."""
    reason = not_applicable_reason(class_name, name)
    declared_skip = getattr(test, "__unittest_skip_why__", None)

    @functools.wraps(test)
    def run(self):
        try:
            if declared_skip is not None:
                # At once, as some tests start another process before they look at what the machine has.
                raise unittest.SkipTest(declared_skip)
            test(self)
        except unittest.SkipTest as skip:
            why = reason or machine_reason(str(skip))
            if why is None:
                raise AssertionError(f"skipped, and not_applicable.py does not say why: {skip}") from skip
            raise unittest.SkipTest(why) from skip
        except Exception as error:
            if reason is None:
                raise
            raise unittest.SkipTest(reason) from error
        if reason is not None:
            raise AssertionError(f"passes, but not_applicable.py holds that it cannot apply: {reason}")

    # Decorators that skip leave word for the runner, which would then not come here.
    vars(run).pop("__unittest_skip__", None)
    # For tracebacks; where tests are generated, this leads nowhere.
    del run.__wrapped__
    return run
