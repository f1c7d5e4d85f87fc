"""The `harness` command: run, replay, report and more. Heavy imports are paid for by the command that needs them."""

import gc
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.catalogue import names
from harness.crews.how import How, check_device
from harness.errors import INTERRUPTED, UserError, listed, one_of
from harness.masking import without_secrets
from harness.programs import Write, alone, error
from harness.telling import Teller

if TYPE_CHECKING:
    from harness.alert import Alert
    from harness.console import Screen
    from harness.study.study import Study


def study_folders(incomplete: str) -> list[str]:
    """For the shell's completion: folders of studies that begin so, and those below studies/ that are called so."""
    found = {str(file.parent) for pattern in ("*/study.toml", "*/*/study.toml") for file in Path().glob(pattern)}
    return sorted(name for name in found if name.startswith(incomplete) or Path(name).name.startswith(incomplete))


def study_levels(ctx: typer.Context, incomplete: str) -> list[str]:
    """For the shell's completion: the compared values of the study that the command line names."""
    from harness.study.file import read_study

    try:
        study = read_study(ctx.params["study"])
    except (UserError, KeyError):
        return []
    return [name for name in map(study.level_name, study.levels) if name.startswith(incomplete)]


STOPPED = "stopped; the same command goes on from here"

app = typer.Typer(help="Fair sweeps and benchmarks of neural networks.", pretty_exceptions_enable=False)
report_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Folder = Annotated[
    Path,
    typer.Argument(help="The study's folder, as studies/depth.", show_default=False, autocompletion=study_folders),
]
Level = Annotated[
    str | None,
    typer.Argument(help="The compared value, as depth=3 or 3.", show_default=False, autocompletion=study_levels),
]
Grace = Annotated[
    float,
    typer.Option(min=0.0, envvar="HARNESS_GRACE", help="Seconds from SIGTERM to the end, to write checkpoints in."),
]
OnDone = Annotated[
    str | None,
    typer.Option(metavar="COMMAND", help="Run this when the study is done, without a shell; docs/watch.md has more."),
]
OnFailure = Annotated[str | None, typer.Option(metavar="COMMAND", help="The same if it fails.")]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="As JSON, for programs; docs/json.md has every key.")]
Dataset = Annotated[
    str | None,
    typer.Option(
        help=f"Another data set than the study file's: {listed(names('dataset'))}, or a file or folder of your own."
    ),
]


def tell_version(wanted: bool) -> None:
    """The option --version: nothing else is done then."""
    if wanted:
        from importlib.metadata import version

        from harness import __version__

        typer.echo(f"harness {__version__}, Python {sys.version.split()[0]}, torch {version('torch')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", metavar="", help="Show the version and exit.", callback=tell_version, is_eager=True),
    ] = False,
) -> None:
    """Fair sweeps and benchmarks of neural networks."""


@app.command()
def run(
    study: Folder,
    trials: Annotated[int | None, typer.Option(help="Trials of each search.")] = None,
    minutes: Annotated[float | None, typer.Option(help="As many trials as so many minutes allow.")] = None,
    searches: Annotated[
        int | None, typer.Option(help="Searches of each compared value, by seeds of their own.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Confirmation runs of each compared value.")] = None,
    epochs: Annotated[int | None, typer.Option(help="The most epochs of a training.")] = None,
    dataset: Dataset = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; auto is the GPU when there is one.")] = "auto",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the study, as lr=0.1 or budget.seeds=5."),
    ] = None,
    stack: Annotated[
        int | None, typer.Option(min=1, help="The most trainings in a stack; 1 is one training at a time.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Train in so many Ray processes, on this machine or with --ray.")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Train on the Ray cluster there; auto is RAY_ADDRESS's.")
    ] = None,
    crew: Annotated[
        str | None, typer.Option(help=f"Who trains: {listed(names('crew'))}; ray with --workers or --ray.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", metavar="", help="Write nothing to MLflow; harness sync does later.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", metavar="", help="Put the old journal aside and start anew.")
    ] = False,
    resume: Annotated[
        list[str] | None, typer.Option(metavar="VALUE", help="Go on with a value that harness stop had ended.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", metavar="", help="Say nothing but errors.")] = False,
    grace: Grace = 30.0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", metavar="", help="Tell what would be done and how long it would take; write nothing."
        ),
    ] = False,
    on_done: OnDone = None,
    on_failure: OnFailure = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", metavar="", help="Tell programs what happens: a line of JSON for each event; see docs/json.md."
        ),
    ] = False,
) -> None:
    """Run a study, or go on with it, and write its report."""
    from harness.interface.running import changes, prepared

    say = Teller(quiet)
    how = How(device, stack, workers, ray, crew, offline, fresh, quiet, grace, resume=tuple(resume or ()))
    changed = changes(trials, minutes, searches, seeds, epochs) + (overrides or [])
    with answering(as_json, lines=True) as write:
        checked, folder = prepared(study, changed, dataset, how)
        say(f"{study}: loading torch …")  # for seconds
        if dry_run:
            from harness.driver import dry_run as tell
            from harness.events import planned

            write(planned(checked, tell(checked, folder, how, say)))
            return
        from harness.alert import alert_of

        alert = alert_of(checked.label, say, on_done, on_failure)
        train(checked, folder, how, say, alert, write if as_json else None)


