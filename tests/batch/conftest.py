"""Fixtures for the tests of ``map_prompts``."""

from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture
def elsewhere():
    """Run a call in a thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit
