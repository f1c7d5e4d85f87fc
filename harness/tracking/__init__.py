"""Our window on MLflow: `tracker` is the driver's end of a pipe, `__main__` the process at the other end."""

from harness.tracking.tracker import Tracker, key, shown_store, store_uri

__all__ = ["Tracker", "key", "shown_store", "store_uri"]