def train(checked: "Study", folder: Path, how: How, say: Teller, alert: "Alert", write: Write | None) -> None:
    """Run the study in the folder; `write` tells programs what happens, without it people are told."""
    from harness.alert import announced
    from harness.interface.running import start

    def show(study: "Study", quiet: bool) -> "Screen":
        from harness.console import Progress
        from harness.events import Events

        say.clear()
        return Events(study, write) if write else Progress(study, quiet)

    with announced(alert):
        done = start(checked, folder, how, say, show)
        alert.page, alert.message = str(done.page), done.findings.answer
    if write:
        from harness.events import finished

        write(finished(done.findings, done.page, done.journal))


@app.command()
def sync(study: Folder, dataset: Dataset = None) -> None:
    """Write to MLflow what the journal knows and the store lacks, as after --offline or a server that was down."""
    with plain_errors():
        checked, folder = found(study, dataset)
        from harness.tracking.tracker import Tracker

        with Tracker(say=typer.echo) as tracker:
            from harness.driver import sync as sync_study

            sync_study(checked, folder, tracker, typer.echo)


@app.command()
def check(
    study: Folder,
    repair: Annotated[
        bool, typer.Option("--repair", metavar="", help="Put a damaged journal aside and go on from what is whole.")
    ] = False,
    dataset: Dataset = None,
) -> None:
    """Say what a study's journal holds and whether a line of it is damaged; exit code 1 if one is and stays so."""
    with plain_errors():
        checked, folder = found(study, dataset)
        from harness.journal import find_journal, hold, make_whole
        from harness.journal.check import check as look_over

        journal = find_journal(checked, folder)
        held = look_over(journal)
        typer.echo("\n".join(held.said))
        if held.damage and not repair:
            raise typer.Exit(1)
        if repair:
            with hold(journal):
                typer.echo(f"mended   {make_whole(journal) or 'nothing: no line is damaged'}")


