"""Several people, one store: two studies at once, from two folders, into one `mlflow server` that keeps its runs in
PostgreSQL; one driver is killed again and again. Nothing is lost, nothing double.
"""

import importlib.util
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from harness.journal import Records
from harness.tracking.keys import plain_key as key_of

from .conftest import Tell, begun
from .soak import times
from .test_server import Server, free_port
from .test_tracking import plain_key

pytestmark = pytest.mark.soak
TRIALS = 1250  # of each study, and of each of two values; an idle machine writes some 20 runs a second
KILLS = 3
STUDY = """
dataset = "digits"
[compare]
depth = [1, 2]
[tune]
lr = { low = 1e-3, high = 1e-1, log = true }
[fixed]
width = 4
epochs = 1
[budget]
trials = %d
searches = 1
seeds = 3
[search]
sampler = "random"
pruner = "none"
generation = 20
"""


def tool(name: str) -> Path:
    """A program of PostgreSQL's; Debian keeps those of a server out of PATH."""
    found = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), *filter(None, [shutil.which(name)])]
    if not found:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    return Path(str(found[0]))


@pytest.fixture
def database() -> Iterator[str]:
    """The address of a new PostgreSQL on 127.0.0.1."""
    initdb, postgres = tool("initdb"), tool("postgres")
    if importlib.util.find_spec("psycopg2") is None:
        pytest.skip("psycopg2 is not installed (make soak does it)")
    folder, port = Path(tempfile.mkdtemp(prefix="harness-postgres-")), free_port()
    who = "postgres" if os.getuid() == 0 else None  # it does not work for root
    if who:
        shutil.chown(folder, who)
    made = [str(initdb), "-D", str(folder / "data"), "--auth=trust", "--username=ann", "--no-sync"]
    subprocess.run(made, user=who, cwd=folder, check=True, capture_output=True)
    served = [str(postgres), "-D", str(folder / "data"), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-F"]
    process = subprocess.Popen(served, user=who, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield f"postgresql+psycopg2://ann@127.0.0.1:{port}/postgres"
    process.send_signal(signal.SIGINT)
    process.wait(60)
    shutil.rmtree(folder)


@pytest.fixture
def server(database: str, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, database)
    server.start()
    yield server
    server.stop()


def all_runs(client: MlflowClient) -> Iterator[Run]:
    """Of every experiment, some hundreds at a time: a loaded server takes minutes for an answer of thousands."""
    experiments, token = [one.experiment_id for one in client.search_experiments()], None
    while token != "":
        some = client.search_runs(experiments, max_results=500, page_token=token)
        yield from some
        token = some.token or ""


def running(folder: Path, uri: str) -> subprocess.Popen[str]:
    return begun("run", "studies/mine", "--quiet", cwd=folder, environment={"MLFLOW_TRACKING_URI": uri})


@pytest.mark.parametrize("seed", range(1, 5))
def test_two_studies_at_once_in_postgres(seed: int, server: Server, tmp_path: Path, tell: Tell) -> None:
    folders = [tmp_path / name for name in ("ann", "bob")]
    for folder in folders:
        (folder / "studies" / "mine").mkdir(parents=True)
        (folder / "studies" / "mine" / "study.toml").write_text(STUDY % times(TRIALS))
    began, chance, killed = time.monotonic(), random.Random(seed), 0
    first, second = (running(folder, server.uri) for folder in folders)
    for _ in range(KILLS):
        time.sleep(chance.uniform(5, 20))
        if second.poll() is None:
            second.kill()
            killed += 1
        second.communicate()
        second = running(folders[1], server.uri)
    said = [process.communicate(timeout=3000) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    assert not any("lacks" in out for out, _ in said), said
    client, seen, whole, cut = MlflowClient(server.uri), Counter[tuple[str, str]](), 0, 0
    for run in all_runs(client):
        assert run.info.status in ("FINISHED", "KILLED", "FAILED")
        if "container" in run.data.tags:
            continue
        if "incomplete" in run.data.tags:
            cut += 1
        else:
            seen[run.data.tags["journal"], plain_key(run)] += 1
            whole += 1
    wanted: Counter[tuple[str, str]] = Counter()
    for folder in folders:
        records = Records(folder / "studies" / "mine" / "journal.log")
        assert len(records.all) == 2 * (times(TRIALS) + 3)
        wanted.update((records.id, key_of(record.trial)) for record in records.all)
    assert seen == wanted  # none lost, none double
    took = time.monotonic() - began
    tell(
        f"two studies at once into PostgreSQL, one killed {killed} times: every run there once, {cut} cut short and "
        f"repeated; {whole / took:.0f} runs a second",
        runs=whole,
        kills=killed,
    )
