"""Results in, tables and sentences out: what was measured, how surely, and what of it can be told apart.

    findings = find(read_results(journal))

`results.py` reads, `samples.py` knows arrays, `tables.py`, `search.py` and `runs.py` make tables of Results, `words.py`
and `caveats.py` sentences of tables; `findings.py` holds all of it, each computed once. `studies.py` puts several
studies side by side.
"""

from harness.analysis.findings import Findings, find
from harness.analysis.results import Results, read_results

__all__ = ["Findings", "Results", "find", "read_results"]