@app.command()
def replay(
    study: Folder,
    level: Level = None,
    seed: Annotated[
        int | None,
        typer.Option(help="The confirmation run with this seed; or 1 for the first one, 2, ..."),
    ] = None,
    trial: Annotated[int | None, typer.Option(help="The search trial of this number.")] = None,
    search: Annotated[int, typer.Option(min=0, help="Of which search that trial is, from 0.")] = 0,
    run_id: Annotated[str | None, typer.Option("--run", help="The MLflow run of this id, of whatever value.")] = None,
    stack: Annotated[
        bool, typer.Option("--stack", metavar="", help="Train it in the stack it was in, not alone.")
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="How much may differ: of a loss its share, of accuracies and confusion counts the share of images; "
            "0 asks for equality to the last bit. Trained alone instead of in a stack, figures differ by rounding.",
        ),
    ] = 1e-3,
    dataset: Dataset = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; auto is the GPU when there is one.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a run again from its record and compare every figure; exit code 1 if one differs. Writes nothing."""
    with answering(as_json) as write:
        checked, folder = found(study, dataset)
        check_device(device)
        from harness.replay import Wanted
        from harness.replay import replay as replay_run

        wanted = Wanted(level, seed, trial, search, run_id, stack, device)
        replayed = replay_run(checked, folder, wanted, tolerance, typer.echo)
        if as_json:
            write(replayed.record())
        if not replayed.is_same:
            raise typer.Exit(1)


@app.command()
def export(
    study: Folder,
    level: Annotated[str, typer.Argument(help="The compared value, as depth=3 or 3.", show_default=False)],
    place: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder to write; an export that is there is replaced.")
    ],
    seed: Annotated[
        int | None,
        typer.Option(
            help="The confirmation run with this seed, or 1 for the first one, 2, ...; else the best on "
            "validation data."
        ),
    ] = None,
    vote: Annotated[
        bool, typer.Option("--vote", metavar="", help="All confirmation runs: the mean of what they say.")
    ] = False,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="Also as onnx or torch.export.")] = "",
    register: Annotated[
        str, typer.Option(metavar="NAME", help="Also as the next version of that model in MLflow's registry.")
    ] = "",
    dataset: Dataset = None,
) -> None:
    """Write a trained model into a folder to take home: weights, preprocessing, a model.py that needs torch alone."""
    with plain_errors():
        checked, folder = found(study, dataset)
        from harness.export.write import Wish
        from harness.export.write import export as export_model

        export_model(checked, folder, Wish(level, seed, vote, format, register), place, typer.echo)


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that harness export wrote.")],
    file: Annotated[Path, typer.Argument(help="A table, arrays (.npz), an image, or a folder of images.")],
    out: Annotated[Path | None, typer.Option(help="Where the CSV goes, if not to standard output.")] = None,
) -> None:
    """Say of new data what an exported model makes of it, as CSV: classes with probabilities, or numbers."""
    with plain_errors():
        from harness.export.predict import predict as said_of

        table = said_of(folder, file, lambda line: typer.echo(line, err=True))
        if out is None:
            typer.echo(table, nl=False)
            return
        try:
            out.write_text(table, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
        typer.echo(f"wrote    {out}", err=True)


@app.command()
@report_app.command()
def report(study: Folder, dataset: Dataset = None, as_json: AsJson = False) -> None:
    """Write the report of a study from its journal, at any time, also while the study runs."""
    with answering(as_json) as write:
        checked, folder = found(study, dataset)
        from harness.plots import begun_early
        from harness.study.places import report_folder

        journal = folder / checked.journal
        with begun_early(report_folder(checked.label) / "report.html", journal) as second:  # beside pandas and Optuna
            from harness.report.write import report_study

            findings, target = report_study(checked, folder, second)
        if as_json:
            from harness.analysis.plain import told

            write(told(findings, target / "report.html", journal))
        typer.echo(f"report   {target / 'report.html'}\ntables   {target / 'tables' / 'compare.csv'}")


@app.command()
def show(
    study: Folder,
    level: Level = None,
    trial: Annotated[int | None, typer.Option(help="The search trial of this number, epoch by epoch.")] = None,
    search: Annotated[int, typer.Option(min=0, help="Of which search that trial is, from 0.")] = 0,
    seed: Annotated[
        int | None, typer.Option(help="The confirmation with this seed; or 1 for the first, 2, ...")
    ] = None,
    dataset: Dataset = None,
    as_json: AsJson = False,
) -> None:
    """Show all about a study, a compared value, a trial or a seed: settings, figures, epochs, where it can be seen."""
    with answering(as_json) as write:
        checked, folder = found(study, dataset)
        from harness.console import print_shown
        from harness.report.show import Chosen
        from harness.report.show import show as shown

        known = shown(checked, folder, Chosen(level, trial, search, seed))
        if as_json:
            write(known.record)
            return
        print_shown(known.title, known.facts, known.tables)


@app.command()
def watch(
    study: Folder,
    dataset: Dataset = None,
    page: Annotated[
        bool, typer.Option("--page", metavar="", help="Write the report too, again and again; browsers load it anew.")
    ] = False,
) -> None:
    """Follow a study that runs in another terminal: what trains, what is best, how long it takes. Ends when it ends."""
    with plain_errors("no longer watched; the study goes on"):
        checked, folder = found(study, dataset)
        from harness.watch import watch as follow

        def write() -> None:
            from harness.report.write import report_study

            report_study(checked, folder)

        follow(checked, folder, typer.echo, write if page else None)


@app.command()
def stop(
    study: Folder,
    level: Level = None,
    dataset: Dataset = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for it to end.")] = 60.0,
) -> None:
    """End a study that runs on this machine, as Ctrl-C does: after the epoch in hand. The same command goes on.

    With a compared value end only that one: what it has stays, what remains of it is not begun, the others go on.
    """
    with plain_errors():
        checked, folder = found(study, dataset)
        from harness.journal import find_journal, stop_level
        from harness.journal import stop as end

        journal = find_journal(checked, folder)
        typer.echo(end(journal, wait) if level is None else stop_level(journal, level, wait))


@app.command()
def compare(
    studies: Annotated[
        list[str], typer.Argument(help="Folders, as studies/a studies/b; studies/a@digits is one data set.")
    ],
    out: Annotated[Path | None, typer.Option(help="Where table and plot go; reports/compare-… if not said.")] = None,
    as_json: AsJson = False,
) -> None:
    """Put studies that have run, or one study's data sets, into one table and plot."""
    from harness.study.file import read_study
    from harness.study.places import named_by, report_folder, study_folder

    with answering(as_json) as write:
        from harness.report.compare import compare as compare_results
        from harness.report.compare import compared, find_studies

        several = []
        for name in studies:
            path, dataset = named_by(name)
            study = read_study(path, dataset=dataset)
            several += find_studies(study, study_folder(Path(path)), dataset)
        target = out or report_folder("-".join(["compare", *(findings.study.label for findings in several)]))
        compare_results(several, target)
        if as_json:
            page, tables = target / "report.html", target / "tables"
            write({**compared(several), "page": str(page), "tables": str(tables)})
        typer.echo(f"report   {target / 'report.html'}\ntables   {target / 'tables' / 'studies.csv'}")


