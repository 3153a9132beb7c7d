"""Workers: what is sent arrives, every way of dying is told plainly, and nothing is left behind."""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import psutil
import pytest

from parity.adapters import base
from parity.errors import (
    MissingFramework,
    PairingError,
    UsageError,
    WorkerCrash,
    WorkerError,
    WorkerTimeout,
)
from parity.workers import wire
from parity.workers.client import Worker, WorkerOptions

ADAPTERS = Path(__file__).with_name("echo_adapter.py")
ECHO = f"{ADAPTERS}:EchoAdapter"
REPOSITORY = Path(__file__).resolve().parents[2]
GONE_LIMIT_S = 30.0


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test a temporary folder of its own, which it must leave empty."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def worker(scratch: Path) -> Iterator[Worker]:
    assert scratch.is_dir()  # made before the worker, looked at after its end
    with Worker(WorkerOptions(ECHO)) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared() -> Iterator[Worker]:
    """One worker for the tests that do not harm it."""
    with Worker(WorkerOptions(ECHO, role="twin", threads=3, seed=7)) as opened:
        opened.start()
        yield opened


def gone(pid: int) -> bool:
    """Tell whether a process has ended, or ends soon; a zombie has ended."""
    deadline = time.monotonic() + GONE_LIMIT_S
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def shim(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


# What is sent arrives.


ARRAYS = [np.arange(-3, 3).reshape(2, 3).astype(name) for name in sorted(wire.SENDABLE)] + [
    np.array(1.5, np.float32),
    np.array(True),
    np.zeros((0, 3), np.uint8),
    np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    np.arange(10)[::-2],
    np.arange(6, dtype=">i4").reshape(2, 3),
    np.array([np.nan, -np.inf, np.inf, -0.0], np.float64),
    np.arange(6.0).reshape(2, 3).T * (1 - 2j),
    np.array(0.5j),
    np.zeros((2, 0), np.complex128),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype.str}-{a.shape}-{a.strides}")
def test_array_arrives_unchanged_and_writable(shared: Worker, array: np.ndarray) -> None:
    back = shared.call("echo", x=array)["x"]
    assert isinstance(back, np.ndarray)
    assert back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, array, strict=False)
    assert np.array_equal(np.signbit(back.real), np.signbit(array.real))
    assert back.flags.writeable


NESTED: list[object] = [
    None,
    True,
    -0.0,
    10**30,
    "ü\n\ud800",
    {},
    [],
    (),
    (1, [2.5, ("x",)], {"a": None}),
    {"a": "a", "s": 1, "f": "nan", "t": [1], "d": {"d": {}}, "arrays": "x", "overflow": "y", "": 0},
    "long" * wire.INLINE_BYTES,
]


@pytest.mark.parametrize("value", NESTED, ids=lambda value: repr(value)[:30])
def test_plain_value_arrives_with_its_types(shared: Worker, value: object) -> None:
    assert repr(shared.call("echo", x=value)["x"]) == repr(value)


def test_nonfinite_floats_arrive(shared: Worker) -> None:
    back = shared.call("echo", x=[math.nan, math.inf, -math.inf])["x"]
    assert [type(item) for item in back] == [float] * 3
    assert repr(back) == "[nan, inf, -inf]"


def test_arrays_and_scalars_arrive_at_any_depth(shared: Worker) -> None:
    sent = {"w": [np.ones(2, np.float32), (np.zeros((2, 1)), {"n": np.int16(4), "x": np.float64("inf")})]}
    back = shared.call("echo", x=sent)["x"]
    assert type(back["w"][1][1]["n"]) is np.int16
    assert type(back["w"][1][1]["x"]) is np.float64
    assert repr(back) == repr(sent)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({1, 2}, "arguments['x'] is of type builtins.set"),
        ([b"raw"], "arguments['x'][0] is of type builtins.bytes"),
        ({"a": {1: 2}}, "arguments['x']['a'] has the key 1 of type int"),
        (np.array([object()]), "arguments['x'] is an array of object"),
        (np.array(["text"]), "arguments['x'] is an array of <U4"),
        (np.zeros(1, "U3"), "arguments['x'] is an array of <U3"),
        (np.ma.masked_array([1.0], [True]), "arguments['x'] is a masked array"),
    ],
)
def test_other_types_are_refused_before_sending(shared: Worker, value: object, complaint: str) -> None:
    with pytest.raises(TypeError, match="^" + re.escape(complaint)):
        shared.call("echo", x=value)
    assert shared.call("ask", x=1.0) == 1.0


