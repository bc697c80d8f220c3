"""The docs cannot lie: what they name exists, and what exists they name."""

import re
from pathlib import Path

import pytest

from wick.cli import commands
from wick.exchanges.__main__ import table
from wick.market import schema
from wick.market.intervals import NAMES
from wick.market.rows import COLUMNS
from wick.ops.settings import SETTINGS
from wick.wire import documents

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
API = (ROOT / "docs/api.md").read_text()
UNITS = (ROOT / "docs/units.md").read_text()
ALL = {path: path.read_text() for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]}


def test_the_protocol_document_and_the_description_for_programs_are_the_declaration():
    make = "python -m wick.wire.documents"
    assert documents.protocol(PROTOCOL) == PROTOCOL, make
    assert PROTOCOL.count("<!-- made: ") == 4
    assert documents.asyncapi_text() == (ROOT / "docs/asyncapi.yaml").read_text(), make


def test_the_protocol_document_has_every_code_of_an_error():
    sources = "".join(
        (ROOT / "wick" / name).read_text() for name in ("wire/session.py", "wire/topics.py", "roles/session.py")
    )
    codes = set(re.findall(r'(?:ProtocolError|_wrong)\(\s*"(\w+)"', sources))
    assert codes >= {"bad_message", "bad_kind", "bad_position", "too_many"}
    for code in codes:
        assert f"`{code}`" in PROTOCOL, code


@pytest.mark.parametrize("column", COLUMNS)
def test_the_document_of_the_api_has_every_column(column):
    assert f"`{column}`" in API


def test_the_units_document_is_the_schema():
    assert schema.units_document() == UNITS


def test_the_page_has_the_schema():
    assert schema.web_module() == (ROOT / "wick/web/schema.js").read_text()


def test_the_document_of_the_api_has_every_status_that_it_answers_with():
    sources = [(ROOT / f"wick/api/{name}.py").read_text() for name in ("service", "access", "udf", "routes", "candles")]
    for status in {int(number) for source in sources for number in re.findall(r", (4\d\d)\b", source)}:
        assert str(status) in API


def test_the_exchanges_document_has_the_table_of_venues():
    text = (ROOT / "docs/exchanges.md").read_text()
    assert text.partition("<!-- table -->\n")[2].partition("<!-- end -->")[0] == table()


@pytest.mark.parametrize("interval", NAMES)
def test_the_readme_has_every_interval(interval):
    assert f" {interval} " in README


@pytest.mark.parametrize("command", set(commands()) - {"run"})
def test_the_readme_shows_every_command(command):
    assert f"wick {command}" in README


def test_the_scripts_that_the_readme_starts_are_there_and_can_be_started():
    for script in set(re.findall(r"^(scripts/\w+)", README, re.MULTILINE)):
        assert (ROOT / script).stat().st_mode & 0o111, script


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", ALL[path]):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_settings_that_documents_name_exist(path):
    sections = {setting.name.partition(".")[0] for setting in SETTINGS}
    names = {setting.name for setting in SETTINGS}
    for name in re.findall(r"`([a-z]+\.[a-z_]+)`", ALL[path]):
        if name.partition(".")[0] in sections:
            assert name in names, name
