"""How a study's runs are shown to people: `tracker` is the driver's end of a pipe, `__main__` the process at the other.

`calls` are what travels down the pipe, and what a store must be able to do. `mlflow` is the one that there is.
"""

from harness.tracking.keys import key, old_key
from harness.tracking.mlflow.address import at_port, shown_store, store_uri
from harness.tracking.tracker import WAIT, Tracker

__all__ = ["WAIT", "Tracker", "at_port", "key", "old_key", "shown_store", "store_uri"]
