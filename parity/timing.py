"""The benchmark of one run: prove a lane, time it, keep what was measured, and bring the comparison up to date."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from parity.bench import analysis, clock, plan, regression, simulate, supply
from parity.bench.gpu import GpuReadings, joined
from parity.bench.lanes import Lane, lane, thread_environment
from parity.bench.run import LaneRun, Setting, open_lane
from parity.campaign import Campaign, CampaignOptions, environment, interpreter_versions
from parity.data.kaggle import dataset_root
from parity.data.synthetic import embedded_root
from parity.errors import MissingDevice, MissingFramework, ParityError, UsageError, WorkerCrash, WorkerError
from parity.machine import Machine
from parity.model.layout import Array
from parity.model.spec import ModelSpec, example_cnn
from parity.pair import Pair, PairOptions, raise_for
from parity.proving import Proof, prove_alone, prove_lane, prove_pair, prove_training
from parity.report import record as records
from parity.report.findings import no_winner_reason
from parity.stats import SETTLED_BLOCKS
from parity.workers.client import Worker, WorkerOptions

SECTION = "benchmarks"
FRAMEWORKS = ("tensorflow", "torch")


@dataclass(frozen=True)
class Row:
    """One test of the benchmark: a setting of a lane in a block."""

    block: int
    order: int
    lane: str
    setting: Setting

    @property
    def name(self) -> str:
        """The test's id: no device, no date, so that runs can be compared by it."""
        return f"{self.lane}-block{self.block}-{self.setting.name}"


def rows(options: CampaignOptions) -> list[Row]:
    """Return every test of the benchmark, in the order in which it runs."""
    lanes = _lanes(options)
    return [
        Row(block, order, name, setting)
        for block, order, name in plan.schedule(options.bench_blocks, options.seed, lanes)
        for setting in options.settings(lane(name, lanes))
    ]


def make_plan(campaign: Campaign) -> plan.Plan:
    """Return the plan of a run's benchmark, with the fingerprint that `--resume` compares."""
    options, lanes = campaign.options, _lanes(campaign.options)
    facts = environment(options, campaign.device, None)
    named = {"tensorflow": options.tensorflow_python, "torch": options.torch_python,
             "onnxruntime": options.onnxruntime_python}  # fmt: skip
    facts["workers"] = {name: {"versions": interpreter_versions(python)} for name, python in named.items() if python}
    return plan.make(
        lanes,
        {entry.name: options.settings(entry) for entry in lanes},
        options.bench_blocks,
        options.seed,
        campaign.timing(),
        data_digest=campaign.prepare().digest,
        image=(options.height, options.width, options.channels),
        environment=facts,
    )


def take_over(campaign: Campaign) -> plan.Kept:
    """Return what the latest interrupted run of this very campaign has left to this one.

    Raises
        UsageError: none left anything, or all were other campaigns.
    """
    wanted, refused = make_plan(campaign), None
    for path in campaign.interrupted():
        try:
            kept = plan.take_over(path, wanted)
        except UsageError as error:
            refused = refused or error
        else:
            campaign.resumed = path
            return kept
    raise refused or UsageError("nothing to resume: there is no record of an interrupted campaign")


def check_baseline(campaign: Campaign) -> None:
    """Refuse a baseline that no benchmark can be compared with, before hours of timing have gone into one.

    Raises
        RecordError: it is no record, holds no samples, or some that are no times.
    """
    if campaign.options.baseline is not None:
        regression.check(records.read(campaign.options.baseline))


class Timed:
    """What a test of the benchmark runs: a lane that is ready, or the samples that an interrupted run left."""

    def __init__(self, setting: Setting, run: LaneRun | None, kept: dict[str, Any] | None) -> None:
        self.setting, self.run, self.kept = setting, run, kept
        self._played = 0

    @property
    def rounds(self) -> int:
        """How many samples there will be."""
        if self.kept is not None:
            return len(self.kept["seconds"])
        return self._process().timing.rounds_of(self.setting)

    def round(self) -> None:
        """Take one sample, or play a kept one to the benchmark's clock."""
        if self.kept is None:
            self._process().round(self.setting)
        else:
            clock.advance(float(self.kept["seconds"][self._played]))
            self._played += 1

    def _process(self) -> LaneRun:
        if self.run is None:
            raise UsageError(f"{self.setting.name} has neither a process nor kept samples")
        return self.run


