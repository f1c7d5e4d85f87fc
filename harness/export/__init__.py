"""Models to take home: written into a folder that needs torch alone (`write.py`), and used on new data (`predict.py`).

`model.py` is both what such a folder gets and what harness itself predicts with.
"""
