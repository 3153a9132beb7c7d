"""From finished trainings to the record's section `study`: rows, means, comparisons, curves, the gap, the answer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.data.prepared import Prepared
from parity.errors import DataError
from parity.study.arms import ARMS, CHOICES, EVERYTHING, FRAMEWORKS, Reading
from parity.study.disagreement import Answers, disagreement
from parity.study.execute import Outcome, rows_digest, split_for
from parity.study.gap import PUBLISHED, PUBLISHED_GAP, Waterfall, answer, gap_rows, waterfall
from parity.study.inference import (
    MARGIN,
    SIGNIFICANCE,
    Estimate,
    delong,
    equivalence,
    mcnemar,
    mean_interval,
    paired_difference,
    patient_interval,
    weighted_auc,
    weighted_mean,
)
from parity.study.metrics import binary_metrics, calibration_bins, choose_threshold, roc_points
from parity.study.runner import Results
from parity.study.splits import make_split

FIGURES = (
    "accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1", "auc", "pr_auc", "brier", "ece",
)  # fmt: skip
AT_CHOSEN = ("accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1")
COMPARED = ("accuracy", "balanced_accuracy", "auc", "brier")
JUDGED = ("accuracy", "balanced_accuracy")  # the margin of equivalence is one of accuracy
ROC_GRID = np.linspace(0.0, 1.0, 51)
NAMES = {"tensorflow": "TensorFlow", "torch": "PyTorch"}

Array = NDArray[Any]


@dataclass(frozen=True)
class Read:
    """One row of the result with the answers of its model on the test images.

    `half` and `chosen` are its figures at a probability of 0.5 and at the threshold chosen on validation (None where
    validation has one class only); `threshold_logit` is the one that its own recipe asks for.
    """

    row: Reading
    labels: Array
    patients: list[str]
    logits: Array
    threshold_logit: float
    outcome: Outcome
    half: dict[str, Any]
    chosen: dict[str, Any] | None

    @property
    def right(self) -> Array:
        """Whether each test image is called rightly at the row's own threshold, (n,)."""
        found: Array = (self.logits > self.threshold_logit) == (self.labels == 1)
        return found

    @property
    def figures(self) -> dict[str, Any]:
        """The figures at the threshold of the row's own recipe."""
        return self.chosen if self.chosen is not None and self.row.recipe.threshold == "validation" else self.half


