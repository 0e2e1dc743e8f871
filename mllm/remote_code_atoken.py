"""What a file of ours does when it runs as remote code: copied out of a Hub repository, without this package."""

import sys

# The packages into which transformers and diffusers put the files of Hub repositories.
_REMOTE_PACKAGES = ("transformers_modules", "diffusers_modules")


def auto_class_of(module: str, auto_class: str) -> str | None:
    """
    Gives the value of `_auto_class` for a class: `auto_class` where its module runs as remote code, else None.

    With it, whatever part of a remote model or processor is saved takes its code along and names it in the
    configuration, so that the saved folder loads again. The libraries do so only for the class that they loaded.
    """
    return auto_class if module.partition(".")[0] in _REMOTE_PACKAGES else None


def bind_to_package(module: str) -> None:
    """
    Makes a module an attribute of its package, as an import does.

    Transformers runs the file that a repository names without this step. Then dill, with which `datasets` makes
    fingerprints, does not find the classes of the module and fails.
    """
    package, _, name = module.rpartition(".")
    if package in sys.modules:
        setattr(sys.modules[package], name, sys.modules[module])