def test_numbers_of_bfloat16_arrive_as_the_same_in_float32(shared: Worker) -> None:
    half = pytest.importorskip("ml_dtypes").bfloat16
    back = shared.call("echo", x=np.arange(5).astype(half) / 4)["x"]
    assert (back.dtype, back.tolist()) == (np.float32, [0.0, 0.25, 0.5, 0.75, 1.0])


def test_settings_and_environment_reach_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARITY_TEST_MARKER", "the parent's")
    options = WorkerOptions(ECHO, role="twin", threads=3, seed=7, environment={"PARITY_TEST_MARKER": "set"})
    with Worker(options) as worker:
        facts = worker.call("facts")
        assert facts["settings"] == ["twin", "cpu", 3, 7, False]
        assert facts["marker"] == "set"
        assert facts["pid"] == worker.pid == facts["session"]
        assert worker.name == "EchoAdapter twin"


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_not_timed_starts_without_what_keras_can_do_without(
    whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_OPTIONAL", ("colorsys",))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with base.lean_import(base.WorkerSettings("plain", "cpu", 1, 0, whole_import=whole)):
        with nullcontext() if whole else pytest.raises(ImportError):
            importlib.import_module("colorsys")
        assert gc.isenabled() == whole
    assert importlib.import_module("colorsys").rgb_to_hls  # afterwards anybody may have it
    assert gc.isenabled()


def test_messages_leave_no_files(worker: Worker, scratch: Path) -> None:
    worker.call("echo", x=[np.zeros(100_000), "long" * wire.INLINE_BYTES])
    (folder,) = scratch.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "stderr", "stdout"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_calls_from_threads_are_not_mixed_up(shared: Worker) -> None:
    wrong: list[float] = []

    def ask(start: float) -> None:
        for step in range(20):
            if shared.call("ask", x=start + step) != start + step:
                wrong.append(start + step)

    threads = [threading.Thread(target=ask, args=(1000.0 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# A request that raises does not end the worker.


def test_exception_is_told_with_its_traceback(shared: Worker) -> None:
    with pytest.raises(WorkerError) as caught:
        shared.call("raise_value")
    expected = "EchoAdapter twin worker: raise_value raised ValueError: the third axis is wrong"
    assert str(caught.value) == expected
    assert "echo_adapter.py" in caught.value.__notes__[0]
    assert 'raise ValueError("the third axis is wrong")' in caught.value.__notes__[0]
    assert shared.call("ask", x=2.0) == 2.0


def test_error_of_ours_keeps_its_class_and_text(shared: Worker) -> None:
    with pytest.raises(PairingError) as caught:
        shared.call("raise_pairing")
    assert str(caught.value) == "conv1 has no partner"


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("raise_memory", "raise_memory raised MemoryError: Unable to allocate 1.00 EiB"),
        ("leave", "leave raised SystemExit: 3"),
        ("unsendable", "unsendable raised TypeError: result['layers'][1] is of type builtins.set"),
    ],
)
def test_other_exceptions_leave_the_worker_alive(shared: Worker, method: str, text: str) -> None:
    with pytest.raises(WorkerError, match=re.escape(text)):
        shared.call(method)
    assert shared.call("ask", x=3.0) == 3.0


@pytest.mark.parametrize("name", ["_secret", "__class__", "__init__"])
def test_private_methods_are_refused_by_the_child(shared: Worker, name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name} is private to EchoAdapter"):
        shared.call(name)


@pytest.mark.parametrize("name", ["settings", "absent"])
def test_only_methods_can_be_called(shared: Worker, name: str) -> None:
    with pytest.raises(UsageError, match=f"^EchoAdapter has no method {name}$"):
        shared.call(name)


def test_chatter_neither_blocks_nor_reaches_the_terminal(worker: Worker, capfd: pytest.CaptureFixture[str]) -> None:
    assert worker.call("chatter", size_bytes=5_000_000) == 5_000_000
    assert worker.stderr_tail(2) == "chatter\nthe last line"
    worker.close()
    assert worker.stderr_tail(1) == "the last line"
    assert capfd.readouterr() == ("", "")


# A worker that dies.


def test_exit_is_told_with_request_status_and_stderr(worker: Worker) -> None:
    with pytest.raises(WorkerCrash) as caught:
        worker.call("exit_at_once", status=3, said="first\nno memory left on device\n")
    first, _, rest = str(caught.value).partition("\n")
    assert first.startswith("EchoAdapter worker: the process exited with status 3 during exit_at_once(status=3, ")
    assert rest == "the end of its stderr:\nfirst\nno memory left on device"
    with pytest.raises(WorkerCrash, match=r"^EchoAdapter worker died earlier: .* with status 3 during exit_at_once"):
        worker.call("ask")


def test_sigkill_is_told_with_the_shapes_it_died_of(worker: Worker) -> None:
    with pytest.raises(WorkerCrash) as caught:
        worker.call("kill_self", x=np.zeros((2, 150, 3), np.float32))
    assert str(caught.value) == (
        "EchoAdapter worker: the process was killed by SIGKILL (often the kernel's out-of-memory killer) "
        "during kill_self(x=float32[2,150,3])\nits stderr is empty"
    )


def test_segmentation_fault_leaves_its_traceback(worker: Worker) -> None:
    with pytest.raises(WorkerCrash, match=r"killed by SIGSEGV during read_null\(\)") as caught:
        worker.call("read_null")
    assert "in read_null" in str(caught.value)


def test_death_from_outside_in_mid_call(worker: Worker) -> None:
    worker.start()
    assert worker.pid is not None
    threading.Timer(0.3, os.kill, (worker.pid, signal.SIGTERM)).start()
    with pytest.raises(WorkerCrash, match=r"killed by SIGTERM during hang\(\)"):
        worker.call("hang")


def test_death_between_calls(worker: Worker) -> None:
    worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert gone(worker.pid)
    with pytest.raises(WorkerCrash, match=r"killed by SIGKILL .* during ask\(x=1.0\)"):
        worker.call("ask", x=1.0)


def test_closed_line_is_a_crash(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.workers.client.HANG_UP_S", 0.2)
    with pytest.raises(WorkerCrash, match="closed its connection and did not end, so it was killed, during close_"):
        worker.call("close_the_line")
    assert worker.pid is not None
    assert gone(worker.pid)


@pytest.mark.parametrize("stop", [signal.SIGCONT, signal.SIGSTOP], ids=["running", "stopped"])
def test_hanging_worker_is_killed_at_the_limit(worker: Worker, stop: signal.Signals) -> None:
    worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, stop)
    with pytest.raises(WorkerTimeout, match=r"^EchoAdapter worker: hang\(\) gave no answer within 0.3 s"):
        worker.call("hang", timeout_s=0.3)
    assert gone(worker.pid)
    with pytest.raises(WorkerCrash, match=r"died earlier: .* gave no answer"):
        worker.call("ask")


def test_large_message_to_a_stopped_worker_does_not_block(worker: Worker) -> None:
    worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(WorkerTimeout):
        worker.call("echo", timeout_s=0.3, x=["a path"] * 200_000)


def test_limit_of_the_options_applies() -> None:
    with (
        Worker(WorkerOptions(ECHO, call_timeout_s=0.25)) as worker,
        pytest.raises(WorkerTimeout, match=r"within 0.25 s"),
    ):
        worker.call("hang")


def test_interrupted_call_kills_the_worker(worker: Worker) -> None:
    worker.start()
    previous = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(KeyboardInterrupt):
            worker.call("hang")
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert worker.pid is not None
    assert gone(worker.pid)
    with pytest.raises(WorkerCrash, match=r"died earlier: it was killed when KeyboardInterrupt interrupted hang\(\)"):
        worker.call("ask", x=1.0)


def test_close_from_another_thread_ends_a_call(worker: Worker) -> None:
    worker.start()
    threading.Timer(0.3, worker.close).start()
    with pytest.raises(WorkerCrash, match=r"during hang\(\)"):
        worker.call("hang")


# Nothing is left behind.


@pytest.mark.parametrize("how", ["close", "timeout", "forget"])
def test_processes_that_the_worker_started_end_with_it(how: str) -> None:
    worker = Worker(WorkerOptions(ECHO))
    pids = [worker.call("start_process"), worker.pid]
    if how == "close":
        worker.close()
    elif how == "timeout":
        with pytest.raises(WorkerTimeout):
            worker.call("hang", timeout_s=0.1)
    else:
        del worker
    assert [gone(pid) for pid in pids if pid is not None] == [True, True]


def test_closed_worker_stays_closed(worker: Worker) -> None:
    worker.start()
    worker.close()
    worker.close()
    with pytest.raises(UsageError, match=r"^EchoAdapter worker was closed"):
        worker.call("ask")


def test_closing_an_unused_worker_starts_nothing() -> None:
    worker = Worker(WorkerOptions(ECHO))
    worker.close()
    assert worker.pid is None


PARENT = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
from parity.workers.client import Worker, WorkerOptions
worker = Worker(WorkerOptions(sys.argv[1]))
worker.call(sys.argv[2], marker=sys.argv[3])
"""


def started_parent(method: str, folder: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a Python process that opens a worker and calls a method that hangs; return it and the worker's id."""
    marker = folder / "marker"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, ECHO, method, str(marker)],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + GONE_LIMIT_S
    while not (marker.exists() and marker.read_text()):
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return parent, int(marker.read_text())


@pytest.mark.parametrize("method", ["hang", "hang_holding_the_interpreter"])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_orphan_when_the_parent_is_killed_in_mid_call(method: str, sent: signal.Signals, tmp_path: Path) -> None:
    parent, pid = started_parent(method, tmp_path)
    parent.send_signal(sent)
    _, said = parent.communicate(timeout=GONE_LIMIT_S)
    assert parent.returncode == -sent
    assert gone(pid)
    if sent == signal.SIGINT:
        assert said.rstrip().endswith("KeyboardInterrupt")
        assert not list(tmp_path.glob("parity-*"))


def test_no_orphan_behind_a_shell_script(tmp_path: Path) -> None:
    python = shim(tmp_path / "python", f'"{sys.executable}" "$@"\nexit $?')  # no exec: the shell stands between
    program = PARENT.replace("WorkerOptions(sys.argv[1])", f"WorkerOptions(sys.argv[1], python={python!r})")
    assert python in program
    marker = tmp_path / "marker"
    command = [sys.executable, "-c", program, ECHO, "hang", str(marker)]
    with subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, "TMPDIR": str(tmp_path)}) as parent:
        deadline = time.monotonic() + GONE_LIMIT_S
        while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        pid = int(marker.read_text())
        parent.kill()
    assert gone(pid)