class Summary:
    """Everything that is said of a study, from its rows; a row whose training failed is left out and listed.

    Raises
        DataError: a finished training saw other images than its split holds.
    """

    def __init__(self, prepared: Prepared, rows: Sequence[Reading], results: Results) -> None:
        self._prepared, self._results = prepared, results
        # A factor all of whose trainings failed must be missed, and not be taken for one that was never planned.
        self._planned = dict.fromkeys(row.changed[0] for row in rows if len(row.changed) == 1)
        self.reads = [self._read(row) for row in rows if row.training in results.finished]

    def section(self) -> dict[str, Any]:
        """Return the record's section `study`; see DESIGN, section 4."""
        falls = {framework: fall for framework in FRAMEWORKS if (fall := self._waterfall(framework)) is not None}
        return {
            "runs": [run_row(read) for read in self.reads],
            "gap": [row for framework, fall in falls.items() for row in gap_rows(framework, fall)],
            "answer": self._answer(falls),
            "waterfalls": [
                {"framework": name, "start": asdict(fall.start), "end": asdict(fall.end), "seeds": fall.seeds}
                for name, fall in falls.items()
            ],
            "published": self._published(),
            "published_gap": PUBLISHED_GAP,
            "means": [mean for cell in self._cells() for mean in self._means(*cell)],
            "comparisons": [self._comparison(arm, split) for arm, split in self._compared_cells()],
            "curves": [self._curves(*cell) for cell in self._cells()],
            "disagreement": self._disagreement(),
            "margin": MARGIN,
            "failed": [{"run": training.name, "error": error} for training, error in self._results.failed.items()],
        }

    def _read(self, row: Reading) -> Read:
        outcome = self._results.finished[row.training]
        split = split_for(self._prepared, row.training.split, row.seed)
        if outcome["rows_digest"] != rows_digest(split):
            raise DataError(f"{row.training.name} saw other images than its split holds: remove it and run again")
        kept = outcome["logits"][str(row.recipe.epochs)]
        chosen = choose_threshold(split.val.labels(self._prepared), np.asarray(kept["val"]))
        labels, logits = split.test.labels(self._prepared).astype(int), np.asarray(kept["test"])
        return Read(
            row,
            labels,
            split.test.patients(self._prepared),
            logits,
            chosen if row.recipe.threshold == "validation" and chosen is not None else 0.0,
            outcome,
            binary_metrics(labels, logits),
            None if chosen is None else binary_metrics(labels, logits, chosen),
        )

    def _of(self, framework: str, arm: str, split: str) -> list[Read]:
        """Return the rows of one cell of the design, nothing else changed, in the order of their seeds."""
        return [
            read
            for read in self.reads
            if (read.row.framework, read.row.arm, read.row.recipe.split) == (framework, arm, split)
            and not read.row.changed
        ]

    def _cells(self) -> list[tuple[str, str, str]]:
        cells = [(name, arm, split) for arm in ARMS for split in CHOICES["split"] for name in FRAMEWORKS]
        return [cell for cell in cells if self._of(*cell)]

    def _compared_cells(self) -> list[tuple[str, str]]:
        cells = [(arm, split) for arm in ARMS for split in CHOICES["split"]]
        return [cell for cell in cells if self._pairs(*cell)]

    def _pairs(self, arm: str, split: str) -> list[tuple[Read, Read]]:
        """Return the rows of both frameworks that have the seed, and so the test images, in common."""
        by_seed = [{read.row.seed: read for read in self._of(name, arm, split)} for name in FRAMEWORKS]
        return [(by_seed[0][seed], by_seed[1][seed]) for seed in by_seed[0] if seed in by_seed[1]]

    # Means of one cell.

    def _means(self, framework: str, arm: str, split: str) -> list[dict[str, Any]]:
        cell = self._of(framework, arm, split)
        head = {"framework": framework, "arm": arm, "split": split}
        asked = [("half", name) for name in FIGURES] + [("validation", name) for name in AT_CHOSEN]
        found = []
        for threshold, name in asked:
            figures = [read.half if threshold == "half" else read.chosen for read in cell]
            values = [held[name] for held in figures if held is not None]
            defined = [value for value in values if value is not None]
            if defined:
                row = {**head, "threshold": threshold, "metric": name, **asdict(mean_interval(defined))}
                found.append({**row, "undefined": len(cell) - len(defined)})
        return [*found, {**head, "threshold": "half", "metric": "accuracy over patients", **self._over_patients(cell)}]

    def _over_patients(self, cell: Sequence[Read]) -> dict[str, Any]:
        found = patient_interval(
            [patient for read in cell for patient in read.patients],
            np.concatenate([read.labels for read in cell]),
            weighted_mean(np.concatenate([read.right for read in cell])),
        )
        return {"mean": found.value, "low": found.low, "high": found.high, "n": found.patients, "method": found.method}

    # Paired comparisons.

    def _comparison(self, arm: str, split: str) -> dict[str, Any]:
        pairs = self._pairs(arm, split)
        return {
            "arm": arm,
            "split": split,
            "a": "tensorflow",
            "b": "torch",
            "seeds": [a.row.seed for a, _ in pairs],
            "differences": [row for name in COMPARED if (row := _difference(pairs, name)) is not None],
            "over_patients": [_over_patients(pairs, "accuracy"), _over_patients(pairs, "auc")],
            **_per_seed(pairs),
            "between_seeds": self._between_seeds(arm, split),
        }

    def _between_seeds(self, arm: str, split: str) -> dict[str, Any] | None:
        """Return how often the tests of images reject between two seeds of one framework, as a yardstick.

        None where two seeds have other test images, or where there is one seed.
        """
        cells = [self._of(name, arm, split) for name in FRAMEWORKS] if split == "official" else []
        pairs = [pair for cell in cells for pair in itertools.combinations(cell, 2)]
        if not pairs:
            return None
        found = _per_seed(pairs)
        return {"pairs": len(pairs), **{name: found[name] for name in ("mcnemar_rejects", "delong_rejects")}}

    def _disagreement(self) -> dict[str, Any]:
        """Return on which official test images the frameworks' models of one seed decide differently, per arm."""
        pairs = {arm: found for arm in ARMS if (found := self._pairs(arm, "official"))}
        answers = [
            Answers(
                arm,
                FRAMEWORKS,
                tuple(a.row.seed for a, _ in found),
                np.stack([a.logits for a, _ in found]),
                np.stack([b.logits for _, b in found]),
            )
            for arm, found in pairs.items()
        ]
        return disagreement(self._prepared, make_split(self._prepared, "official", 0).test, answers)

    # Curves, summed and averaged over seeds so that the record stays small.

    def _curves(self, framework: str, arm: str, split: str) -> dict[str, Any]:
        cell = self._of(framework, arm, split)
        labels, logits = (np.concatenate([getattr(read, name) for read in cell]) for name in ("labels", "logits"))
        confusion = sum(np.array(read.half["confusion"]) for read in cell)
        return {
            "framework": framework,
            "arm": arm,
            "split": split,
            "seeds": len(cell),
            "n": len(labels),
            "learning": _learning(cell),
            "roc": _roc(cell),
            "calibration": calibration_bins(labels, logits),
            "confusion": np.asarray(confusion).tolist(),
        }

    # The gap.

    def _waterfall(self, framework: str) -> Waterfall | None:
        """Return the waterfall over those seeds of which every run finished; None without one."""
        start = {read.row.seed: _accuracy(read) for read in self._of(framework, "own", "official")}
        changed: dict[str, dict[int, float]] = {name: {} for name in (*self._planned, EVERYTHING)}
        for read in self.reads:
            if read.row.framework == framework and read.row.what_changed in changed:
                changed[read.row.what_changed][read.row.seed] = _accuracy(read)
        whole = [seed for seed in start if all(seed in found for found in changed.values())]
        if not whole:
            return None
        series = {name: [found[seed] for seed in whole] for name, found in changed.items()}
        everything = series.pop(EVERYTHING)
        return waterfall([start[seed] for seed in whole], series, everything)

    def _answer(self, falls: Mapping[str, Waterfall]) -> str:
        pairs = self._pairs("own", "official")
        splits = {name: fall.changes["split"] for name, fall in falls.items() if "split" in fall.changes}
        if not pairs or set(splits) != set(FRAMEWORKS):
            return "Not settled: too few runs of the study finished to compare both frameworks and both splits."
        differences = [_accuracy(a) - _accuracy(b) for a, b in pairs]
        over = _over_patients(pairs, "accuracy")
        return answer(
            mean_interval(differences),
            equivalence(differences).decision,
            splits,
            NAMES,
            margin=MARGIN,
            balanced=self._balanced(),
            patients=None if over["low"] is None else (over["low"], over["high"]),
            failed=len(self._results.failed),
        )

    def _balanced(self) -> dict[str, Estimate]:
        """Return how far the split alone moves each framework's balanced accuracy, seed by seed."""
        found = {}
        for framework in FRAMEWORKS:
            start, moved = (
                {read.row.seed: read.figures["balanced_accuracy"] for read in reads}
                for reads in (
                    self._of(framework, "own", "official"),
                    [r for r in self.reads if r.row.framework == framework and r.row.what_changed == "split"],
                )
            )
            seeds = [seed for seed in start if None not in (start[seed], moved.get(seed))]
            if seeds:
                found[framework] = paired_difference([moved[seed] for seed in seeds], [start[seed] for seed in seeds])
        return found

    def _published(self) -> list[dict[str, Any]]:
        """Place each published accuracy among those measured, by split."""
        found = []
        for framework, accuracy in PUBLISHED.items():
            for split in CHOICES["split"]:
                cell = self._of(framework, "own", split)
                seen = [_accuracy(read) for read in cell]
                if seen:
                    low, high, mean = min(seen), max(seen), float(np.mean(seen))
                    shares = [max(read.labels.mean(), 1.0 - read.labels.mean()) for read in cell]
                    place = {"lowest": low, "mean": mean, "highest": high, "inside": low <= accuracy <= high}
                    found.append(
                        {
                            "framework": framework,
                            "accuracy": accuracy,
                            "split": split,
                            **place,
                            "n": len(seen),
                            "larger_class": float(np.mean(shares)),
                        }
                    )
        return found


