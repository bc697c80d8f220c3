"""What the browser tests share: one system, one chromium, and for each test a page of its own that must stay clean."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest

from tests.browser import chromium, system
from tests.browser.chromium import Chromium, Page
from tests.browser.stored_history import write_history
from tests.browser.system import RunningWick

START_TAKES_S = 12  # on a busy machine


@pytest.fixture(scope="module")
def running_wick() -> Iterator[RunningWick]:
    """The real system, running, with a history of stored candles."""
    with system.running(EXCHANGE_SYMBOLS=system.SYMBOLS, EXCHANGE_RATE=300) as wick:
        # History ends with the present minute: an engine that began in the next one would leave a hole between them.
        chromium.until(lambda: time.time() % 60 < 60 - START_TAKES_S, "the next minute", START_TAKES_S + 1)
        write_history(wick.data_dir / "candles.sqlite")
        write_history(wick.data_dir / "candles.sqlite", interval="1d", foreign=80)
        wick.start_all()
        wick.wait_until_it_runs()
        yield wick


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    program = chromium.executable()
    if program is None:
        pytest.skip("there is no chromium on this machine (Debian's package chromium)")
    folder = TemporaryDirectory(prefix="wick-chromium-", ignore_cleanup_errors=True)
    with folder as profile, chromium.running(Path(profile), program) as running:
        yield running


@pytest.fixture
def open_page(browser: Chromium, running_wick: RunningWick) -> Iterator[Callable[..., Page]]:
    """Opens the page in a new tab. Whatever the test did: nothing on the console, and no host asked but our own."""
    pages = []

    def open_page(fragment: str = "", query: str = "", port: int | None = None) -> Page:
        page = browser.page()
        pages.append(page)
        page.resize(1440, 900)
        page.open(f"http://127.0.0.1:{port or running_wick.port}/{query}{fragment}")
        page.wait_for("window.wick")
        return page

    yield open_page
    for page in pages:
        errors, urls = page.errors, page.urls
        page.close()
        assert errors == []
        assert {urlsplit(url).hostname for url in urls if not url.startswith("data:")} == {"127.0.0.1"}