def test_folder_of_a_killed_parent_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, pid = started_parent("hang", tmp_path)
    (alive,) = tmp_path.glob("parity-*")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Worker(WorkerOptions(ECHO)) as worker:
        worker.start()
        assert alive.is_dir()  # in use: not ours to remove
    parent.kill()
    parent.communicate()
    assert gone(pid)
    assert alive.is_dir()  # what this test is about: nobody was left to remove it
    with Worker(WorkerOptions(ECHO)) as worker:
        worker.start()
        assert not alive.exists()


def test_unclosed_worker_ends_with_the_interpreter(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from parity.workers.client import Worker, WorkerOptions
        worker = Worker(WorkerOptions(sys.argv[1]))
        worker.start()
        print(worker.pid)
    """)
    done = run_python(program, ECHO, TMPDIR=str(tmp_path))
    assert gone(int(done.stdout))
    assert list(tmp_path.iterdir()) == []


def test_worker_outlives_the_thread_that_started_it(worker: Worker) -> None:
    thread = threading.Thread(target=worker.start)
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert worker.call("ask", x=5.0) == 5.0


def run_python(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter in which every warning is an error, and see it succeed silently."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done


def test_parent_imports_no_adapter_and_no_framework(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import json, sys
        from parity.workers.client import Worker, WorkerOptions
        with Worker(WorkerOptions(sys.argv[1])) as worker:
            worker.call("ask", x=1.0)
        print(json.dumps(sorted(sys.modules)))
    """)
    modules = json.loads(run_python(program, ECHO, TMPDIR=str(tmp_path)).stdout)
    assert "parity.workers.client" in modules
    roots = {"torch", "torchvision", "triton", "tensorflow", "keras", "onnxruntime", "echo_adapter"}
    assert roots.isdisjoint(name.partition(".")[0] for name in modules)
    inside = [name for name in modules if name.startswith(("parity.adapters", "parity.workers.worker"))]
    assert inside == []