def run_row(read: Read) -> dict[str, Any]:
    """Return one row of `runs`: what ran, its figures at its own threshold, and at the one chosen on validation."""
    row, found, chosen = read.row, read.figures, read.chosen
    return {
        "framework": row.framework,
        "arm": row.arm,
        "split": row.recipe.split,
        "seed": row.seed,
        "changed": row.what_changed,
        "recipe": asdict(row.recipe),
        **{name: found[name] for name in ("n", "loss", *FIGURES, "confusion", "threshold")},
        "at_chosen": None if chosen is None else {name: chosen[name] for name in (*AT_CHOSEN, "threshold")},
        # Of a row that reads the network after fewer epochs, the weights of that time were not digested.
        "weights_digest": read.outcome["weights_digest"] if row.recipe.epochs == row.training.epochs else None,
        "initial_digest": read.outcome["initial_digest"],
    }


def _accuracy(read: Read) -> float:
    return float(read.right.mean())


def _difference(pairs: Sequence[tuple[Read, Read]], name: str) -> dict[str, Any] | None:
    """Return the mean difference a - b of one figure at 0.5 over seeds, with interval and equivalence test."""
    values = [(a.half[name], b.half[name]) for a, b in pairs]
    both = [(a, b) for a, b in values if a is not None and b is not None]
    if not both:
        return None
    first, second = ([pair[side] for pair in both] for side in (0, 1))
    test = equivalence([a - b for a, b in both])
    judged = {"p_equivalence": test.p, "decision": test.decision} if name in JUDGED else {}
    return {"metric": name, **asdict(paired_difference(first, second)), **judged}


