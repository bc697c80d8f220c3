"""Metrics and patterns on the page, in a real browser against the real system: what is drawn is what the rows say."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.browser.chromium import Page, until
from tests.browser.system import RunningWick

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]

PRICE_FIELDS = ("open_time_ms", "flags", "close")
EMA_COLOUR, RSI_COLOUR, PSAR_COLOUR = (108, 178, 255), (108, 178, 255), (243, 178, 150)
READY = "wick.loaded && wick.connected && wick.candles.length >= 500"
# How many pixels of the canvases in pane N (0: the candles) have about the colour RGB. Each pane's row is a <tr>.
PIXELS = """
[...[...document.querySelectorAll('#chart tr')].filter((row) => row.querySelector('canvas')?.width > 200
  || [...row.querySelectorAll('canvas')].some((canvas) => canvas.width > 200))[PANE].querySelectorAll('canvas')]
  .filter((canvas) => canvas.width > 200)
  .reduce((sum, canvas) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
    copy.drawImage(canvas, 0, 0);
    const data = copy.getImageData(0, 0, canvas.width, canvas.height).data;
    for (let i = 0; i < data.length; i += 4) {
      if ([0, 1, 2].every((at) => Math.abs(data[i + at] - RGB[at]) < 12) && data[i + 3] > 200) sum += 1;
    }
    return sum;
  }, 0)
"""
OVERLAYS, PANE_LABELS, PATTERNS = ("#overlays", "#pane-labels", "#patterns")


def pixels(page: Page, pane: int, colour: tuple[int, int, int]) -> int:
    return int(page.evaluate(PIXELS.replace("PANE", str(pane)).replace("RGB", json.dumps(colour))))


def text(page: Page, selector: str) -> str:
    return str(page.evaluate(f"document.querySelector({selector!r}).textContent"))


def rows(wick: RunningWick, *fields: str, interval: str = "1m") -> dict[int, dict[str, Any]]:
    """Closed candles of BTC-USDT by open time, as the API tells them."""
    found = wick.candles("BTC-USDT", interval, limit=500, fields=",".join((*PRICE_FIELDS, *fields)))
    return {row["open_time_ms"]: row for row in found if row["flags"] & 1}


def hovered(page: Page) -> int:
    """The open time of the candle that the legend tells of."""
    moment = re.search(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC", text(page, ".legend .name"))
    assert moment is not None
    return int(datetime.fromisoformat(f"{moment[1]}T{moment[2]}Z").timestamp()) * 1000


def shown(value: float) -> str:
    """A figure of RSI's size, as the page writes it."""
    return f"{value:#.4g}"