# Interpreters.


def refusal(options: WorkerOptions, kind: type[Exception]) -> str:
    """Start a worker that cannot start, twice; return the one line that says why."""
    with Worker(options) as worker:
        with pytest.raises(kind) as caught:
            worker.start()
        with pytest.raises(kind) as again:
            worker.call("ask")
    assert type(caught.value) is type(again.value) is kind
    assert str(again.value) == str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def make_folder(path: Path) -> str:
    path.mkdir()
    return str(path)


def make_plain_file(path: Path) -> str:
    path.write_text("text")
    return str(path)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: str(path), "there is no interpreter {}"),
        (make_folder, "{} cannot be run: Permission denied"),
        (make_plain_file, "{} cannot be run: Permission denied"),
        (lambda path: shim(path, "exit 0"), "{} is no Python 3.11 or newer that can run a worker: it ended with"),
        (
            lambda path: shim(path, "echo 'Unknown option: -P' >&2; echo 'Try python -h' >&2; exit 2"),
            "{} is no Python 3.11 or newer, but an older one",
        ),
        (
            lambda path: shim(path, "echo 'cannot open shared object' >&2; exit 127"),
            "it ended with status 127 (cannot open shared object)",
        ),
    ],
    ids=["absent", "folder", "not-executable", "silent", "too-old", "broken"],
)
def test_unusable_interpreter_is_one_line(make: Callable[[Path], str], text: str, tmp_path: Path) -> None:
    python = make(tmp_path / "python")
    said = refusal(WorkerOptions(ECHO, python=python), UsageError)
    assert said.startswith("EchoAdapter worker: ")
    assert text.format(python) in said


