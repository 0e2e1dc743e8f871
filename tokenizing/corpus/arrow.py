"""PyArrow, where it is installed."""

from types import ModuleType


def import_arrow() -> tuple[ModuleType, ModuleType]:
    """
    Gives the modules pyarrow and pyarrow.parquet.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError('parquet files need pyarrow: pip install "atoken[corpus]"') from error
    return pyarrow, pyarrow.parquet