class Bench:
    """The lanes of one run, their proofs and their samples; one lane's process is open at a time."""

    def __init__(self, campaign: Campaign, say: Callable[[str], None] = lambda _: None) -> None:
        self.campaign, self.say = campaign, say
        self.withdrawn: str | None = None
        self.plan = make_plan(campaign)
        self.progress = plan.Progress(self.plan)
        self.kept = campaign.kept
        self.progress.note_kept(self.kept)
        self.machine = Machine(campaign.options.channels)
        self._proofs: dict[tuple[int, int], Proof] = {}
        self._graphs: dict[str, Path] = {}
        self._open: tuple[tuple[int, str], LaneRun] | None = None
        self._opened_s = 0.0
        self._placed: Setting | None = None
        self._is_proven = False
        self._failed: dict[tuple[int, str], str] = {}
        self._missing: dict[str, str] = {}
        self._unimportable: set[str] = set()
        self._absent = self._find_absent()
        self._measured_before = False
        self._readings = GpuReadings() if campaign.device == "gpu" else None
        self._earlier: dict[str, Any] | None = None  # what an interrupted run has read of the GPU
        self._begin()

    def why_not(self, row: Row) -> str | None:
        """Say why a test cannot run: its lane has no place here, or its process has already failed in this block."""
        if row.lane in self._absent:
            return f"{row.lane} is not run: {self._absent[row.lane]}"
        failed = self._failed.get((row.block, row.lane))
        return f"{row.lane} failed in this block: {failed}" if failed else None

    def is_absent(self, name: str) -> bool:
        """Whether a lane is left out of the campaign, because this machine lacks what it is about."""
        return name in self._absent

    def ready(self, row: Row) -> Timed:
        """Return the row ready to be timed: proven and warmed up, or kept from an interrupted run.

        Raises
            AssertionError: the pair is not one function.
            MissingDevice: this device lacks what the lane is about; `why_not` says so from now on.
            ParityError: the lane does not compute what was proven.
        """
        kept = self._kept_sample(row)
        if kept is not None:
            return Timed(row.setting, None, kept)
        try:
            run = self._opened(row)
            self._place(run, row.setting)
            self._let_through(row, self._gate(run, row.setting))
            run.warm_up(row.setting)
        except BaseException as error:
            if isinstance(error, MissingDevice) and not self._was_timed(row.lane):
                self._give_up(row.lane, error)  # a card without TF32 is no fault of the others' figures
            else:
                self._refuse(row, error)
            raise
        return Timed(row.setting, run, None)

    def keep(self, row: Row) -> dict[str, Any]:
        """Put the row's samples into the record and return them."""
        kept = self._kept_sample(row)
        if kept is not None:
            self.progress.note(row.block, row.lane, None)
            return kept
        try:
            run = self._running(row)
            sample = run.sample(row.setting)
            trains = "train" in run.lane.works
            if row.setting == replace(self._main_setting(run.lane), work="train" if trains else "evaluate"):
                self.campaign.append_to(SECTION, "memory", [self.machine.memory(sample, run.lane)])
                if trains:
                    self.campaign.append_to(SECTION, "phases", [run.phases(row.setting)])
            self.campaign.append_to(SECTION, "samples", [self.machine.held(sample, run.lane)])
            if row.setting == self.campaign.options.settings(run.lane)[-1]:
                self.campaign.append_to(SECTION, "cold_start", [run.cold_start()])
                self._leave()
        except BaseException as error:
            self._refuse(row, error)
            raise
        self.update()
        return sample

    def update(self) -> None:
        """Bring everything that follows from the samples up to date."""
        options = self.campaign.options
        image = (options.height, options.width, options.channels)
        held = self.campaign.record[SECTION]
        self.campaign.fill(SECTION, analysis.summary(held, self.plan.lanes, options.batch, image))

    def withdraw(self, why: str) -> None:
        """Empty the section on purpose; `withdrawn` says why from then on."""
        self.withdrawn = why
        self.campaign.withdraw(SECTION, why)

    def measure_limits(self) -> list[dict[str, Any]]:
        """Measure the ceilings once more, hold every step against its floor, and return those below it."""
        self._leave()
        self._measure_ceilings("after")
        held = self.campaign.record[SECTION]
        samples = [self.machine.held(sample, lane(sample["lane"])) for sample in held["samples"]]
        counted = self._count_flops()
        self.campaign.fill(SECTION, {"samples": samples, "floors": self.machine.floors(samples, counted)})
        if self.plan.blocks >= SETTLED_BLOCKS:  # twenty seconds of simulation, the same on every machine
            self.campaign.fill(SECTION, {"self_proof": simulate.coverage_table()})
        self.update()
        return list(self.campaign.record[SECTION]["limits"]["refused"])

    @property
    def has_samples(self) -> bool:
        """Whether anything was timed."""
        held = self.campaign.record[SECTION]
        return isinstance(held, dict) and bool(held.get("samples"))

    def aa_check(self) -> dict[str, Any] | None:
        """Return what the lane under two names showed, or None where none ran twice."""
        held = self.campaign.record[SECTION]
        found: dict[str, Any] | None = held.get("aa_check") if isinstance(held, dict) else None
        return found

    def no_winner(self) -> str | None:
        """Return what stands against naming any winner."""
        return no_winner_reason(self.campaign.record)

    def measure_supply(self) -> dict[str, Any]:
        """Measure how fast images can be supplied, beside what the timed lanes take."""
        self._leave()
        options, prepared = self.campaign.options, self.campaign.prepare()
        base = dataset_root(options.data or embedded_root())
        amount = supply.AMOUNTS[options.profile]
        task = supply.choose(prepared, base, options.batch, options.threads, amount)
        image = (options.height, options.width, options.channels)
        demand = supply.demand_of(self.campaign.record[SECTION].get("samples", []), image)
        pythons = {name: self._python(name) for name in supply.FRAMEWORKS if name not in self._unimportable}
        found = supply.measure(task, demand, pythons)
        self.campaign.fill(SECTION, {"supply": found})
        return dict(found)

    def close(self) -> None:
        """End the open lane, stop reading the GPU, and compare with the baseline."""
        self._leave()
        if self._readings is not None:
            self._readings.stop()
            self._note_readings(self._readings)
        baseline, held = self.campaign.options.baseline, self.campaign.record[SECTION]
        if baseline is not None and held.get("samples"):
            self.campaign.fill(SECTION, {"baseline": regression.compare(records.read(baseline), self.campaign.record)})

    def _was_timed(self, name: str) -> bool:
        return any(sample["lane"] == name for sample in self.campaign.record[SECTION]["samples"])

    def _give_up(self, name: str, error: Exception) -> None:
        """Leave a lane out of the campaign, with the reason in the record."""
        self._leave()
        self._absent[name] = _first_line(error)
        self._note_absent()

    def _note_absent(self) -> None:
        rows = [{"lane": name, "why": why} for name, why in self._absent.items()]
        self.campaign.fill(SECTION, {"lanes_not_run": rows})
        for block, _, name in self.plan.rows:
            if name in self._absent:
                self.progress.note(block, name, None)

    # Before the first lane.

    def _find_absent(self) -> dict[str, str]:
        """Return why lanes cannot run here, by name; on a CPU a missing framework is no excuse but an error."""
        options, device = self.campaign.options, self.campaign.device
        why = self.campaign.device_note or "it needs a GPU"
        absent = {
            entry.name: why if device == "cpu" else "it is a matter of the CPU"
            for entry in options.bench_lanes(None)
            if device not in entry.devices
        }
        if device == "gpu":
            for framework in sorted({entry.framework for entry in self.plan.lanes} | {"tensorflow", "torch"}):
                self._look_for(framework)
            for entry in self.plan.lanes:
                # A graph's exporter has to be there, and needs no GPU; its weights are proven by one that has one.
                source, unproven = entry.options.get("source"), set(FRAMEWORKS) <= set(self._missing)
                if entry.framework in self._missing:
                    absent.setdefault(entry.name, self._missing[entry.framework])
                elif source is not None and (unproven or source in self._unimportable):
                    absent.setdefault(entry.name, self._missing[str(source)])
        return absent

    def _look_for(self, framework: str) -> None:
        try:
            with Worker(WorkerOptions(framework, python=self._python(framework), device="gpu")) as worker:
                self.campaign.note_worker(framework, worker)
                worker.call("try_device")
        except (MissingDevice, MissingFramework, WorkerCrash) as error:
            self._missing[framework] = _first_line(error)
            if isinstance(error, MissingFramework):
                self._unimportable.add(framework)

    def _python(self, framework: str) -> str | None:
        options = self.campaign.options
        known = {"tensorflow": options.tensorflow_python, "onnxruntime": options.onnxruntime_python}
        return known.get(framework, options.torch_python)

    def _begin(self) -> None:
        timing = self.campaign.timing()
        if self._readings is not None:
            self._readings.start()
        begun: dict[str, Any] = {
            "samples": [], "ratios": [], "phases": [], "cold_start": [], "memory": [], "detection_limit": None,
            "limits": {},
            "plan": self.plan.fields(),
            "lanes": {entry.name: _described(entry) for entry in self.plan.lanes},
            "timing": asdict(timing),
            "environment": thread_environment(timing.threads),
        }  # fmt: skip
        self.campaign.fill(SECTION, begun)
        self._note_absent()
        self.campaign.note_machine()  # also where every block is kept, and no process says anything of it
        if self.kept is not None:
            before = self.kept.content
            self._earlier = before.get("gpu")
            self.machine.measured = list((before.get("limits") or {}).get("measured") or [])
            note = {"sentence": self.kept.sentence, "blocks": [block + 1 for block in self.kept.blocks]}
            before = {name: value for name, value in before.items() if name != "gpu"}
            self.campaign.fill(SECTION, {**before, "resumed": [*(before.get("resumed") or []), note]})
            self.update()

    def _kept_sample(self, row: Row) -> dict[str, Any] | None:
        return self.kept.sample(row.block, row.lane, row.setting) if self.kept is not None else None

    # One lane's process.

    def _opened(self, row: Row) -> LaneRun:
        key = (row.block, row.lane)
        if self._open is not None and self._open[0] == key:
            return self._open[1]
        self._leave()
        self.say(self.progress.line(row.block, row.lane))
        entry = lane(row.lane)
        main = self._main_setting(entry)
        proof = self._proof(main)
        self._opened_s = time.perf_counter()
        run = open_lane(
            entry,
            proof.spec,
            proof.own_weights(entry.framework),
            proof.first(main),
            self.campaign.timing(),
            (row.block, row.order),
            python=self._python(entry.framework),
            graph=self._graph(str(entry.options["source"]), proof) if entry.framework == "onnxruntime" else None,
        )
        self._open, self._placed, self._is_proven = (key, run), None, False
        self.campaign.record[SECTION]["lanes"][row.lane]["facts"] = run.facts
        return run

    def _running(self, row: Row) -> LaneRun:
        if self._open is None or self._open[0] != (row.block, row.lane):
            raise UsageError(f"{row.name} has no process: it was not made ready")
        return self._open[1]

    def _main_setting(self, entry: Lane) -> Setting:
        return self.campaign.options.settings(entry)[0]

    def _place(self, run: LaneRun, setting: Setting) -> None:
        """Give the process the network and the batch of a setting, unless they are there already."""
        placed = replace(setting, work="")
        if placed == self._placed:
            return
        before, self._placed, self._is_proven = self._placed, placed, False
        if before is None and placed == replace(self._main_setting(run.lane), work=""):
            return  # given to the process at its start
        proof = self._proof(setting)
        resized = before is not None and (before.height, before.width) != (setting.height, setting.width)
        if run.lane.framework != "onnxruntime":
            if resized:
                run.worker.call("build", spec=proof.spec.to_dict(), seed=0)
            run.worker.call("set_weights", weights=proof.own_weights(run.lane.framework))
        images, labels = proof.first(setting)
        run.worker.call("place_images", images=images, labels=labels)
        if resized:
            run.restart()  # a new network has a new optimizer and steps of its own

    def _gate(self, run: LaneRun, setting: Setting) -> dict[str, Any]:
        """Prove the lane on a setting: its logits before anything has trained, and for training its first step."""
        proof, figures = self._proof(setting), {}
        if not self._is_proven:
            as_evaluated = setting if setting.work != "train" else replace(setting, work="evaluate")
            figures = prove_lane(run, proof, as_evaluated)
            self._is_proven = True
        if setting.work == "train":
            run.first_step(setting)
            figures |= prove_training(run, proof, setting)
        return figures

    def _let_through(self, row: Row, figures: dict[str, Any]) -> None:
        gate = dict(self.campaign.record[SECTION].get("parity_gate", {}))
        known = dict(gate.get("lanes", {}))
        known[row.lane] = {**figures, **known.get(row.lane, {})}  # the first block's, at the run's own setting
        self.campaign.fill(SECTION, {"parity_gate": {**gate, "lanes": known}})

    def _refuse(self, row: Row, error: BaseException) -> None:
        """Remember why a lane has no figures in this block; a gate that did not pass leaves no winner."""
        self._failed[row.block, row.lane] = _first_line(error)
        self._leave()
        if isinstance(error, ParityError | AssertionError) and not isinstance(error, WorkerCrash | WorkerError):
            gate = {**self.campaign.record[SECTION].get("parity_gate", {}), "passed": False}
            self.campaign.fill(SECTION, {"parity_gate": gate})
            self.update()

    def _leave(self) -> None:
        if self._open is not None:
            (block, name), run = self._open
            self._open = None
            run.close()
            self.progress.note(block, name, time.perf_counter() - self._opened_s)
            if self._readings is not None:  # kept lane by lane: an interrupted run has them too
                self._note_readings(self._readings)

    def _note_readings(self, readings: GpuReadings) -> None:
        self.campaign.fill(SECTION, {"gpu": joined(self._earlier, readings.facts())})

    # Proofs, ceilings and counts.

    def _proof(self, setting: Setting) -> Proof:
        """Return the proof of a setting's image size, proving it on the first call.

        Raises
            AssertionError: a layer differs by more than rounding; nothing is timed then.
        """
        size = (setting.height, setting.width)
        if size not in self._proofs:
            proof, findings = self._prove(example_cnn(*size, self.campaign.options.channels))
            before = self.campaign.record[SECTION].get("parity_gate", {})
            passed = all(finding.passed for finding in findings) and before.get("passed", True)
            alone = {"alone": proof.alone} if proof.alone else {}
            gate = {**before, "layers": proof.verdict, "passed": passed, **alone}
            self.campaign.fill(SECTION, {"parity_gate": gate})
            raise_for(findings)
            self._proofs[size] = proof
            if not self._measured_before:
                self._measured_before = True
                self._measure_ceilings("before")
        return self._proofs[size]

    def _prove(self, spec: ModelSpec) -> tuple[Proof, list[Any]]:
        options, device = self.campaign.options, self.campaign.device
        images, labels = self._images(spec, options.batch)
        # As many steps as the longest call takes: Keras's `fit` may run several in one execution.
        steps = max(int(entry.options.get("steps_per_execution", 1)) for entry in self.plan.lanes)
        missing = {"tensorflow", "torch"} & set(self._missing)
        if len(missing) == len(FRAMEWORKS):
            raise MissingDevice(f"no framework can use the GPU: {self._missing['tensorflow']}")
        if missing:
            (present,) = {"tensorflow", "torch"} - missing
            worker = WorkerOptions(present, python=self._python(present), device=device, threads=options.threads)
            return prove_alone(present, worker, spec, images, labels, steps)
        if spec == self.campaign.spec:
            pair = self.campaign.pair()
            return prove_pair(pair, self.campaign.weights("fresh"), images, labels, steps)
        wanted = PairOptions(options.tensorflow_python, options.torch_python, device, options.threads, options.seed)
        with Pair(wanted) as pair:
            pair.build(spec, seed=options.seed)
            return prove_pair(pair, pair.weights(), images, labels, steps)

    def _images(self, spec: ModelSpec, count: int) -> tuple[Array, Array]:
        """Return `count` images of a size and their labels; a data set with fewer gives some of them again."""
        images, labels = self.campaign.radiographs(count, size=(spec.height, spec.width))
        chosen = np.arange(count) % len(labels)
        return images[chosen], labels[chosen]

    def _graph(self, source: str, proof: Proof) -> Path:
        """Return the exported network of a framework, with the weights that were proven; it is written on the CPU."""
        if source not in self._graphs:
            file = self.campaign.options.report_dir / "models" / f"bench_{source}.onnx"
            threads = self.campaign.options.threads
            with Worker(WorkerOptions(source, python=self._python(source), threads=threads)) as worker:
                worker.call("build", spec=proof.spec.to_dict(), seed=0)
                worker.call("set_weights", weights=proof.own_weights(source))
                worker.call("export_onnx", path=str(file))
            self._graphs[source] = file
        return self._graphs[source]

    def _measure_ceilings(self, where: str) -> None:
        with nullcontext() if self._readings is None else self._readings.ceilings():
            self._measure_ceilings_of_each(where)
        self.campaign.fill(SECTION, {"limits": {**self.campaign.record[SECTION]["limits"], **self.machine.limits()}})

    def _measure_ceilings_of_each(self, where: str) -> None:
        options = self.campaign.options
        for framework in sorted({"tensorflow", "torch"} - set(self._missing)):
            settings = WorkerOptions(
                framework, python=self._python(framework), device=self.campaign.device, threads=options.threads,
                environment=thread_environment(options.threads),
            )  # fmt: skip
            with Worker(settings) as worker:
                self.machine.measure(framework, where, worker)

    def _count_flops(self) -> list[dict[str, Any]]:
        """Return what each framework's own counter says of a step of the run's own setting."""
        options = self.campaign.options
        found = []
        for framework in sorted({"tensorflow", "torch"} - set(self._missing)):
            with Worker(WorkerOptions(framework, python=self._python(framework), threads=options.threads)) as worker:
                worker.call("build", spec=self.campaign.spec.to_dict(), seed=0)
                images, labels = self._images(self.campaign.spec, options.batch)
                worker.call("place_images", images=images, labels=labels)
                worker.call("start_lane", options={})
                for work in ("train", "evaluate"):
                    at = {"batch": options.batch, "height": options.height, "width": options.width}
                    counted = worker.call("flop_count", work=work)
                    found.append({"framework": framework, "work": work, **at, **counted})
        return found


def _lanes(options: CampaignOptions) -> list[Lane]:
    """Return the lanes that a run has tests for; those for a GPU alone are none where there is none."""
    from parity.bench.devices import cuda_devices

    return options.bench_lanes("cpu" if options.device == "cpu" or cuda_devices() == 0 else None)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _described(entry: Lane) -> dict[str, Any]:
    return {"framework": entry.framework, "kind": entry.kind, "description": entry.description, "works": entry.works}
