"""The `parity` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from parity.errors import ParityError, UsageError, own_fault


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with status 2 and one line, instead of argparse's many."""
        self.exit(UsageError.exit_status, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"parity {version('parity')}")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status; what goes wrong is one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ParityError as error:
        print(f"parity {options.command}: {str(error).partition(chr(10))[0]}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(f"parity {options.command}: interrupted before the end", file=sys.stderr)
        return UsageError.exit_status
    except Exception as error:  # status 1 would say that two models differ
        told = f"{own_fault(error)}; nothing was told (PARITY_TRACEBACK=1 shows where)"
        print(f"parity {options.command}: {told}", file=sys.stderr)
        return UsageError.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="parity", description=__doc__)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_check(commands)
    _add_convert(commands)
    _add_lint(commands)
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


def _add_builders(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "tensorflow", metavar="TF_BUILDER", help="path/file.py:function, package.module:function or a model file"
    )
    command.add_argument("torch", metavar="TORCH_BUILDER", help="likewise, for the PyTorch model")
    for name in ("tensorflow", "torch"):
        command.add_argument(
            f"--{name}-python", metavar="PATH", help=f"interpreter of the {name} worker (default: this one)"
        )


def _add_pair(command: argparse.ArgumentParser, weights: bool = True) -> None:
    """Add what every command that runs two models is told."""
    _add_builders(command)
    add = command.add_argument
    add("--input", dest="inputs", metavar="HxWxC", action="append", type=_as(_input),
        help="an input without its batch axis, in TensorFlow's order, or `scalar`; repeat it for several")  # fmt: skip
    add("--int-input", dest="inputs", metavar="SHAPE:LOW:HIGH", action="append", type=_as(_int_input),
        help="an input of whole numbers, such as token ids; HIGH is included")  # fmt: skip
    add("--torch-layout", choices=("channels-first", "same"), default="channels-first",
        help="how torch wants an input of three axes (%(default)s)")  # fmt: skip
    add("--map", metavar="FILE", type=Path, help="pair layers by hand: `tensorflow = torch`, a line each, or JSON")
    add("--batch", type=int, help="samples in the probe (3, or 5 where an axis of a sequence has 3)")
    add("--seed", type=int, default=0, help="of the probe and of fresh weights (%(default)s)")
    add("--device", choices=("cpu", "gpu"), default="cpu", help="where float32 runs (%(default)s)")
    add("--threads", type=int, help="threads of each of the four workers (default: half the usable CPUs)")
    add("--timeout", type=float, default=3600.0, metavar="SECONDS", help="of one request to a worker (%(default)s)")
    if weights:
        add("--weights", choices=("tf-to-torch", "torch-to-tf", "as-is"), default="tf-to-torch",
            help="whose weights both get (%(default)s)")  # fmt: skip
        add("--tensorflow-weights", metavar="FILE", help="load these into the TensorFlow model after building it")
        add("--torch-weights", metavar="FILE", help="load these into the PyTorch model after building it")


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
        "by_hand": read_map(options.map) if options.map else {},
        "batch": options.batch,
        "seed": options.seed,
        "tensorflow_python": options.tensorflow_python,
        "torch_python": options.torch_python,
        "device": options.device,
        "timeout_s": options.timeout,
    }
    for name in ("threads", "weights", "tensorflow_weights", "torch_weights"):
        if getattr(options, name, None) is not None:
            found[name] = getattr(options, name)
    return found


def _check(options: argparse.Namespace) -> int:
    from parity.port import check
    from parity.porting.options import writable
    from parity.porting.verdict import write_json
    from parity.report.check_table import CheckTable

    for option, path in (("--json", options.json), ("--dump", options.dump), ("--repro", options.repro)):
        if path:
            writable(option, path, folder=option == "--dump")
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
        table.end(found, verdict.message())
        if options.json:
            write_json(options.json, found)
    if verdict.exit == UsageError.exit_status:
        print(f"parity check: {verdict.headline()}", file=sys.stderr)
    return verdict.exit


