"""Settings of all tests: property-based ones have no deadline, and in CI always try the same examples."""

import os

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name a case by its argument where its bytes say nothing, or differ from run to run: workers compare the names."""
    if isinstance(val, bytes) and (len(val) > 40 or not val.isascii()):
        return argname
    return None
