"""What harness promises about safety: docs/security.md."""

import ast
import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from harness import masking, report
from harness.__main__ import app, one_line
from harness.analysis import find, read_results
from harness.console import Progress, print_table
from harness.errors import UserError
from harness.report.compare import compare
from harness.report.escape import latex, markdown
from harness.study.file import read_study
from harness.study.places import report_folder
from harness.study.study import Study
from harness.tracking import Tracker, shown_store
from harness.tracking.mlflow import address

from .conftest import ROOT, SMALL, Done, clean_environment, resealed
from .test_report import Page
from .test_search import drive

Write = Callable[..., Path]
Command = Callable[..., Done]
SOURCES = sorted((ROOT / "harness").rglob("*.py"))


# No code from data


def called(node: ast.Call) -> str:
    """The dotted name of what is called, as far as it has one."""
    return ast.unparse(node.func)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_data_can_become_code(path: Path) -> None:
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "jsonpickle"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & unsafe
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in unsafe
        elif isinstance(node, ast.Call):
            name = called(node)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            users_own = {"exec", "compile"} if path == ROOT / "harness/parts/own.py" else set()
            assert name not in {"eval", "exec", "compile", "__import__", "os.system", "os.popen"} - users_own
            assert name.split(".")[-1] not in {"read_pickle", "to_pickle", "unsafe_load", "full_load"}
            if name in {"torch.load", "torch.jit.load"}:
                assert given.get("weights_only") == "True"
            assert given.get("shell", "False") == "False"
            assert given.get("allow_pickle", "False") == "False"


def test_the_only_weights_in_a_store_are_safetensors(smoke: Path) -> None:
    kinds = {path.suffix for path in (smoke / "mlruns").rglob("*") if path.is_file()}
    assert ".safetensors" in kinds
    assert kinds <= {".safetensors", ".json", ".csv", ".png", ".svg", ".html", ".md", ".tex"}


# Names cannot leave their folders


