"""Everything that decides how one model is trained, except its seed: a value for every knob of the catalogue.

config = Config(dataset="digits", depth=3, lr=0.01)
config.lr, config.hidden, config.shape
config.replace(lr=0.1)
"""

from collections.abc import Iterator, Mapping
from typing import Any

from harness.catalogue import OwnModel, Value, knob, knobs, show
from harness.errors import UserError

Known = tuple[tuple[str, Value | None], ...]


class Config:
    """A frozen record: the knobs' values by name, their defaults where none is given. Equal if all values are.

    `depth` counts linear layers, as the published studies do: 1 is input-classes. `width` is the first hidden
    layer's; `taper` says how it goes on. `widths` names every hidden layer and replaces the three. Of a cnn they
    describe the dense layers behind the convolutions. Raises UserError for a knob that there is not.
    `own` is the model where a user wrote it: then its parameters are the knobs in the place of all built-in models'.
    """

    __slots__ = ("_values", "own")
    _values: dict[str, Value | None]
    own: OwnModel | None

    def __init__(self, own: OwnModel | None = None, /, **values: Value | None) -> None:
        for name in values:
            knob(name, own)
        given = {name: one.default for name, one in knobs(own).items()} | values
        object.__setattr__(self, "_values", given)
        object.__setattr__(self, "own", own)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copying and unpickling ask before there are values
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"a Config has no {name}") from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Config is frozen")

    def __iter__(self) -> Iterator[tuple[str, Value | None]]:
        return iter(self._values.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and (self._values, self.own) == (other._values, other.own)

    def __hash__(self) -> int:
        return hash(tuple(self._values.values()))

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={value!r}' for name, value in self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (self.own, self._values)

    def replace(self, **changes: Value | None) -> "Config":
        """The same with some other values."""
        return Config(self.own, **{**self._values, **changes})

    @property
    def hidden(self) -> tuple[int, ...]:
        """The widths of the hidden layers, first to last: `depth - 1` of them."""
        widths: tuple[int, ...] | None = self._values["widths"]  # type: ignore[assignment]
        if widths is not None:
            return widths
        depth, width = int(self["depth"]), int(self["width"])
        if self["taper"] == "halving":
            return tuple(max(1, width >> layer) for layer in range(depth - 1))
        return (width,) * (depth - 1)

    @property
    def shape(self) -> "Config":
        """What the models of one stack have in common; two configs may share a stack if their shapes are equal."""
        free = {name: one.default for name, one in knobs(self.own).items() if one.in_stack != "same"}
        return self.replace(**free) if self.own else self.replace(**free, widths=self.hidden)

    def check(self) -> None:
        """Raises UserError where values contradict each other, whatever the images: no network can be as they say."""
        if self["optimizer"] == "sgd" and self["nesterov"] and self["dampening"]:
            raise UserError(f"dampening: must be 0 with nesterov = true, got {show(self['dampening'])}")
        if self.own:
            return
        if self["residual"] and len(set(self.hidden)) > 1:
            raise UserError(
                "residual: adds the input of a hidden layer to its output, so all must be as wide, "
                f"got {show(self.hidden)}"
            )
        if self["model"] != "cnn":
            return
        if self["norm"] == "rms":
            raise UserError("norm: 'rms' is not of convolutions (model = 'cnn'); must be one of none, batch, layer")
        if self["padding"] == "same" and self["kernel"] % 2 == 0:
            raise UserError(f"kernel: must be odd with padding = 'same', got {self['kernel']}")

    def record(self) -> dict[str, Any]:
        """The values in JSON's types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self}

    @classmethod
    def from_record(cls, record: Mapping[str, Any], own: OwnModel | None = None) -> "Config":
        """The Config that `record` was made of; what this version does not know is left out."""
        known = {name: value for name, value in record.items() if name in knobs(own)}
        return cls(own, **{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})


def _unpacked(own: OwnModel | None, values: dict[str, Value | None]) -> Config:
    return Config(own, **values)
