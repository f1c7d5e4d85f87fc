"""What a study says of the user's own data: which columns are learned, from which, and which rows are for what.

    dataset = "prices.csv"
    target = "price"

Read and checked here as words only; what the file holds is known when a study is run (`parts/sources.py`).
"""

from typing import Annotated

from pydantic import Field

from harness.study.space import Table

Name = Annotated[str, Field(min_length=1, max_length=1000)]


class Source(Table):
    """Of a table: the columns to be learned (`target`), those to learn from (`features`, or all but `drop`), the column
    that says which rows are for training, validation and test (`split_column`), and the file of several such choices of
    test rows (`test_rows`, a CSV file with the columns split and row). `unit` is that of a regression's target.
    """

    target: tuple[Name, ...] = ()
    features: tuple[Name, ...] = ()
    drop: tuple[Name, ...] = ()
    split_column: Name | None = None
    test_rows: Name | None = None
    unit: Annotated[str, Field(max_length=20)] = ""
