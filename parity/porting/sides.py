"""The four workers of a check: each framework with the user's model in float32, and its float64 twin."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Self

import numpy as np

from parity.errors import ParityError, UsageError, WorkerCrash, WorkerTimeout
from parity.model import draws
from parity.model.trace import BOTH_WAYS, LENGTHS, READS, Op, Trace
from parity.pairing import complexes, families
from parity.pairing.addends import linear_as_one
from parity.pairing.copying import WeightPlan
from parity.pairing.folded import Fold, folded
from parity.pairing.held import operands, products
from parity.pairing.match import Matching
from parity.pairing.norms import norms_as_one
from parity.pairing.spreads import spreads_as_one
from parity.pairing.sums import sums_as_one
from parity.pairing.unrolled import cells_as_one
from parity.pairing.whole import Whole
from parity.porting.memory import MemoryGuard, resident_bytes, room_bytes, too_large
from parity.porting.options import CHANNELS_FIRST, IMAGE_AXES, Array, CheckOptions, arrays, is_onnx
from parity.porting.verdict import listed
from parity.workers.client import Worker, WorkerOptions, usable_cpus

TENSORFLOW, TORCH = "tensorflow", "torch"
TWIN_TENSORFLOW, TWIN_TORCH = "twin_tensorflow", "twin_torch"
SIDES = (TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH)
TWINS = (TWIN_TENSORFLOW, TWIN_TORCH)
LABELS = {TENSORFLOW: "TensorFlow", TORCH: "PyTorch"}
# TensorFlow resizes so in float32 whatever it is given (DESIGN.md section 3).
ALONE = re.compile(r"twin: TensorFlow computes \w+ in float32 alone")  # what the adapter notes of its twin
SINGLE = frozenset({"bilinear", "bicubic", "lanczos", "area"})
SAFETY_SINGLE = 16.0
TABLES_GROW = 1e3  # from a constant in the middle of a model to what comes out of it
# Four workers share the cores: a thread pool that spins while it waits takes them from the others.
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def family(side: str) -> str:
    """Return the framework of one of `SIDES`."""
    return TORCH if side.endswith(TORCH) else TENSORFLOW


class Workers:
    """Four started workers that can hold one pair of models after another."""

    sides: tuple[str, ...] = SIDES

    def __init__(self, options: CheckOptions) -> None:
        self.workers = {side: Worker(_worker_options(side, options)) for side in self.sides}
        self.guard = MemoryGuard(self._largest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all four."""
        self.guard.stop()
        for worker in self.workers.values():
            worker.close()

    def alive(self) -> bool:
        """Return whether all four can still be called."""
        return all(worker.alive() for worker in self.workers.values())

    def start(self, side: str) -> None:
        """Start one side's process and load its framework, unless that is done already."""
        self.workers[side].start()

    def pids(self) -> list[int]:
        """Return the processes that run."""
        return [worker.pid for worker in self.workers.values() if worker.pid]

    def call(self, side: str, method: str, **arguments: Any) -> Any:
        """Return what one side's adapter answers.

        Raises
            WorkerCrash: the worker died; where memory ran short, that is what it says.
        """
        try:
            return self.workers[side].call(method, **arguments)
        except WorkerCrash as error:
            if self.guard.said:
                raise WorkerCrash(self.guard.said) from error
            raise

    def _largest(self) -> int | None:
        sizes = {worker.pid: resident_bytes(worker.pid) for worker in self.workers.values() if worker.pid}
        return max(sizes, key=lambda pid: sizes[pid], default=None)

    def each(self, request: Callable[[str], Any], sides: Sequence[str] = ()) -> dict[str, Any]:
        """Return what `request(side)` gave for each side, asked side by side; the first side's error wins."""
        sides = sides or self.sides
        with ThreadPoolExecutor(len(sides)) as pool:
            futures = {side: pool.submit(request, side) for side in sides}
            try:
                return {side: future.result() for side, future in futures.items()}
            except KeyboardInterrupt:  # the pool waits for its threads, and they for workers that may not answer soon
                self.close()
                raise


class PlainWorkers(Workers):
    """The two float32 sides alone, for what needs no twin."""

    sides = (TENSORFLOW, TORCH)


