"""Sections in, a page out: Markdown, or one HTML file that needs nothing beside it. Our window on jinja2."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.report.escape import fence, markdown, minus

WIDE = 9  # columns of a table in Markdown, whose pages are narrow and cut it off
HERE = re.compile(r"https?://(127\.|localhost|\[::1\])")
NUMBER = re.compile(r"[-+−]?[\d.,]+(e[-+]?\d+)?( ?%)?( to .*)?( \(.*\))?|–|")


def render(name: str, folder: Path, content: Mapping[str, Any]) -> str:
    """The page `name`, whose pictures lie in `folder`."""
    environment = _environment(name)
    environment.filters["data_uri"] = lambda figure: _data_uri((folder / "plots" / f"{figure}.png").read_bytes())
    environment.filters["width"] = lambda figure: _width(folder / "plots" / f"{figure}.png")
    return environment.get_template(f"{name}.j2").render(**content)


def render_cell(content: Mapping[str, Any]) -> str:
    """What a notebook shows below a cell; pictures are PNG bytes."""
    environment = _environment("cell.html")
    environment.filters["data_uri"] = _data_uri
    return environment.get_template("cell.html.j2").render(**content)


def _environment(name: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("harness"),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = lambda text: markdown(str(text))
    environment.filters["fence"] = fence
    environment.filters["minus"] = minus
    environment.filters["grid"] = _grid
    environment.filters["pieces"] = _pieces
    environment.tests["elsewhere"] = lambda address: not HERE.match(address)
    return environment


def _grid(table: pd.DataFrame) -> tuple[list[str], list[list[str]], set[str]]:
    """The headings, the rows with true minus signs, and which columns hold words."""
    rows = [[minus(str(cell)) for cell in row] for row in table.to_numpy().tolist()]
    words = {name for name in table.columns if not all(NUMBER.fullmatch(str(cell)) for cell in table[name])}
    return list(table.columns), rows, words


def _pieces(table: pd.DataFrame) -> list[pd.DataFrame]:
    """A table in parts that are not too wide, each of which begins with the columns that name its rows."""
    if table.shape[1] <= WIDE:
        return [table]
    names = next((count for count in (1, 2) if not table.iloc[:, :count].duplicated().any()), 1)
    head, others = list(table.columns[:names]), list(table.columns[names:])
    parts = -(-len(others) // (WIDE - names))
    size = -(-len(others) // parts)
    return [table[[*head, *others[start : start + size]]] for start in range(0, len(others), size)]


def _width(picture: Path) -> int:
    """In the page's pixels, of which the picture has twice as many: a PNG's width lies in its bytes 16 to 19."""
    return int.from_bytes(picture.read_bytes()[16:20], "big") // 2


def _data_uri(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()