@app.command()
def power(
    study: Folder,
    differences: Annotated[
        list[float] | None,
        typer.Option("--difference", min=1e-9, help="To be told apart, in points; as often as you like."),
    ] = None,
    dataset: Dataset = None,
    as_json: AsJson = False,
) -> None:
    """How many searches and seeds tell 0.1, 0.2, 0.5 points apart with 80 % power, by the spread that a study saw."""
    with answering(as_json) as write:
        checked, folder = found(study, dataset)
        from harness.report.power import PowerTable
        from harness.report.write import findings_of

        table = PowerTable(findings_of(checked, folder), differences or ())
        if as_json:
            write(table.as_json())
            return
        from harness.console import print_table

        print_table(table.headings, table.rows)
        typer.echo("\n".join(table.said))


@app.command(name="list")
def list_all(
    folder: Annotated[Path, typer.Argument(help="Where the studies are.")] = Path("studies"),
    as_json: AsJson = False,
) -> None:
    """Show all studies: their state, how far they are, how long they still take, and what did best."""
    with answering(as_json) as write:
        from harness.console import print_table
        from harness.report.listing import HEADINGS, list_studies
        from harness.study.places import studies_folder

        rows = list(list_studies(studies_folder(folder)))
        if not rows:
            raise UserError(f"{folder}: no studies here (no {folder}/*/study.toml)")
        if as_json:
            write([one.record() for one in rows])
            return
        print_table(HEADINGS, [one.cells for one in rows], spare=("compares",))
        for one in rows:
            if one.trouble:
                typer.echo(f"{one.study}: {one.trouble}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What the study is called: studies/NAME is made.", show_default=False)],
    data: Annotated[
        str, typer.Option(metavar="FILE", help="A table, arrays or a folder of images, below the current folder.")
    ],
    target: Annotated[
        str, typer.Option(metavar="COLUMN", help="Of a table: what is learned; several with commas.")
    ] = "",
    compare: Annotated[str, typer.Option(metavar="KEY", help="What is compared, as width or activation.")] = "depth",
    task: Annotated[str, typer.Option(help=f"{listed(names('task'))}; if not said, the data tells.")] = "",
) -> None:
    """Write a commented study file for data of your own, which runs as it is."""
    with plain_errors():
        if task not in ("", *names("task")):
            raise UserError(f"--task: {one_of(task, names('task'))}")
        from harness.new import write_study

        path = write_study(name, data, target, compare, task)
        typer.echo(f"wrote {path}; look at it, then: harness run {path.parent}")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Show what harness finds on this machine, for a bug report: versions, device, store, data; secrets are masked.

    Exit code 1 if something is wrong.
    """
    with answering(as_json) as write:
        from harness.doctor import findings

        known = list(findings())
        if as_json:
            write([one.record() for one in known])
        else:
            from harness.console import print_shown

            facts = [(one.name, f"{one.words}{f'  PROBLEM: {one.trouble}' if one.trouble else ''}") for one in known]
            print_shown("harness doctor", facts, [])
        if any(one.trouble for one in known):
            raise typer.Exit(1)


@app.command()
def parts(
    kind: Annotated[
        str | None, typer.Argument(help="Only these: dataset, model, optimizer, ...; training.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List everything that a study can name, with its hyperparameters: data sets, models, optimizers, measures, ..."""
    with answering(as_json) as write:
        from harness.catalogue import rows

        table = rows(kind)
        if as_json:
            write(table)
            return
        from harness.console import print_table

        names_of = [f"  {row['knob']}" if row["knob"] else f"{row['kind']} {row['part']}" for row in table]
        cells = [
            (name, row["default"], row["values"], row["meaning"]) for name, row in zip(names_of, table, strict=True)
        ]
        print_table(("part, and its hyperparameters", "default", "values", "meaning"), cells)


