"""Words from study files and names, as text of each format and never as its commands. (jinja2 does HTML's.)"""

import re

from harness.errors import printable

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
}


def minus(text: str) -> str:
    """With true minus signs before numbers, where the hyphen is no part of a word or a date."""
    return re.sub(r"(?<![\w.)-])-(?=\d)", "−", text)


def latex(text: str) -> str:
    """Text of a LaTeX document."""
    return "".join(LATEX.get(char, char) for char in " ".join(text.split()))


def latex_label(text: str) -> str:
    """The argument of \\label: letters, digits and a few marks."""
    return re.sub(r"[^A-Za-z0-9_.:-]", "-", text)


def markdown(text: str) -> str:
    """Text of a line of Markdown: no link, picture, HTML, code, formula, heading, list or quotation begins in it."""
    line = " ".join(text.split())
    line = re.sub(r"[\\`*\[\]$|]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)|^[#>=~]|^[+-](?=[\s-]|$)", r"\\\g<0>", line)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)


def code(text: str) -> str:
    """A program's text as it can be shown: lines as they are, and told what no terminal or browser would show."""
    return "\n".join(printable(line.expandtabs()) for line in text.replace("\r\n", "\n").rstrip("\n").split("\n"))


def fence(text: str) -> str:
    """What begins and ends a block of code in Markdown that may hold such marks itself."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


def in_picture(text: str) -> str:
    """Text of a picture: matplotlib takes what stands between two dollars for a formula, and breaks no lines."""
    return "\n".join(re.findall(".{1,40}", text)).replace("$", r"\$")
