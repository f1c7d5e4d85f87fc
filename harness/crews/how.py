"""How a study is run, as the command line says it: nothing here changes what is compared."""

from dataclasses import dataclass


@dataclass(frozen=True)
class How:
    """Where and how trainings run. `group_size` is the most in a stack, by default what suits the device.

    `workers` and `ray`, a cluster's address, have Ray's processes train; `crew` names another part of the catalogue
    that does. `offline` writes nothing to MLflow, `fresh` puts the old journal aside, `quiet` shows no progress.
    `grace` is how many seconds there are from a SIGTERM to the end.
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

    @property
    def who(self) -> str:
        """Who trains, by its name in the catalogue."""
        return self.crew or ("local" if self.workers is None and self.ray is None else "ray")