@app.command()
def ui(
    port: Annotated[
        int | None, typer.Option(help="The port on this machine: the last one, at first 5000; links follow it.")
    ] = None,
) -> None:
    """Browse the runs: MLflow's UI on 127.0.0.1, with the store that studies write to.

    Everybody who is logged in on this machine can open it. docs/security.md says how to put a password in front.
    """
    with plain_errors():
        from harness.tracking.mlflow.ui import browse

        raise typer.Exit(browse(port, typer.echo))


@app.command()
def bench(
    works: Annotated[
        str,
        typer.Option(
            help="What is trained: mnist, mnist10, tiny, digits, classes, numbers, layers (GPU), norms, closed, "
            "asking, cnn, or a study of your own (studies/mine)."
        ),
    ] = "",
    contenders: Annotated[
        str,
        typer.Option(
            help="Letters: a bare, b tutorial, c Lightning, d Ray, e-g ours, h scikit-learn, i ours without MLflow, "
            "j JAX."
        ),
    ] = "abcdefghij",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of every contender.")] = 3,
    once_above: Annotated[float, typer.Option(help="One round only for what is so many times slower.")] = float("inf"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path, typer.Option(help="Where tables and plot go.")] = Path("reports/bench"),
) -> None:
    """Train the same models by harness and by what people use instead; one table of ratios to the bare loop."""
    with plain_errors():
        check_device(device)
        from harness.bench.rounds import bench as run_bench
        from harness.bench.rounds import choose_works
        from harness.driver import choose_device

        place = choose_device(device).type
        page = run_bench(choose_works(works, place), contenders, rounds, place, out, typer.echo, once_above)
        typer.echo(f"{page.read_text()}\nbenchmark {page}")


def found(study: Path, dataset: str | None) -> tuple["Study", Path]:
    """The study that the command line names, on that data set or its own, and its folder."""
    from harness.study.file import read_study
    from harness.study.places import study_folder

    return read_study(study, dataset=dataset), study_folder(study)


@contextmanager
def answering(as_json: bool, lines: bool = False) -> Iterator[Write]:
    """A command that programs may ask: gives what writes JSON, alone on standard output, or else writes nothing. Errors
    are told there too, and to people as ever.
    """
    if not as_json:
        with plain_errors():
            yield lambda _: None
        return
    with alone(lines) as write, plain_errors(write=write):
        yield write


@contextmanager
def plain_errors(stopped: str = STOPPED, write: Write = lambda _: None) -> Iterator[None]:
    """A user's mistake is one line on stderr and exit code 2; Ctrl-C says how to go on and is exit code 130. `write`
    tells a program.
    """

    try:
        yield
    except UserError as trouble:
        Teller.clear()
        typer.echo(without_secrets("\n".join([f"harness: {trouble}", *trouble.below])), err=True)
        write(error(trouble, trouble.code))
        raise typer.Exit(trouble.code) from None
    except KeyboardInterrupt:
        Teller.clear()
        typer.echo(f"harness: {stopped}", err=True)
        write(error(UserError(stopped), INTERRUPTED))
        raise typer.Exit(INTERRUPTED) from None
    except typer.Exit:
        raise
    except Exception as trouble:  # of ours: its traceback follows
        write(error(trouble, 1))
        raise


class Unheard(io.FileIO):
    """A standard stream whose reader may leave, as `head -1` does: what is written then goes nowhere."""

    def write(self, data: Any) -> int:
        """How many bytes are taken care of."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(memoryview(data).cast("B"))


def heedless(stream: Any) -> Any:
    """A standard stream that stops nothing when nobody reads it; None where there is none."""
    if stream is None:
        return None
    stream.flush()
    bare = io.BufferedWriter(Unheard(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(bare, stream.encoding, stream.errors, line_buffering=True)


def main() -> None:
    """The console script."""
    sys.stdout, sys.stderr = heedless(sys.stdout), heedless(sys.stderr)
    gc.set_threshold(20_000, 20, 20)  # what is imported stays: a tenth less to import, and to draw
    sys.exit(one_line(app, sys.argv[1:] or ["--help"]))


def one_line(command: typer.Typer, arguments: list[str]) -> int:
    """Run a command; its exit code. A mistake on the command line is told as every other one is, in one line."""
    usage_error: Any = typer.BadParameter.__mro__[1]  # all such mistakes; typer gives its own name to this one only
    try:
        return command(arguments, standalone_mode=False) or 0
    except usage_error as trouble:
        told = UserError(trouble.format_message())
        typer.echo(f"harness: {told}", err=True)
        if "--json" in arguments:
            with alone(lines=True) as write:
                write(error(told, 2))
        return 2
    except typer.Abort:
        return INTERRUPTED


if __name__ == "__main__":
    main()
