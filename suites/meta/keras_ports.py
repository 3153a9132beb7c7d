"""Torch models that were ported to Keras wrongly, as text: builders of both, and what a fix line makes of the port."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

IN_TORCH = """import torch
import torch.nn as nn
import torch.nn.functional as F


class Do(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def still(module):
    module.train = lambda mode=True: nn.Module.train(module, False)
    return module.eval()


def build():
    return nn.Sequential({layers})
"""
IN_KERAS = """import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class Live(layers.Layer):
    def __init__(self, layer, training, **words):
        super().__init__(**words)
        self.layer, self.how = layer, training

    def call(self, x):
        return self.layer(x, training=self.how)


def build():
    x = given = keras.Input({shape})
{lines}
    return keras.Model(given, x)
"""
NAME = r"`([^`]+)`"
PUT = re.compile(rf"(?P<code>.+?) before {NAME}(?:, and (?P<there>.+?) there)?(?P<rest>.*)")
INSTEAD = re.compile(rf"(?P<code>.+?) in place of {NAME}(?: to {NAME})?(?:, and (?P<then>.+) after it)?")
SET = re.compile(rf"(?P<words>.+?) in (?P<call>the call of |the layer inside )?{NAME}(?P<rest>.*)")
BEHIND = re.compile(rf"(?P<code>.+) after {NAME}")
THEN = re.compile(rf", (?:and|then) (?P<code>.+) after (?:it|{NAME})")
GONE = re.compile(rf", and without {NAME}")


@dataclass(frozen=True)
class Step:
    """One line of the Keras builder: a layer with a name, or code of x; and what its call is told beside x."""

    name: str
    code: str
    call: str = ""

    def line(self) -> str:
        """Return it as code."""
        if self.code.startswith("x = "):
            return self.code
        code = with_words(self.code, f'name="{self.name}"') if self.name else self.code
        return f"x = {code}(x{', ' if self.call else ''}{self.call})"


@dataclass(frozen=True)
class Port:
    """A torch model and its wrong port, the causes, and the fixes; some cannot be carried out by a text alone."""

    name: str
    causes: tuple[str, ...]
    inputs: str
    torch: str
    steps: tuple[Step, ...]
    fixes: tuple[str, ...]
    train: bool
    carried_out: bool


def read(path: Path) -> tuple[Port, ...]:
    """Return the ports of a file of blocks: a head, and lines that begin with what they are."""
    blocks = [block.splitlines() for block in path.read_text().split("\n\n")]
    return tuple(_port(block) for block in blocks if block and block[0].startswith("["))


def _port(lines: Sequence[str]) -> Port:
    name, _, head = lines[0].removeprefix("[").partition("] ")
    given: dict[str, list[str]] = {}
    for line in lines[1:]:
        what, _, text = line.partition(" ")
        given.setdefault(what, []).append(text)
    steps = tuple(Step(one, code) for one, _, code in (line.partition(" = ") for line in given["keras"]))
    causes = tuple(head.partition(" (")[0].split("+"))
    (torch,), (inputs,), fixes = given["torch"], given["input"], tuple(given["fix"])
    return Port(name, causes, inputs, torch, steps, fixes, "(train)" in head, "(by hand)" not in head)


def with_words(code: str, words: str, inner: bool = False) -> str:
    """Return a call with keyword arguments set; with `inner`, those of the call that is its first argument."""
    call, given = ast.parse(code, mode="eval").body, ast.parse(f"f({words})", mode="eval").body
    assert isinstance(call, ast.Call), code
    assert isinstance(given, ast.Call), words
    target = call.args[0] if inner else call
    assert isinstance(target, ast.Call), code
    names = {word.arg for word in given.keywords}
    target.keywords = [*(word for word in target.keywords if word.arg not in names), *given.keywords]
    placed = PLACED.get(code.partition("(")[0], ())[: len(target.args)]
    told = [ast.keyword(name, one) for name, one in zip(placed, target.args, strict=False) if name not in names]
    target.args, target.keywords = target.args[len(placed) :], [*told, *target.keywords]
    return ast.unparse(call)


# What these take first without its name, as the cases below do: a fix that names it means the same.
PLACED = {
    "layers.GroupNormalization": ("groups",), "layers.ReLU": ("max_value",), "layers.LeakyReLU": ("negative_slope",),
    "layers.Activation": ("activation",), "layers.ZeroPadding2D": ("padding",),
    "layers.MaxPooling2D": ("pool_size", "strides"), "layers.Resizing": ("height", "width"),
}  # fmt: skip


def mended(fix: str, steps: Sequence[Step]) -> list[Step]:
    """Return the builder's lines as a fix says."""
    found = list(steps)
    for line in fix.split("; "):
        found = _one(re.split(r"(?<=`): | \(Keras's", line)[0], found)
    return found


def _one(line: str, steps: list[Step]) -> list[Step]:
    if line.startswith("remove "):
        return _without(steps, re.findall(NAME, line))
    if done := INSTEAD.fullmatch(line):
        return _replaced(steps, done)
    if done := PUT.fullmatch(line):
        at, code, there = _place(steps, done[2]), done["code"], done["there"]
        steps[at : at + 1] = [Step("", code), _told(steps[at], there) if there else steps[at]]
        return _without(steps, GONE.findall(done["rest"]))
    if done := SET.fullmatch(line):
        at = _place(steps, done[3])
        steps[at] = _told(steps[at], done["words"], done["call"] or "")
        behind = THEN.search(done["rest"])
        if behind:
            steps.insert(at + 1, Step("", behind["code"]))
        return _without(steps, GONE.findall(done["rest"]))
    done = BEHIND.fullmatch(line)
    assert done is not None, f"no way to carry out: {line}"
    steps.insert(_place(steps, done[2]) + 1, Step("", done["code"]))
    return steps


def _told(step: Step, words: str, call: str = "") -> Step:
    if "call" in call:
        live = words.startswith("training=")
        return replace(step, code=f"Live({step.code}, {words})") if live else replace(step, call=words)
    return replace(step, code=with_words(step.code, words, "inside" in call))


def _replaced(steps: list[Step], done: re.Match[str]) -> list[Step]:
    at, code = _place(steps, done[2]), done["code"]
    if "/" in done[2] and code.startswith("x = "):  # code within a layer of code
        code = f"layers.Lambda(lambda x: {code.removeprefix('x = ')})"
    behind = [Step("", done["then"])] if done["then"] else []
    steps[at : at + 1] = [Step("" if code.startswith("x = ") else steps[at].name, code), *behind]
    return steps


def _place(steps: Sequence[Step], name: str) -> int:
    return [step.name for step in steps].index(name.partition("/")[0])


def _without(steps: Sequence[Step], names: Sequence[str]) -> list[Step]:
    gone = {name.partition("/")[0] for name in names}
    assert gone <= {step.name for step in steps}
    return [step for step in steps if step.name not in gone]


def write(folder: Path, torch: str, steps: Sequence[Step], inputs: str) -> tuple[str, str]:
    """Write both builders, and return them as the command takes them."""
    sizes, whole = inputs.partition(":")[0].replace("x", ", "), ":" in inputs
    shape = f"({sizes},)" + (', dtype="int32"' if whole else "")
    lines = "\n".join(f"    {step.line()}" for step in steps)
    (folder / "port_keras.py").write_text(IN_KERAS.format(shape=shape, lines=lines))
    (folder / "original_torch.py").write_text(IN_TORCH.format(layers=torch))
    return f"{folder / 'port_keras.py'}:build", f"{folder / 'original_torch.py'}:build"
