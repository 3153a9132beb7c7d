"""The `parity` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from parity.errors import ParityError, UsageError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with status 2 and one line, instead of argparse's many."""
        self.exit(UsageError.exit_status, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status; what goes wrong is one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ParityError as error:
        print(f"parity {options.command}: {error}", file=sys.stderr)
        return error.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="parity", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_check(commands)
    _add_render(commands)
    return parser


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="are these two models the same function, and if not, where and why do they differ?",
        description="Compare a TensorFlow and a PyTorch model layer by layer. Exit status: 0 the same function, "
        "1 a different one, 2 it could not be told.",
    )
    _add_pair(check)
    check.add_argument(
        "--train", action="store_true", help="training mode: gradients, statistics and one optimizer step"
    )
    check.add_argument("--json", metavar="FILE", type=Path, help="write the verdict there")
    check.add_argument("--dump", metavar="DIR", type=Path, help="keep every compared tensor there (safetensors)")
    check.add_argument("--repro", metavar="FILE", type=Path, help="write a script there that shows the first source")
    check.add_argument("--quiet", action="store_true", help="print the answer without the table")
    check.set_defaults(run=_check)


def _add_pair(command: argparse.ArgumentParser, inputs_needed: bool = True) -> None:
    """Add what every command on two models is told."""
    command.add_argument(
        "tensorflow", metavar="TF_BUILDER", help="path/file.py:function, package.module:function or a file"
    )
    command.add_argument("torch", metavar="TORCH_BUILDER", help="likewise, for the PyTorch model")
    once = "" if inputs_needed else " (only needed if what to compare cannot be seen without a run)"
    command.add_argument(
        "--input", dest="inputs", metavar="HxWxC", action="append", type=_as(_input),
        help=f"an input without its batch axis, in TensorFlow's order; repeat it for several{once}",
    )  # fmt: skip
    command.add_argument(
        "--int-input", dest="inputs", metavar="SHAPE:LOW:HIGH", action="append", type=_as(_int_input),
        help="an input of whole numbers, such as token ids; HIGH is included",
    )  # fmt: skip
    command.add_argument(
        "--torch-layout", choices=("channels-first", "same"), default="channels-first",
        help="how torch wants an input of three axes (%(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--weights", choices=("tf-to-torch", "torch-to-tf", "as-is"), default="tf-to-torch",
        help="whose weights both get (%(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--map", metavar="FILE", type=Path, help="pair layers by hand: `tensorflow = torch`, a line each, or JSON"
    )
    command.add_argument("--batch", type=int, default=3, help="samples in the probe (%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of the probe and of fresh weights (%(default)s)")
    command.add_argument(
        "--tensorflow-weights", metavar="FILE", help="load these into the TensorFlow model after building it"
    )
    command.add_argument("--torch-weights", metavar="FILE", help="load these into the PyTorch model after building it")
    for name in ("tensorflow", "torch"):
        command.add_argument(
            f"--{name}-python", metavar="PATH", help=f"interpreter of the {name} worker (default: this one)"
        )
    command.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="where float32 runs (%(default)s)")
    command.add_argument("--threads", type=int, help="threads of every worker (default: usable CPUs)")
    command.add_argument(
        "--timeout", type=float, default=3600.0, metavar="SECONDS", help="of one request to a worker (%(default)s)"
    )


def _as(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let argparse print the one line of an error of ours."""

    def convert(text: str) -> Any:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _input(text: str) -> Any:
    from parity.porting.options import parse_input

    return parse_input(text)


def _int_input(text: str) -> Any:
    from parity.porting.options import parse_int_input

    return parse_int_input(text)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of `parity.check` that the options of `_add_pair` name."""
    from parity.porting.options import read_map

    found = {
        "torch_layout": options.torch_layout,
        "weights": options.weights,
        "by_hand": read_map(options.map) if options.map else {},
        "batch": options.batch,
        "seed": options.seed,
        "tensorflow_python": options.tensorflow_python,
        "torch_python": options.torch_python,
        "tensorflow_weights": options.tensorflow_weights,
        "torch_weights": options.torch_weights,
        "device": options.device,
        "timeout_s": options.timeout,
    }
    return found | ({"threads": options.threads} if options.threads else {})


def _check(options: argparse.Namespace) -> int:
    from parity.port import check
    from parity.porting.verdict import write_json
    from parity.report.check_table import CheckTable

    with CheckTable(options.quiet) as table:
        try:
            verdict = check(
                options.tensorflow, options.torch, options.inputs or (), progress=table.tell, train=options.train,
                dump=options.dump, repro=options.repro, **_settings(options),
            )  # fmt: skip
        except ParityError as error:
            if options.json:
                write_json(options.json, _no_verdict(error))
            raise
        found = verdict.to_dict()
        if options.json:
            write_json(options.json, found)
        table.end(found, verdict.message())
    if verdict.exit == UsageError.exit_status:
        print(f"parity check: {verdict.headline()}", file=sys.stderr)
    return verdict.exit


def _no_verdict(error: ParityError) -> dict[str, Any]:
    from parity.porting.verdict import Verdict

    line = str(error).partition("\n")[0]
    return {**Verdict("not-compared", (), (), why=line).to_dict(), "error": line}


def _add_render(commands: Any) -> None:
    render = commands.add_parser(
        "render",
        help="write the report again from a saved record",
        description="Write comparison.md, its plots and comparison.json again from a saved record.",
    )
    render.add_argument("record", metavar="RECORD", type=Path, help="a comparison.json")
    render.add_argument(
        "--output", metavar="DIR", type=Path, help="folder to write to (default: the record's own folder)"
    )
    render.set_defaults(run=_render)


def _render(options: argparse.Namespace) -> int:
    from parity.report import read, write_report
    from parity.report.record import RECORD_NAME

    source: Path = options.record
    record = read(source)
    folder: Path = options.output or source.parent
    saved = folder / RECORD_NAME
    if options.output is None and saved.exists() and not saved.samefile(source):
        # Rendering an old record must not silently replace the record of the latest run.
        raise UsageError(f"{saved} is another record and would be replaced; name a folder with --output")
    try:
        report = write_report(record, folder)
    except OSError as error:
        raise UsageError(f"cannot write the report to {folder}: {error.strerror or error}") from error
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
