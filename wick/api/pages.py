"""The files of the page, each by its path: only what is listed here can be asked for, so no path leads elsewhere."""

from pathlib import Path

from wick.api.replies import etag
from wick.wire.http import Reply

ROOT = Path(__file__).parent.parent / "web"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Pages:
    """Read when first asked for: a front that nobody looks at with a browser keeps no copy."""

    def __init__(self, root: Path = ROOT) -> None:
        files = {f"/static/{file.relative_to(root).as_posix()}": file for file in root.rglob("*")}
        self.files = {path: file for path, file in files.items() if file.is_file() and file.suffix != ".py"}
        self.files["/"] = root / "index.html"
        self._replies: dict[str, Reply] = {}

    def reply(self, path: str) -> Reply | None:
        known = self._replies.get(path)
        if known is None and path in self.files:
            body = self.files[path].read_bytes()
            kind = TYPES.get(self.files[path].suffix, "text/plain; charset=utf-8")
            # The page may be a day old to a browser only if it asks whether it still is.
            headers = (("Cache-Control", "no-cache"), ("ETag", etag(body)))
            known = self._replies[path] = Reply(200, kind, body, headers)
        return known