@pytest.fixture
def outside(write_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a finished study beside the current one, `project`, which has one of its own."""
    journal = write_study(SMALL, "other") / "journal.log"
    journal.write_text("somebody else's\n")
    (tmp_path / "project" / "studies" / "mine").mkdir(parents=True)
    (tmp_path / "project" / "studies" / "mine" / "study.toml").write_text(SMALL)
    (tmp_path / "project" / "reports").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "studies"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def absolute(outside: Path) -> str:
    return str(outside / "other")


def relative(outside: Path) -> str:
    return "../studies/other"


def linked_folder(outside: Path) -> str:
    Path("studies/link").symlink_to(outside / "other")
    return "studies/link"


def linked_parent(outside: Path) -> str:
    Path("elsewhere").symlink_to(outside)
    return "elsewhere/other/study.toml"


def linked_file(outside: Path) -> str:
    Path("studies/mine/study.toml").unlink()
    Path("studies/mine/study.toml").symlink_to(outside / "other" / "study.toml")
    return "studies/mine"


def linked_journal(outside: Path) -> str:
    Path("studies/mine/journal.log").symlink_to(outside / "other" / "journal.log")
    return "studies/mine"


def dangling_owner(outside: Path) -> str:
    Path("studies/mine/journal.owner").symlink_to(outside / "new")
    return "studies/mine"


WAYS_OUT = [absolute, relative, linked_folder, linked_parent, linked_file, linked_journal, dangling_owner]


@pytest.mark.parametrize("command", ["run", "report", "compare"])
@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_study_that_leads_out_is_refused(
    way: Callable[[Path], str], command: str, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, before = way(outside), content(outside.parent)
    assert one_line(app, [command, path]) == 2
    told = capsys.readouterr()
    assert "leads out of the current folder" in told.err
    assert (told.err.count("\n"), told.out) == (1, "")
    assert content(outside.parent) == before


def test_a_link_in_a_circle_is_told(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("studies/a").symlink_to(Path("studies/b").absolute())
    Path("studies/b").symlink_to(Path("studies/a").absolute())
    assert one_line(app, ["run", "studies/a"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("path", ["{here}/studies/mine", "./studies/../studies/mine/study.toml", "studies/link"])
def test_a_study_that_lies_inside_is_not(path: str, outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("studies/link").symlink_to(Path("studies/mine").absolute())
    assert one_line(app, ["report", path.format(here=Path.cwd())]) == 2
    assert "never ran" in capsys.readouterr().err


def test_the_list_stays_inside(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert one_line(app, ["list", "../studies"]) == 2
    assert "leads out of the current folder" in capsys.readouterr().err
    linked_folder(outside)
    assert one_line(app, ["list"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "leads" in shown
    assert "not begun" in shown


@pytest.mark.parametrize("link", ["reports", "reports/mine", "reports/mine/plots", "reports/mine/report.html"])
def test_a_report_that_leads_out_is_refused_before_anything_is_made(
    link: str, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("reports").rmdir()
    Path(link).parent.mkdir(parents=True, exist_ok=True)
    Path(link).symlink_to(outside / "reports")
    before = content(outside.parent)
    assert one_line(app, ["run", "studies/mine"]) == 2
    told = capsys.readouterr()
    assert (f"{link}: leads out" in told.err or "reports/mine: leads out" in told.err, told.err.count("\n")) == (
        True,
        1,
    )
    assert content(outside.parent) == before
    assert not (outside / "reports").exists()


def test_a_journal_cannot_name_another_folder(small: Study, tmp_path: Path) -> None:
    drive(small, tmp_path / "journal.log")
    for name in ("../../mine", "/tmp/mine", "..", r"mine\n"):
        text = (tmp_path / "journal.log").read_text().replace(r"{\"name\":\"mine\"", rf"{{\"name\":\"{name}\"")
        (tmp_path / "other.log").write_bytes(b"".join(resealed(text.replace(r"\"mine\n\"", r"\"mine\\n\""))))
        with pytest.raises(UserError, match="must be the name of a folder"):
            read_results(tmp_path / "other.log")


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\u202eb", "a\x7fb", "x" * 300, "..", "."])
def test_names_that_no_terminal_can_show_are_told(name: str, outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(OSError):  # too long
        Path("studies", name).mkdir(exist_ok=True)
        shutil.copy("studies/mine/study.toml", Path("studies", name) / "study.toml")
    for path in (
        ("studies/.", "studies/..") if set(name) == {"."} else (f"studies/{name}", f"studies/{name}/study.toml")
    ):
        code, told = one_line(app, ["report", path]), capsys.readouterr()
        assert code == 2
        assert told.err.endswith("\n")
        assert told.err[:-1].isprintable()


def test_a_folder_that_looks_like_an_option(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("studies/mine", "-x")
    for arguments in (["-x"], ["--", "-x"], ["--", "-x/study.toml"]):
        assert one_line(app, ["report", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    read_study("-x")


# Words are words

NAME = "-a b' $x$ %s #1 |`c`_d_ [red]e[link=f] ](javascript:g) \\write18{h} {{ i }} <script>j"
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \\input{/etc/passwd} $\\write18{id}$ | `code` **bold** "
    "& {{ 7*7 }} ](javascript:alert(3)) [link](javascript:alert(4)) ![p](http://x.example/y.png) <http://x.example>"
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of a study whose every free word is hostile, and of two such studies compared."""
    folder = tmp_path_factory.mktemp("hostile")
    words = f"question = '''{HOSTILE}'''\nnote = '''# {HOSTILE}\n\n# heading\n'''\n"
    published = f"[published]\nsource = '''{HOSTILE}'''\ntest_accuracy = [0.9, 0.91]\n"
    several = []
    with contextlib.chdir(folder):
        for name in (NAME, NAME + "2"):
            Path("studies", name).mkdir(parents=True)
            Path("studies", name, "study.toml").write_text(words + SMALL + published)
            study = read_study(Path("studies", name))
            drive(study, Path("studies", name, "journal.log"))
            several.append(find(read_results(Path("studies", name, "journal.log"))))
        links = {"bad": "javascript:alert(5)", "worse": 'http://x"onclick="alert(6)', NAME: "http://127.0.0.1:5000/#/a"}
        report.write(find(replace(several[0].results, links=links)), report_folder(several[0].study.label))
        compare(several, Path("reports/compare"))
    return folder / "reports"


def reports(folder: Path) -> list[Path]:
    return [folder / NAME, folder / "compare"]


class Tags(Page):
    """Every tag with its attributes."""

    def __init__(self, text: str) -> None:
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        super().__init__(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        super().handle_starttag(tag, attributes)


def test_html_takes_words_as_words(hostile: Path) -> None:
    for folder in reports(hostile):
        text = (folder / "report.html").read_text()
        assert "49" not in re.findall(r"\{\{.*?\}\}", text)
        page = Tags(text)
        assert page.open == page.outside == []
        assert [tag for tag, _ in page.tags].count("script") == 1  # our own, which sorts tables
        for _, attributes in page.tags:
            assert not [name for name in attributes if name.startswith("on")]
            assert (attributes.get("href") or "http://").startswith(("http://", "#"))
            assert (attributes.get("src") or "data:image/png").startswith("data:image/png")
        assert "&lt;script&gt;alert(1)" in text


def test_markdown_takes_words_as_words(hostile: Path) -> None:
    reader = MarkdownIt("commonmark", {"html": True, "xhtmlOut": False}).enable("table")
    reader.validateLink = lambda url: True  # type: ignore[method-assign]  # other readers do not look
    for folder in reports(hostile):
        text = (folder / "report.md").read_text()
        page = Tags(reader.render(text))
        tags = [tag for tag, _ in page.tags]
        assert not {"script", "code", "blockquote"} & set(tags)
        assert tags.count("em") == len(re.findall(r"^\*[^*]", text, re.MULTILINE))  # captions
        assert tags.count("h1") == 1
        assert tags.count("h2") == len(re.findall("^## ", text, re.MULTILINE))
        links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
        assert all((link or "").startswith("http://127.0.0.1:5000/") for link in links)
        assert all(re.fullmatch(r"plots/\w+\.png", image["src"] or "") for image in page.images)
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith(("| -", "| $"))}
        assert len(widths) <= 1  # no word made a column of its own


def test_latex_takes_words_as_words(hostile: Path) -> None:
    seen = ""
    for path in (path for folder in reports(hostile) for path in folder.glob("tables/*.tex")):
        seen += (text := path.read_text())
        plain = re.sub(r"\\[{}$#%&_]", "", text)
        assert not {r"\write", r"\input", r"\immediate"} & set(re.findall(r"\\[a-z]+", plain))
        assert not re.search("[$#%]", plain)
        assert plain.count("{") == plain.count("}")
        for label in re.findall(r"\\label\{(.*?)\}", text):
            assert re.fullmatch(r"[\w.:-]+", label, re.ASCII)
    assert r"\$x\$" in seen
    assert r"\textbackslash" in seen


def test_figures_take_words_as_words(hostile: Path) -> None:
    for path in (path for folder in reports(hostile) for path in folder.glob("plots/*.svg")):
        tags = {element.tag.split("}")[-1] for element in ElementTree.parse(path).iter()}
        assert "script" not in tags
        assert (
            "$x$ %s #1 |`c`_d_" in path.read_text()
        ) or "Differences" in path.name  # as a comment: $x$ is no formula


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("# a\n\n# b", "\\# a # b"),
        ("1. a", "1\\. a"),
        ("- a", "\\- a"),
        ("-0.5 to +0.5", "-0.5 to +0.5"),
        ("batch_size of _a_", "batch_size of \\_a\\_"),
        ("p < 0.05, <b>", "p < 0.05, \\<b>"),
        ("a\\|b", "a\\\\\\|b"),
    ],
)
def test_markdown_escapes(text: str, safe: str) -> None:
    assert markdown(text) == safe


