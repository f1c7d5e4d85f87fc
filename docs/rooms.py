"""The rooms of the house and who knows whom, from the imports: the picture in ARCHITECTURE.md.

python docs/rooms.py        # a Mermaid graph; tests/test_architecture.py keeps the page equal to it

An arrow goes from a room to one that it imports. Arrows that others imply are left out: if run imports report and
report imports analysis, run need not point to analysis too.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "harness"
Arrows = dict[str, set[str]]


def room(path: Path) -> str:
    """The room that a file belongs to: its folder, or the file itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def arrows() -> Arrows:
    """Which rooms each room imports."""
    found: Arrows = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if (mine := room(path)) != "__init__":
            found.setdefault(mine, set()).update(_imported(path) - {mine})
    return {name: (known & set(found)) - {"__main__"} for name, known in found.items()}  # nobody needs the command


def reduced(known: Arrows) -> Arrows:
    """Without the arrows that others imply. There must be no circle."""
    beyond: Arrows = {}

    def reach(name: str) -> set[str]:
        if name not in beyond:
            beyond[name] = set().union(*({other, *reach(other)} for other in known[name]))
        return beyond[name]

    return {name: {o for o in others if not any(o in reach(p) for p in others - {o})} for name, others in known.items()}


def mermaid() -> str:
    """The picture, as GitHub and other readers of Mermaid draw it."""
    shown = reduced(arrows())
    lines = [f"    {name.strip('_')} --> {other}" for name in sorted(shown) for other in sorted(shown[name])]
    return "\n".join(["graph TD", *lines])


def _imported(path: Path) -> set[str]:
    """The rooms that a file imports, anywhere in it."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return {module.split(".")[1] for module in modules if module.startswith("harness.")}


if __name__ == "__main__":
    print(mermaid())
