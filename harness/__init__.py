"""harness: fair sweeps and benchmarks of neural networks. See README.md, and ARCHITECTURE.md for the rooms.

    findings = harness.run("studies/depth", trials=4)

docs/python.md has more. What `__all__` names is imported when it is first asked for: `import harness` takes
milliseconds.
"""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.errors import UserError
    from harness.interface.findings import ShownFindings as Findings
    from harness.interface.running import load, run
    from harness.interface.writing import WrittenStudy as Study

__version__ = "0.1.0"

__all__ = ["Findings", "Study", "UserError", "load", "run"]

_WHERE = {
    "Findings": "harness.interface.findings:ShownFindings",
    "Study": "harness.interface.writing:WrittenStudy",
    "UserError": "harness.errors:UserError",
    "load": "harness.interface.running:load",
    "run": "harness.interface.running:run",
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    found: object = resolve_name(_WHERE[name])
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
