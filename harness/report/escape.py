"""Words from study files and names, as text of each format and never as its commands. (jinja2 does HTML's.)"""

import re

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
}


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


def in_picture(text: str) -> str:
    """Text of a picture: matplotlib takes what stands between two dollars for a formula, and breaks no lines."""
    return "\n".join(re.findall(".{1,40}", text)).replace("$", r"\$")
