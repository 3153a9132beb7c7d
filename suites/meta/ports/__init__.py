"""Pairs of builder files as users write them, and what the check must say about each: pure data.

The files `*_tensorflow.py` and `*_torch.py` are a user's own code: they know nothing of this project, only workers
import them, and they import only the framework that they are named for.
"""

from __future__ import annotations

from pathlib import Path

from suites.meta.ports.accepted import ACCEPTED
from suites.meta.ports.addends import ADDENDS
from suites.meta.ports.along import ALONG
from suites.meta.ports.bad import BAD
from suites.meta.ports.behind import BEHIND
from suites.meta.ports.case import Case, Source
from suites.meta.ports.complete import COMPLETE
from suites.meta.ports.correct import CORRECT
from suites.meta.ports.counted import COUNTED
from suites.meta.ports.crossings import CROSSINGS
from suites.meta.ports.cured import CURED
from suites.meta.ports.dropped import DROPPED
from suites.meta.ports.elements import ELEMENTS
from suites.meta.ports.examined import EXAMINED
from suites.meta.ports.faults import FAULTS
from suites.meta.ports.fed import FED
from suites.meta.ports.flattened import FLATTENED
from suites.meta.ports.forgotten import FORGOTTEN
from suites.meta.ports.frames import FRAMES
from suites.meta.ports.further import FURTHER
from suites.meta.ports.galleries import GALLERIES
from suites.meta.ports.gaps import GAPS
from suites.meta.ports.graphs import GRAPHS
from suites.meta.ports.joined_heads import JOINED_HEADS
from suites.meta.ports.kinships import KINSHIPS
from suites.meta.ports.loaded import LOADED
from suites.meta.ports.looped import LOOPED
from suites.meta.ports.mixing import MIXING
from suites.meta.ports.networks import NETWORKS
from suites.meta.ports.partly import PARTLY
from suites.meta.ports.pieces import PIECES
from suites.meta.ports.places import PLACES
from suites.meta.ports.planted import PLANTED
from suites.meta.ports.ported import PORTED
from suites.meta.ports.published import PUBLISHED
from suites.meta.ports.repeated import REPEATED
from suites.meta.ports.rotary import ROTARY
from suites.meta.ports.rotated import ROTATED
from suites.meta.ports.several import SEVERAL
from suites.meta.ports.singles import SINGLES
from suites.meta.ports.skips import SKIPS
from suites.meta.ports.sought import SOUGHT
from suites.meta.ports.spread import SPREAD
from suites.meta.ports.told import TOLD
from suites.meta.ports.trained import TRAINED
from suites.meta.ports.vision import VISION
from suites.meta.ports.volumes import VOLUMES
from suites.meta.ports.written import WRITTEN
from suites.meta.ports.zoo import ZOO

FOLDER = Path(__file__).resolve().parent
CASES: tuple[Case, ...] = (
    *CORRECT, *CURED, *FAULTS, *SEVERAL, *FURTHER, *GAPS, *SOUGHT, *VISION, *EXAMINED, *PUBLISHED, *WRITTEN, *BEHIND,
    *BAD, *ZOO, *ACCEPTED, *NETWORKS, *TRAINED, *ADDENDS, *ALONG, *COMPLETE, *COUNTED, *CROSSINGS, *DROPPED,
    *ELEMENTS, *FED, *FLATTENED, *FORGOTTEN, *FRAMES, *GALLERIES, *GRAPHS, *JOINED_HEADS, *KINSHIPS, *LOADED, *LOOPED,
    *MIXING, *PARTLY, *PIECES, *PLACES, *PLANTED, *PORTED, *REPEATED, *ROTARY, *ROTATED, *SINGLES, *SKIPS, *SPREAD,
    *TOLD, *VOLUMES,
)  # fmt: skip

__all__ = ["BAD", "CASES", "CORRECT", "FAULTS", "FOLDER", "Case", "Source"]
