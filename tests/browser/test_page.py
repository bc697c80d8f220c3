"""The page in a real browser against the real system: what a person sees, and that it stays true."""

import re
import signal
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from tests.browser.chromium import Page, until
from tests.browser.line import line_to
from tests.browser.stored_history import ROWS
from tests.browser.system import SYMBOLS, RunningWick
from tests.browser.test_client_js import camel
from tests.ports import free_port
from wick.market.intervals import NAMES
from wick.market.rows import COLUMNS

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]

# The pixels of the chart's canvases, read from copies: reading the originals would change how chromium paints them.
PIXELS = """
[...document.querySelectorAll('#chart canvas')].filter((canvas) => canvas.width > 200 && canvas.height > 200)
  .map((canvas) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
    copy.drawImage(canvas, 0, 0);
    return copy.getImageData(0, 0, canvas.width, Math.round(canvas.height * SHARE)).data;
  })
"""
# Candles, volume and price line are the only saturated colours of the chart; axes and grid are grey.
COLOURED_PIXELS = f"""
{PIXELS.replace("SHARE", "1")}.reduce((sum, data) => {{
  for (let i = 0; i < data.length; i += 4) {{
    const [r, g, b, a] = [data[i], data[i + 1], data[i + 2], data[i + 3]];
    if (a > 40 && Math.max(r, g, b) - Math.min(r, g, b) > 60) sum += 1;
  }}
  return sum;
}}, 0)
"""
# The upper part only, where the candles are: the volume below it moves by itself.
PICTURE = f"""
{PIXELS.replace("SHARE", "0.7")}
  .map((data) => data.reduce((sum, value, index) => (sum * 31 + value * (index % 97)) % 1e9, 7)).join()
"""
INTERVAL_BUTTONS = "[...document.querySelectorAll('#intervals button')].map((button) => button.textContent)"
STATUS = "document.body.dataset.status"
STATE = "document.querySelector('#state').textContent"
BANNER = "document.querySelector('#banner')"
OPERATED = ("button", "searchbox", "link", "listbox", "option")
OPEN_TIMES = "wick.candles.map((candle) => candle.openTimeMs)"
FIELDS = {camel(name): name for name in COLUMNS if name not in ("close_time_ms", "flags")}


SHOWN_PAIRS = "[...document.querySelectorAll('.legend .pair:not([hidden])')].map((pair) => pair.textContent)"


def text(page: Page, selector: str) -> str:
    return str(page.evaluate(f"document.querySelector({selector!r}).textContent"))


def are_contiguous(open_times_ms: list[int], step_ms: int) -> bool:
    return all(later - earlier == step_ms for earlier, later in pairwise(open_times_ms))


def of_api(row: dict[str, Any]) -> dict[str, Any]:
    return {ours: row[theirs] for ours, theirs in FIELDS.items()}


def test_the_chart_appears_with_candles(open_page: OpenPage, running_wick: RunningWick) -> None:
    page = open_page("#binance:BTC-USDT:1m")
    page.wait_for("wick.loaded && wick.connected && wick.candles.length > 100")
    until(lambda: page.evaluate(COLOURED_PIXELS) > 2_000, "candles on the canvas", 60)
    assert text(page, "#symbol") == "BTCUSDT"
    assert re.fullmatch(r"[\d,]+\.\d{2}", text(page, "#last"))
    assert page.evaluate(INTERVAL_BUTTONS) == list(NAMES)
    assert page.evaluate("document.querySelector('#tv-attr-logo').href").startswith("https://www.tradingview.com/")


