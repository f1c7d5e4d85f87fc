"""Tables in, figures out: the pictures of a study. Our window on matplotlib; the same picture from the same table.

`pictures.py` says what is drawn and when, without matplotlib; the other modules draw.
"""

from harness.plots.pictures import Picture, begun_early, save_all
from harness.plots.second import Second

__all__ = ["Picture", "Second", "begun_early", "save_all"]
