"""The works of the benchmark: what every contender trains."""

from dataclasses import dataclass

from harness.catalogue import Value
from harness.config import Config
from harness.study.study import Budget, Study


@dataclass(frozen=True)
class Work:
    """An MLP for each depth and each seed, trained with Adam or SGD for a fixed number of epochs."""

    name: str
    what: str
    dataset: str
    width: int
    batch_size: int
    epochs: int
    seeds: int
    depths: tuple[int, ...] = (1, 2, 3, 4, 5)
    taper: str = "constant"
    optimizer: str = "adam"
    lr: float = 1e-3
    contenders: str = "abcdef"
    gpu: bool = False

    @property
    def trainings(self) -> int:
        """How many models are trained."""
        return len(self.depths) * self.seeds

    def config(self, depth: int) -> Config:
        """What is trained at that depth; nothing stops early."""
        return Config(
            dataset=self.dataset,
            depth=depth,
            width=self.width,
            taper=self.taper,
            batch_size=self.batch_size,
            epochs=self.epochs,
            patience=self.epochs + 1,
            optimizer=self.optimizer,
            lr=self.lr,
        )

    def study(self) -> Study:
        """The same as a study: depth compared, nothing tuned, `seeds` confirmation runs of each."""
        fixed: dict[str, Value] = {
            "width": self.width,
            "taper": self.taper,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "patience": self.epochs + 1,
            "optimizer": self.optimizer,
            "lr": self.lr,
        }
        return Study(
            name=self.name,
            question="How long does it take?",
            dataset=self.dataset,
            written_for=self.dataset,
            model="mlp",
            axis="depth",
            levels=self.depths,
            tune={},
            fixed=fixed,
            budget=Budget(seeds=self.seeds),
        )


WORKS = {
    work.name: work
    for work in (
        Work("mnist", "MNIST, width 128, batch 256, 3 epochs, 2 seeds", "mnist", 128, 256, 3, 2),
        Work("mnist10", "MNIST, width 128, batch 256, 3 epochs, 10 seeds", "mnist", 128, 256, 3, 10, contenders="aef"),
        Work("tiny", "digits, depth 1 and 2, 3 seeds: a try", "digits", 64, 32, 10, 3, depths=(1, 2)),
        Work("digits", "digits, width 64, batch 32, 20 epochs, 10 seeds", "digits", 64, 32, 20, 10),
        Work(
            "layers",
            "MNIST, the published layer comparison: width 512 halving, SGD, batch 1024, 200 epochs, 1 seed",
            "mnist",
            512,
            1024,
            200,
            1,
            taper="halving",
            optimizer="sgd",
            lr=0.05,
            contenders="abf",
            gpu=True,
        ),
    )
}
