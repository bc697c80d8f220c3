"""Two fronts for the tests of this folder: one as it comes, one with a token and little patience."""

from collections.abc import Iterator

import pytest

from tests.net.front_process import Front, Worker, running


@pytest.fixture(scope="session")
def _front() -> Iterator[tuple[Front, Worker]]:
    with running(FRONT_FLUSH_MS=5, FRONT_MAX_MESSAGE_KB=4) as both:
        yield both


@pytest.fixture
def front(_front: tuple[Front, Worker]) -> Front:
    return _front[0]


@pytest.fixture
def worker(_front: tuple[Front, Worker]) -> Worker:
    return _front[1]


@pytest.fixture(scope="session")
def strict() -> Iterator[tuple[Front, Worker]]:
    with running(FRONT_TOKEN="s3cret", FRONT_CLIENT_STALL_S=1, FRONT_FLUSH_MS=5) as both:
        yield both