def test_the_picture_moves_with_the_market(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:15s")
    page.wait_for("wick.loaded && wick.candles.length")
    page.wait_for(f"{STATUS} === 'live' && / UTC$/.test(document.querySelector('#clock').textContent)")
    for _ in range(3):
        candle, picture, price = page.evaluate("wick.candles.at(-1)"), page.evaluate(PICTURE), text(page, "#last")
        until(lambda old=candle: page.evaluate("wick.candles.at(-1)") != old, "another live candle", 60)
        until(lambda old=price: text(page, "#last") != old, "another price", 60)
        until(lambda old=picture: page.evaluate(PICTURE) != old, "another picture", 60)
    assert page.evaluate("wick.counters.gap") == 0


def test_a_click_on_an_interval_shows_its_candles(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:15s")
    page.wait_for("wick.loaded")
    page.click("#intervals [data-interval='1m']")
    page.wait_for("wick.interval === '1m' && wick.loaded && wick.candles.length > 100")
    assert all(open_ms % 60_000 == 0 for open_ms in page.evaluate(OPEN_TIMES))
    assert page.evaluate("location.hash") == "#binance:BTC-USDT:1m"
    page.press("ArrowLeft")
    page.wait_for("wick.interval === '30s' && wick.loaded")
    assert all(open_ms % 30_000 == 0 for open_ms in page.evaluate(OPEN_TIMES))


def test_typing_finds_a_symbol_and_arrows_walk_the_list(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:15s")
    page.wait_for("wick.loaded && wick.symbols.length > 1")
    bitcoin = page.evaluate("wick.candles.at(-1).open")
    page.type("ethu")
    page.wait_for("wick.symbols.length === 1 && wick.symbols[0] === 'binance:ETH-USDT'")
    page.press("Enter")
    page.wait_for("wick.symbol === 'ETH-USDT' && wick.loaded && wick.candles.length && wick.symbols.length > 1")
    assert page.evaluate("wick.candles.at(-1).open") != bitcoin
    assert text(page, "#symbol") == "ETHUSDT"
    assert page.evaluate("location.hash") == "#binance:ETH-USDT:15s"
    below = page.evaluate("wick.symbols[wick.symbols.indexOf('binance:ETH-USDT') + 1]")
    page.press("ArrowDown")
    page.wait_for(f"`${{wick.venue}}:${{wick.symbol}}` === {below!r} && wick.loaded")


def test_an_address_names_symbol_and_interval(open_page: OpenPage) -> None:
    page = open_page("#binance:ETH-USDT:5m")
    page.wait_for("wick.loaded && wick.symbol === 'ETH-USDT' && wick.interval === '5m'")
    page.evaluate("location.hash = '#binance:BTC-USDT:1m'")
    page.wait_for("wick.loaded && wick.symbol === 'BTC-USDT' && wick.interval === '1m' && wick.candles.length > 100")


def test_the_list_holds_every_symbol_but_only_the_visible_rows(open_page: OpenPage, running_wick: RunningWick) -> None:
    page = open_page()

    def known() -> set[str]:
        return {f"{pair['venue']}:{pair['symbol']}" for pair in running_wick.get("/api/v1/symbols")}

    until(lambda: len(known()) == SYMBOLS and set(page.evaluate("wick.symbols")) == known(), "every symbol", 30)
    assert page.evaluate("document.querySelectorAll('.row').length") < SYMBOLS
    page.click("[data-sort='name']")
    until(lambda: page.evaluate("wick.symbols") == sorted(known()), "the order of names", 60)
    names = page.evaluate("wick.symbols")
    page.evaluate("document.querySelector('#list').scrollTop = 1e6")
    last = names[-1].split(":")[1].replace("-", "")
    cells = "[...document.querySelectorAll('.row:not([hidden]) .row-{}')]"
    page.wait_for(f"{cells.format('symbol')}.some((cell) => cell.textContent === {last!r})")
    page.wait_for(f"{cells.format('last')}.every((cell) => /[0-9]/.test(cell.textContent))")


def test_older_candles_come_when_the_chart_is_pulled_to_the_right(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:1m")
    page.wait_for("wick.loaded && wick.candles.length >= 500")
    page.press("End")

    def pull() -> bool:
        page.drag((450, 400), (1250, 400))
        return bool(page.evaluate("wick.candles.length") >= ROWS)

    until(pull, "all of the stored candles", 30)
    times = page.evaluate(OPEN_TIMES)
    assert times == sorted(set(times))
    assert are_contiguous(times, 60_000)


def test_the_legend_tells_the_candle_under_the_crosshair(open_page: OpenPage, running_wick: RunningWick) -> None:
    page = open_page("#binance:BTC-USDT:1m")
    page.wait_for("wick.loaded && wick.candles.length > 100")
    newest = text(page, ".legend .name")
    page.move_to(900, 400)
    page.wait_for(f"document.querySelector('.legend .name').textContent !== {newest!r}")
    shown = text(page, ".legend")
    moment = re.search(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC", shown)
    assert moment is not None
    open_ms = int(datetime.fromisoformat(f"{moment[1]}T{moment[2]}Z").timestamp()) * 1000
    candle = page.evaluate(f"wick.candles.find((candle) => candle.openTimeMs === {open_ms})")
    for label, field in (("O", "open"), ("H", "high"), ("L", "low"), ("C", "close")):
        assert f"{label}{float(candle[field]):,.2f}" in shown
    assert "Taker buy40%" in shown
    assert "Trades40" in shown
    assert f"VWAP{candle['vwap']:,.2f}Delta\u22121.000CVD\u2212123.5Max trade1.235" in shown


def test_the_legend_shows_of_the_live_candle_what_is_known_and_no_more(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:1M")
    page.wait_for("wick.loaded && wick.candles.at(-1)?.tradeCount > 0 && !(wick.candles.at(-1).flags & 1)")
    page.wait_for(f"{SHOWN_PAIRS}.some((text) => /^VWAP[0-9,]+[.][0-9]{{2}}$/.test(text))")
    shown = page.evaluate(SHOWN_PAIRS)
    labels = ("Taker buy", "VWAP", "Delta", "CVD", "Max trade")
    told = [label for label in labels if any(text.startswith(label) for text in shown)]
    assert told == ["Taker buy", "VWAP", "Delta"]


def test_of_a_venues_own_candle_the_legend_shows_what_it_tells(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:1d")
    page.wait_for("wick.loaded && wick.candles.length > 80")
    newest = text(page, ".legend .name")
    page.move_to(900, 400)
    page.wait_for(f"document.querySelector('.legend .name').textContent !== {newest!r}")
    told = [pair for pair in page.evaluate(SHOWN_PAIRS) if pair.startswith(("Vol", "Trades", "Taker", "Delta", "VWAP"))]
    assert told == ["Vol5.000", "Taker buy\u2013"]


def test_nothing_sticks_out_of_a_phone_and_the_list_is_a_drawer(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:1M")
    page.wait_for("wick.loaded && wick.connected")
    page.resize(390, 844, mobile=True)
    chosen = "document.querySelector('[data-interval=\"1M\"]').getBoundingClientRect()"
    page.wait_for(f"innerWidth === 390 && {chosen}.left > 0 && {chosen}.right <= 390")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    drawer = "document.querySelector('#watch').getBoundingClientRect()"
    page.wait_for(f"{drawer}.right <= 0")
    page.click("#menu")
    page.wait_for(f"{drawer}.left === 0")
    page.press("Escape")
    page.wait_for(f"{drawer}.right <= 0")


def test_everything_that_can_be_operated_has_a_name(open_page: OpenPage) -> None:
    page = open_page()
    page.wait_for("wick.loaded && wick.symbols.length")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    operated = [node for node in nodes if node.get("role", {}).get("value") in OPERATED]
    assert len(operated) > len(NAMES)
    assert [node for node in operated if not node.get("name", {}).get("value")] == []
    live = "[...document.querySelectorAll('[aria-live], [role=status]')].map((element) => element.id)"
    assert "state" in page.evaluate(live)


def test_a_token_in_the_pages_address_opens_api_and_socket(open_page: OpenPage, running_wick: RunningWick) -> None:
    port = free_port()
    running_wick.start("front", 1, 2, "--front-port", str(port), "--front-token", "sesame")
    until(lambda: running_wick.get("/healthz", port), "the second front", 60)
    page = open_page("#binance:BTC-USDT:15s", "?token=sesame", port)
    page.wait_for("wick.connected && wick.loaded && wick.candles.length")
    running_wick.kill("front-1")
    page.wait_for("!wick.connected")
    page.open("about:blank")  # before it tries again
    page.wait_for("location.href === 'about:blank'")
    page.errors.clear()  # the refused connections since then


def test_history_and_live_candles_have_no_seam(open_page: OpenPage, running_wick: RunningWick) -> None:
    page = open_page("#binance:BTC-USDT:15s")
    page.wait_for("wick.loaded && wick.candles.length")
    # Long enough for a live candle to be left behind and for its close to come.
    seen = page.evaluate("wick.candles.at(-1).openTimeMs")
    page.wait_for(f"wick.candles.find((c) => c.openTimeMs > {seen})")
    page.wait_for(f"wick.candles.find((c) => c.openTimeMs === {seen}).flags & 1")
    times = page.evaluate(OPEN_TIMES)
    assert len(times) >= 2
    assert are_contiguous(times, 15_000)

    def is_as_told() -> bool:
        """Of the API; a candle may be corrected between one look and the other."""
        shown = page.evaluate("wick.candles.filter((candle) => candle.flags & 1)")
        told = {row["open_time_ms"]: row for row in running_wick.candles("BTC-USDT", "15s") if row["flags"] & 1}
        assert seen in [one["openTimeMs"] for one in shown]
        return all({field: one[field] for field in FIELDS} == of_api(told[one["openTimeMs"]]) for one in shown)

    until(is_as_told, "the candles as the API tells them", 20)


def test_a_line_that_is_cut_is_taken_up_where_it_was(open_page: OpenPage, running_wick: RunningWick) -> None:
    with line_to(running_wick.port) as line:
        page = open_page("#binance:BTC-USDT:15s", "", line.port)
        page.wait_for("wick.loaded && wick.connected && wick.candles.length && wick.counters.diff > 20")
        line.cut()
        page.wait_for(f"{STATE} === 'Live: resumed, nothing missed'")
        diffs = page.evaluate("wick.counters.diff")
        page.wait_for(f"wick.counters.diff > {diffs + 20}")
        page.wait_for(f"{STATE} === 'Live'")
        assert page.evaluate("[wick.counters.connects, wick.counters.gap]") == [2, 0]
        assert are_contiguous(page.evaluate(OPEN_TIMES), 15_000)


def test_old_data_are_called_old_until_new_ones_come(open_page: OpenPage, running_wick: RunningWick) -> None:
    page = open_page("#binance:BTC-USDT:15s")
    page.wait_for(f"{STATUS} === 'live' && wick.counters.diff > 20")
    feed = running_wick.processes["feed-0"]
    feed.send_signal(signal.SIGSTOP)
    try:
        page.wait_for(f"{STATUS} === 'stale' && {STATE} === 'Stale: no new data'")
        assert page.evaluate("wick.connected")
    finally:
        feed.send_signal(signal.SIGCONT)
    page.wait_for(f"{STATUS} === 'live'")


def test_the_page_goes_on_by_itself_after_the_front_was_killed(open_page: OpenPage, running_wick: RunningWick) -> None:
    page = open_page("#binance:BTC-USDT:15s")
    page.wait_for("wick.loaded && wick.connected && wick.candles.length")
    page.evaluate("window.notReloaded = true")
    assert page.errors == []
    before = page.evaluate("wick.candles.length")
    running_wick.kill("front-0")
    page.wait_for(f"{STATUS} === 'waiting'")
    page.wait_for(f"!{BANNER}.hidden && {BANNER}.textContent.includes('next try')")
    running_wick.start("front")
    page.wait_for("wick.status === 'live'")
    page.wait_for(f"{STATE} === 'Live: rejoined, gaps are filled from history'")
    running_wick.wait_until_it_runs()
    diffs = page.evaluate("wick.counters.diff")
    page.wait_for(f"wick.counters.diff > {diffs + 20}")
    page.wait_for(f"{BANNER}.hidden")
    page.wait_for(f"wick.candles.length >= {before} && wick.symbols.length > 1")
    assert page.evaluate("window.notReloaded") is True
    assert page.loads == 1
    assert are_contiguous(page.evaluate(OPEN_TIMES), 15_000)
    refused = [error for error in page.errors if "WebSocket connection" in error or "ERR_CONNECTION_REFUSED" in error]
    assert [error for error in page.errors if error not in refused] == []
    page.errors.clear()