def test_latex_escapes() -> None:
    assert latex(r"\write18{a}") == r"\textbackslash{}write18\{a\}"
    assert latex("a_b & 5 % of $1 ~ #2 ^") == r"a\_b \& 5 \% of \$1 \textasciitilde{} \#2 \textasciicircum{}"


def test_the_terminal_takes_words_as_words(small: Study, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["[b]heading"], [["[red]a[/]"], ["b\x1b]0;title\x07"], ["c\nd"]])
    with Progress(small.model_copy(update={"name": "[red]e[/] [/f]"}), quiet=False):
        pass
    told = capsys.readouterr()
    assert "[red]a[/]" in told.out
    assert r"b\x1b]0;title\x07" in told.out
    assert "\x1b" not in told.out
    assert "[red]e[/] [/f]" in told.out  # where it is no terminal the table is among the results


# No secret is written

PASSWORD = "s3cret%2Fp%40ss%3Aw"  # s3cret/p@ss:w
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
    "MLFLOW_TRACKING_PASSWORD": "hunter2hunter2",
    "MY_TOKEN": "tok-12345",
}
SPELT = [PASSWORD, "s3cret/p@ss:w", "p@ss", *SECRETS.values()]


def written(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()


def assert_nowhere(folder: Path, done: Done) -> None:
    for place, text in [*written(folder), ("stdout", done.stdout.encode()), ("stderr", done.stderr.encode())]:
        for secret in SPELT:
            assert secret.encode() not in text, (place, secret)


class Broken(BaseHTTPRequestHandler):
    """A server that fails, and repeats what it was asked."""

    def do_GET(self) -> None:
        body = f"cannot serve {self.headers.get('Authorization')} {self.path}".encode()
        self.send_response(500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def broken_server() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Broken)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("store", ["a server that fails", "a server that is not there", "an unknown kind of store"])
def test_a_password_in_an_address_is_written_nowhere(
    store: str,
    write_study: Write,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    broken_server: int,
) -> None:
    write_study(SMALL)
    address = f"http://ann:{PASSWORD}@127.0.0.1:{broken_server if 'fails' in store else free_port()}"
    if "unknown" in store:
        address = f"mysql+nothing://ann:{PASSWORD}@127.0.0.1/runs?password={SECRETS['MY_TOKEN']}"
    environment = {**SECRETS, "MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = command("run", "studies/mine", "--trials", "1", "--seeds", "1", "--epochs", "1")
    assert "ann:***@127.0.0.1" in done.stdout + done.stderr  # it does tell which store it was
    assert_nowhere(tmp_path, done)


def test_a_secret_of_the_environment_is_written_nowhere(
    smoke: Path, write_study: Write, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copy(smoke / "mlflow.db", tmp_path)
    folder = write_study(SMALL, NAME)
    for name, value in {**SECRETS, "HTTPS_PROXY": f"http://ann:{PASSWORD}@127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    done = command("run", f"studies/{NAME}", "--trials", "1", "--seeds", "2", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert (folder / "journal.log").exists()
    assert (tmp_path / "reports" / NAME / "report.html").exists()
    assert_nowhere(tmp_path, done)
    names = {"HTTPS_PROXY", *SECRETS}
    assert not [name for name in names for _, text in written(tmp_path) if name.encode() in text]


@pytest.mark.parametrize(
    ("uri", "shown", "public"),
    [
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://host:5000/base", "http://host:5000/base", "http://host:5000/base"),
        ("https://ann:pw@host:5000/a", "https://ann:***@host:5000/a", "https://host:5000/a"),
        ("https://ann@host", "https://ann@host", "https://host"),
        ("https://ann:p%2Fw@host", "https://ann:***@host", "https://host"),
        (
            "postgresql://ann:p@ss/wo:rd?x#y@db:5432/runs",
            "postgresql://ann:***@db:5432/runs",
            "postgresql://db:5432/runs",
        ),
        ("postgresql:///runs?user=ann&password=pw", "postgresql:///runs", "postgresql:///runs"),
        ("http://ann:[pw@host", "http://ann:***@host", "http://host"),
        ("mlruns", "mlruns", "mlruns"),
    ],
)
def test_addresses_are_masked(uri: str, shown: str, public: str) -> None:
    assert (masking.shown(uri), masking.public(uri)) == (shown, public)


def test_texts_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:{PASSWORD}@host")
    monkeypatch.setenv("OTHER", "postgresql://db/runs?user=ann&password=pa55w0rd")
    monkeypatch.setenv("SOME_API_KEY", "key-1234")
    monkeypatch.setenv("USE_TOKEN", "yes")
    text = f"yes: http://ann:{PASSWORD}@host, s3cret/p@ss:w, pa55w0rd, key-1234"
    assert masking.without_secrets(text) == "yes: http://ann:***@host, ***, ***, ***"


def test_a_short_password_is_masked_and_no_word_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mysql+pymysql://ann:p@127.0.0.1/runs")
    text = "mysql+pymysql://ann:p@127.0.0.1/runs: MLflow cannot open it: no password 'p', p=p; opening: postponed"
    masked = (
        "mysql+pymysql://ann:***@127.0.0.1/runs: MLflow cannot open it: no password '***', p=***; opening: postponed"
    )
    assert masking.without_secrets(text) == masked


def test_messages_are_masked(
    outside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "key-1234")
    assert one_line(app, ["run", "studies/mine", "--set", "key-1234=2"]) == 2
    assert "--set ***=2: unknown key ***" in capsys.readouterr().err


def test_a_password_that_libraries_would_misread_is_refused(
    write_study: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:p@ss/word@host")
    assert one_line(app, ["run", str(write_study(SMALL))]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "%2F" in told
    assert "word" not in told.replace("a password", "")


def test_no_process_has_the_address_among_its_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:{PASSWORD}@127.0.0.1:{free_port()}")
    with Tracker() as tracker:
        assert PASSWORD not in " ".join(map(str, tracker.process.args))  # type: ignore[arg-type]
        assert PASSWORD not in shown_store()


# The UI


@pytest.fixture(scope="module")
def ui(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real `harness ui`."""
    port, log = free_port(), (tmp_path_factory.mktemp("ui") / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "ui", "--port", str(port)],
        cwd=smoke,
        env={**clean_environment(), "MLFLOW_TRACKING_URI": f"sqlite:///{smoke}/mlflow.db"},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    limit = time.monotonic() + 120
    while "viewState" not in Path(log.name).read_text():  # the last that it says
        assert time.monotonic() < limit
        assert process.poll() is None
        time.sleep(0.2)
    yield port
    process.terminate()
    assert process.wait(timeout=30) == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    with pytest.raises(ConnectionRefusedError):  # its servers are gone too
        ask(port, "127.0.0.1")
    log.close()
    said = Path(log.name).read_text()
    page = f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=harness"
    assert f"  smoke  {page}\n" in said
    assert "Traceback" not in said
    with pytest.MonkeyPatch.context() as patch:  # links follow
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{smoke}/mlflow.db")
        assert address.pages() == f"http://127.0.0.1:{port}"
        assert address.at_port("http://127.0.0.1:5000/#/a") == f"http://127.0.0.1:{port}/#/a"
        assert address.at_port("http://127.0.0.1.evil.example/#/a") == "http://127.0.0.1.evil.example/#/a"
    (smoke / "mlflow.db-port").unlink()


FAKE = """
import subprocess, sys
from harness.tracking.mlflow import ui
ui.ui_command = lambda port: [sys.executable, "-c", "import os, time; print(os.fork(), flush=True); time.sleep(60)"]
sys.exit(ui.browse(int(sys.argv[1]), lambda line: None))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_ui_ends_with_all_that_it_started_and_without_a_traceback(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", FAKE, str(free_port())],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.send_signal(number)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_port_that_is_taken_is_told(command: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = command("ui", "--port", str(port := other.getsockname()[1]))
    assert done.returncode == 2
    assert (
        done.stderr
        == f"harness: --port {port}: Address already in use; another one, as --port {port + 1}, may be free\n"
    )


def ask(port: int, host: str, method: str = "GET", path: str = "/", **headers: str) -> int:
    """The status of MLflow's answer to a browser that takes it for `host`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, headers={"Host": host, **headers})
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_ui_answers_to_this_machines_names_only(ui: int) -> None:
    for host in (f"127.0.0.1:{ui}", f"localhost:{ui}", "localhost:8080", "localhost"):
        assert ask(ui, host) == 200
    for host in ("evil.example", f"evil.example:{ui}", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1"):
        assert ask(ui, host) == 403
        assert ask(ui, host, "POST", "/ajax-api/2.0/mlflow/experiments/search") == 403


def test_the_ui_takes_no_orders_from_other_pages(ui: int) -> None:
    create = ("POST", "/ajax-api/2.0/mlflow/experiments/create")
    assert ask(ui, f"127.0.0.1:{ui}", *create, Origin="http://evil.example") == 403
    assert ask(ui, f"127.0.0.1:{ui}", *create, Origin=f"http://127.0.0.1:{ui}") == 400  # nothing was said to create


def test_the_ui_listens_on_one_address(ui: int) -> None:
    with socket.socket() as other, pytest.raises(OSError):  # noqa: PT011  # refused, or no such address
        other.connect(("127.0.0.2", ui))  # on Linux every 127.x.x.x is this machine


def test_the_ui_says_where_a_password_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    one_line(app, ["ui", "--help"])
    assert "password" in capsys.readouterr().out
    assert "basic-auth" in (ROOT / "docs" / "security.md").read_text()
