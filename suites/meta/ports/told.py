"""Faults without a remedy: what the line says of them, by whose code it mends."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import Case, paired

_port = partial(paired, family="told")


def _said(tensorflow: str, torch: str, inputs: str, place: tuple[str, str], *says: str, ids: str = "") -> Case:
    return _port(tensorflow, torch, inputs, "unknown", place, says=says, ids=ids)


TOLD = (
    _port("blocks", "blocks", "7x12"),
    _said(
        "blocks", "blocks_without_a_residual", "7x12", ("add_1", "head"),
        "add `add_0` and `down_1`, as TensorFlow's `add_1` does (a residual connection), before `head`",
    ),
    _said(
        "blocks", "blocks_without_a_norm", "7x12", ("norm_1", "up.1"),
        "normalise `add_0`, as TensorFlow's `norm_1` (keras.layers.LayerNormalization) does, before `up.1`",
    ),
    _said(
        "blocks", "blocks_from_the_norm", "7x12", ("add_0", "add"),
        "TensorFlow's `add_0` reads `first` and `down_0`, torch's `add` reads `norms.0` and `down.0`",
    ),
    _port("places", "places", "7x12"),
    _said(
        "places", "places_in_halves", "7x12", ("places*", "add"),
        "torch's has the even columns first and then the odd ones",
        "even and odd columns in turns in the table of `add`",
    ),
    _said(
        "places", "places_from_one", "7x12", ("places*", "add"),
        "torch's starts 1 row later", "positions lower by 1 in the table of `add`",
    ),
    _said("places", "places_negative", "7x12", ("places*", "add"), "torch's has the opposite sign"),
    _said(
        "places", "places_of_noise", "7x12", ("places*", "add"),
        "their tables differ by up to 0.1, at [0, 7]: 1 in TensorFlow, 1.1 in torch",
        "the numbers of TensorFlow's `places/add` in the table of `add`",
    ),
    _port("heads", "heads", "12"),
    _said(
        "heads", "heads_crossed", "12", ("output*", "output*"),
        "the outputs stand in another order: of a sample (3,), (4,) in TensorFlow; (4,), (3,) in torch",
    ),
    _said(
        "masked_lstm", "lstm_of_all", "", ("over", "over"),
        "leaves out the steps that a mask hides", "pack_padded_sequence(x, lengths", ids="7:0:8",
    ),
    _said(
        "masked_mean", "mean_of_all", "", ("over", "mean"),
        "leaves out the steps that a mask hides", "(x * mask).sum(1) / mask.sum(1) in place of `mean`", ids="7:0:8",
    ),
    _port("stepped", "stepped", "7x4"),
    _said(
        "stepped", "stepped_by_the_state", "7x4", ("head", "cell"),
        "give `head` the output of `cell`, the first of what it returns, as TensorFlow does, and not the state of the",
    ),
    _port("pictures", "pictures", "20x28x3"),
    _said(
        "pictures", "more_filters", "20x28x3", ("first", "first"),
        "`first` has 8 filters in TensorFlow, `first` 10 filters in torch", "out_channels=8 in `first`",
    ),
    _said(
        "pictures", "a_larger_kernel", "20x28x3", ("first", "first"),
        "a kernel of (3, 3) in TensorFlow", "kernel_size=(3, 3) in `first`",
    ),
    _said("pictures", "more_units", "20x28x3", ("hidden", "hidden"), "out_features=16 in `hidden`"),
    _said(
        "pictures", "fewer_places", "20x28x3", ("hidden", "hidden"),
        "`hidden` reads 924 features in TensorFlow (of 7x11x12), `hidden` 588 in torch (of 12x7x7)",
        "in_features=924 in `hidden`, and before it the same sizes as in TensorFlow",
    ),
    _said(
        "first_token", "every_token", "7x12", ("norm", "norm"),
        "`norm` reads x[:, 0] of what is before it in TensorFlow, `norm` all of it in torch",
        "x[:, 0] of what `norm` reads",
    ),
    _said("every_token", "first_token", "7x12", ("norm", "norm"), "leave out x[:, 0] before `norm`"),
    _port("first_token", "first_token", "7x12"),
    _port("first_token", "every_token_but_one", "7x12"),
    _port("waves", "waves", "20x2"),
    _said(
        "waves", "waves_of_seven", "20x2", ("*", "conv"),
        "has a kernel of (5,) in TensorFlow, `conv` a kernel of (7,) in torch", "kernel_size=(5,) in `conv`",
    ),
    _said("tokens", "more_rows", "", ("table", "table"), "num_embeddings=9 in `table`", ids="7:0:8"),
    _said("tokens", "wider_table", "", ("table", "table"), "embedding_dim=6 in `table`", ids="7:0:8"),
    _said("tokens", "wider_state", "", ("over", "over"), "hidden_size=10 in `over`", ids="7:0:8"),
    _port(
        "pictures", "more_filters", "20x28x3", "unknown", ("first", "first"),
        options=("--weights", "torch-to-tf"), says=("filters=10 in `first`",),
    ),
)  # fmt: skip
