"""More of torch.optim's rules, and Lion, each a `StackOptimizer` as optim.py describes it."""

from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from harness.training.optim import StackOptimizer, root

BETAS = MappingProxyType({"beta1": 0.9, "beta2": 0.999, "eps": 1e-8})
MOMENTUM_DECAY = 4e-3  # of NAdam, as torch has it


class NAdam(StackOptimizer):
    """NAdam (Dozat, 2016), with torch's momentum decay of 0.004."""

    settings = ("lr", "weight_decay")
    constants = BETAS
    state_names = ("mean", "square")

    def __init__(self, flat: Tensor, *settings: Any) -> None:
        super().__init__(flat, *settings)
        self.state["product"] = torch.ones(len(flat), 1, dtype=torch.float64, device=flat.device)

    def update(self, gradient: Tensor) -> None:
        gradient, steps = self.decayed(gradient), self.steps.double()
        now, later = (self._momentum(steps + ahead) for ahead in (0, 1))
        product = self.state["product"].mul_(now)
        mean = self.average("mean", gradient, "beta1")
        square = self.average_square("square", gradient, "beta2")
        below = root(square / self.correction("beta2")).add_(self.fixed["eps"])
        of_gradient, of_mean = ((1 - now) / (1 - product), later / (1 - product * later))  # (K, 1)
        step = (gradient * of_gradient.to(gradient.dtype)).addcmul_(mean, of_mean.to(mean.dtype))
        self.flat.sub_(step.div_(below).mul_(self.now["lr"]))

    def _momentum(self, steps: Tensor) -> Tensor:
        decayed: Tensor = self.exact["beta1"] * (1 - 0.5 * torch.pow(0.96, steps * MOMENTUM_DECAY))
        return decayed


class RAdam(StackOptimizer):
    """RAdam (Liu et al., 2020)."""

    settings = ("lr", "weight_decay")
    constants = BETAS
    state_names = ("mean", "square")

    def update(self, gradient: Tensor) -> None:
        gradient = self.decayed(gradient)
        mean = self.average("mean", gradient, "beta1")
        square = self.average_square("square", gradient, "beta2")
        adaptive = root(square / self.correction("beta2")).add_(self.fixed["eps"] / self.correction("beta2").sqrt())
        rectified = self._rectification().to(self.flat.dtype)  # 0 where the variance is not known yet
        step = torch.where(rectified > 0, rectified / adaptive, 1.0).mul_(mean).div_(self.correction("beta1"))
        self.flat.sub_(step.mul_(self.now["lr"]))

    def _rectification(self) -> Tensor:
        steps, beta = self.steps.double(), self.exact["beta2"]
        power, longest = torch.pow(beta, steps), 2 / (1 - beta) - 1
        length = longest - 2 * steps * power / (1 - power)
        ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        return torch.where(length > 5, ratio.clamp(min=0).sqrt(), 0.0)


class Adagrad(StackOptimizer):
    """Adagrad (Duchi et al., 2011)."""

    settings = ("lr", "weight_decay")
    constants = MappingProxyType({"eps": 1e-10})
    state_names = ("square",)

    def update(self, gradient: Tensor) -> None:
        gradient = self.decayed(gradient)
        square = self.state["square"].addcmul_(gradient, gradient)
        self.flat.sub_(gradient.mul(self.now["lr"]).div_(root(square.clone()).add_(self.fixed["eps"])))


class Adadelta(StackOptimizer):
    """Adadelta (Zeiler, 2012)."""

    settings = ("lr", "weight_decay")
    constants = MappingProxyType({"rho": 0.9, "eps": 1e-6})
    state_names = ("square", "moved")

    def update(self, gradient: Tensor) -> None:
        gradient, eps = self.decayed(gradient), self.fixed["eps"]
        square = self.average_square("square", gradient, "rho")
        change = self.state["moved"].add(eps).div_(square.add(eps)).sqrt_().mul_(gradient)
        self.average_square("moved", change, "rho")
        self.flat.sub_(change.mul_(self.now["lr"]))


class Adamax(StackOptimizer):
    """Adamax (Kingma and Ba, 2015)."""

    settings = ("lr", "weight_decay")
    constants = BETAS
    state_names = ("mean", "largest")

    def update(self, gradient: Tensor) -> None:
        gradient = self.decayed(gradient)
        mean = self.average("mean", gradient, "beta1")
        largest = self.state["largest"].mul_(self.fixed["beta2"])
        torch.maximum(largest, gradient.abs().add_(self.fixed["eps"]), out=largest)
        self.flat.sub_(mean.div(largest).mul_(self.now["lr"] / self.correction("beta1")))


class Lion(StackOptimizer):
    """Lion (Chen et al., 2023), with decoupled weight decay."""

    settings = ("lr", "weight_decay")
    constants = MappingProxyType({"beta1": 0.9, "beta2": 0.99})
    state_names = ("mean",)

    def update(self, gradient: Tensor) -> None:
        self.decay()
        step = self.state["mean"].lerp(gradient, self.rest["beta1"]).sign_()
        self.average("mean", gradient, "beta2")
        self.flat.sub_(step.mul_(self.now["lr"]))
