"""What `import harness` offers to notebooks and scripts.

`running.py` runs and loads studies, `writing.py` writes one from a program's own classes and arrays, `sources.py` has
the text of such a class, `findings.py` shows what came of it, `cell.py` what a notebook shows meanwhile.
"""
