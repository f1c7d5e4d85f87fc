"""What the products of products.py are made of, as instructions for the processor: numba has no word for its vectors.

A tile is some rows and one or two vectors' width of a product, summed up in registers:

    for (one, two) in the tile: sums[one, two] = start[one, two] + sum_k left[one, k] * right[k, two]

An address is an integer, in bytes; a distance is counted in float32 numbers. LLVM makes of a vector what the
processor has: one AVX-512 instruction, two of AVX2, four of NEON.
"""

# mypy: disallow-untyped-decorators=False
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

NUMBER, WHOLE, SHORT = ir.FloatType(), ir.IntType(64), ir.IntType(32)
BYTES = 4  # of a number


def _features() -> Any:
    try:
        return binding.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot ask every processor
        return {}


LANES = 16 if _features().get("avx512f") else 8
"""Numbers in a vector."""

ROWS = (8, 4, 1) if LANES == 16 else (4, 2, 1)
"""Heights of tiles: the sums of the highest, two vectors wide, fill the registers."""

VECTOR = ir.VectorType(NUMBER, LANES)
PLACES = ir.VectorType(SHORT, LANES)


def unpacked(builder: Any, group: Any) -> Any:
    """The members of a tuple."""
    return cgutils.unpack_tuple(builder, group)


class Instructions:
    """Instructions, written one after the other. With `count` vectors in memory have only that many numbers."""

    def __init__(self, builder: Any, count: Any = None) -> None:
        self.builder, self.mask = builder, None
        if count is not None:
            every = self.spread(builder.trunc(count, SHORT), PLACES)
            self.mask = builder.icmp_signed("<", ir.Constant(PLACES, list(range(LANES))), every)

    def at(self, address: Any, distance: Any, kind: Any = VECTOR) -> Any:
        """A pointer to what stands so many numbers further."""
        return self.builder.inttoptr(self.moved(address, distance), kind.as_pointer())

    def spread(self, value: Any, kind: Any = VECTOR) -> Any:
        """A vector of one number."""
        nothing = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(nothing, value, ir.Constant(SHORT, 0))
        return self.builder.shuffle_vector(first, nothing, ir.Constant(PLACES, [0] * LANES))

    def number(self, address: Any, distance: Any) -> Any:
        """A number, on all lanes."""
        return self.spread(self.builder.load(self.at(address, distance, NUMBER)))

    def load(self, address: Any, distance: Any) -> Any:
        """A vector; 0 beyond its end."""
        place = self.at(address, distance)
        if self.mask is None:
            return self.builder.load(place, align=BYTES)
        absent = ir.Constant(VECTOR, [0.0] * LANES)
        return self.call("masked.load", ".p0", VECTOR, place, ir.Constant(SHORT, BYTES), self.mask, absent)

    def store(self, vector: Any, address: Any, distance: Any) -> None:
        """Write a vector up to its end."""
        place = self.at(address, distance)
        if self.mask is None:
            self.builder.store(vector, place, align=BYTES)
        else:
            self.call("masked.store", ".p0", ir.VoidType(), vector, place, ir.Constant(SHORT, BYTES), self.mask)

    def away(self, matrix: Sequence[Any], rows: int, vectors: int = 0) -> tuple[Any, Any]:
        """Where some rows and vectors further is in a matrix (address, distance of its rows, ...)."""
        down = self.builder.mul(ir.Constant(WHOLE, rows), matrix[1])
        return matrix[0], self.builder.add(down, ir.Constant(WHOLE, vectors * LANES))

    def moved(self, address: Any, distance: Any) -> Any:
        """The address of what stands so many numbers further."""
        return self.builder.add(address, self.builder.mul(distance, ir.Constant(WHOLE, BYTES)))

    def at_least(self, least: Any, vectors: Sequence[Any]) -> list[Any]:
        """Vectors without what is smaller; what is no number stays so, and is noticed."""
        limit = self.spread(least)
        small = [self.builder.fcmp_ordered("<", one, limit) for one in vectors]
        return [self.builder.select(is_small, limit, one) for is_small, one in zip(small, vectors, strict=True)]

    def call(self, name: str, suffix: str, result: Any, *arguments: Any) -> Any:
        """One of LLVM's own functions of vectors."""
        kind = ir.FunctionType(result, [one.type for one in arguments])
        known = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}.v{LANES}f32{suffix}")
        return self.builder.call(known, arguments)


