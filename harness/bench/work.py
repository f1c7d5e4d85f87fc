"""The works of the benchmark: what every contender trains."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness import catalogue
from harness.catalogue import Value
from harness.config import Config
from harness.parts.data import Data, load
from harness.study.own import read_own
from harness.study.study import Budget, Code, Study


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
    depths: tuple[Any, ...] = (1, 2, 3, 4, 5)
    taper: str = "constant"
    optimizer: str = "adam"
    lr: float = 1e-3
    contenders: str = "abcdefj"
    gpu: bool = False
    file: str = ""  # the study file that it is read from
    own: str = ""  # the class of own.py that is trained, instead of the MLP

    @property
    def trainings(self) -> int:
        """How many models are trained."""
        return len(self.depths) * self.seeds

    @property
    def task(self) -> str:
        """What is learned."""
        known = catalogue.part("dataset", self.dataset)
        assert isinstance(known, catalogue.Dataset)
        return known.task

    @property
    def figure(self) -> str:
        """What tells whether all did the same work: a share of the test rows, or of the target's variation."""
        return "test_accuracy" if self.task == "classification" else "test_r2"

    @property
    def fixed(self) -> dict[str, Value]:
        """What all its models share; nothing stops early."""
        return {
            "width": self.width,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "patience": self.epochs + 1,
            "optimizer": self.optimizer,
            "lr": self.lr,
            **({} if self.own else {"taper": self.taper}),
        }

    def config(self, depth: int) -> Config:
        """What is trained at that depth."""
        return self.study().config(depth, {})

    def load(self, device: torch.device | str) -> Data:
        """Its data, on the device."""
        return load(self.dataset, device)

    def study(self) -> Study:
        """The same as a study: depth compared, nothing tuned, `seeds` confirmation runs of each."""
        own = read_own(Path(__file__).parent, f"own.py:{self.own}") if self.own else None
        return Study(
            name=self.name,
            question="How long does it take?",
            dataset=self.dataset,
            written_for=self.dataset,
            task=self.task,
            metric=catalogue.task(self.task).metric,
            model=own.name if own else "mlp",
            code=Code(name=own.name, source=own.source) if own else None,
            axis="depth",
            levels=self.depths,
            tune={},
            fixed=self.fixed,
            budget=Budget(seeds=self.seeds),
        )


OWN = {
    "Norms": "linear layers with layer normalisation, run layer by layer",
    "Closed": "the same as one class, in the general lane",
    "Asking": "the same, but one network after the other",
}
"""The classes of own.py."""

WORKS = {
    work.name: work
    for work in (
        Work("mnist", "MNIST, width 128, batch 256, 3 epochs, 2 seeds", "mnist", 128, 256, 3, 2),
        Work("mnist10", "MNIST, width 128, batch 256, 3 epochs, 10 seeds", "mnist", 128, 256, 3, 10, contenders="aefj"),
        Work("tiny", "digits, depth 1 and 2, 3 seeds: a try", "digits", 64, 32, 10, 3, depths=(1, 2)),
        Work("digits", "digits, width 64, batch 32, 20 epochs, 10 seeds", "digits", 64, 32, 20, 10),
        *(
            Work(
                name,
                f"the table {dataset} of scikit-learn, {what}: width 64, batch 32, 60 epochs, 10 seeds",
                dataset,
                64,
                32,
                60,
                10,
                depths=(2, 3, 4, 5),
                contenders="aefhij",
            )
            for name, dataset, what in (
                ("classes", "breast_cancer", "two classes"),
                ("numbers", "diabetes", "a number"),
            )
        ),
        *(
            Work(
                name.lower(),
                f"an own model on the digits, {what}: depth 5, width 64, batch 32, 20 epochs, 10 seeds",
                "digits",
                64,
                32,
                20,
                10,
                depths=(5,),
                contenders="aef",
                own=name,
            )
            for name, what in OWN.items()
        ),
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
            contenders="abfj",
            gpu=True,
        ),
    )
}
