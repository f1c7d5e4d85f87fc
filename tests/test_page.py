"""The report in a real browser: it fits a narrow screen, its tables can be sorted, and it asks for nothing outside."""

import html
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")

# The page stands in a frame of the width in question, since a headless window has a width below which it does not go.
FRAME = """<!DOCTYPE html><title>frame</title>
<iframe style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>
<pre id="found"></pre>
<script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  const table = page.querySelector("table.sortable");
  const column = (index) => [...table.tBodies[0].rows].map((row) => row.cells[index].textContent);
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const test = names.indexOf("test %");
  const before = column(test);
  const button = table.tHead.rows[0].cells[test].querySelector("button");
  button.click();
  const up = column(test);
  button.click();
  const found = {{
    width: page.documentElement.scrollWidth,
    images: [...page.images].map((image) => image.complete && image.naturalWidth > 0),
    before, up, down: column(test),
    sorted: table.tHead.rows[0].cells[test].getAttribute("aria-sort"),
    requests: performance.getEntriesByType("resource").map((entry) => entry.name),
  }};
  document.getElementById("found").textContent = JSON.stringify(found);
}});
</script>
"""


def seen(page: Path, width: int, folder: Path) -> dict[str, Any]:
    """What the browser makes of the page in a frame of that width."""
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, page=html.escape(page.read_text())))
    assert BROWSER is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
    done = subprocess.run(
        [BROWSER, *options, "--virtual-time-budget=5000", "--dump-dom", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    dom = done.stdout
    found = dom[dom.index('<pre id="found">') + 16 : dom.index("</pre>")]
    return json.loads(html.unescape(found))  # type: ignore[no-any-return]


@needs_browser
@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_in_a_browser(width: int, smoke: Path, tmp_path: Path) -> None:
    found = seen(smoke / "reports" / "smoke" / "report.html", width, tmp_path)
    assert found["width"] <= width
    assert found["images"]
    assert all(found["images"])
    assert found["sorted"] == "descending"
    assert sorted(found["before"], key=float) == found["up"] == found["down"][::-1]
    assert found["requests"] == []
