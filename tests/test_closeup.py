"""Where pictures look closer, and what they cut off."""

import numpy as np
import pandas as pd
import pytest

from harness.plots.closeup import closeup, edge


@pytest.mark.parametrize("sign", [1, -1])
def test_one_value_far_behind_is_left_out(sign: int) -> None:
    means = sign * pd.Series([0.92, 0.976, 0.978, 0.977])
    drawn = pd.DataFrame({"level": range(4), "value": means})
    whole = (float(means.min()), float(means.max()))
    near = closeup(means, drawn, whole, sign)
    assert near is not None
    assert near.outside == (0,)
    assert sorted([sign * near.low, sign * near.high]) == pytest.approx([0.976, 0.978], abs=2e-4)


def test_values_that_fill_the_axis_need_no_closer_look() -> None:
    means = pd.Series([0.92, 0.94, 0.96])
    drawn = pd.DataFrame({"level": range(3), "value": means})
    assert closeup(means, drawn, (0.92, 0.96), 1) is None
    assert closeup(pd.Series([np.nan]), drawn[:0], (0.0, 0.0), 1) is None


def test_an_outlier_does_not_stretch_the_axis_of_differences() -> None:
    usual = np.array([[-0.2, 0.0, 0.2], [-0.1, 0.1, 0.3], [-0.3, -0.1, 0.1]])
    assert edge(usual) == np.inf
    assert 0.3 < edge(np.vstack([usual, [4.9, 5.0, 5.1]])) < 1