def test_at_first_there_are_candles_and_nothing_else(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:1m")
    page.wait_for(READY)
    assert page.evaluate("location.hash") == "#binance:BTC-USDT:1m"
    assert page.evaluate("wick.choice.metrics") == [] == page.evaluate("wick.marks")
    assert page.evaluate("document.querySelector('#picker').hidden")
    assert pixels(page, 0, EMA_COLOUR) == 0


def test_metrics_of_the_address_are_drawn_from_the_rows(open_page: OpenPage, running_wick: RunningWick) -> None:
    page = open_page("#binance:BTC-USDT:1m:ema_20,psar,rsi_14")
    page.wait_for(READY)
    until(lambda: pixels(page, 0, EMA_COLOUR) > 300, "a line on the candles", 60)
    until(lambda: pixels(page, 1, RSI_COLOUR) > 300, "a line in a pane", 60)
    assert pixels(page, 0, PSAR_COLOUR) > 100
    page.wait_for("wick.candles.every((candle) => candle.rsi14 !== undefined)")
    candles = {candle["openTimeMs"]: candle for candle in page.evaluate("wick.candles")}
    told = rows(running_wick, "ema_20", "rsi_14", "psar")
    compared = 0
    for open_ms, row in told.items():
        candle = candles.get(open_ms)
        if candle is not None and candle["flags"] & 1:
            assert [candle[name] for name in ("ema20", "rsi14", "psar")] == [row["ema_20"], row["rsi_14"], row["psar"]]
            compared += row["rsi_14"] is not None
    assert compared > 450


def test_the_legend_has_the_rows_values_under_the_crosshair(open_page: OpenPage, running_wick: RunningWick) -> None:
    page = open_page("#binance:BTC-USDT:1m:ema_20,rsi_14")
    page.wait_for(READY)
    newest = text(page, ".legend .name")
    page.move_to(900, 400)
    page.wait_for(f"document.querySelector('.legend .name').textContent !== {newest!r}")
    told = rows(running_wick, "ema_20", "rsi_14")
    for x in (900, 700, 500):
        before = hovered(page)
        page.move_to(x, 400)
        if x != 900:
            page.wait_for(f"!document.querySelector('.legend .name').textContent.includes({clock(before)!r})")
        row = told[hovered(page)]
        assert f"EMA 20{row['ema_20']:,.2f}" in text(page, OVERLAYS)
        assert f"RSI 14{shown(row['rsi_14'])}" in text(page, PANE_LABELS)


def clock(open_ms: int) -> str:
    return datetime.fromtimestamp(open_ms / 1000, UTC).strftime("%H:%M")


def test_metrics_are_found_chosen_remembered_and_taken_away(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:1m")
    page.wait_for(READY)
    page.click("#metrics")
    page.wait_for("document.activeElement.id === 'picker-search'")
    page.type("hull")
    page.press("Enter")
    page.wait_for("wick.choice.metrics.join() === 'hma_16'")
    assert page.evaluate("location.hash") == "#binance:BTC-USDT:1m:hma_16"
    assert "Hull MA 16" in text(page, OVERLAYS)
    page.press("ArrowDown")
    page.wait_for("document.activeElement.dataset.metrics === 'hma_16'")
    assert "weighted" in text(page, "#picker .what").lower() or "WMA" in text(page, "#picker .what")
    page.press("Escape")
    page.wait_for("document.querySelector('#picker').hidden && document.activeElement.id === 'metrics'")
    page.click("#intervals [data-interval='5m']")
    page.wait_for("wick.interval === '5m' && wick.loaded")
    assert page.evaluate("location.hash") == "#binance:BTC-USDT:5m:hma_16"
    address = page.evaluate("location.href.replace(/#.*/, '')")
    page.open("about:blank")
    page.open(f"{address}#binance:BTC-USDT:1m")
    page.wait_for(f"{READY} && wick.choice.metrics.join() === 'hma_16'")
    page.click("#overlays .drop")
    page.wait_for("wick.choice.metrics.length === 0 && document.querySelector('#overlays').hidden")
    assert page.evaluate("location.hash") == "#binance:BTC-USDT:1m"


def test_a_metric_that_is_chosen_later_comes_for_older_pages_too(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:1m")
    page.wait_for(READY)

    def pull() -> bool:
        page.drag((450, 400), (1250, 400))
        return bool(page.evaluate("wick.candles.length >= 1000"))

    until(pull, "another page of candles", 30)
    page.evaluate("location.hash = '#binance:BTC-USDT:1m:macd'")
    page.wait_for("wick.candles.every((candle) => candle.macd !== undefined)")
    defined = page.evaluate("wick.candles.filter((candle) => candle.macd !== null).length")
    assert defined >= 960


def test_patterns_are_marked_where_the_rows_have_them(open_page: OpenPage, running_wick: RunningWick) -> None:
    page = open_page("#binance:BTC-USDT:1m")
    page.wait_for(READY)
    page.click("#marks")
    page.wait_for("wick.marks.length > 5")
    page.wait_for("wick.candles.every((candle) => candle.patterns !== undefined)")
    wanted = set(page.evaluate("wick.choice.patterns"))
    fired = {
        open_ms: {name: value for name, value in row["patterns"].items() if name in wanted}
        for open_ms, row in rows(running_wick, "patterns").items()
        if row["patterns"]
    }
    fired = {open_ms: found for open_ms, found in fired.items() if found}
    marks = {mark["openTimeMs"]: mark["position"] for mark in page.evaluate("wick.marks")}
    first, last = min(fired), max(fired)
    inside = {open_ms: position for open_ms, position in marks.items() if first <= open_ms <= last}
    assert len(inside) > 5
    for open_ms, position in inside.items():
        assert position == ("belowBar" if sum(fired[open_ms].values()) > 0 else "aboveBar"), open_ms
    # Of two neighbours in one stretch one mark may stand for both; no candle with a pattern is further from a mark.
    unmarked = [t for t in fired if t not in marks and not {t - 60_000, t + 60_000} & set(marks)]
    assert unmarked == []
    assert page.evaluate("location.hash").endswith(":patterns")
    page.click("#marks")
    page.wait_for("wick.marks.length === 0")


def test_hovering_a_marked_candle_says_what_its_patterns_are(open_page: OpenPage, running_wick: RunningWick) -> None:
    page = open_page("#binance:BTC-USDT:1m:ENGULFING")
    page.wait_for(f"{READY} && wick.marks.length > 5")
    for x in range(1100, 400, -6):
        page.move_to(x, 400)
        if page.evaluate("!document.querySelector('#patterns').hidden"):
            break
    page.wait_for("document.querySelector('#patterns').classList.contains('asked')")
    assert "Engulfing Pattern" in text(page, PATTERNS)
    assert "a body that engulfs the one before" in text(page, PATTERNS)
    row = rows(running_wick, "patterns")[hovered(page)]
    side = "bullish" if row["patterns"]["CDLENGULFING"] > 0 else "bearish"
    assert side in text(page, PATTERNS)


def test_the_live_candles_metrics_come_while_they_are_shown(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:15s:body_ratio,obv")
    live = "wick.candles.find((candle) => !(candle.flags & 1) && candle.bodyRatio != null)"
    [seen] = page.wait_for(f"[{live}.bodyRatio]")
    page.wait_for(f"{live}.bodyRatio !== {seen}")
    assert re.search(r"Body ratio−?[0-9.]+", text(page, PANE_LABELS))
    page.evaluate("location.hash = '#binance:BTC-USDT:15s:'")
    page.wait_for("wick.choice.metrics.length === 0")
    page.wait_for("wick.candles.at(-1).bodyRatio === null")


def test_everything_in_the_picker_has_a_name(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:1m:rsi_14")
    page.wait_for(READY)
    page.click("#metrics")
    for tab in ("#tab-metrics", "#tab-patterns"):
        page.click(tab)
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        operated = [
            node for node in nodes if node.get("role", {}).get("value") in ("checkbox", "switch", "tab", "button")
        ]
        assert len(operated) > 55
        assert [node for node in operated if not node.get("name", {}).get("value")] == []


def test_on_a_phone_the_picker_leaves_the_chart_in_view(open_page: OpenPage) -> None:
    page = open_page("#binance:BTC-USDT:1m:ema_20")
    page.wait_for(READY)
    page.resize(390, 844, mobile=True)
    page.wait_for("innerWidth === 390 && document.querySelector('#watch').getBoundingClientRect().right <= 0")
    page.click("#metrics")
    page.wait_for("!document.querySelector('#picker').hidden")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.querySelector('#chart').getBoundingClientRect().height") > 200
    page.click("[data-metrics='vwap']")
    page.wait_for("wick.choice.metrics.join() === 'ema_20,vwap'")
    page.click("#tab-patterns")
    page.click("[role='switch']")
    page.wait_for("wick.marks.length > 0")
