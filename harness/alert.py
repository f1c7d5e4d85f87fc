"""A command of the user's that `harness run` starts when a study is done or has failed. Off unless it is given.

It comes from the command line (`--on-done`, `--on-failure`), else from the environment (HARNESS_ON_DONE,
HARNESS_ON_FAILURE), else from the user's own settings, `harness/config.toml` in the folder of configurations:

    [alert]
    on_done = "notify-send {study} {message}"
    on_failure = ["mail", "-s", "{study}: {message}", "ann@example.org"]

Never from a study: its file may be somebody else's, and would be a program if it could name one. Nothing is run by a
shell; `{study}`, `{event}`, `{message}` and `{page}` are put into arguments as they are. The same facts lie in the
command's environment as HARNESS_STUDY, HARNESS_EVENT ("done" or "failed"), HARNESS_MESSAGE (the answer, or what went
wrong), HARNESS_PAGE and HARNESS_SECONDS.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from harness.errors import UserError, listed, nearest, printable
from harness.masking import without_secrets
from harness.study import toml

TIMEOUT = 30.0  # seconds, after which a command is ended
KEYS = ("on_done", "on_failure")
Say = Callable[[str], None]


@dataclass
class Alert:
    """What is run when a study is done, and when it has failed: arguments, none of which means nothing is. `page` and
    `message` are told by whoever runs the study.
    """

    study: str
    say: Say
    commands: dict[str, list[str]] = field(default_factory=dict)
    page: str = ""
    message: str = ""

    def fire(self, event: str, seconds: float) -> None:
        """Run the command for "done" or "failed". What goes wrong with it is told, and changes nothing else."""
        key = {"done": "on_done", "failed": "on_failure"}[event]
        if not (command := self.commands.get(key)):
            return
        message = without_secrets(printable(self.message))
        facts = {"study": self.study, "event": event, "message": message, "page": self.page}
        told = {**facts, "seconds": f"{seconds:.0f}"}
        environment = {f"HARNESS_{name.upper()}": value for name, value in told.items()}
        try:
            subprocess.run(
                [_filled(one, facts) for one in command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                timeout=TIMEOUT,
                check=True,
            )
        except subprocess.TimeoutExpired:
            self.say(f"warning: {key}: {command[0]} was ended: it took more than {TIMEOUT:g} s")
        except subprocess.CalledProcessError as trouble:
            self.say(f"warning: {key}: {command[0]} ended with exit code {trouble.returncode}")
        except (OSError, ValueError) as trouble:
            self.say(f"warning: {key}: {command[0]}: {getattr(trouble, 'strerror', None) or trouble}")


def alert_of(study: str, say: Say, on_done: str | None = None, on_failure: str | None = None) -> Alert:
    """What the user wants to be run; `say` tells it. Raises UserError for what is no command."""
    settings, given = _settings(), {"on_done": on_done, "on_failure": on_failure}
    commands = {}
    for key, option in given.items():
        flag, variable = f"--{key.replace('_', '-')}", f"HARNESS_{key.upper()}"
        known = {flag: option, variable: os.environ.get(variable), settings_file(): settings.get(key)}
        where, value = next(((where, value) for where, value in known.items() if value is not None), ("", ""))
        if command := _arguments(f"{where}: {key}", value):
            commands[key] = command
            when = "when it is done" if key == "on_done" else "if it fails"
            say(f"{when} runs {without_secrets(shlex.join(command))} ({where})")
    return Alert(study, say, commands)


@contextmanager
def announced(alert: Alert) -> Iterator[Alert]:
    """Run the user's command once the block has ended; not where the user ended it."""
    began = time.monotonic()
    try:
        yield alert
    except Exception as trouble:
        alert.message = str(trouble) or type(trouble).__name__
        alert.fire("failed", time.monotonic() - began)
        raise
    alert.fire("done", time.monotonic() - began)


def settings_file() -> str:
    """Where the user's own settings lie."""
    return str(Path(platformdirs.user_config_dir("harness")) / "config.toml")


def _settings() -> dict[str, Any]:
    """The table [alert] of the user's settings."""
    file = Path(settings_file())
    if not file.is_file():
        return {}
    try:
        table = toml.parse(file.read_text(encoding="utf-8")).get("alert", {})
        if not isinstance(table, dict):
            raise UserError("alert: must be a table, [alert]")
        for key in table:
            if key not in KEYS:
                raise UserError(f"alert.{key}: unknown key{nearest(key, KEYS) or f'; there are {listed(KEYS)}'}")
    except (OSError, UserError) as trouble:
        raise UserError(f"{file}: {trouble}") from None
    return table


def _arguments(where: str, value: object) -> list[str]:
    """A command's arguments: a list as it is, a text as a shell would cut it; empty where nothing is to be run."""
    try:
        parts = shlex.split(value) if isinstance(value, str) else value
    except ValueError as trouble:
        raise UserError(f"{where}: {str(trouble).lower()} in {value!r}") from None
    if not isinstance(parts, list) or not all(isinstance(one, str) for one in parts):
        raise UserError(f"{where}: must be a text or a list of texts, got {value!r}")
    return parts


def _filled(argument: str, facts: dict[str, str]) -> str:
    """An argument with facts in the place of their names."""
    return re.sub(r"\{(\w+)\}", lambda found: facts.get(found[1], found[0]), argument)