def test_silent_interpreter_times_out(tmp_path: Path) -> None:
    python = shim(tmp_path / "python", "exec sleep 600")
    with (
        Worker(WorkerOptions(ECHO, python=python, start_timeout_s=0.3)) as worker,
        pytest.raises(WorkerTimeout, match=r"start gave no answer within 0.3 s"),
    ):
        worker.start()


def test_interpreter_without_numpy_is_named(tmp_path: Path) -> None:
    python = shim(tmp_path / "python", f'exec "{sys.executable}" -S "$@"')
    said = refusal(WorkerOptions(ECHO, python=python), MissingFramework)
    assert re.match(r".+ cannot import numpy, which every worker needs", said)


@pytest.mark.parametrize(
    ("framework", "kind", "text"),
    [
        (f"{ADAPTERS}:NeedsAbsentPackage", MissingFramework, "cannot import parity_absent_framework"),
        (f"{ADAPTERS}:Absent", UsageError, "has no adapter class 'Absent'"),
        ("absent.py:Adapter", UsageError, "there is no adapter file"),
        ("jax", UsageError, "unknown framework 'jax': one of keras-torch, onnxruntime, tensorflow, torch"),
    ],
)
def test_adapter_that_cannot_be_loaded_is_one_line(framework: str, kind: type[Exception], text: str) -> None:
    assert text in refusal(WorkerOptions(framework), kind)


def test_missing_framework_names_the_interpreter() -> None:
    assert refusal(WorkerOptions(f"{ADAPTERS}:NeedsAbsentPackage"), MissingFramework).startswith(sys.executable)


def test_adapter_that_raises_on_construction_is_told() -> None:
    said = refusal(WorkerOptions(ECHO, role="raises"), WorkerError)
    assert said == "EchoAdapter raises worker: start raised ValueError: this role cannot be constructed"


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another environment, with NumPy and safetensors, but without this package."""
    folder = tmp_path_factory.mktemp("environment") / "other"
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(str(Path(np.__file__).parents[1]))
    return folder / "bin" / "python"


def test_worker_under_another_interpreter(other_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoy = tmp_path / "parity"
    decoy.mkdir()
    (decoy / "__init__.py").write_text("raise SystemExit('the wrong package')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with Worker(WorkerOptions(ECHO, python=str(other_python))) as worker:
        facts = worker.call("facts")
        assert worker.call("checksum", x=np.arange(5.0)) == 10.0
    assert facts["prefix"] == str(other_python.parents[1])
    assert facts["package"] == str(REPOSITORY / "parity")
    assert str(REPOSITORY) not in facts["path"]
    assert "" not in facts["path"]


def test_another_worker_runs_beside_the_first(worker: Worker, other_python: Path) -> None:
    with Worker(WorkerOptions(ECHO, python=str(other_python))) as second:
        second.call("ask", x=1.0)
        worker.call("ask", x=2.0)
        worker.close()
        assert second.call("ask", x=3.0) == 3.0
