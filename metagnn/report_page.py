"""The page of a report: one HTML file that loads nothing and needs no network."""

import base64
import hashlib
import html
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from metagnn import __version__
from metagnn.files import write_atomically
from metagnn.plots import styles
from metagnn.report import Report
from metagnn.templates import read_template

_SCRIPTS = ("chart", "page", "shown", "map", "bars", "controls", "main")
# What would end the script element, or a line of JavaScript, inside JSON.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
# What matplotlib draws for names of dashes: lengths in widths of the line.
_DASHES = {"-": (), "--": (3.7, 1.6), "-.": (6.4, 1.6, 1.0, 1.6), ":": (1.0, 1.65)}


def write_page(report: Report, path: str | Path) -> Path:
    """Write the page atomically and return its path.

    Raises:
        ValueError: If the file lies in a folder that is missing or cannot be written.
    """
    write_atomically(path, render(report).encode(), name="--out")
    return Path(path)


def render(report: Report) -> str:
    """The page as HTML.

    Everything shown is JSON inside an element that no browser runs, and is set as text; the page's
    own security policy allows its own script and style, by their digests, and no connection.
    """
    script = "\n".join(read_template(f"{name}.js") for name in _SCRIPTS)
    style = read_template("report.css")
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    pieces = {
        "policy": policy,
        "title": html.escape(report.title),
        "style": style,
        "script": script,
        "data": script_json({**asdict(report), "looks": _looks(report)}),
        "footer": f"Written by metagnn {__version__}. This page holds its data and loads nothing.",
    }
    # In one pass: what is put in is not looked at again.
    template = read_template("report.html")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: pieces[match[1]], template)


def script_json(value: object) -> str:
    """JSON that may stand in a script element: no character of it means anything to HTML."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES)


def _looks(report: Report) -> dict[str, dict[str, Any]]:
    """Styles of the policies that are shown, the same as in all figures."""
    others = dict.fromkeys(gap.policy for gap in report.gaps)
    known = styles([*report.rates, *(name for name in others if name not in report.rates)])
    known |= styles(report.rates)  # as beside this page, whatever gaps are of
    found = {name: style._asdict() for name, style in known.items()}
    for look in found.values():
        dashes = look["dashes"]
        look["dashes"] = _DASHES[dashes] if isinstance(dashes, str) else dashes[1]
    return found


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
