"""Tables that scikit-learn brings along, so that a study of them needs no files. A fixed fifth is the test set."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from harness.parts.data import Column, Data, Split, data_of


def iris() -> Data:
    """Fisher's 150 irises: four lengths in cm, three species."""
    from sklearn.datasets import load_iris  # seconds to import, and no other data set needs it

    return _table("iris", load_iris)


def wine() -> Data:
    """178 wines of three growers: 13 chemical measurements."""
    from sklearn.datasets import load_wine

    return _table("wine", load_wine)


def breast_cancer() -> Data:
    """569 tumours: 30 numbers of their cells' nuclei, malignant or benign."""
    from sklearn.datasets import load_breast_cancer

    return _table("breast_cancer", load_breast_cancer)


def diabetes() -> Data:
    """442 patients: 10 measurements in their own units, how far the disease has gone a year later."""
    from sklearn.datasets import load_diabetes

    return _table("diabetes", lambda: load_diabetes(scaled=False), "progression")


def _table(name: str, load: Callable[[], Any], target: str = "") -> Data:
    """A bunch of scikit-learn's; without the name of a target it is one of classes."""
    bunch = load()
    inputs = torch.from_numpy(bunch.data.astype(np.float32))
    numbers = torch.from_numpy(bunch.target.astype(np.float32 if target else np.int64))
    return data_of(
        name,
        Split(inputs, numbers[:, None] if target else numbers, torch.arange(len(inputs))),
        None,
        (inputs.shape[1],),
        classes=() if target else bunch.target_names,
        target_names=(target,) if target else (),
        columns=tuple(map(Column, bunch.feature_names)),
    )
