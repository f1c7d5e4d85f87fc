"""The truth about a study: its journal, the driver that writes it (`Ledger`) and the one reader of it (`Records`).

Our window on Optuna.
"""

from harness.journal.file import check_data_name, find_journal, hold, holder, put_aside, ran_on, stop
from harness.journal.ledger import Ledger, begun, changed_code, check_edits, edits, look, programs
from harness.journal.mending import make_whole
from harness.journal.records import Record, Records
from harness.journal.stopping import resuming, stop_level

__all__ = [
    "Ledger",
    "Record",
    "Records",
    "begun",
    "changed_code",
    "check_data_name",
    "check_edits",
    "edits",
    "find_journal",
    "hold",
    "holder",
    "look",
    "make_whole",
    "programs",
    "put_aside",
    "ran_on",
    "resuming",
    "stop",
    "stop_level",
]
