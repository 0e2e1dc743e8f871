"""What stands on the screen when the package is imported beside torchao."""

import logging
import subprocess
import sys

import pytest

from atoken.torchao_warnings_atoken import without_torchao_warnings


def test_nothing_is_said_about_torchao():
    pytest.importorskip("torchao")
    code = "from atoken import AtokenModel, AutoencoderAtoken"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0 and "torchao" not in result.stderr and "KernelPreference" not in result.stderr


def test_other_messages_of_the_same_loggers_are_kept(caplog, monkeypatch):
    logger = logging.getLogger("torch.utils._pytree")
    # Some versions of torch keep the messages of their loggers from the root, where pytest listens.
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    with without_torchao_warnings(), caplog.at_level("WARNING", logger.name):
        logger.warning("<enum 'KernelPreference'> is an Enum subclass")
        logger.warning("<enum 'Another'> is an Enum subclass")
    with caplog.at_level("WARNING", logger.name):
        logger.warning("<enum 'KernelPreference'> is said later")
    logger_messages = [record.getMessage() for record in caplog.records]
    assert logger_messages == ["<enum 'Another'> is an Enum subclass", "<enum 'KernelPreference'> is said later"]
