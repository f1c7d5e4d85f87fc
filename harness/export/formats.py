"""An exported model in the formats of others: `onnx` (model.onnx) and `torch.export` (model.pt2).

Both take inputs as `model.py` does, any number of rows at a time, and hold the preprocessing.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from harness.errors import UserError, one_of
from harness.export.model import ExportedModel

ROWS = 4  # of the example that is traced


def check_format(name: str) -> None:
    """Raises UserError for a format that there is not, or that needs what is not installed."""
    if name not in FORMATS:
        raise UserError(f"--format: {one_of(name, list(FORMATS))}")
    if name == "onnx":
        try:
            import onnxscript  # noqa: F401
        except ImportError:
            raise UserError("--format onnx needs onnxscript: pip install 'harness-studies[onnx]'") from None


def in_format(name: str, model: ExportedModel, folder: Path) -> None:
    """Write the model in the format of that name. Raises UserError where it cannot be."""
    x = torch.zeros(ROWS, *model.spec["inputs"]["shape"])
    with warnings.catch_warnings(action="ignore"):  # of torch to itself
        try:
            FORMATS[name](model, x, folder)
        except Exception as error:  # whatever torch raises where a layer has no form there
            said = " ".join(str(error).split()).partition(". ")[0][:200]
            raise UserError(f"--format {name}: torch cannot write this model so: {said}") from None


def _torch_export(model: ExportedModel, x: torch.Tensor, folder: Path) -> None:
    rows = torch.export.Dim("rows")
    torch.export.save(torch.export.export(model, (x,), dynamic_shapes={"x": {0: rows}}), folder / "model.pt2")


def _onnx(model: ExportedModel, x: torch.Tensor, folder: Path) -> None:
    rows = torch.export.Dim("rows")
    torch.onnx.export(
        model,
        (x,),
        folder / "model.onnx",
        input_names=["inputs"],
        output_names=["outputs"],
        dynamo=True,
        dynamic_shapes={"x": {0: rows}},
        external_data=False,
        verbose=False,
    )


FORMATS: dict[str, Callable[[ExportedModel, torch.Tensor, Path], None]] = {
    "onnx": _onnx,
    "torch.export": _torch_export,
}
