"""The page's files: vendored libraries are what their table says, and nothing is fetched from elsewhere."""

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import wick

WEB = Path(wick.__file__).parent / "web"
VENDOR = WEB / "vendor"
OWN_SCRIPTS = sorted(WEB.glob("*.js"))
TABLE_ROW = re.compile(r"^\| `(?P<file>[^`]+)` \| .+ \| .+ \| `(?P<sha256>[0-9a-f]{64})` \|$", re.MULTILINE)


class Tags(HTMLParser):
    """Every start tag of a page, and the texts of its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.inline += data.strip()


def test_vendored_files_are_those_of_the_table() -> None:
    table = {row["file"]: row["sha256"] for row in TABLE_ROW.finditer((VENDOR / "README.md").read_text())}
    files = {path.relative_to(VENDOR).as_posix(): path for path in VENDOR.glob("*/*")}
    assert table == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert len(table) >= 3


def test_every_vendored_library_has_its_licence() -> None:
    for folder in (path for path in VENDOR.iterdir() if path.is_dir()):
        assert (folder / "LICENSE").stat().st_size > 500, folder
    assert "https://www.tradingview.com/" in (VENDOR / "lightweight-charts" / "NOTICE").read_text()


def test_the_page_has_no_inline_script_or_style() -> None:
    page = Tags((WEB / "index.html").read_text())
    assert page.inline == ""
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], (tag, attributes)


def test_the_page_loads_only_its_own_files() -> None:
    loaded = [
        attributes[name] or ""
        for tag, attributes in Tags((WEB / "index.html").read_text()).tags
        for name in ("src", "href")
        if name in attributes and tag != "a"
    ]
    assert len(loaded) >= 4
    for address in loaded:
        assert (WEB / address.removeprefix("static/")).is_file(), address
    for script in OWN_SCRIPTS:
        for module in re.findall(r'from "([^"]+)"', script.read_text()):
            assert (WEB / module).is_file(), (script, module)


def test_no_file_of_ours_names_another_host() -> None:
    source = "https://github.com/msgpack/msgpack/blob/master/spec.md"
    allowed = {"https://www.tradingview.com/", "http://www.w3.org/2000/svg", source}
    for path in [*OWN_SCRIPTS, WEB / "index.html", WEB / "style.css", WEB / "favicon.svg"]:
        assert set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", path.read_text())) <= allowed, path


def test_every_script_says_in_its_first_line_what_lives_there() -> None:
    assert len(OWN_SCRIPTS) >= 8
    for script in OWN_SCRIPTS:
        assert script.read_text().startswith("// "), script
