"""The page: one file with its style, its program and its data inside, that asks nobody for anything.

Its content security policy names the digests of the style and of the program, so that a browser runs nothing else, whatever text the data
hold; and the data are JSON in which no `<` is left.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

__all__ = ["PROGRAM", "data_json", "page", "size_in_words"]

PROGRAM = ("dom.js", "charts.js", "sections.js", "browser.js", "main.js")  # in the order in which they lean on each other
_PLACE = re.compile(r"@([A-Z_]+)@")
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def page(data: Mapping[str, Any], title: str) -> bytes:
    """The page as UTF-8.

    Args:
        data: from `payload`.
        title: of the window.
    """
    style, program = _asset("page.css"), "(() => {\n" + '"use strict";\n' + "\n".join(map(_asset, PROGRAM)) + "})();\n"
    parts = {
        "TITLE": html.escape(title),
        "STYLE": style,
        "STYLE_HASH": _digest(style),
        "SCRIPT": program,
        "SCRIPT_HASH": _digest(program),
        "DATA": data_json(data),
    }
    # The page says how large it is; the few bytes that saying so takes do not change the figure.
    size = sum(len(part.encode(errors="backslashreplace")) for part in parts.values())
    parts["SIZE"] = size_in_words(size)
    return _PLACE.sub(lambda found: parts[found[1]], _asset("page.html")).encode(errors="backslashreplace")


def data_json(data: Mapping[str, Any]) -> str:
    r"""JSON that can stand inside a script element: neither `</script>` nor `<!--` can be written without `<`.

    >>> data_json({"text": "</script>"})
    '{"text":"\\u003c/script\\u003e"}'
    """
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def size_in_words(size: int) -> str:
    """Bytes as people say them.

    >>> size_in_words(2_345_678), size_in_words(81_000)
    ('2.3 MB', '81 kB')
    """
    return f"{size / 1e6:.1f} MB" if size >= 1_000_000 else f"{size / 1e3:.0f} kB"


def _asset(name: str) -> str:
    return files("syncabel.report").joinpath("assets", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
