"""In which order two tensors hold the same numbers."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.errors import PairingError
from parity.model.layout import Array
from parity.pairing.relations import (
    FOLDED,
    Relation,
    candidates,
    choose,
    repeated_axes,
    rows_of,
    through,
    with_shapes,
)


def numbers(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> Array:
    raw = np.random.default_rng(seed).integers(0, 256, int(np.prod(shape)) * np.dtype(dtype).itemsize, np.uint8)
    return raw.view(dtype).reshape(shape)


def same_bits(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def one_sample(shape: tuple[int, ...]) -> Array:
    return np.arange(int(np.prod(shape))).reshape(1, *shape)


SHAPES = [
    ((2, 3, 4, 5), (2, 5, 3, 4), "channels"),
    ((2, 4, 4, 4), (2, 4, 4, 4), "channels"),
    ((2, 3, 4, 5), (2, 3, 4, 5), "same"),
    ((2, 6, 5), (2, 5, 6), "channels"),
    ((2, 6, 5), (2, 6, 5), "same"),
    ((2, 6, 6), (2, 6, 6), "same"),
    ((2, 7), (2, 7), "same"),
    ((2,), (2,), "same"),
    ((), (), "same"),
    ((2, 3, 4, 5, 6), (2, 6, 3, 4, 5), "channels"),
    ((2, 1, 1, 7), (2, 7), "explicit"),
    ((2, 7), (2, 7, 1, 1), "explicit"),
    ((2, 3, 4, 5), (2, 60), "explicit"),
    ((2, 60), (2, 5, 3, 4), "explicit"),
    ((2, 3, 4, 5), (2, 4, 3, 5), "explicit"),
    ((2, 6, 5), (6, 2, 5), "batch-second"),
]


@pytest.mark.parametrize(("mine", "other", "first"), SHAPES)
def test_every_relation_that_fits_goes_there_and_back_bit_for_bit(
    mine: tuple[int, ...], other: tuple[int, ...], first: str
) -> None:
    found = candidates(mine, other)
    assert found[0].name == first
    for relation, dtype in product(found, ("float32", "float64", "int32")):
        array = numbers(mine, dtype)
        moved = relation.to_torch(array)
        assert moved.shape == other
        assert same_bits(relation.to_tensorflow(moved), array)
        back = numbers(other, dtype, seed=1)
        assert same_bits(relation.to_torch(relation.to_tensorflow(back)), back)


def test_what_was_flattened_on_one_side_only_has_that_sides_order() -> None:
    image = numbers((2, 3, 4, 5))
    flat = np.moveaxis(image, -1, 1).reshape(2, -1)
    assert same_bits(candidates(image.shape, flat.shape)[0].to_torch(image), flat)
    assert same_bits(candidates((2, 60), (2, 5, 3, 4))[0].to_torch(image.reshape(2, 60)), flat.reshape(2, 5, 3, 4))


@pytest.mark.parametrize(("mine", "other"), [((2, 3), (2, 4)), ((2, 3), (3, 3)), ((2, 3), ()), ((4,), (2, 2))])
def test_shapes_of_other_sizes_have_no_relation(mine: tuple[int, ...], other: tuple[int, ...]) -> None:
    assert candidates(mine, other) == []
    assert choose(np.zeros(mine), np.zeros(other), None) is None


@pytest.mark.parametrize(("mine", "other"), [((2, 3, 4, 5), (6, 4, 5)), ((6, 4, 5), (2, 3, 4, 5)), ((3, 8), (1, 3, 8))])
def test_heads_may_be_a_part_of_the_batch(mine: tuple[int, ...], other: tuple[int, ...]) -> None:
    array = numbers(mine)
    relation = choose(array, array.reshape(other))
    assert relation is not None
    assert relation.name == FOLDED
    assert relation.fits(mine, other)
    assert same_bits(relation.to_torch(array), array.reshape(other))
    assert same_bits(relation.to_tensorflow(array.reshape(other)), array)


def test_values_choose_among_relations() -> None:
    cube = np.random.default_rng(0).normal(size=(2, 4, 4, 4))
    for axes in ((0, 1, 2, 3), (0, 3, 1, 2), (0, 2, 1, 3), (0, 3, 2, 1)):
        moved = cube.transpose(axes) + 1e-9
        chosen = choose(cube, moved, None)
        assert chosen is not None
        assert np.abs(chosen.to_torch(cube) - moved).max() < 1e-8


def test_where_nothing_agrees_the_preferred_relation_stays() -> None:
    cube, other = np.random.default_rng(0).normal(size=(2, 2, 4, 4, 4))
    for preferred in candidates((2, 4, 4, 4), (2, 4, 4, 4)):
        chosen = choose(cube, other, preferred)
        assert chosen is not None
        assert same_bits(chosen.to_torch(cube), preferred.to_torch(cube))
    ties = choose(np.ones((2, 4, 4, 4)), np.ones((2, 4, 4, 4)), Relation("same"))
    assert ties is not None
    assert ties.name == "same"


def test_a_preferred_relation_gives_way_to_values_that_agree() -> None:
    cube = np.random.default_rng(0).normal(size=(2, 4, 4, 4))
    chosen = choose(cube, np.moveaxis(cube, -1, 1), Relation("same"))
    assert chosen is not None
    assert chosen.name == "channels"
    broken = np.moveaxis(cube, -1, 1).copy()
    broken[0, 0] = np.nan
    chosen = choose(cube, broken, Relation("same"))
    assert chosen is not None
    assert chosen.name == "channels"


def test_a_preferred_relation_of_other_shapes_is_passed_over() -> None:
    explicit = Relation.explicit(np.arange(6)[::-1], (6,), (6,))
    chosen = choose(np.arange(8.0).reshape(2, 4), np.arange(8.0).reshape(2, 4), explicit)
    assert chosen is not None
    assert chosen.name == "same"


# Through operations that only move numbers.


def test_flattened_channels_are_a_permutation_of_a_dense_layers_rows() -> None:
    before = candidates((2, 3, 4, 5), (2, 5, 3, 4))[0]
    after = through(before, one_sample((3, 4, 5)).reshape(1, -1), one_sample((5, 3, 4)).reshape(1, -1))
    image = numbers((2, 3, 4, 5))
    assert same_bits(after.to_torch(image.reshape(2, -1)), np.moveaxis(image, -1, 1).reshape(2, -1))
    rows = rows_of(after)
    assert rows is not None
    kernel = np.random.default_rng(0).normal(size=(60, 7))
    given_tensorflow = np.random.default_rng(1).normal(size=(2, 60))
    assert np.allclose(given_tensorflow @ kernel, after.to_torch(given_tensorflow) @ kernel[rows])


def test_torch_that_moves_the_channels_back_first_needs_no_permutation() -> None:
    before = candidates((2, 3, 4, 5), (2, 5, 3, 4))[0]
    torch_map = np.moveaxis(one_sample((5, 3, 4)), 1, -1).reshape(1, -1)
    after = through(before, one_sample((3, 4, 5)).reshape(1, -1), torch_map)
    assert after.name == "same"
    assert rows_of(after) is None


def test_sequences_made_of_images_are_the_same_on_both_sides() -> None:
    before = candidates((2, 3, 4, 5), (2, 5, 3, 4))[0]
    torch_map = one_sample((5, 3, 4)).reshape(1, 5, 12).transpose(0, 2, 1)
    assert through(before, one_sample((3, 4, 5)).reshape(1, 12, 5), torch_map).name == "same"
    still = through(before, one_sample((3, 4, 5)).reshape(1, 12, 5), one_sample((5, 3, 4)).reshape(1, 5, 12))
    assert still.name == "channels"


def test_a_relation_goes_through_twice() -> None:
    before = candidates((2, 3, 4, 5), (2, 5, 3, 4))[0]
    flat = through(before, one_sample((3, 4, 5)).reshape(1, -1), one_sample((5, 3, 4)).reshape(1, -1))
    back = through(flat, one_sample((60,)).reshape(1, 3, 4, 5), one_sample((60,)).reshape(1, 5, 3, 4))
    assert back.name == "channels"


def test_only_a_part_may_be_kept() -> None:
    same = Relation("same")
    after = through(same, one_sample((6,))[:, 2:], one_sample((6,))[:, [5, 4, 3, 2]])
    assert after.perm is not None
    assert after.perm.tolist() == [3, 2, 1, 0]


@given(data=st.data(), shape=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_any_moves_on_both_sides_are_followed(data: st.DataObject, shape: list[int]) -> None:
    size = int(np.prod(shape))
    before = Relation.explicit(np.asarray(data.draw(st.permutations(range(size)))), tuple(shape), tuple(shape))
    maps = [np.asarray(data.draw(st.permutations(range(size)))).reshape(1, size) for _ in range(2)]
    after = through(before, *maps)
    mine = np.random.default_rng(0).normal(size=(3, *shape))
    other = before.to_torch(mine)
    moved = [array.reshape(3, size)[:, where[0]] for array, where in zip((mine, other), maps, strict=True)]
    assert same_bits(after.to_torch(moved[0]), moved[1])


def test_what_cannot_be_followed_is_said() -> None:
    sample = one_sample((6,))
    with pytest.raises(PairingError, match="left other numbers in tensorflow than in torch"):
        through(Relation("same"), sample[:, :4], sample[:, 2:])
    with pytest.raises(PairingError, match="left other numbers"):
        through(Relation("same"), sample[:, :4], sample)
    with pytest.raises(PairingError, match="no batch axis is left"):
        through(Relation("same"), one_sample((6,)).reshape(6, 1), sample)
    with pytest.raises(PairingError, match="needs their shape"):
        through(Relation("channels"), sample, sample)
    folded = one_sample((6,)).reshape(6, 1)
    assert through(Relation("same"), folded, folded).name == "same"


def test_a_bare_name_learns_its_shapes() -> None:
    bare = with_shapes(Relation("channels"), (3, 4, 5), (5, 3, 4))
    after = through(bare, one_sample((3, 4, 5)).reshape(1, -1), one_sample((5, 3, 4)).reshape(1, -1))
    assert rows_of(after) is not None


@pytest.mark.parametrize(
    "wrong",
    [
        ([0, 0, 1], (3,), (3,)),
        ([0, 1, 3], (3,), (3,)),
        ([-1, 0, 1], (3,), (3,)),
        ([0, 1, 2], (4,), (3,)),
        ([0, 1, 2], (3,), (2, 2)),
    ],
)
def test_what_is_no_permutation_is_refused(wrong: tuple[Any, tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(PairingError):
        Relation.explicit(np.asarray(wrong[0]), *wrong[1:])


def test_rows_of_the_last_axis_alone() -> None:
    inner = np.asarray([2, 0, 1])
    perm = (np.arange(4)[:, None] * 3 + inner).reshape(-1)
    assert np.array_equal(rows_of(Relation.explicit(perm, (4, 3), (4, 3))), inner)  # type: ignore[arg-type]
    whole_rows = (np.asarray([3, 1, 0, 2])[:, None] * 3 + np.arange(3)).reshape(-1)
    assert rows_of(Relation.explicit(whole_rows, (4, 3), (4, 3))) is None
    assert rows_of(Relation.explicit(np.arange(12), (4, 3), (4, 3))) is None
    with pytest.raises(PairingError, match="change places across its last axis"):
        rows_of(Relation.explicit(np.arange(12).reshape(4, 3).T.reshape(-1), (4, 3), (4, 3)))
    with pytest.raises(PairingError, match="differ in more than"):
        rows_of(Relation.explicit(np.arange(12)[::-1], (4, 3), (3, 4)))


def test_copies_along_an_axis_have_the_order_of_their_axes() -> None:
    one = np.arange(24).reshape(3, 2, 4)  # places, heads, size
    tf_map = np.repeat(one[:, :, None], 2, axis=2)  # as a tile behind a new axis does
    in_turn, as_a_whole = np.repeat(one, 2, axis=1).transpose(1, 0, 2), np.tile(one, (1, 2, 1)).transpose(1, 0, 2)
    before = with_shapes(Relation("same"), one.shape, one.shape)
    order = repeated_axes(before, (tf_map, in_turn))
    assert order is not None
    assert np.array_equal(tf_map.reshape(-1)[order].reshape(in_turn.shape), in_turn)
    assert np.array_equal(np.sort(order), np.arange(tf_map.size))
    behind_a_fault = repeated_axes(before, (tf_map, as_a_whole))
    assert behind_a_fault is not None
    assert np.array_equal(behind_a_fault, order)  # the values show it
    assert repeated_axes(before, (tf_map, np.roll(in_turn, 3))) is None
