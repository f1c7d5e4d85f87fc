"""What a process of the benchmark is started in, when its folder is another one than the user's."""

from pathlib import Path

from harness.processes import process_environment


def environment_elsewhere() -> dict[str, str]:
    """No store but its folder's own, and data that are found from there too."""
    environment = {name: value for name, value in process_environment().items() if name != "MLFLOW_TRACKING_URI"}
    if data := environment.get("HARNESS_DATA_DIR"):
        environment["HARNESS_DATA_DIR"] = str(Path(data).resolve())
    return environment
