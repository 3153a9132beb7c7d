"""What a check is told, before anything starts: shapes, maps, files, and the machine's memory."""

from __future__ import annotations

import _thread
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from parity.adapters.base import UsersCode
from parity.errors import UsageError, WorkerCrash, WorkerTimeout
from parity.model.trace import AFTER, Op, Trace
from parity.port import _seen_alike
from parity.porting import convert, memory
from parity.porting.dump import Dump
from parity.porting.lint import _call, _droppers, _like
from parity.porting.options import (
    CheckOptions,
    InputSpec,
    Settings,
    arrays,
    as_inputs,
    parse_input,
    parse_int_input,
    read_map,
    settings_of,
    writable,
    write_whole,
)
from parity.porting.sides import TENSORFLOW, TORCH, Workers, _ended_by


@pytest.mark.parametrize(("text", "shape"), [("224x224x3", (224, 224, 3)), ("16", (16,)), ("7,5", (7, 5))])
def test_an_input_is_a_shape_without_its_batch_axis(text: str, shape: tuple[int, ...]) -> None:
    assert parse_input(text) == InputSpec(shape)


@pytest.mark.parametrize("text", ["", "0x3", "3x", "x3", "3x-1", "None,3", "224*224", "3.5", "12:0:9"])
def test_what_is_no_shape_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_input(text)
    assert "\n" not in str(caught.value)
    assert "--input" in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "batch"),
    [(["7x8"], 3), (["9x9x3"], 3), (["3x8"], 5), (["50x3"], 5), (["3x8", "5x8"], 4), (["8", "3x5"], 4), (["3x5x7"], 3)],
)
def test_no_axis_of_a_sequence_is_as_long_as_the_batch(inputs: list[str], batch: int) -> None:
    assert {len(array) for array in arrays(CheckOptions(inputs=as_inputs(inputs)))} == {batch}
    assert {len(array) for array in arrays(CheckOptions(inputs=as_inputs(inputs), batch=3))} == {3}


def test_whole_numbers_reach_both_ends_of_their_range() -> None:
    spec = parse_int_input("400:3:5")
    (found,) = arrays(CheckOptions(inputs=(spec,), batch=2))
    assert found.dtype == np.int32
    assert found.shape == (2, 400)
    assert set(np.unique(found)) == {3, 4, 5}


@pytest.mark.parametrize("text", ["12", "12:5:3", "12:a:3", "12:1", ":1:2", "12:0:3:4", "x:0:1", "6x:0:1"])
def test_a_wrong_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--int-input"):
        parse_int_input(text)


@pytest.mark.parametrize("given", ["scalar", "scalar:0:4", ()])
def test_an_input_may_be_one_number_a_sample(given: str | tuple[int, ...]) -> None:
    (spec,) = as_inputs([given])
    assert isinstance(spec, InputSpec)
    (found,) = arrays(CheckOptions(inputs=(spec,), batch=5))
    assert found.shape == (5,)
    assert len(np.unique(found)) > 1


def test_the_library_takes_text_tuples_and_arrays() -> None:
    batch = np.zeros((2, 4), np.float64)
    assert as_inputs(["3x4x5", (3, 4), "7:0:9"]) == (InputSpec((3, 4, 5)), InputSpec((3, 4)), InputSpec((7,), 0, 9))
    (given,) = as_inputs([batch])
    (found,) = arrays(CheckOptions(inputs=(given,)))
    assert found.dtype == np.float32
    with pytest.raises(UsageError, match="an input is text"):
        as_inputs([3.5])


