"""The porter's story in one page: build both models, pair, copy weights, compare layer by layer, name the causes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from parity.errors import PairingError, ParityError, UsageError
from parity.model.trace import Trace, made_of_inputs
from parity.pairing import batches
from parity.pairing.copying import WeightPlan, plan
from parity.pairing.match import Matching, match_all, match_weighted
from parity.porting import baked, divided, dropping, exchanging, outputs, reshaping, stacking, training, waking
from parity.porting.causes import Bank
from parity.porting.convert import Conversion, directions, write
from parity.porting.convert import settings as convert_settings
from parity.porting.cuts import Cut, cuts
from parity.porting.dump import Dump
from parity.porting.options import TENSORFLOW_TO_TORCH, Array, Settings, arrays, settings_of, to_torch
from parity.porting.orders import Orders
from parity.porting.repro import Repro
from parity.porting.sharing import share_weights
from parity.porting.sides import LABELS, SIDES, TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, TWINS, Models, Workers
from parity.porting.story import Prepared, Progress, Story, verdict_of
from parity.porting.verdict import Verdict
from parity.porting.walk import Walk


def check(
    tensorflow_builder: str,
    torch_builder: str,
    inputs: Sequence[Any] | str = (),
    *,
    progress: Progress | None = None,
    workers: Workers | None = None,
    **options: Unpack[Settings],
) -> Verdict:
    """Return whether two models are the same function, and if not, where and why they differ.

    A builder is `path/file.py:function`, `package.module:function` or a model file. `inputs` holds one item per input:
    text as for `--input` and `--int-input`, a tuple of sizes without the batch axis, or a whole batch as an array in
    TensorFlow's order. Further options are those of `parity.porting.options.Settings`. `workers` may be kept
    open by the caller to check one pair after another.

    Raises
        ParityError: bad input, a builder that raises, a worker that died; one clear line each.
    """
    settings = settings_of(inputs, options)
    builders = {TENSORFLOW: str(tensorflow_builder), TORCH: str(torch_builder)}
    own = workers or Workers(settings)
    tell = progress or (lambda *_: None)
    try:
        models = Models(own, builders, settings)
        try:
            prepared = prepare(models, tell)
        except ParityError as error:
            found = _as_far_as_they_came(models, error, tell)
            if found is None:
                raise
            return found
        return compare(prepared, tell)
    finally:
        if workers is None:
            own.close()


def convert(
    tensorflow_builder: str,
    torch_builder: str,
    source: str | Path,
    target: str | Path,
    inputs: Sequence[Any] | str = (),
    *,
    progress: Progress | None = None,
    **options: Unpack[Settings],
) -> tuple[Verdict, Conversion | None]:
    """Move trained weights from the file `source` of one framework to the file `target` of the other.

    The pair is checked first, and nothing is written unless it is the same function; the file is then read back into
    fresh models and compared bit for bit, outputs included. Options are those of `check`.

    Raises
        ParityError: as `check`; a file whose ending says nothing; a file that cannot be written.
    """
    tell = progress or (lambda *_: None)
    mine, other = directions(Path(source), Path(target))
    settings = convert_settings(settings_of(inputs, options), mine, Path(source))
    with Workers(settings) as workers:
        models = Models(workers, {TENSORFLOW: str(tensorflow_builder), TORCH: str(torch_builder)}, settings)
        prepared = prepare(models, tell)
        verdict = compare(prepared, tell)
        if not verdict.same:
            return verdict, None
        tell("stage", f"writing {target}")
        return verdict, write(
            prepared, mine, other, Path(target),
            lambda: outputs.compare(models, prepared.inputs, prepared.orders).why,
        )  # fmt: skip


def prepare(models: Models, tell: Progress) -> Prepared:
    """Build, run, pair, and copy weights.

    Raises
        ParityError: what `check` says.
    """
    tell("stage", "building both models")
    models.load()
    fed = _fed(models)
    tell("stage", "running both once")
    models.trace(fed)
    _same_counts(models)
    _seen_alike(models)
    return _paired(models, fed, tell)


def _fed(models: Models) -> dict[str, list[Array]]:
    given = arrays(models.options)
    return {TENSORFLOW: given, TORCH: [to_torch(x, models.options) for x in given]}


def _as_far_as_they_came(models: Models, error: ParityError, tell: Progress) -> Verdict | None:
    """Return what can be told of models of which one raised on its way, or that return other outputs; None if nothing.

    Whatever else goes wrong then, the error is what its user should read.
    """
    if models.options.train or not isinstance(error, (UsageError, PairingError)) or set(models.about) != set(SIDES):
        return None
    models.cut_short = str(error)
    try:
        fed = _fed(models)
        models.trace(fed)
        verdict = compare(_paired(models, fed, tell), tell)
    except Exception:
        return None
    return verdict if verdict.layers else None


def _paired(models: Models, fed: Mapping[str, list[Array]], tell: Progress) -> Prepared:
    """Pair what was seen of both models, and copy weights."""
    options = models.options
    tell("stage", "pairing layers and weights")
    weighted = match_weighted(models[TENSORFLOW], models[TORCH], options.by_hand)
    if models.see_folded(weighted):
        weighted = match_weighted(models[TENSORFLOW], models[TORCH], options.by_hand)
    orders = Orders(models, options)
    reshaped = reshaping.find(models, weighted, orders)
    weight_plan = _planned(models, weighted, orders)
    constants = models.see_constants(weight_plan)
    built = dict(models.workers.each(models.weights, (TENSORFLOW, TORCH)))
    tables = baked.find(models, weight_plan.knowing(*constants)) if options.weights == TENSORFLOW_TO_TORCH else {}
    in_tables = {name: table for name, (table, _) in tables.items()}

    def give(weight_plan: WeightPlan, instead: Mapping[str, Array]) -> waking.Given:
        held, told = share_weights(models, weight_plan, built, in_tables, instead)
        models.trace_again(fed[TORCH])
        figures = models.workers.each(lambda side: models.prints(side, fed[side.removeprefix("twin_")]), TWINS)
        return waking.Given(held, tuple(told), figures)

    def with_weights(weighted: Matching) -> exchanging.Found:
        some = _planned(models, weighted, orders).knowing(*constants)
        return weighted, some, waking.wake(models, some, partial(give, some))

    weighted, weight_plan, given = exchanging.settled(models, with_weights(weighted), with_weights)
    prints, notes = given.prints, list(given.notes)
    notes += [
        f"TensorFlow's `{holder}` holds constant numbers in the place of torch's `{name}`, which has them for the"
        " check: nobody trains them in TensorFlow"
        for name, (_, holder) in tables.items()
    ]
    matching = match_all(
        models[TENSORFLOW], models[TORCH], weighted, prints[TWIN_TENSORFLOW], prints[TWIN_TORCH], options.by_hand
    )
    for apart in (divided.as_wholes, divided.without_steps):
        matching = apart(models[TENSORFLOW], models[TORCH], matching)
    walked = Orders(models, options)
    walked.keep(reshaped)
    return Prepared(
        models, fed, matching, weight_plan, walked, given.weights, built,
        (prints[TWIN_TENSORFLOW], prints[TWIN_TORCH]), tuple(notes), frozenset(tables),
    )  # fmt: skip


def _planned(models: Models, weighted: Matching, orders: Orders) -> WeightPlan:
    units = partial(stacking.units, models)
    return plan(models[TENSORFLOW], models[TORCH], weighted, orders.rows, orders.columns, units)


def compare(prepared: Prepared, tell: Progress) -> Verdict:
    """Compare cut by cut, explain every source, and decide."""
    models, matching = prepared.models, prepared.matching
    found = cuts(models[TENSORFLOW], models[TORCH], matching, prepared.prints, models.single)
    walk = Walk(models, found, prepared.orders, prepared.inputs)
    bank = Bank(models, matching, prepared.plan, prepared.weights)
    dump = Dump(models.options.dump)
    repro = Repro(models.options.repro, models, prepared.weights, prepared.plan, prepared.orders)
    story = Story(prepared, bank)
    tell("cuts", len(found))
    try:
        for step in walk.run():
            row = story.add(step)
            tell("layer", row)
            repro.add(step, story.sources, row.gradients)
            dump.add(step)
        if models.options.train:
            tell("stage", "one step of the whole")
            story.end_step(training.whole_step(models, prepared.inputs, prepared.plan, prepared.orders))
        dump.close()
        if models.cut_short:
            story.broken = models.cut_short
        else:
            _whole(story, found, tell)
    except ParityError as error:  # what was compared until then is still worth telling
        story.broken = str(error)
    called = batches.notes(models[TENSORFLOW], models[TORCH], matching.pairs)
    story.notes += (*repro.notes, *called, *dropping.notes(models))
    return verdict_of(story)


def _whole(story: Story, found: Sequence[Cut], tell: Progress) -> None:
    """Compare what both models return, and look further out where nothing was found."""
    prepared, models = story.prepared, story.prepared.models
    story.ends = outputs.compare(models, prepared.inputs, prepared.orders)
    story.notes += tuple(outputs.axes(models))
    story.sources += () if story.uncarried else story.ends.sources
    if not story.sources and not story.uncarried and not models.options.train:
        story.look_further(found, tell)


def _same_counts(models: Models) -> None:
    mine, theirs = models[TENSORFLOW], models[TORCH]
    if len(mine.outputs) != len(theirs.outputs):
        raise PairingError(
            f"the TensorFlow model returns {_listed(mine)}, the torch model {_listed(theirs)}: return the same ones"
            " from both builders' models"
        )
    if not mine.outputs:
        raise UsageError("the models return no tensor: there is nothing to compare")


def _seen_alike(models: Models) -> None:
    """Refuse an output that one side makes of its inputs, and the other of nothing that could be watched."""
    traces = models[TENSORFLOW], models[TORCH]
    led = [[tensor in made_of_inputs(trace) for tensor in trace.outputs] for trace in traces]
    for number, both in enumerate(zip(*led, strict=True)):
        if both[0] != both[1]:
            side = both.index(False)
            name, said = traces[side].output_names[number], LABELS[(TENSORFLOW, TORCH)[side]]
            raise UsageError(
                f"`{name}` of the {said} model is made of none of its inputs by operations of {said}: code that leaves"
                " it, such as NumPy's, cannot be followed"
            )


def _listed(trace: Trace) -> str:
    count = len(trace.outputs)
    if not count:
        return "no tensor"
    names = ", ".join(trace.output_names[:6]) + (", ..." if count > 6 else "")
    return f"{count} tensor{'' if count == 1 else 's'} ({names})"
