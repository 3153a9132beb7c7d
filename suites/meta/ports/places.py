"""Pictures that one side alone transposes before they are flattened or read place by place, and both sides."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_PICTURE, _SQUARE, _FILM = "5x6x3", "6x6x3", "3x4x4x2"
_port = partial(paired, family="places")
_TURNED = "axis-mismatch"

PLACES = (
    _port("flattened", "flattened", _PICTURE),
    _port("flattened", "flattened_turned", _PICTURE, _TURNED, ("conv", "transpose")),
    _port("flattened_square", "flattened_square_turned", _SQUARE, _TURNED, ("conv", "transpose")),
    _port("flattened", "flattened_turned_channels_last", _PICTURE, _TURNED, ("conv", "permute")),
    _port("flattened_turned", "flattened", _PICTURE, _TURNED, ("turned", "relu")),
    _port("flattened_turned", "flattened_turned", _PICTURE),
    _port("flattened_square_turned", "flattened_square_turned_channels_last", _SQUARE),
    _port("convolved", "convolved_turned", _SQUARE, _TURNED, ("conv", "transpose")),
    _port("convolved", "averaged_turned", _SQUARE),
    _port("read_by_columns", "read_by_columns", _SQUARE),
    _port("read_by_columns", "read_by_columns_channels_last", _SQUARE),
    _port("read_by_columns", "read_by_rows", _SQUARE, _TURNED, ("permute", "permute")),
    _port("attended", "attended", _SQUARE),
    _port("attended", "attended_turned", _SQUARE, _TURNED, ("conv", "permute")),
    _port("film", "film", _FILM),
    _port("film", "film_turned", _FILM, _TURNED, ("conv", "permute_1")),
    _port("film", "film_turned_channels_last", _FILM, _TURNED, ("conv", "permute_1")),
    _port("normalised", "normalised", _SQUARE),
    _port("normalised", "normalised_turned", _SQUARE, _TURNED, ("conv", "permute")),
    _port("steps", "steps", "5x6"),
    _port("steps", "steps_rolled", "5x6", "operand-order", ("rnn", "roll")),
    _port("flattened", "flattened_shuffled", _PICTURE, "channel-order", ("*", "channel_shuffle")),
    _port("normalised", "normalised_shuffled", _SQUARE, "channel-order", ("conv", "channel_shuffle")),
)