def _over_patients(pairs: Sequence[tuple[Read, Read]], figure: str) -> dict[str, Any]:
    """Return the difference a - b, the mean over seeds, with its interval over patients.

    A drawn patient comes with all his images in all seeds. Areas are taken seed by seed: logits of two models do not
    rank together.
    """
    labels = np.concatenate([a.labels for a, _ in pairs])
    patients = [patient for a, _ in pairs for patient in a.patients]
    if figure == "accuracy":
        statistic = weighted_mean(np.concatenate([a.right.astype(float) - b.right for a, b in pairs]))
    else:
        statistic = _mean_area_difference(pairs)
    return {"metric": figure, **asdict(patient_interval(patients, labels, statistic))}


def _mean_area_difference(pairs: Sequence[tuple[Read, Read]]) -> Callable[[Array], Array]:
    areas = [(weighted_auc(a.labels, a.logits), weighted_auc(b.labels, b.logits)) for a, b in pairs]
    ends = np.cumsum([0, *(len(a.labels) for a, _ in pairs)])

    def statistic(weights: Array) -> Array:
        parts = [weights[:, start:end] for start, end in itertools.pairwise(ends)]
        found = [first(part) - second(part) for (first, second), part in zip(areas, parts, strict=True)]
        mean: Array = np.mean(found, axis=0)
        return mean

    return statistic


def _per_seed(pairs: Sequence[tuple[Read, Read]]) -> dict[str, Any]:
    """Return McNemar's and DeLong's test of each seed, paired by image, and how many of them reject."""
    tests = [mcnemar(a.right, b.right) for a, b in pairs]
    # DeLong's variance takes two images of each class.
    areas = [delong(a.labels, a.logits, b.logits) for a, b in pairs if min(np.bincount(a.labels, minlength=2)) > 1]
    return {
        "mcnemar": [asdict(test) for test in tests],
        "delong": [asdict(area) for area in areas],
        "mcnemar_rejects": sum(test.p < SIGNIFICANCE for test in tests),
        "delong_rejects": sum(area.p is not None and area.p < SIGNIFICANCE for area in areas),
        "significance": SIGNIFICANCE,
    }


def _learning(cell: Sequence[Read]) -> list[dict[str, Any]]:
    """Return mean and t interval over seeds of each figure after each epoch."""
    names = ("loss", "val_loss", "val_accuracy", "test_loss", "test_accuracy")
    epochs = zip(*(read.outcome["epochs"] for read in cell), strict=True)
    return [
        {"epoch": rows[0]["epoch"], **{name: asdict(mean_interval([row[name] for row in rows])) for name in names}}
        for rows in epochs
    ]


def _roc(cell: Sequence[Read]) -> dict[str, Any]:
    """Return the mean ROC curve over seeds on a grid of false positive rates, and its range over seeds."""
    curves = np.stack([roc_points(read.labels, read.logits, ROC_GRID) for read in cell])
    return {
        "false_positive_rate": ROC_GRID.tolist(),
        "mean": curves.mean(axis=0).tolist(),
        "lowest": curves.min(axis=0).tolist(),
        "highest": curves.max(axis=0).tolist(),
    }
