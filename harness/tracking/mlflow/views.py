"""How MLflow's page of a study's runs opens: its values, the best first, with the columns that tell them apart.

Without it MLflow opens on its GenAI layout, and its table on the newest runs without a figure. The page's state lies in
a tag of the experiment, where MLflow's own "share" button puts it. Knows no MLflow.
"""

import json
from collections.abc import Mapping
from typing import Any

from harness.study.study import Study

KEY = "harness"
TAG = f"mlflow.sharedViewState.{KEY}"
BEST_FIRST = "all values, the best first"
"""What the link to that page is called."""
LAYOUT = "workflowType=machine_learning"


def runs_page(experiment: str, tags: Mapping[str, str]) -> str:
    """Where the experiment's runs are, below the address of MLflow's pages. Experiments of before have no view."""
    view = f"&viewStateShareKey={KEY}" if TAG in tags else ""
    return f"#/experiments/{experiment}/runs?{LAYOUT}{view}"


def view(study: Study, journal: str) -> str:
    """The tag's value: the runs of the journal's compared values by the test figure that the study leads with."""
    measure = study.measure
    first = metric_name(f"test_{study.metric}")
    figures = [first, *(f"{first}_{end}" for end in ("low", "high")), metric_name(f"val_{study.metric}"), "parameters"]
    state: dict[str, Any] = {
        "searchFilter": f"tags.journal = '{journal}' AND tags.container = 'yes' AND tags.key != 'study'",
        "orderByKey": f"metrics.`{first}`",
        "orderByAsc": measure.sign() < 0,
        "selectedColumns": [f"metrics.`{name}`" for name in figures] + [f"params.`{name}`" for name in shown(study)],
    }
    return json.dumps(state)


def shown(study: Study) -> list[str]:
    """The hyperparameters whose columns are shown: the compared ones, and of variants what they set."""
    return [key for key in dict.fromkeys((*study.axes, *study.chosen)) if key not in study.tuned]


def metric_name(figure: str) -> str:
    """A run's figure as MLflow's pages group it: val_loss is best/val_loss, test_loss test/loss."""
    images, _, what = figure.partition("_")
    return {
        "train": f"best/{figure}",
        "val": f"best/{figure}",
        "test": f"test/{what}",
        "untrained": f"test/{figure}",
        "best": f"best/{what}",
        "learning": f"best/{figure}",
    }.get(images, figure)