def test_the_same_seed_draws_the_same_probe_and_no_two_axes_look_alike() -> None:
    options = CheckOptions(inputs=(InputSpec((6, 6, 4)),), seed=3)
    (first,), (again,) = arrays(options), arrays(options)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, np.swapaxes(first, 1, 2))
    assert np.abs(first).min() > 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"inputs": ()}, "no input was named"),
        ({"weights": "both"}, "tf-to-torch, torch-to-tf, as-is"),
        ({"torch_layout": "nchw"}, "channels-first, same"),
        ({"batch": 0}, "--batch"),
        ({"seed": -1}, "--seed"),
        ({"seed": 2**32}, "--seed"),
        ({"threads": 0}, "--threads"),
        ({"timeout_s": 0.0}, "--timeout"),
        ({"timeout_s": float("nan")}, "--timeout"),
    ],
)
def test_options_that_cannot_be_meant(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        CheckOptions(**{"inputs": (InputSpec((3,)),), **changed})


def test_batches_of_different_length_are_refused() -> None:
    with pytest.raises(UsageError, match="different batch sizes"):
        arrays(CheckOptions(inputs=(np.zeros((2, 3)), np.zeros((3, 3)))))


def test_a_map_is_lines_or_json(tmp_path: Path) -> None:
    lines, data = tmp_path / "map.txt", tmp_path / "map.json"
    lines.write_text("# by hand\nconv1 = features.0\n\nfc = head  # the last\n")
    data.write_text(json.dumps({"conv1": "features.0", "fc": "head"}))
    assert read_map(lines) == read_map(data) == {"conv1": "features.0", "fc": "head"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("conv1 features.0\n", "line 1"),
        ("a = b\na = c\n", "line 2"),
        ("{oops", "line 1"),
        ('{"a": 3}', "must be the name"),
        ('{"a": "b", "a": "c"}', "`a` is paired a second time"),
    ],
)
def test_a_wrong_map_says_where(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "map"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_map(path)
    with pytest.raises(UsageError, match="No such file"):
        read_map(tmp_path / "none")


def test_files_say_which_framework_they_belong_to(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    keras, port, odd = tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "model.bin"
    save_file({"conv1/kernel": np.zeros(2, np.float32)}, keras)
    save_file({"conv1.weight": np.zeros(2, np.float32)}, port)
    odd.write_bytes(b"")
    assert convert.directions(keras, tmp_path / "x.pth") == (TENSORFLOW, TORCH)
    assert convert.directions(port, tmp_path / "x.keras") == (TORCH, TENSORFLOW)
    exported = tmp_path / "c.pt2"
    for beside in (exported, tmp_path / "old.index", tmp_path / "old.data-00000-of-00001"):
        beside.write_bytes(b"")
    assert convert.directions(exported, tmp_path / "x.keras") == (TORCH, TENSORFLOW)
    assert convert.directions(tmp_path / "old", tmp_path / "x.pth") == (TENSORFLOW, TORCH)
    with pytest.raises(UsageError, match="so the result is a torch file"):
        convert.directions(keras, exported)
    with pytest.raises(UsageError, match="so the result is a torch file"):
        convert.directions(keras, tmp_path / "x.keras")
    with pytest.raises(UsageError, match="the ending says which framework"):
        convert.directions(odd, tmp_path / "x.pth")
    with pytest.raises(UsageError, match="no such file"):
        convert.directions(tmp_path / "none.keras", tmp_path / "x.pth")


def test_a_file_is_not_converted_into_itself(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    file = tmp_path / "a.safetensors"
    save_file({"conv1.weight": np.zeros(2, np.float32)}, file)
    with pytest.raises(UsageError, match="would be overwritten"):
        convert.directions(file, tmp_path / "." / "a.safetensors")


@pytest.mark.parametrize("proven", [True, False])
def test_a_converted_file_gets_its_name_when_it_is_proven(tmp_path: Path, proven: bool) -> None:
    target, held = tmp_path / "port.weights.h5", {"w": np.arange(3.0)}
    target.write_text("what stood there before")
    written: list[Path] = []

    def call(_: str, method: str, **words: Any) -> None:
        if method == "save_model":
            written.append(Path(words["path"]))
            written[0].write_text("new")

    models = SimpleNamespace(
        builders={TORCH: "b.py:build", TENSORFLOW: "a.py:build"}, workers=SimpleNamespace(call=call),
        set_weights=lambda *_: None, weights=lambda _: held if proven else {"w": np.zeros(3)},
        load_again=lambda *_, **__: None, about={TORCH: {}},
    )  # fmt: skip
    carry = dict.fromkeys(("to_tensorflow", "to_torch"), lambda real: real)
    plan = SimpleNamespace(**carry, settled=lambda *_: ({}, {}))
    prepared = SimpleNamespace(models=models, plan=plan, built={TORCH: held, TENSORFLOW: held}, inputs={TENSORFLOW: []})
    found = convert.write(prepared, TORCH, TENSORFLOW, target, lambda: "")
    assert found.proven is proven
    assert target.read_text() == ("new" if proven else "what stood there before")
    assert written[0].name.endswith("-port.weights.h5"), "readers go by the ending"
    assert list(tmp_path.iterdir()) == [target]
    assert ("not kept" in found.line()) is not proven


def test_a_place_that_cannot_be_written_is_said_before_the_check(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writable("--json", tmp_path / "new" / "found.json")
    writable("--dump", tmp_path / "dump", folder=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dump", "file", "new"]
    for option, path, folder in (
        ("--json", tmp_path / "file" / "found.json", False),
        ("--json", tmp_path, False),
        ("--dump", tmp_path / "file", True),
        ("--dump", Path("/proc/none"), True),
    ):
        with pytest.raises(UsageError, match=f"{option} .* cannot be written") as caught:
            writable(option, path, folder=folder)
        assert "\n" not in str(caught.value)


def test_what_is_no_file_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    writable("--json", pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_whole(pipe, "all of it")
    reader.join()
    assert got == ["all of it"]
    assert pipe.is_fifo()
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    write_whole(link, "through the link")
    assert (link.is_symlink(), target.read_text()) == (True, "through the link")
    if Path("/dev/full").is_char_device():
        with pytest.raises(UsageError, match="cannot write /dev/full: No space left on device"):
            write_whole(Path("/dev/full"), "x")


def test_an_input_that_no_memory_holds_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"^--input 10000000x10000000: there is no memory for a batch of 3 .*--batch$"):
        arrays(CheckOptions(inputs=as_inputs(["10000000x10000000"])))


def test_a_builder_that_its_process_did_not_survive_is_named() -> None:
    crash = WorkerCrash("torch worker: the process was killed by SIGSEGV during load_model(source='a')\nits stderr")
    line, _, rest = _ended_by("a.py:build", "building", crash, 9.0).partition("\n")
    assert line.startswith("a.py:build: building the model ended its worker: the process was killed by SIGSEGV; do")
    assert rest == "its stderr"
    late = _ended_by("a.py:build", "running", WorkerTimeout("torch worker: load_model(...)"), 9.0)
    assert late.startswith("a.py:build: running the model took more than 9 s")


def test_an_output_that_one_side_makes_outside_its_framework_is_refused() -> None:
    ops = (Op(0, "dense", "dense", (0,), (1,)), Op(1, "constant", "op:constant", (), (2,)))
    traces = {
        side: Trace((0,), (end,), ("output",), ops, {0: (3, 4), 1: (3, 2), 2: (3, 2)}, {}, {})
        for side, end in ((TENSORFLOW, 1), (TORCH, 2))
    }
    with pytest.raises(UsageError, match=r"^`output` of the PyTorch model is made of none of its inputs .* NumPy's"):
        _seen_alike(cast(Any, traces))
    _seen_alike(cast(Any, dict.fromkeys(traces, traces[TORCH])))


def test_gradients_and_statistics_are_dumped_too(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    from parity.porting.dump import Dump

    one = np.ones(2, np.float32)
    answers = {
        TENSORFLOW: {"value": one, "input_gradients": {0: one, 1: None}, "weight_gradients": {"d/kernel": 2 * one}},
        TORCH: {"value": one, "state": {"bn.running_mean": 3 * one}},
    }
    cut = SimpleNamespace(name="d", kind="dense", main_tensorflow=None, main_torch=None)
    finding = SimpleNamespace(verdict="rounding")
    step = SimpleNamespace(cut=cut, values={TENSORFLOW: one}, fed={}, fed_torch={}, answers=answers, finding=finding)
    Dump(tmp_path).add(cast(Any, step))
    found = load_file(tmp_path / json.loads((tmp_path / "index.json").read_text())["tensors"][0]["file"])
    assert set(found) == {
        "tensorflow", "tensorflow.gradient_of_input_0", "tensorflow.gradient_of.d/kernel",
        "torch.state.bn.running_mean",
    }  # fmt: skip
    assert np.array_equal(found["torch.state.bn.running_mean"], 3 * one)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_workers_that_would_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    from parity import cli

    answer = threading.Event()

    class Waiting(Workers):
        def __init__(self) -> None:
            pass

        def close(self) -> None:
            answer.set()

    def ask(side: str) -> bool:
        if side == TENSORFLOW:
            _thread.interrupt_main()
        return answer.wait(60.0)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Waiting().each(ask, (TENSORFLOW, TORCH))
    assert time.monotonic() - start < 30.0, "the pool waited for its threads"

    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "_check", interrupted)
        assert cli.main(["check", "a.py:build", "b.py:build"]) == 2
    assert capsys.readouterr().err == "parity check: interrupted before the end\n"


def test_a_norm_that_an_onnx_file_holds_folded_is_no_difference_and_not_the_same() -> None:
    from parity.model.trace import Op
    from parity.porting.story import Story

    ops = [
        Op(0, "conv", "conv", (0,), (1,)), Op(1, "bn", "batch_norm", (1,), (2,)), Op(2, "head", "dense", (2,), (3,)),
    ]  # fmt: skip
    trace = SimpleNamespace(ops=ops, producers=lambda: {op.outputs[0]: op for op in ops})

    class Held(dict[str, Any]):
        builders: dict[str, str]

    for file, partnerless, folded in (
        ("graph.onnx", (1,), {0, 1}), ("graph.onnx", (), set()), ("port.py:build", (1,), set()),
    ):  # fmt: skip
        models = Held({TENSORFLOW: trace, TORCH: trace})
        models.builders = {TENSORFLOW: "model.py:build", TORCH: file}
        matching = SimpleNamespace(only_tensorflow=partnerless, only_torch=())
        prepared = SimpleNamespace(models=models, matching=matching)
        assert Story(cast(Any, prepared), cast(Any, None))._folded == (folded, set())
        models.builders = {TENSORFLOW: file, TORCH: "port.py:build"}
        prepared.matching = SimpleNamespace(only_tensorflow=(), only_torch=partnerless)
        assert Story(cast(Any, prepared), cast(Any, None))._folded == (set(), folded)


def test_a_model_finds_its_own_neighbours_and_not_an_earlier_ones(tmp_path: Path) -> None:
    code = UsersCode()
    path, modules = list(sys.path), set(sys.modules)
    try:
        for folder, number in (("first", 1), ("second", 2), ("first", 3)):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "neighbour_of_a_model.py").write_text(f"NUMBER = {number}{' ' * number}\n")
            code.forget()
            sys.path.insert(0, str(tmp_path / folder))
            assert number == importlib.import_module("neighbour_of_a_model").NUMBER
        assert "numpy" in sys.modules
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            del sys.modules[name]


def test_what_one_builder_sets_is_not_set_for_the_next() -> None:
    code, setting = UsersCode(), {"dtype": "float32", "device": None}
    written = list[str]()

    def write(value: Any) -> None:
        written.append(value)
        setting["dtype"] = value

    switches = ((lambda: setting["dtype"], write), (lambda: setting["device"], written.append))
    code.forget(switches)
    setting["dtype"] = "float16"
    code.forget(switches)
    code.forget(switches)
    assert (setting["dtype"], written) == ("float32", ["float32"])


def test_optimizers_are_written_as_calls() -> None:
    assert _call("Adam") == {"name": "Adam", "order": [], "given": {}}
    told = _call("Adam(1e-3, epsilon=1e-8)")
    assert told == {"name": "Adam", "order": [1e-3], "given": {"epsilon": 1e-8}}
    assert _call("keras.optimizers.Adam(1e-3, epsilon=1e-8)") == told
    for text in ("torch.optim.Adam(model.parameters(), lr=1e-3)", "optim.Adam(weights, lr=1e-3)"):
        assert _call(text, has_parameters=True) == {"name": "Adam", "order": [], "given": {"lr": 1e-3}}
    for text in ("Adam(lr=open('x'))", "a b", "f()(x=1)", "f().Adam(x=1)", "Adam(Decay(1e-3))", "3"):
        with pytest.raises(UsageError, match="written as a call"):
            _call(text)


def test_short_memory_ends_the_largest_process_and_says_so() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    guard = memory.MemoryGuard(lambda: child.pid, least_bytes=2**62)  # no machine has that much left
    try:
        assert child.wait(timeout=30) == -signal.SIGKILL
    finally:
        child.kill()
        guard.stop()
    assert "memory ran short" in guard.said
    assert "\n" not in guard.said


def test_enough_memory_ends_nothing() -> None:
    guard = memory.MemoryGuard(lambda: os.getpid(), least_bytes=1)
    time.sleep(5 * memory.LOOK_S)
    guard.stop()
    assert guard.said == ""
    assert memory.available_bytes() > 2**20
    assert memory.resident_bytes(os.getpid()) > 2**20


def test_a_fault_of_the_tool_itself_says_nothing_about_the_models(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from parity import cli

    def broken(*_: object, **__: object) -> None:
        raise KeyError(4)

    monkeypatch.setattr(cli, "_check", broken)
    assert cli.main(["check", "a.py:build", "b.py:build"]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "parity itself" in said
    assert "KeyError: 4" in said
    monkeypatch.setenv("PARITY_TRACEBACK", "1")
    with pytest.raises(KeyError):
        cli.main(["check", "a.py:build", "b.py:build"])


def test_a_reader_who_leaves_does_not_end_a_check() -> None:
    code = (
        "import os, sys; from parity.report.check_table import CheckTable\n"
        "end, start = os.pipe(); os.close(end); os.dup2(start, 1)\n"
        "with CheckTable() as table:\n    table._print('one'); table._print('two')\n"
        "print('the verdict is known', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "the verdict is known\n")


def test_the_command_is_also_a_module_and_knows_its_version() -> None:
    done = subprocess.run([sys.executable, "-m", "parity", "--version"], capture_output=True, text=True, timeout=60)
    assert re.fullmatch(r"parity \d+\.\d+\.\d+\n", done.stdout), done.stderr


def test_lint_pairs_dropouts_that_stand_alone_behind_partners() -> None:
    def model(*parts: tuple[str, str, float]) -> list[Op]:
        return [
            Op(i, name, kind, (), (), {"rate": rate, AFTER: (i, "0")}) for i, (name, kind, rate) in enumerate(parts)
        ]

    mine = model(("a", "dense", 0.0), ("x", "dropout", 0.3), ("b", "dense", 0.0), ("y", "dropout", 0.1))
    theirs = model(("0", "dense", 0.0), ("1", "dropout", 0.5), ("2", "dense", 0.0), ("3", "dropout", 0.1))
    theirs += [replace(theirs[3], index=4)]  # of two behind one layer nobody knows which is which
    partners = [(mine[0], theirs[0]), (mine[2], theirs[2])]
    assert [(one.name, other.name) for one, other in _droppers(mine, theirs, partners)] == [("x", "1")]
    unordered = [(one, replace(other, config={})) for one, other in partners]
    assert _droppers(mine, theirs, unordered) == []


def test_lint_names_what_only_torch_has() -> None:
    mine = Trace((), (), (), (Op(0, "a", "dense", (), (), {}, {"kernel": "a/kernel"}),), {}, {}, {})
    names = ("dropout", "activation", "binary", "dense")
    theirs = Trace((), (), (), tuple(Op(i, kind, kind, (), ()) for i, kind in enumerate(names)), {}, {}, {})
    assert [op.kind for op in _like(mine, theirs).ops] == ["dropout", "activation", "dense"]


def test_a_dump_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    kept = {"mine.safetensors": True, "0000-conv.safetensors": False, "0001-bn.safetensors": False}
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    rows = [{"file": name} for name, stays in kept.items() if not stays] + [{"file": "../mine.safetensors"}]
    (tmp_path / "index.json").write_text(json.dumps({"schema": 1, "tensors": rows}))
    Dump(tmp_path)
    assert {name: (tmp_path / name).exists() for name in kept} == kept
    (tmp_path / "index.json").write_text("[]")
    Dump(tmp_path)


def test_the_library_takes_paths_as_text_and_knows_its_words() -> None:
    told = settings_of("4", {"dump": "kept", "repro": "first.py", "torch_weights": Path("trained.pth")})
    assert (told.dump, told.repro, told.torch_weights) == (Path("kept"), Path("first.py"), "trained.pth")
    assert set(Settings.__annotations__) == {one.name for one in fields(CheckOptions)} - {"inputs"}
    with pytest.raises(UsageError, match="a check does not know wieghts; it knows torch_layout, weights"):
        settings_of("4", cast(Any, {"wieghts": "as-is"}))


def test_each_row_of_a_mask_that_is_drawn_has_a_one() -> None:
    drawn = [arrays(CheckOptions(inputs=as_inputs(["3x2:0:1"]), batch=50, seed=seed))[0] for seed in range(3)]
    assert all(set(np.unique(one)) == {0, 1} and one.any(-1).all() for one in drawn)
