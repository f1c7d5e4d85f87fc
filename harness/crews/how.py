"""How a study is run, as the command line says it: nothing here changes what is compared."""

from dataclasses import dataclass

from harness.catalogue import names
from harness.errors import UserError, one_of

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class How:
    """Where and how trainings run. `group_size` is the most in a stack, by default what suits the device.

    `workers` and `ray`, a cluster's address, have Ray's processes train; `crew` names another part of the catalogue
    that does. `offline` writes nothing to MLflow, `fresh` puts the old journal aside, `quiet` shows no progress.
    `resume` are stopped values that go on. `grace` is how many seconds there are from a SIGTERM to the end.
    `is_guest` is said by a program that runs a study within itself: Ctrl-C is then the program's.
    """

    device: str = "auto"
    group_size: int | None = None
    workers: int | None = None
    ray: str | None = None
    crew: str | None = None
    offline: bool = False
    fresh: bool = False
    quiet: bool = False
    grace: float = 30.0
    is_guest: bool = False
    resume: tuple[str, ...] = ()

    @property
    def who(self) -> str:
        """Who trains, by its name in the catalogue."""
        return self.crew or ("local" if self.workers is None and self.ray is None else "ray")

    def check(self) -> None:
        """Raises UserError for a device or a crew that there is not, and for stacks or workers fewer than one."""
        check_device(self.device)
        if self.crew is not None and self.crew not in names("crew"):
            raise UserError(f"--crew: {one_of(self.crew, names('crew'))}")
        for option, number in (("stack", self.group_size), ("workers", self.workers)):
            if number is not None and number < 1:
                raise UserError(f"--{option}: must be at least 1, got {number}")


def check_device(name: str) -> None:
    """Raises UserError for a device that torch is never asked for."""
    if name not in DEVICES:
        raise UserError(f"--device: must be {' or '.join((', '.join(DEVICES[:-1]), DEVICES[-1]))}, got {name!r}")
