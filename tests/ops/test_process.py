"""What every process has of the system: here, how many descriptors it may open."""

import resource
from collections.abc import Iterator

import pytest

from wick.ops.process import allow_open_files


@pytest.fixture
def hard() -> Iterator[int]:
    """The hard limit, with a soft one of 256, for the time of a test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_may_open_as_many_as_it_wants_and_never_fewer_than_before(hard: int) -> None:
    assert allow_open_files(300) == 300
    assert allow_open_files(10) == 300


def test_a_process_may_open_no_more_than_the_system_allows(hard: int) -> None:
    if hard == resource.RLIM_INFINITY:
        pytest.skip("the system allows any number")
    assert allow_open_files(hard + 1) == hard