class Loop:
    """Instructions between its making and its `end`, `count` times, at least once; `now` are values that change."""

    def __init__(self, builder: Any, count: Any, first: list[Any]) -> None:
        self.builder, before = builder, builder.block
        self.block, self.behind = (builder.append_basic_block(name) for name in ("loop", "behind"))
        builder.branch(self.block)
        builder.position_at_end(self.block)
        self.moving = [builder.phi(one.type) for one in (count, *first)]
        for now, value in zip(self.moving, (count, *first), strict=True):
            now.add_incoming(value, before)
        self.left, *self.now = self.moving

    def end(self, following: list[Any]) -> None:
        """Go on with these values, or behind the loop."""
        left = self.builder.sub(self.left, ir.Constant(WHOLE, 1))
        for now, value in zip(self.moving, (left, *following), strict=True):
            now.add_incoming(value, self.block)
        self.builder.cbranch(self.builder.icmp_signed(">", left, ir.Constant(WHOLE, 0)), self.block, self.behind)
        self.builder.position_at_end(self.behind)


def added(
    code: Instructions, rows: int, vectors: int, left: Any, right: Any, count: Any, first: Sequence[Any]
) -> list[Any]:
    """The sums of a tile after `count` terms, from what they are at `first`."""
    loop = Loop(code.builder, count, [left[0], right[0], *first])
    here, there, *known = loop.now
    beside = [code.load(there, ir.Constant(WHOLE, two * LANES)) for two in range(vectors)]
    each = [code.number(*code.away((here, left[1]), one)) for one in range(rows)]
    factors = [(one, two) for one in each for two in beside]
    sums = [code.call("fmuladd", "", VECTOR, *pair, before) for pair, before in zip(factors, known, strict=True)]
    loop.end([code.moved(here, left[2]), code.moved(there, right[1]), *sums])
    return sums


def tile_of(rows: int, vectors: int, masked: bool) -> Callable[..., None]:
    """A tile as a function for numba: of left (address, distance of its rows, of its columns), right (address, distance
    of its rows), start and sums (the same; 0 for a start means one row for all), how many k, the least that a sum may
    become, and how wide the tile is if `masked`.
    """
    places = [(one, two) for one in range(rows) for two in range(vectors)]

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right, start, sums = (unpacked(builder, one) for one in arguments[:4])
        count, least, width = arguments[4:]
        code = Instructions(builder, width if masked else None)
        first = [code.load(*code.away(start, *place)) for place in places]
        total = added(code, rows, vectors, left, right, count, first)
        for place, value in zip(places, code.at_least(least, total), strict=True):
            code.store(value, *code.away(sums, *place))
        return context.get_dummy_value()

    @intrinsic
    def tile(
        typing: Any, left: Any, right: Any, start: Any, sums: Any, count: Any, least: Any, width: Any
    ) -> tuple[Any, Any]:
        return types.void(left, right, start, sums, count, types.float32, width), write

    made: Callable[..., None] = tile
    return made


@intrinsic
def turn(typing: Any, source: Any, target: Any) -> tuple[Any, Any]:
    """Write a square of numbers, as high and wide as a vector, rows as columns. Source and target are (address,
    distance of its rows). Each round exchanges parts of pairs of vectors, twice as long as those of the round before.
    """

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target = (unpacked(builder, one) for one in arguments)
        code, size = Instructions(builder), 1
        rows = [code.load(*code.away(source, one)) for one in range(LANES)]
        while size < LANES:
            upper = [LANES + lane - size if lane & size else lane for lane in range(LANES)]
            lower = [LANES + lane if lane & size else lane + size for lane in range(LANES)]
            for one in (place for place in range(LANES) if not place & size):
                pair = rows[one], rows[one + size]
                rows[one], rows[one + size] = (
                    builder.shuffle_vector(*pair, ir.Constant(PLACES, lanes)) for lanes in (upper, lower)
                )
            size *= 2
        for one, vector in enumerate(rows):
            code.store(vector, *code.away(target, one))
        return context.get_dummy_value()

    return types.void(source, target), write


def _pointer_to(kind: Any, size: Any) -> Callable[..., Any]:
    """An address as numba's pointer."""

    @intrinsic
    def pointer(typing: Any, address: Any) -> tuple[Any, Any]:
        def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], size.as_pointer())

        return types.CPointer(kind)(address), write

    made: Callable[..., Any] = pointer
    return made


_number, _whole_number = _pointer_to(types.float32, NUMBER), _pointer_to(types.int64, WHOLE)


@register_jitable
def numbers(address, count):  # type: ignore[no-untyped-def]
    """What stands at an address, as an array."""
    return carray(_number(address), count)


@register_jitable
def whole_numbers(address, count):  # type: ignore[no-untyped-def]
    """The same of integers of 64 bits."""
    return carray(_whole_number(address), count)


@intrinsic
def as_number(typing: Any, bits: Any) -> tuple[Any, Any]:
    """The float32 number of 32 bits."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], NUMBER)

    return types.float32(types.int32), write
