"""Sections in, a page out: Markdown, or one HTML file that needs nothing beside it. Our window on jinja2."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.report.escape import fence, markdown


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
    environment.filters["grid"] = lambda table: (list(table.columns), table.to_numpy().tolist())
    return environment


def _width(picture: Path) -> int:
    """In the page's pixels, of which the picture has half as many again: a PNG's width lies in its bytes 16 to 19."""
    return int.from_bytes(picture.read_bytes()[16:20], "big") * 2 // 3


def _data_uri(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()
