"""Matrix products as a network's layer needs them: sums = max(left @ right + start, least).

torch's own are MKL's, which calls itself anew for each network's small matrices, and takes half of what the vectors of
other makers' processors can do. Sums are added up in the same order however a product is shared out.

A matrix is (address, distance of its rows, distance of its columns), as tiles.py has them.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
import math
from typing import Any

from harness.kernels.compiled import compiled, within
from harness.kernels.tiles import BYTES, LANES, ROWS, numbers, tile_of, turn

BLOCK = 256  # terms of a sum, after which other columns have their turn: what they read stays in the nearest cache
NONE = -math.inf  # the least of sums that may become anything


@within
def below(matrix, rows):
    """A matrix from a later row on."""
    return (matrix[0] + BYTES * rows * matrix[1], matrix[1], matrix[2])


@within
def beside(matrix, columns):
    """A matrix from a later column on."""
    return (matrix[0] + BYTES * columns * matrix[2], matrix[1], matrix[2])


def strip(vectors: int, masked: bool) -> Any:
    """What computes some columns of a product, one or two vectors wide: tiles, from the first row to the last."""
    high, middle, low = (tile_of(rows, vectors, masked) for rows in ROWS)
    height, less, _ = ROWS

    def tiles(left, right, start, sums, rows, terms, least, width):
        row = 0
        while row + height <= rows:
            high(below(left, row), right, below(start, row), below(sums, row), terms, least, width)
            row += height
        while row + less <= rows:
            middle(below(left, row), right, below(start, row), below(sums, row), terms, least, width)
            row += less
        while row < rows:
            low(below(left, row), right, below(start, row), below(sums, row), terms, least, width)
            row += 1

    return compiled(tiles)


wide, narrow, rest = strip(2, False), strip(1, False), strip(1, True)


@compiled
def product(left, right, start, sums, shape, least):
    """Of a shape (rows, columns, terms). The columns of right, start and sums lie side by side."""
    rows, columns, terms = shape
    for first in range(0, terms, BLOCK):
        count = min(BLOCK, terms - first)
        limit = least if first + count == terms else NONE
        here, there, before = beside(left, first), below(right, first), start if first == 0 else sums
        column = 0
        while column < columns:
            width = columns - column
            some = beside(there, column), beside(before, column), beside(sums, column)
            if width >= 2 * LANES:
                wide(here, some[0], some[1], some[2], rows, count, limit, width)
                column += 2 * LANES
            elif width >= LANES:
                narrow(here, some[0], some[1], some[2], rows, count, limit, width)
                column += LANES
            else:
                rest(here, some[0], some[1], some[2], rows, count, limit, width)
                column += LANES


@compiled
def transposed(source, target, rows, columns):
    """Write a matrix with its rows as columns, in squares; what is left over number by number."""
    for row in range(0, rows, LANES):
        for column in range(0, columns, LANES):
            here, there = beside(below(source, row), column), beside(below(target, column), row)
            if row + LANES <= rows and column + LANES <= columns:
                turn(here, there)
                continue
            for up in range(min(LANES, rows - row)):
                given = numbers(below(here, up)[0], columns - column)
                for along in range(min(LANES, columns - column)):
                    numbers(below(there, along)[0], rows - row)[up] = given[along]
