"""One run of the suites: what was asked for, the workers it shares, and the record that it fills."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

from parity.bench.lanes import Lane, chosen
from parity.bench.plan import Kept
from parity.bench.run import Setting, Timing
from parity.errors import MissingDevice, ParityError, UsageError, WorkerCrash
from parity.judge.verdict import Finding
from parity.model.layout import Array
from parity.model.spec import ModelSpec, example_cnn
from parity.pair import Pair, PairOptions
from parity.report import record as records
from parity.report.render import write_report
from parity.workers.client import Worker, WorkerOptions, usable_cpus

# TF_CLI_..., TF_VAR_... and TF_LOG are Terraform's; what a container says of itself in NVIDIA_... tunes nothing.
# scikit-learn sets the two of KMP_ as soon as it is imported, which depends on what tests were collected; they change
# no figure.
_TUNING = re.compile(
    r"(TF(?!_CLI|_VAR|_LOG)|XLA|ONEDNN|DNNL|MKL|KMP(?!_DUPLICATE_LIB_OK|_INIT_AT_FORK)|OMP|GOMP|OPENBLAS|ATEN|TORCH|TORCHINDUCTOR|PYTORCH|MALLOC|CUDA|CUDNN|NVIDIA(?=_TF32))_"
    r"|LD_PRELOAD$|GLIBC_TUNABLES$"
)
ROOT: Final = Path(__file__).resolve().parent.parent
PARTIAL_NAME = "comparison.partial.json"
INTERRUPTED_NAME = "comparison.interrupted.json"
KERMANY = (
    "Kermany, Zhang, Goldbaum: Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for Classification,"
    " Mendeley Data, 2018, CC BY 4.0 (if this folder is that data set)"
)
PACKAGES = (
    "tensorflow", "keras", "torch", "torchvision", "onnx", "onnxruntime", "onnxscript", "tf2onnx", "numpy", "pillow",
    "scikit-learn", "matplotlib", "pytest", "pytest-benchmark", "safetensors",
)  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """How much work a profile does; the words are explained in the README."""

    epochs: int
    blocks: int
    rounds: int
    steps_per_round: int
    warmup_limit: int
    probe_batch: int
    trained_steps: int
    latency_rounds: int
    sweep: bool = False


PROFILES: Mapping[str, Profile] = {
    "smoke": Profile(1, 1, 3, 2, 10, 2, 4, 5),
    "standard": Profile(3, 3, 8, 3, 60, 4, 8, 30),
    "full": Profile(8, 10, 10, 5, 100, 8, 32, 300, sweep=True),
}
GPU_STEPS = 10
"""Times as many steps per sample as on a CPU: a step takes a millisecond or two, of which a tenth to a half is the wait
at the end of a sample, and what a single sample of three steps showed on an H100 moved by 5 to 20 %."""

SWEEP_BATCHES, SWEEP_SIZES = (1, 8, 32, 128), (150, 224)
SWEPT_KINDS = ("step", "onnx")


@dataclass(frozen=True)
class CampaignOptions:
    """What the command line asked for."""

    profile: str = "standard"
    data: Path | None = None
    skip_unreadable: bool = False
    device: str = "auto"
    tensorflow_python: str | None = None
    torch_python: str | None = None
    onnxruntime_python: str | None = None
    height: int = 150
    width: int = 150
    channels: int = 1
    epochs: int | None = None
    batch: int = 32
    seed: int = 0
    threads: int = field(default_factory=usable_cpus)
    blocks: int | None = None
    lanes: tuple[str, ...] = ()
    resume: bool = False
    baseline: Path | None = None
    study_seeds: int | None = None
    study_size: tuple[int, int] | None = None
    study_epochs: int | None = None
    study_address: str | None = None
    report_dir: Path = Path("reports")
    command: str = "pytest suites/ --benchmark-autosave"

    @property
    def amounts(self) -> Profile:
        """The amounts of work of the chosen profile."""
        if self.profile not in PROFILES:
            raise UsageError(f"no profile `{self.profile}`; profiles: {', '.join(PROFILES)}")
        return PROFILES[self.profile]

    @property
    def spec(self) -> ModelSpec:
        """The example network at the chosen input size."""
        return example_cnn(self.height, self.width, self.channels)

    @property
    def bench_blocks(self) -> int:
        """Blocks of the benchmark."""
        return self.blocks or self.amounts.blocks

    def bench_lanes(self, device: str | None) -> list[Lane]:
        """Return the lanes to be timed on `device` (None: on any)."""
        return chosen(self.profile, device, self.lanes)

    def settings(self, lane: Lane) -> list[Setting]:
        """Return what a lane is timed at, in order: the run's own batch and size, single images, then the sweeps.

        Memory peaks only ever grow in a process, so the largest comes last.
        """
        works = [work for work in ("evaluate", "train") if work in lane.works]
        found = [self._setting(work, self.batch) for work in works]
        if "latency" in lane.works:
            found.append(self._setting("latency", 1))
        if self.amounts.sweep and lane.kind in SWEPT_KINDS and lane.again is None:
            found += [self._setting(work, batch) for batch in SWEEP_BATCHES if batch != self.batch for work in works]
            if lane.kind == "step":
                sizes = [size for size in SWEEP_SIZES if (size, size) != (self.height, self.width)]
                found += [Setting(work, self.batch, size, size, self.channels) for size in sizes for work in works]
        return found

    def _setting(self, work: str, batch: int) -> Setting:
        return Setting(work, batch, self.height, self.width, self.channels)


class Campaign:
    """The shared state of one run; everything expensive is made when first asked for, and made again after a crash."""

    def __init__(self, options: CampaignOptions) -> None:
        self.options = options
        self.spec = options.spec
        self.record = records.new_record(options.profile, options.command)
        self.device_note: str | None = None
        self.kept: Kept | None = None
        self.resumed: Path | None = None  # the record that `kept` was read from
        self._device: str | None = None if options.device == "auto" else options.device
        self._pair: Pair | None = None
        self._runtime: Worker | None = None
        self._prepared: Any = None
        self._weights: dict[str, dict[str, Array]] = {}
        self._set_aside()

    @property
    def device(self) -> str:
        """`cpu` or `gpu`; `auto` means a GPU only where both frameworks can really use it."""
        if self._device is None:
            self._device, self.device_note = self._choose_device()
        return self._device

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> Any:
        """Return the prepared data set, decoding it on the first call."""
        if self._prepared is None:
            from parity.data import cache

            options = self.options
            self._prepared = cache.prepare(
                options.data,
                options.height,
                options.width,
                options.channels,
                skip_unreadable=options.skip_unreadable,
                progress=progress,
            )
            self.record["data"] = self._data_section(self._prepared)
        return self._prepared

    def pair(self) -> Pair:
        """Return the four workers with the network built; a pair that lost a worker is replaced by a fresh one."""
        if self._pair is not None and not self._pair.alive():
            self._pair.close()
            self._pair = None
        if self._pair is None:
            options = self.options
            self._pair = Pair(
                PairOptions(
                    tensorflow_python=options.tensorflow_python,
                    torch_python=options.torch_python,
                    device=self.device,
                    threads=options.threads,
                    seed=options.seed,
                )
            )
            self._pair.build(self.spec, seed=options.seed)
            for side, worker in self._pair.workers.items():
                self.note_worker(side, worker)
            self._weights.setdefault("fresh", self._pair.weights())
        return self._pair

    def runtime(self) -> Worker:
        """Return the worker of the shared ONNX runtime."""
        if self._runtime is None or not self._runtime.alive():
            options = self.options
            self._runtime = Worker(
                WorkerOptions(
                    "onnxruntime", python=options.onnxruntime_python, device=self.device, threads=options.threads
                )
            )
            self.note_worker("onnxruntime", self._runtime)
        return self._runtime

    def weights(self, name: str) -> dict[str, Array]:
        """Return Keras-named weights: `fresh` as TensorFlow initialised them, or `trained` for a few steps by it."""
        pair = self.pair()
        if name not in self._weights:
            if name != "trained":
                raise UsageError(f"no weights `{name}`; there are `fresh` and `trained`")
            self._weights[name] = self._train_briefly(pair)
        return self._weights[name]

    def radiographs(self, count: int, split: str = "train", size: tuple[int, int] | None = None) -> tuple[Array, Array]:
        """Return `count` uint8 images (n, h, w, c) spread over `split`, both classes among them, and their labels.

        `size` (height, width) is the run's own unless given.
        """
        prepared = self._resized(size) if size and size != (self.spec.height, self.spec.width) else self.prepare()
        labels = prepared.labels(split)
        order = np.linspace(0, len(labels) - 1, min(count, len(labels))).astype(int)
        return np.array(prepared.images(split)[order]), np.array(labels[order])

    def timing(self) -> Timing:
        """Return how much the lanes are timed."""
        amounts, options = self.options.amounts, self.options
        steps = amounts.steps_per_round * (GPU_STEPS if self.device == "gpu" else 1)
        return Timing(
            batch=options.batch,
            rounds=amounts.rounds,
            steps_per_round=steps,
            warmup_limit=amounts.warmup_limit,
            threads=options.threads,
            device=self.device,
            latency_rounds=amounts.latency_rounds,
        )

    def add_findings(
        self, check: str, weights: str, probe: str, findings: Iterable[Finding], stage: str = "forward"
    ) -> None:
        """Append findings to the record's parity section."""
        if not isinstance(self.record["parity"], list):
            self.record["parity"] = []
        for finding in findings:
            row = {name: value for name, value in vars(finding).items() if value is not None}
            self.record["parity"].append(
                {
                    "check": check,
                    "stage": stage,
                    "model": self.spec.name,
                    "weights": weights,
                    "probe": probe,
                    **row,
                    "share": finding.share,
                }
            )

    def append(self, section: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows to a section that is a list."""
        if not isinstance(self.record[section], list):
            self.record[section] = []
        self.record[section].extend(dict(row) for row in rows)

    def append_to(self, section: str, key: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows to the list `key` of a section that is an object."""
        present = self.record.get(section)
        held = present.get(key, []) if isinstance(present, dict) else []
        self.fill(section, {key: [*held, *(dict(row) for row in rows)]})

    def fill(self, section: str, content: Mapping[str, Any]) -> None:
        """Put `content` into a section, beside what is there already from this run."""
        present = self.record.get(section)
        kept = {} if not isinstance(present, dict) or "not_run" in present else present
        self.record[section] = {**kept, **content}

    def excuse(self, section: str, why: str, failed: bool) -> None:
        """Say why a section is empty; a failure is listed too, also where the section keeps what it already holds."""
        present = self.record.get(section)
        if isinstance(present, dict) and "not_run" in present:
            self.record[section] = {"not_run": why}
        if failed:
            self.record.setdefault("failures", []).append({"section": section, "what": why})

    def withdraw(self, section: str, why: str) -> None:
        """Empty a section on purpose, and say why."""
        self.record[section] = {"not_run": why}

    def note_machine(self) -> None:
        """Keep what this machine is, once."""
        if "not_run" in self.record["environment"]:
            self.record["environment"] = environment(self.options, self.device, self.device_note)

    def note_worker(self, name: str, worker: Worker) -> None:
        """Keep what a worker says of its own environment."""
        self.note_machine()
        self.record["environment"]["workers"][name] = worker.call("environment")

    def interrupted(self) -> list[Path]:
        """Return the records that `--resume` may go on with, the latest first: of a run cut off, and of the last one.

        A run that was killed leaves the one, a run that ended or was ended by Ctrl-C the other. What could not be
        read to be set aside is among them: that it is damaged is for the reader to say.
        """
        names = (INTERRUPTED_NAME, PARTIAL_NAME, records.RECORD_NAME)
        records_of = (self.options.report_dir / name for name in names)
        return sorted((path for path in records_of if path.exists()), key=lambda path: -path.stat().st_mtime)

    def checkpoint(self) -> None:
        """Save what has been measured so far, so that a killed run loses nothing: `parity render` reads it too."""
        records.write(self.record, self.options.report_dir / PARTIAL_NAME)

    def finish(self) -> Path:
        """Write the record, the report and its plots, and return the report's path."""
        write_report(self.record, self.options.report_dir)
        (self.options.report_dir / PARTIAL_NAME).unlink(missing_ok=True)
        benchmarks = self.record["benchmarks"]
        held = isinstance(benchmarks, dict) and bool(benchmarks.get("samples"))
        if held and self.resumed is not None and self.resumed.name == INTERRUPTED_NAME:
            self.resumed.unlink(missing_ok=True)  # all of it is in the record now
        return self.options.report_dir / "comparison.md"

    def close(self) -> None:
        """End every worker."""
        if self._pair is not None:
            self._pair.close()
        if self._runtime is not None:
            self._runtime.close()

    def _set_aside(self) -> None:
        """Keep what a run that was killed had timed: this run's own checkpoints would write over it."""
        partial = self.options.report_dir / PARTIAL_NAME
        try:
            benchmarks = records.read(partial).get("benchmarks") or {}
        except ParityError:  # no such file, or none that can be read
            return
        if benchmarks.get("samples"):
            partial.replace(self.options.report_dir / INTERRUPTED_NAME)

    def _resized(self, size: tuple[int, int]) -> Any:
        from parity.data import cache

        options = self.options
        return cache.prepare(options.data, *size, options.channels, skip_unreadable=options.skip_unreadable)

    def _train_briefly(self, pair: Pair) -> dict[str, Array]:
        prepared, amounts = self.prepare(), self.options.amounts
        images = len(prepared.labels("train"))
        batch = min(16, images)
        order = np.random.default_rng(self.options.seed).permutation(images)[: amounts.trained_steps * batch]
        pair.copy_weights(self._weights["fresh"])
        worker = pair.workers["tensorflow"]
        worker.call("start_training", learning_rate=1e-3, epsilon=1e-7)
        worker.call("train_epoch", folder=str(prepared.folder), split="train", order=order, batch=batch)
        return pair.weights()

    def _choose_device(self) -> tuple[str, str | None]:
        from parity.bench.devices import ONE_PROCESS, cuda_devices, serves_one_process

        unused = "a CUDA device is visible but the run is on the CPU:"
        if cuda_devices() == 0:
            return "cpu", None
        if serves_one_process():
            return "cpu", f"{unused} {ONE_PROCESS}"
        interpreters = {"tensorflow": self.options.tensorflow_python, "torch": self.options.torch_python}
        for framework, python in interpreters.items():
            try:
                with Worker(WorkerOptions(framework, python=python, device="gpu")) as worker:
                    worker.call("try_device")
            except (MissingDevice, WorkerCrash) as error:
                return "cpu", f"{unused} {str(error).splitlines()[0]}"
        return "gpu", None

    def _data_section(self, prepared: Any) -> dict[str, Any]:
        from parity.data import cache

        return {
            "name": prepared.name,
            "digest": prepared.digest,
            "counts": prepared.counts,
            "height": prepared.height,
            "width": prepared.width,
            "channels": prepared.channels,
            "skipped": [list(entry) for entry in prepared.skipped],
            "notes": list(prepared.notes),
            "facts": cache.facts(prepared),
            "source": None if prepared.name == "synthetic" else KERMANY,
        }


def environment(options: CampaignOptions, device: str, note: str | None) -> dict[str, Any]:
    """Return the facts about this machine that figures depend on; no host name, no path."""
    import psutil

    return {
        "platform": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "machine_id": _machine_id(),
        "cpu": _cpu_name(),
        "cores": usable_cpus(),
        "memory_bytes": int(psutil.virtual_memory().total),
        "device": device,
        "device_note": note,
        "gpu": _gpu_name() if device == "gpu" else None,
        "threads": options.threads,
        "variables": _variables(),
        "git_commit": git_commit(),
        "packages": _versions(),
        "workers": {},
    }


def _variables() -> dict[str, str]:
    """Return the environment variables that change how fast or how exactly the libraries compute.

    Of a path only its last part: where things lie on this machine is nobody's business, and no condition.
    """
    return {name: value.rpartition("/")[2] for name, value in sorted(os.environ.items()) if _TUNING.match(name)}


def _machine_id() -> str | None:
    """Return what tells two machines of one kind apart, and tells nobody else which machine this is.

    Source: machine-id(5) of systemd, which asks programs to publish no more than a keyed hash of the number.
    """
    try:
        number = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        return None
    return hmac.new(number, b"parity", "sha256").hexdigest()[:16] if number else None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _gpu_name() -> str | None:
    """Return name and driver version of the device that CUDA calls 0, which need not be the first that is listed."""
    from parity.bench.devices import first_bus_id

    address = first_bus_id()
    which = [f"--id={address}"] if address else []
    try:
        done = subprocess.run(
            ["nvidia-smi", *which, "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else None


def git_commit(root: Path = ROOT) -> str | None:
    """Return the commit of this code, or None outside git; `-dirty` carries a digest of what is not committed.

    Without it a campaign that was killed could be gone on with by other code, so long as neither was committed.
    """
    try:
        commit = _git(root, "describe", "--always", "--dirty", "--abbrev=12").decode().strip()
        if not commit.endswith("-dirty"):
            return commit
        return f"{commit}-{hashlib.sha256(_git(root, 'diff', 'HEAD', '--binary')).hexdigest()[:8]}"
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> bytes:
    done = subprocess.run(
        ["git", "-C", str(root), *words],
        capture_output=True, timeout=20, check=True, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    )  # fmt: skip
    return done.stdout


def interpreter_versions(python: str) -> dict[str, str]:
    """Return the versions of our packages that another interpreter has; nothing is imported there.

    Raises
        UsageError: it does not run.
    """
    code = (
        "import json,importlib.metadata as m,sys\n"
        "found={}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name]=m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    try:
        done = subprocess.run([python, "-c", code, *PACKAGES], capture_output=True, text=True, timeout=60, check=True)
        return dict(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise UsageError(f"{python} cannot be asked for its packages ({type(error).__name__})") from None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