def _add_convert(commands: Any) -> None:
    convert = commands.add_parser(
        "convert",
        help="move trained weights from one framework's file to the other's, proven after writing",
        description="Check the pair, write the weights of --from in the other framework's layouts to --to, read that "
        "back and compare. Exit status: 0 proven, 1 the pair differs and nothing was written, 2 it could not be done.",
    )
    _add_pair(convert, weights=False)
    convert.add_argument("--from", dest="source", metavar="FILE", type=Path, required=True,
                         help="trained weights: .keras, .h5, checkpoint, .pth, .pt, .pt2, .safetensors")  # fmt: skip
    convert.add_argument("--to", dest="target", metavar="FILE", type=Path, required=True,
                         help="the file to write, of the other framework")  # fmt: skip
    convert.set_defaults(run=_convert, quiet=True)


def _convert(options: argparse.Namespace) -> int:
    from parity.port import convert
    from parity.porting.options import writable
    from parity.report.check_table import CheckTable

    writable("--to", options.target)

    with CheckTable(quiet=True) as table:
        verdict, written = convert(
            options.tensorflow, options.torch, options.source, options.target, options.inputs or (),
            progress=table.tell, **_settings(options),
        )  # fmt: skip
        if written is None:
            table.end(verdict.to_dict(), verdict.message())
    if written is None:
        print(f"parity convert: nothing was written: {verdict.headline()}", file=sys.stderr)
        return verdict.exit
    print(written.line(), file=sys.stdout if written.proven else sys.stderr)
    return 0 if written.proven else UsageError.exit_status


def _add_lint(commands: Any) -> None:
    lint = commands.add_parser(
        "lint",
        help="what differs by configuration alone, before anything runs",
        description="List what the configurations of two models say against each other, each with the id of its trap "
        "and the effect to expect. Exit status: 0 nothing differs, 1 something does, 2 nothing could be compared.",
    )
    _add_builders(lint)
    lint.add_argument("--map", metavar="FILE", type=Path, help="pair layers by hand: `tensorflow = torch`, a line each")
    lint.add_argument("--tensorflow-optimizer", metavar="CALL", help="such as 'Adam(learning_rate=1e-3)'")
    lint.add_argument(
        "--torch-optimizer", metavar="CALL", help="such as 'Adam(lr=1e-3)'; what is left out is the default"
    )
    lint.add_argument("--json", metavar="FILE", type=Path, help="write the list there")
    lint.set_defaults(run=_lint)


def _lint(options: argparse.Namespace) -> int:
    from parity.porting.lint import lint
    from parity.porting.options import CheckOptions, InputSpec, read_map, writable
    from parity.porting.verdict import write_json
    from parity.report.terminal import say

    optimizers = (options.tensorflow_optimizer, options.torch_optimizer)
    if options.json:
        writable("--json", options.json)
    if any(optimizers) and not all(optimizers):
        raise UsageError("give both --tensorflow-optimizer and --torch-optimizer, or neither")
    settings = CheckOptions(
        inputs=(InputSpec((1,)),),
        by_hand=read_map(options.map) if options.map else {},
        tensorflow_python=options.tensorflow_python,
        torch_python=options.torch_python,
    )
    found = lint(options.tensorflow, options.torch, settings, optimizers if all(optimizers) else None)
    if options.json:
        write_json(options.json, found.to_dict())
    say("\n".join(found.lines()))
    if found.exit == UsageError.exit_status:
        said = "no layers of the two have a partner before anything runs; `parity check` runs them"
        print(f"parity lint: nothing could be compared: {said}", file=sys.stderr)
    return found.exit


def _no_verdict(error: ParityError) -> dict[str, Any]:
    from parity.porting.verdict import no_verdict

    found = no_verdict(error)
    return {**found.to_dict(), "error": found.why}


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