def _ended_by(source: str, doing: str, error: WorkerCrash, limit_s: float) -> str:
    """Return what to say of a model that its process did not survive, with the end of what that said below."""
    said, _, tail = str(error).partition("\n")
    if isinstance(error, WorkerTimeout):
        line = f"{doing} the model took more than {limit_s:g} s, and its worker was killed; --timeout allows for more"
    else:
        how = (said.partition(": ")[2].rpartition(" during ")[0] or said).rstrip(",")
        line = f"{doing} the model ended its worker: {how}; do the same alone in Python to see why"
    return f"{source}: {line}\n{tail}"


def _worker_options(side: str, options: CheckOptions) -> WorkerOptions:
    twin = side in TWINS
    return WorkerOptions(
        framework=family(side),
        python=options.tensorflow_python if family(side) == TENSORFLOW else options.torch_python,
        role="twin" if twin else "plain",
        device="cpu" if twin else options.device,
        threads=options.threads or _threads(side),
        seed=options.seed,
        call_timeout_s=options.timeout_s,
        environment=PATIENT,
    )


def _threads(side: str) -> int:
    """Return half the CPUs: four work side by side; the torch twin, which bounds the rounding too, is waited for."""
    return usable_cpus() if side == TWIN_TORCH else max(1, usable_cpus() // 2)


class Models:
    """The user's two models in the four workers."""

    def __init__(self, workers: Workers, builders: Mapping[str, str], options: CheckOptions) -> None:
        self.workers, self.builders, self.options = workers, builders, options
        self.about: dict[str, dict[str, Any]] = {}
        self.traces: dict[str, Trace] = {}
        self.places: list[int] = []  # where torch's model returns what is TensorFlow's first output, its second ...
        self.notes: list[str] = []
        self._expand: dict[str, list[str]] = {}
        self._draws_alike = False
        self._parts: dict[str, Mapping[int, tuple[Op, ...]]] = {}
        self.cut_short = ""  # why the models are compared as far as they came, and not their outputs
        self._twice: dict[str, dict[int, int]] = {}  # how often a run's tensor will be asked for again, by side
        self._held: dict[str, dict[int, Array]] = {}
        self.folds: dict[str, tuple[Fold, ...]] = {}
        self.constants: dict[str, frozenset[str]] = {}  # of an ONNX file, in which they look like weights
        self.other_eps: dict[tuple[str, str], tuple[float, float]] = {}  # by side and weight: its eps, the file's
        self.tables_apart = 0.0  # how far tables of constants that both models hold in float32 are apart

    def load(self) -> None:
        """Build the models, each in its own process.

        Raises
            UsageError: a builder cannot be found, raises, or returns no model; names the builder.
            WorkerCrash: the builder ended its process; `WorkerTimeout` if it hangs.
        """
        files = {TENSORFLOW: self.options.tensorflow_weights, TORCH: self.options.torch_weights}

        def build(side: str) -> Any:
            source, file = self.builders[family(side)], files[family(side)]
            words: dict[str, Any] = {"weights": file, "training": self.options.train}
            if family(side) == TENSORFLOW and file:  # a model that was never called has no weights to load them into
                words["inputs"] = arrays(self.options)
            try:
                return self.workers.call(side, "load_model", source=source, **words)
            except WorkerCrash as error:
                raise type(error)(_ended_by(source, "building", error, self.options.timeout_s)) from error

        self.about = self._built(build)
        for side in SIDES:
            for note in self.about[side].get("notes", ()):
                if note not in self.notes:
                    self.notes.append(note)
        if self.about[TORCH].get("was_training") and not self.options.train:
            self.notes.append("the torch builder leaves its module in training mode; it was checked after .eval()")

    def _built(self, build: Callable[[str], Any]) -> dict[str, dict[str, Any]]:
        """Build both models, and then their twins, unless the size of one says that there is no room for these."""
        refused: list[str] = []

        def first(side: str) -> Any:
            if side in TWINS:
                return self.workers.start(side)
            about = build(side)
            line = too_large(int(about.get("values", 0)), room_bytes(self.workers.pids()))
            if line:
                refused.append(line)
                self.workers.close()  # the other side may be about to take what is left
            return about

        try:
            about = self.workers.each(first)
        except ParityError:
            if not refused:
                raise
        if refused:
            raise UsageError(refused[0])
        return {**about, **self.workers.each(build, TWINS)}

    def trace(self, inputs: Mapping[str, Sequence[Array]]) -> None:
        """Run each model once on its inputs (in its own order of axes) and keep what was seen.

        Raises
            UsageError: a model cannot take these inputs, or the two runs of one framework took different paths.
        """
        self._trace(inputs)
        self._look_into()
        if self._expand:
            self._trace(inputs)
        if all(self.draws_on_its_own(side) for side in (TENSORFLOW, TORCH)):
            self._draws_alike = True
            self._trace(inputs)
            self.notes.append("both models draw random numbers as they run: both got the same for the check")
        self._order_by_name()
        for sides in ((TENSORFLOW, TORCH), TWINS):
            both = complexes.within(*(self.traces[side] for side in sides))
            self.traces |= dict(zip(sides, both, strict=True))
        for name in (TENSORFLOW, TORCH):
            self._same_path(name)
            self.notes += [note for note in self[name].notes if note not in self.notes]
        self._see_whole()

    def trace_again(self, inputs: Sequence[Array]) -> None:
        """Run torch's model again on its inputs with the weights that it has by now, where numbers were read of values.

        Such a number is a constant of the recorded operations: by how much to roll, which place to take.

        Raises
            UsageError: with these weights it takes another path.
        """
        if not any(READS in note for note in self[TORCH].notes):
            return
        fed = {TORCH: inputs}
        again = self.workers.each(lambda side: self._seen(side, fed), (TORCH, TWIN_TORCH))
        if any(_path(trace) != _path(self.traces[TWIN_TORCH]) for trace in again.values()):
            raise UsageError(
                "the torch model takes another path once it has TensorFlow's weights: what it does depends on values,"
                " and cannot be compared layer by layer"
            )

    def draws_on_its_own(self, framework: str) -> bool:
        """Return whether a model draws random numbers as it runs that the check does not choose for it."""
        return not self._draws_alike and any(note.startswith(draws.NOTE) for note in self[framework].notes)

    def _look_into(self) -> None:
        """Find layers that the other side writes out, so that the next run looks into them."""
        traces = self[TENSORFLOW], self[TORCH]
        both_ways = [any(op.config.get("bidirectional") for op in trace.ops) for trace in traces]
        words = ["attention"] if _writes_out_attention(*traces) else []
        if both_ways[0] != both_ways[1]:
            words.append(BOTH_WAYS)
        split = [LENGTHS] if self._splits_lengths() else []
        self._expand = {TENSORFLOW: words, TORCH: [*words, *split]} if words or split else {}

    def _splits_lengths(self) -> bool:
        """Return whether code of TensorFlow's makes as many kernels of two weights as torch does by weight norms."""
        computed = self.about[TORCH].get("lengths", ())
        kernels = {tuple(op.weights.values()) for op in self[TENSORFLOW].ops if _has_a_made_kernel(op)}
        if not computed or len(kernels) < len(computed):
            return False
        told = tuple(f"`{name}` is computed by" for name in computed)
        self.notes = [note for note in self.notes if not note.startswith(told)]
        return True

    def _see_whole(self) -> None:
        """Take the steps of written normalisations and of sums together; the twins' own traces stay.

        What a user pairs by hand stays on its own.
        """
        for side in TWINS:
            self._numbers(side)  # by the steps, which both have
        apart = {name for pair in self.options.by_hand.items() for name in pair}
        cells = cells_as_one(Whole(self[TENSORFLOW]), Whole(self[TORCH]), apart)
        norms = norms_as_one(cells[0].trace, cells[1].trace, apart)
        sums = []
        for place in range(2):
            known = replace(norms[place], parts={**cells[place].parts, **norms[place].parts})
            spread = spreads_as_one(known, norms[1 - place].trace, place == 0, apart)
            sums.append(sums_as_one(spread, apart))
        for side, whole in zip((TENSORFLOW, TORCH), linear_as_one(sums[0], sums[1], apart), strict=True):
            self.traces[side], self._parts[side] = whole.trace, whole.parts

    def see_folded(self, matching: Matching) -> bool:
        """Take normalisations as the other side's ONNX file has them, and return whether there are any."""
        files = [is_onnx(self.builders[side]) for side in (TENSORFLOW, TORCH)]
        if self.options.train or not any(files):
            return False
        wholes = [Whole(self.traces[side], self._parts[side]) for side in (TENSORFLOW, TORCH)]
        for side, found in zip((TENSORFLOW, TORCH), folded(wholes, matching, files), strict=True):
            self.traces[side], self._parts[side] = found.whole.trace, found.whole.parts
            self.folds[side] = found.folds
        return any(self.folds.values())

    def see_constants(self, plan: WeightPlan) -> tuple[frozenset[str], frozenset[str]]:
        """Take operands without a partner in an ONNX file for numbers of the code, and return their names by side.

        A file keeps weights and such numbers alike, and does not tell which of them train.
        """
        for side, names in ((TENSORFLOW, plan.unmatched_tensorflow), (TORCH, plan.unmatched_torch)):
            trace = self.traces[side]
            of_file = is_onnx(self.builders[side]) and not self.options.train
            other = self.traces[TORCH if side == TENSORFLOW else TENSORFLOW]
            numbers = operands(trace).intersection(names) | products(trace, other, frozenset(names))
            found = self.constants[side] = frozenset(numbers if of_file else ())
            changed = {name: replace(trace.weights[name], trainable=False) for name in found}
            self.traces[side] = replace(trace, weights={**trace.weights, **changed})
            if found:
                self.notes.append(
                    f"{LABELS[side]} {listed(sorted(found))}, without a partner: taken for numbers of the code, for an"
                    " ONNX file does not tell whether they train"
                )
        return self.constants[TENSORFLOW], self.constants[TORCH]

    def parts(self, framework: str, ops: Sequence[Op]) -> list[Op]:
        """Return the operations as the model runs them, the steps of what is seen as one on their own."""
        parts = self._parts.get(framework, {})
        return sorted({one.index: one for op in ops for one in parts.get(op.index, (op,))}.values(), key=_index)

    def _order_by_name(self) -> None:
        """Put torch's outputs in the order of TensorFlow's, where both have the same names, as in dictionaries."""
        mine, theirs = self[TENSORFLOW].output_names, self[TORCH].output_names
        self.places = list(range(len(theirs)))
        if sorted(mine) != sorted(theirs) or len(set(mine)) != len(mine):
            return
        self.places = [theirs.index(name) for name in mine]
        for side in (TORCH, TWIN_TORCH):
            ends = self.traces[side].outputs
            self.traces[side] = replace(
                self.traces[side], outputs=tuple(ends[place] for place in self.places), output_names=mine
            )

    def as_returned(self, framework: str, values: Sequence[Any]) -> list[Any]:
        """Return what belongs to the outputs, one each, in the order in which the framework's model returns them."""
        places = self.places if framework == TORCH else list(range(len(values)))
        return [values[places.index(place)] for place in range(len(values))]

    def _trace(self, inputs: Mapping[str, Sequence[Array]]) -> None:
        self.traces = self.workers.each(lambda side: self._seen(side, inputs))
        if self.cut_short:
            counts = {len(self.traces[side].outputs) for side in SIDES}
            if len(counts) == 1 and not any(one.cut_short for one in self.traces.values()):
                raise UsageError(self.cut_short)
            self.traces = {side: replace(one, outputs=(), output_names=()) for side, one in self.traces.items()}

    def _seen(self, side: str, inputs: Mapping[str, Sequence[Array]]) -> Trace:
        words = {"training": self.options.train, "expand": self._expand.get(family(side), [])}
        words |= {"draws_alike": self._draws_alike} | ({"partly": True} if self.cut_short else {})
        given = list(inputs[family(side)])
        try:
            return Trace.from_dict(self.workers.call(side, "trace_model", inputs=given, **words))
        except WorkerCrash as error:
            source = self.builders[family(side)]
            raise type(error)(_ended_by(source, "running", error, self.options.timeout_s)) from error
        except UsageError as error:
            if family(side) == TENSORFLOW or not self._turned(given):
                raise
            raise UsageError(
                f"{error} (images go to torch channels first; --torch-layout same feeds them as TensorFlow's)"
            ) from error

    def _turned(self, given: Sequence[Array]) -> bool:
        """Return whether torch was fed images in another order than TensorFlow."""
        return self.options.torch_layout == CHANNELS_FIRST and any(x.ndim == IMAGE_AXES + 1 for x in given)

    def __getitem__(self, framework: str) -> Trace:
        return self.traces[framework]

    def _same_path(self, framework: str) -> None:
        plain, twin = self.traces[framework], self.traces[f"twin_{framework}"]
        if _path(plain) != _path(twin):
            raise UsageError(
                f"the {framework} model took another path in float64 than in float32 ({len(twin.ops)} operations "
                f"against {len(plain.ops)}): what it does depends on values or on the dtype, and cannot be compared "
                "layer by layer"
            )

    def single(self, op: Op) -> bool:
        """Return whether TensorFlow's twin computes one of its operations, or holds constants of it, in float32."""
        if op.kind == "standardize" or (op.kind == "resize" and op.config.get("method") in SINGLE):
            return True
        told = [note.split()[3] for note in self.traces[TWIN_TENSORFLOW].notes if ALONE.fullmatch(note)]
        names = {f"{op.kind}{op.config.get('rank', '')}d".replace("_", ""), op.kind.removeprefix("op:").lower()}
        return any(name.lower() in names or op.made_by.endswith(name) for name in told)

    def slack(self, lost: float) -> float:
        """Return how far, of their scale, whole models may be apart in float64 beyond what float64 rounds.

        `lost` is what float32 loses: as much as a twin does that has float32 in it.
        """
        single = SAFETY_SINGLE * lost if any(map(self.single, self[TENSORFLOW].ops)) else 0.0
        return max(single, TABLES_GROW * self.tables_apart)

    def tensor(self, side: str, tensor: int) -> int:
        """Return a side's own id of the tensor that its framework's trace calls `tensor`: runs number their own."""
        return self._numbers(side).get(tensor, tensor)

    def _numbers(self, side: str) -> dict[int, int]:
        if side not in TWINS:
            return {}
        if side not in self._ids:
            plain, twin = self.traces[family(side)], self.traces[side]
            numbers = dict(zip((*plain.inputs, *plain.outputs), (*twin.inputs, *twin.outputs), strict=True))
            for mine, theirs in zip(*(map(_proper, (plain, twin))), strict=True):
                numbers.update(zip((*mine.inputs, *mine.outputs), (*theirs.inputs, *theirs.outputs), strict=False))
            self._ids[side] = numbers
        return self._ids[side]

    @property
    def _ids(self) -> dict[str, dict[int, int]]:
        found: dict[str, dict[int, int]] = self.__dict__.setdefault("_known_ids", {})
        return found

    def segment(self, side: str, feed: Mapping[int, Array], want: int, **extra: Any) -> dict[str, Any]:
        """Return what `run_segment` answers on one side; ids are those of the framework's float32 trace."""
        fed = {str(self.tensor(side, tensor)): array for tensor, array in feed.items()}
        found = dict(
            self.workers.call(side, "run_segment", feed=fed, want=self.tensor(side, want), **self._own(side, extra))
        )
        back = {self.tensor(side, tensor): tensor for tensor in feed}
        if "input_gradients" in found:
            found["input_gradients"] = {back[int(key)]: value for key, value in found["input_gradients"].items()}
        for key in ("gradient_bounds32", "gradient_bounds64"):
            if key in found:
                inputs = {back[int(tensor)]: value for tensor, value in found[key]["inputs"].items()}
                found[key] = {"inputs": inputs, "weights": found[key]["weights"]}
        return found

    def _own(self, side: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        edits = extra.get("edits")
        if not edits:
            return dict(extra)
        return {**extra, "edits": [self._own_edit(side, edit) for edit in edits]}

    def _own_edit(self, side: str, edit: Mapping[str, Any]) -> dict[str, Any]:
        if "insert" in edit:
            return {**edit, "insert": self.tensor(side, edit["insert"])}
        if edit["op"] not in self._parts.get(family(side), {}):
            return dict(edit)
        # What replaces all of the steps reads what the first of them reads, has the weights of all, and makes what
        # any of them makes for others, such as both states of a cell.
        whole = next(op for op in self[family(side)].ops if op.index == edit["op"])
        inputs, outputs = ([self.tensor(side, tensor) for tensor in some] for some in (whole.inputs, whole.outputs))
        return {**edit, "inputs": inputs, "outputs": outputs, "references": dict(whole.weights)}

    def begin(self, side: str, inputs: Sequence[Array], wanted: Sequence[int]) -> None:
        """Start a propagated run of one side; each wanted tensor may be asked for once, by `advance`."""
        own = [self.tensor(side, tensor) for tensor in dict.fromkeys(wanted)]
        self._twice[side], self._held[side] = {tensor: own.count(tensor) - 1 for tensor in own}, {}
        self.workers.call(side, "begin_run", inputs=list(inputs), wanted=sorted(set(own)))

    def advance(self, side: str, tensor: int) -> Array:
        """Return one tensor of the propagated run.

        Two of the trace may be one tensor of a twin, which casts nothing to half its width: that is kept meanwhile.
        """
        own, held = self.tensor(side, tensor), self._held[side]
        value = held.pop(own) if own in held else np.asarray(self.workers.call(side, "advance", tensor=own))
        if self._twice[side].get(own, 0) > 0:
            self._twice[side][own] -= 1
            held[own] = value
        return value

    def prints(self, side: str, inputs: Sequence[Array]) -> dict[int, list[float]]:
        """Return the figures of every tensor of one side's run, under the ids of the float32 trace."""
        found = self.workers.call(side, "fingerprints", inputs=list(inputs))
        own = {self.tensor(side, tensor): tensor for tensor in self.traces[family(side)].shapes}
        return {own[int(key)]: list(value) for key, value in found.items() if int(key) in own}

    def weights(self, side: str) -> dict[str, Array]:
        """Return all weights of one side."""
        return dict(self.workers.call(side, "get_model_weights"))

    def load_again(self, side: str, weights: str, **words: Any) -> None:
        """Build one side's model anew with the weights of a file, seen as it was before."""
        self.workers.call(side, "load_model", source=self.builders[family(side)], weights=weights, **words)
        if LENGTHS in self._expand.get(family(side), ()):
            self.workers.call(side, "split_lengths")

    def set_weights(self, side: str, weights: Mapping[str, Array]) -> None:
        """Replace some or all weights of one side; those of a folded normalisation are given as seen once folded."""
        given = dict(weights)
        for fold in self.folds.get(family(side), ()):
            given |= fold.as_held(weights)
        if given:
            self.workers.call(side, "set_model_weights", weights=given)


def _writes_out_attention(first: Trace, second: Trace) -> bool:
    """Return whether one model writes out attention that is a layer in the other: all of it, or some.

    A model that merely lacks an attention has no softmax in its place.
    """
    kinds = [Counter(op.kind for op in trace.ops) for trace in (first, second)]
    fewer, more = sorted(kinds, key=lambda count: count["attention"])
    lacking = more["attention"] - fewer["attention"]
    if not fewer["attention"]:
        return lacking > 0
    return 0 < lacking <= fewer["sdpa"] + fewer["softmax"] - more["sdpa"] - more["softmax"]


def _has_a_made_kernel(op: Op) -> bool:
    operands = [role for role in op.weights if role.partition("_")[0] == "other"]
    return families.family(op) == "linear" and bool(op.inputs) and len(operands) == len(op.weights) > 1


# A cast to the dtype that a tensor has already leaves no trace, and one to float32 does none in float64.
CASTS = frozenset({"cast", "identity"})


def _proper(trace: Trace) -> list[Op]:
    return [op for op in trace.ops if op.kind not in CASTS]


def _path(trace: Trace) -> list[str]:
    return [op.kind for op in _proper(trace)]


def _index(op: Op) -> int:
    return op.index


def is_fatal(error: ParityError) -> bool:
    """Return whether no further request can be answered after this error."""
    return isinstance(error, (WorkerCrash, WorkerTimeout))
