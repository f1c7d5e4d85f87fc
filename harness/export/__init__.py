"""Models to take home: written into a folder that needs torch alone (`write.py`), and used on new data (`predict.py`).

`model.py` is both what such a folder gets and what harness itself predicts with. It imports nothing of harness: so it
says a second time what a shortcut is (`parts/models.py`), how inputs are scaled (`parts/preparing.py`, scikit-learn)
and how weights are read (safetensors). tests/test_export.py holds the two together, for every kind of network.
"""
