"""`parity.data`: folder layouts, every kind of bad file, the prepared cache, and the synthetic films."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from parity.data import cache, images, paths, prepared, synthetic
from parity.data.cache import Prepared, prepare
from parity.data.kaggle import CLASSES, SPLITS, patient_of, scan
from parity.errors import DataError, UnreadableImage, UsageError

REPOSITORY = Path(__file__).parents[2]
FIXTURES = REPOSITORY / "fixtures" / "chest_xray_synthetic"


def _noise(seed: int, shape: tuple[int, ...] = (20, 24)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _png(path: Path, pixels: NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="PNG")
    return path


def _dataset(root: Path, per_class: int = 2) -> Path:
    """A small valid set; every file has other content."""
    for s, split in enumerate(SPLITS):
        for c, name in enumerate(CLASSES):
            for n in range(per_class):
                stem = f"IM-{s}{n:03d}-0001" if c == 0 else f"person{s}{n:03d}_virus_{n}"
                _png(root / split / name / f"{stem}.png", _noise(1000 * s + 100 * c + n))
    return root


# --- names and layout -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "patient"),
    [
        ("person1000_virus_1681.jpeg", "person1000"),
        ("person100_bacteria_475.jpeg", "person100"),
        ("person1372_virus_2365_1.jpeg", "person1372"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("IM-0011-0001-0002.jpeg", "IM-0011"),
        ("NORMAL2-IM-0381-0001.jpeg", "NORMAL2-IM-0381"),
        ("NORMAL2-IM-1423-0001-0001.jpeg", "NORMAL2-IM-1423"),
        ("scan of a child.v2.png", "scan of a child.v2"),
        ("personal_photo.jpeg", "personal_photo"),
        ("IM-0115.jpeg", "IM-0115"),
    ],
)
def test_patient_of(filename: str, patient: str) -> None:
    assert patient_of(filename) == patient


def test_scan_orders_by_split_class_and_name_and_ignores_what_is_no_data(tmp_path: Path) -> None:
    _dataset(tmp_path)
    for clutter in (".DS_Store", "._IM-0000-0001.png", "manifest.csv"):
        (tmp_path / "train" / "NORMAL" / clutter).write_bytes(b"x")
    files = scan(tmp_path)
    assert [(f.split, f.label) for f in files] == [(s, c) for s in SPLITS for c in (0, 1) for _ in range(2)]
    assert [f.path.name for f in files[:4]] == [
        "IM-0000-0001.png",
        "IM-0001-0001.png",
        "person0000_virus_0.png",
        "person0001_virus_1.png",
    ]
    assert files[0].patient == "IM-0000"


@pytest.mark.parametrize("depth", [1, 2])
def test_scan_finds_the_folder_that_kaggles_archive_unpacks_to(tmp_path: Path, depth: int) -> None:
    _dataset(tmp_path.joinpath(*["chest_xray"] * depth))
    assert len(scan(tmp_path)) == 12


def test_scan_lists_other_files_so_that_decoding_reports_them(tmp_path: Path) -> None:
    (_dataset(tmp_path) / "val" / "NORMAL" / "notes.txt").write_text("hello", encoding="ascii")
    assert "notes.txt" in [f.path.name for f in scan(tmp_path)]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "does not exist"),
        (lambda root: root.rename(root.with_name("elsewhere")).parent.joinpath("set").write_text("x"), "not a folder"),
        (lambda root: [(root / split).rename(root / f"my_{split}") for split in SPLITS], "no split folders"),
        (lambda root: shutil.rmtree(root / "val"), "val is missing"),
        (lambda root: shutil.rmtree(root / "test" / "PNEUMONIA"), "PNEUMONIA is missing"),
        (lambda root: [f.unlink() for f in (root / "train" / "NORMAL").iterdir()], "NORMAL is empty"),
    ],
    ids=["no-root", "root-is-a-file", "no-splits", "no-val", "no-class", "empty-class"],
)
def test_scan_says_what_is_wrong_in_one_line(tmp_path: Path, damage: Callable[[Path], object], words: str) -> None:
    root = _dataset(tmp_path / "set")
    damage(root)
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        scan(root)
    assert "\n" not in str(caught.value)
    assert str(root) in str(caught.value)


def test_scan_does_not_take_a_class_folder_of_hidden_files_for_data(tmp_path: Path) -> None:
    folder = _dataset(tmp_path) / "val" / "NORMAL"
    for file in folder.iterdir():
        file.rename(file.with_name(f".{file.name}"))
    with pytest.raises(DataError, match="NORMAL is empty"):
        scan(tmp_path)


# --- unreadable files -----------------------------------------------------------------------------------


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def _bytes_of(image: Image.Image, kind: str, folder: Path) -> bytes:
    path = folder / f"whole.{kind}"
    image.save(path)
    return path.read_bytes()


def _truncated_jpeg(path: Path) -> None:
    whole = _bytes_of(Image.fromarray(_noise(1, (200, 200))), "jpeg", path.parent)
    path.write_bytes(whole[: len(whole) // 2])


def _truncated_png(path: Path) -> None:
    whole = _bytes_of(Image.fromarray(_noise(1, (200, 200))), "png", path.parent)
    path.write_bytes(whole[: len(whole) // 2])


def _broken_png(path: Path) -> None:
    whole = bytearray(_bytes_of(Image.fromarray(_noise(1)), "png", path.parent))
    at = whole.index(b"IDAT") + 4
    whole[at : at + 40] = bytes(40)
    path.write_bytes(whole)


def _header_only_jpeg(path: Path) -> None:
    path.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(50))


def _bomb(side: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(_png_header(side, side))

    return write


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "zero-bytes": (lambda p: p.write_bytes(b""), "is empty (0 bytes)"),
    "text": (lambda p: p.write_text("not an image"), "is not an image"),
    "header-only": (_header_only_jpeg, "image"),
    "truncated-jpeg": (_truncated_jpeg, "is truncated"),
    "truncated-png": (_truncated_png, "is truncated"),
    "broken-png": (_broken_png, "is a broken image"),
    "above-our-limit": (_bomb(8001), "has 64,016,001 pixels, the limit is 64,000,000"),
    "pillow-warns": (_bomb(12_000), "has 144,000,000 pixels"),
    "pillow-refuses": (_bomb(40_000), "has 1,600,000,000 pixels"),
    "folder": (lambda p: p.mkdir(), "is a folder"),
    "named-pipe": (os.mkfifo, "is not a regular file"),
    "dangling-link": (lambda p: p.symlink_to(p.parent / "nothing"), "cannot be opened (No such file"),
    "float-pixels": (lambda p: Image.fromarray(np.ones((9, 9), np.float32)).save(p, "TIFF"), "float pixels"),
    "32-bit-pixels": (lambda p: Image.fromarray(np.full((9, 9), 70_000, np.int32)).save(p, "TIFF"), "70000"),
    "postscript": (lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "is not an image"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_file_gets_one_clear_line(tmp_path: Path, kind: str) -> None:
    make, words = UNREADABLE[kind]
    path = tmp_path / f"{kind}.jpeg"
    make(path)
    with pytest.raises(UnreadableImage, match=re.escape(words)) as caught:
        images.decode(path, 8, 8, 1)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert re.search(r"; .*(remove|replace|save|scale|move)", message)  # what to do


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    # The pixel data of this file ends at once: only a look at the header can give this answer instead of "broken".
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header(8000, 8000))  # exactly the limit: allowed, so the decoder is reached
    with pytest.raises(UnreadableImage, match=r"truncated|broken"):
        images.decode(path, 8, 8, 1)
    path.write_bytes(_png_header(8000, 8001))
    with pytest.raises(UnreadableImage, match="the limit is"):
        images.decode(path, 8, 8, 1)


def test_messages_are_printable_whatever_the_name(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff\nname.png"))
    path.write_bytes(b"")
    with pytest.raises(UnreadableImage, match=re.escape(r"bad\xff\nname.png: is empty")) as caught:
        images.decode(path, 8, 8, 1)
    str(caught.value).encode("utf-8")


@pytest.mark.parametrize(("height", "width", "channels"), [(0, 5, 1), (5, -1, 1), (5, 5, 2), (10**5, 10**5, 1)])
def test_impossible_sizes_are_usage_errors(tmp_path: Path, height: int, width: int, channels: int) -> None:
    with pytest.raises(UsageError):
        images.decode(_png(tmp_path / "a.png", _noise(1)), height, width, channels)


# --- the decode policy ----------------------------------------------------------------------------------


def test_grey_pixels_at_their_own_size_are_untouched(tmp_path: Path) -> None:
    pixels = _noise(3)
    got = images.decode(_png(tmp_path / "a.png", pixels), 20, 24, 1)
    assert np.array_equal(got.pixels[:, :, 0], pixels)
    assert got.pixels.dtype == np.uint8
    assert (got.notes, got.mode) == ((), "L")
    assert (got.original_height, got.original_width) == (20, 24)


def test_the_stretch_is_height_by_width_and_antialiased(tmp_path: Path) -> None:
    checkers = ((np.indices((200, 300)).sum(0) % 2) * 255).astype(np.uint8)
    got = images.decode(_png(tmp_path / "a.png", checkers), 10, 30, 1).pixels
    assert got.shape == (10, 30, 1)
    # A filter without antialiasing picks single squares: 0 or 255, or lines of either.
    assert int(got.min()) > 120
    assert int(got.max()) < 135


def test_rgb_becomes_grey_by_luma(tmp_path: Path) -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    got = images.decode(_png(tmp_path / "a.png", colours), 1, 4, 1)
    # ITU-R BT.601: 0.299, 0.587, 0.114
    assert got.pixels[0, :, 0].tolist() == [76, 150, 29, 255]
    assert (got.notes, got.mode) == (("RGB file converted to grey",), "RGB")


def test_three_channels_on_request(tmp_path: Path) -> None:
    colours = _noise(5, (6, 7, 3))
    assert np.array_equal(images.decode(_png(tmp_path / "c.png", colours), 6, 7, 3).pixels, colours)
    grey = _noise(6, (6, 7))
    got = images.decode(_png(tmp_path / "g.png", grey), 6, 7, 3)
    assert np.array_equal(got.pixels, np.repeat(grey[:, :, None], 3, axis=2))
    assert got.notes == ("grey file repeated into three channels",)


def test_sixteen_bits_are_divided_by_257_and_rounded(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 257 * 100 + 128, 257 * 100 + 129, 65535]], np.uint16)
    got = images.decode(_png(tmp_path / "a.png", values), 1, 7, 1)
    assert got.pixels[0, :, 0].tolist() == [0, 0, 1, 1, 100, 101, 255]
    assert got.notes == ("16-bit file divided by 257",)


def test_thirty_two_bit_files_follow_the_values_in_use(tmp_path: Path) -> None:
    for top, expected in ((255, [0, 9, 255]), (65535, [0, 0, 255])):
        path = tmp_path / f"{top}.tiff"
        Image.fromarray(np.array([[0, 9, top]], np.int32)).save(path)
        got = images.decode(path, 1, 3, 1)
        assert got.mode == "I"
        assert got.pixels[0, :, 0].tolist() == expected


def test_cmyk_palette_alpha_and_one_bit_files(tmp_path: Path) -> None:
    grey = Image.fromarray(_noise(7))
    exact = np.asarray(grey)
    for mode, kind, note in (
        ("CMYK", "tiff", "CMYK file converted through RGB"),
        ("P", "png", "palette file converted through RGB"),
        ("RGBA", "png", "RGBA file stripped of its alpha"),
        ("LA", "png", "LA file stripped of its alpha"),
    ):
        path = tmp_path / f"{mode}.{kind}"
        (grey.convert("RGB").convert(mode) if mode != "P" else grey.convert("P")).save(path)
        got = images.decode(path, 20, 24, 1)
        assert (got.mode, got.notes) == (mode, (note,))
        assert np.array_equal(got.pixels[:, :, 0], exact), mode
    grey.convert("1").save(tmp_path / "1.png")
    got = images.decode(tmp_path / "1.png", 20, 24, 1)
    assert got.notes == ("1-bit file converted to grey",)
    assert set(np.unique(got.pixels)) == {0, 255}


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [  # EXIF 2.32, tag 274: which way the stored rows and columns run
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.T),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].T),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation_is_applied(
    tmp_path: Path, orientation: int, upright: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> None:
    stored = _noise(8)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    wanted = upright(stored)
    got = images.decode(tmp_path / "a.png", wanted.shape[0], wanted.shape[1], 1)
    assert np.array_equal(got.pixels[:, :, 0], wanted)
    assert got.notes == ("EXIF-rotated file turned upright",)
    assert (got.original_height, got.original_width) == (20, 24)  # as stored


def test_decoding_in_threads_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    bomb, good = tmp_path / "bomb.png", _png(tmp_path / "a.png", _noise(1))
    bomb.write_bytes(_png_header(12_000, 12_000))
    before = list(warnings.filters)

    def one(n: int) -> bool:
        try:
            images.decode(bomb if n % 2 else good, 8, 8, 1)
        except UnreadableImage:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, range(60)))
    assert results == [True, False] * 30
    assert list(warnings.filters) == before


# --- preparing ------------------------------------------------------------------------------------------


def _spoil(root: Path) -> list[str]:
    """Put one file of three bad kinds into different splits; return their relative paths."""
    relative = ["train/PNEUMONIA/zz_empty.jpeg", "val/NORMAL/zz_text.jpeg", "test/NORMAL/aa_cut.jpeg"]
    for file, kind in zip(relative, ("zero-bytes", "text", "truncated-jpeg"), strict=True):
        path = root / file
        UNREADABLE[kind][0](path)
        (path.parent / "whole.jpeg").unlink(missing_ok=True)
    return relative


def test_prepared_arrays_match_decoding_file_by_file(tmp_path: Path) -> None:
    root = _dataset(tmp_path / "films")
    ready = prepare(root, 10, 12, 1, cache_dir=tmp_path / "cache")
    assert (ready.name, ready.height, ready.width, ready.channels) == ("films", 10, 12, 1)
    assert ready.counts == {split: {"NORMAL": 2, "PNEUMONIA": 2} for split in SPLITS}
    assert (ready.skipped, ready.notes) == ((), ())
    for split in SPLITS:
        members = [f for f in scan(root) if f.split == split]
        expected = np.stack([images.decode(f.path, 10, 12, 1).pixels for f in members])
        got = ready.images(split)
        assert isinstance(got, np.memmap)
        assert not got.flags.writeable
        assert got.dtype == np.uint8
        assert np.array_equal(got, expected)
        assert ready.labels(split).dtype == np.uint8
        assert ready.labels(split).tolist() == [f.label for f in members] == [0, 0, 1, 1]
        assert ready.files(split) == [f.path.relative_to(root).as_posix() for f in members]
        assert ready.patients(split) == [f.patient for f in members]
        assert ready.digests(split) == [hashlib.sha256(f.path.read_bytes()).hexdigest() for f in members]
    assert prepared.load(ready.folder) == ready


def test_modes_sizes_and_grouped_notes_are_kept(tmp_path: Path) -> None:
    root = _dataset(tmp_path / "films", per_class=5)
    for n in range(5):
        _png(root / "train" / "NORMAL" / f"IM-0{n:03d}-0001.png", _noise(n, (30, 31, 3)))
    ready = prepare(root, 8, 8, 1, cache_dir=tmp_path / "cache")
    assert ready.notes == (
        "5 RGB files converted to grey: train/NORMAL/IM-0000-0001.png, train/NORMAL/IM-0001-0001.png, "
        "train/NORMAL/IM-0002-0001.png, ...",
    )
    index = json.loads((ready.folder / "index.json").read_text(encoding="ascii"))
    assert index["splits"]["train"]["modes"] == ["RGB"] * 5 + ["L"] * 5
    assert index["splits"]["train"]["sizes"] == [[30, 31]] * 5 + [[20, 24]] * 5


def test_unreadable_files_stop_the_run_after_all_were_looked_at(tmp_path: Path) -> None:
    root = _dataset(tmp_path / "films")
    bad = _spoil(root)
    seen: list[tuple[int, int]] = []
    with pytest.raises(DataError) as caught:
        prepare(root, 8, 8, 1, cache_dir=tmp_path / "cache", progress=lambda done, total: seen.append((done, total)))
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == bad
    assert lines[-1].startswith("3 of 15 files cannot be read")
    assert "--skip-unreadable" in lines[-1]
    assert seen == [(n + 1, 15) for n in range(15)]
    assert list((tmp_path / "cache" / "prepared").glob("[!.]*")) == []  # nothing half done is left
    assert list((tmp_path / "cache" / "prepared").glob(".building-*")) == []


def test_unreadable_files_are_left_out_and_listed_on_request(tmp_path: Path) -> None:
    root = _dataset(tmp_path / "films")
    clean = prepare(root, 8, 8, 1, cache_dir=tmp_path / "clean")
    bad = _spoil(root)
    ready = prepare(root, 8, 8, 1, cache_dir=tmp_path / "cache", skip_unreadable=True)
    assert [file for file, _ in ready.skipped] == bad
    assert [reason.split(";")[0].split(" (")[0] for _, reason in ready.skipped] == [
        "is empty",
        "is not an image",
        "is truncated",
    ]
    assert ready.counts == clean.counts
    assert ready.digest != clean.digest
    for split in SPLITS:
        assert ready.files(split) == clean.files(split)
        assert np.array_equal(ready.images(split), clean.images(split))
        assert np.array_equal(ready.labels(split), clean.labels(split))
    # The same folder without the option must not profit from the cache that the option filled.
    with pytest.raises(DataError, match="3 of 15 files cannot be read"):
        prepare(root, 8, 8, 1, cache_dir=tmp_path / "cache")


def test_skipping_must_not_empty_a_class(tmp_path: Path) -> None:
    root = _dataset(tmp_path / "films")
    for file in (root / "val" / "NORMAL").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="no readable image is left in val/NORMAL"):
        prepare(root, 8, 8, 1, cache_dir=tmp_path / "cache", skip_unreadable=True)


def _count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    decoded: list[Path] = []

    def counting(path: Path, height: int, width: int, channels: int) -> images.Decoded:
        decoded.append(path)
        return images.decode(path, height, width, channels)

    monkeypatch.setattr(cache, "decode", counting)
    return decoded


def test_a_second_run_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, decoded = _dataset(tmp_path / "films"), _count_decodes(monkeypatch)
    first = prepare(root, 8, 8, 1, cache_dir=tmp_path / "cache")
    assert len(decoded) == 12
    assert prepare(root, 8, 8, 1, cache_dir=tmp_path / "cache") == first
    assert len(decoded) == 12


def test_any_change_of_content_or_settings_makes_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _dataset(tmp_path / "films")

    def ready(height: int = 8, width: int = 8, channels: int = 1) -> Prepared:
        return prepare(root, height, width, channels, cache_dir=tmp_path / "cache")

    every = [ready(), ready(height=9), ready(width=9), ready(channels=3)]
    assert {one.digest for one in every} == {every[0].digest}  # one data set, at four settings
    file = root / "val" / "NORMAL" / "IM-1000-0001.png"
    stamp = file.stat()
    same_size = file.read_bytes()[:-1] + b"\0"  # size and time alone would not show it
    file.write_bytes(same_size)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    every.append(ready())
    file.rename(file.with_name("IM-1000-0002.png"))
    every.append(ready())
    shutil.copy(file.with_name("IM-1000-0002.png"), file)
    every.append(ready())
    monkeypatch.setattr(cache, "POLICY_VERSION", images.POLICY_VERSION + 1)
    every.append(ready())
    assert len({one.folder for one in every}) == len(every)
    assert len({one.digest for one in every}) == 4


@pytest.mark.parametrize("damage", ["missing", "short", "long", "no-index", "cut-index", "other-schema", "folder"])
def test_a_damaged_cache_is_refused_by_load_and_rebuilt_by_prepare(tmp_path: Path, damage: str) -> None:
    root = _dataset(tmp_path / "films")
    first = prepare(root, 8, 8, 1, cache_dir=tmp_path / "cache")
    expected = np.array(first.images("test"))
    array, index = first.folder / "images-test.npy", first.folder / "index.json"
    match damage:
        case "missing":
            array.unlink()
        case "short":
            array.write_bytes(array.read_bytes()[:-1])
        case "long":
            array.write_bytes(array.read_bytes() + b"x")
        case "no-index":
            index.unlink()
        case "cut-index":
            index.write_bytes(index.read_bytes()[:-9])
        case "other-schema":
            index.write_text(json.dumps({**json.loads(index.read_text()), "schema": 0}))
        case "folder":
            shutil.rmtree(first.folder)
            first.folder.write_text("a file")
    with pytest.raises(DataError, match="missing or damaged"):
        prepared.load(first.folder)
    again = prepare(root, 8, 8, 1, cache_dir=tmp_path / "cache")
    assert again == first
    assert np.array_equal(again.images("test"), expected)
    assert sorted(p.name for p in first.folder.parent.iterdir() if p.name != ".lock") == [first.folder.name]


def test_two_processes_may_prepare_the_same_set_at_once(tmp_path: Path) -> None:
    root = _dataset(tmp_path / "films", per_class=8)
    script = (
        "import sys; from pathlib import Path; from parity.data.cache import prepare\n"
        "sys.stdin.readline()\n"  # both have imported; now both start
        "ready = prepare(Path(sys.argv[1]), 64, 64, 1, cache_dir=Path(sys.argv[2]))\n"
        "print(ready.folder, int(ready.images('train').sum(dtype='int64')))"
    )
    command = [sys.executable, "-c", script, str(root), str(tmp_path / "cache")]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        for _ in range(2)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert answers[0] == answers[1] != ""
    assert len([p for p in (tmp_path / "cache" / "prepared").iterdir() if p.name != ".lock"]) == 1


def test_publishing_keeps_what_another_process_finished_first(tmp_path: Path) -> None:
    root = _dataset(tmp_path / "films")
    first = prepare(root, 8, 8, 1, cache_dir=tmp_path / "cache")
    inode = first.folder.stat().st_ino
    late = tmp_path / "cache" / "prepared" / "late" / "complete"
    shutil.copytree(first.folder, late)
    cache._publish(late, first.folder)
    assert first.folder.stat().st_ino == inode


def test_an_unusable_cache_folder_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(DataError, match=r"cannot keep prepared images in .*file.*PARITY_CACHE"):
        prepare(_dataset(tmp_path / "films"), 8, 8, 1, cache_dir=blocked)


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARITY_CACHE", str(tmp_path / "own"))
    assert paths.cache_root() == tmp_path / "own"
    monkeypatch.delenv("PARITY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert paths.cache_root() == tmp_path / "xdg" / "parity"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.cache_root() == tmp_path / ".cache" / "parity"


def _peak_bytes(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    row_bytes = 300 * 300 * 3

    def peak(per_class: int) -> int:
        root = _dataset(tmp_path / f"films{per_class}", per_class)
        return _peak_bytes(lambda: prepare(root, 300, 300, 3, cache_dir=tmp_path / "cache"))

    few, many = peak(2), peak(14)
    # 72 more images are 19 MB; what grows is names and digests, some hundred bytes each. The rest is the one or
    # two images by which thread timing moves the peak.
    assert many - few < 6 * row_bytes
    ready = prepare(tmp_path / "films14", 300, 300, 3, cache_dir=tmp_path / "cache")
    order = np.arange(28)

    def epoch() -> None:
        for pixels, labels in cache.batches(ready, "train", order, 2, drop_last=False):
            assert len(pixels) == len(labels) == 2

    assert _peak_bytes(epoch) < 5 * row_bytes  # two batches of two while one replaces the other


# --- reading --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("reading")
    return prepare(_dataset(folder / "films", per_class=3), 6, 7, 1, cache_dir=folder / "cache")


def test_batches_follow_the_order_and_copy(ready: Prepared) -> None:
    order = np.array([5, 0, 3, 3, 1])
    got = list(cache.batches(ready, "train", order, 2, drop_last=False))
    assert [len(labels) for _, labels in got] == [2, 2, 1]
    assert np.array_equal(np.concatenate([pixels for pixels, _ in got]), ready.images("train")[order])
    assert np.concatenate([labels for _, labels in got]).tolist() == [1, 0, 1, 1, 0]
    got[0][0][:] = 0  # a copy: writable, and the next reader sees the file
    assert ready.images("train")[5].any()
    assert type(got[0][0]) is np.ndarray
    assert [len(labels) for _, labels in cache.batches(ready, "train", order, 2, drop_last=True)] == [2, 2]
    assert list(cache.batches(ready, "train", np.array([], int), 2, drop_last=False)) == []


@pytest.mark.parametrize(
    ("order", "batch", "words"),
    [([0], 0, "below 1"), ([6], 2, "outside"), ([-1], 2, "outside"), ([0.5], 2, "row numbers"), ([[0]], 2, "row")],
)
def test_batches_refuse_before_the_first_is_asked_for(
    ready: Prepared, order: list[object], batch: int, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        cache.batches(ready, "train", np.array(order), batch, drop_last=False)


def test_an_unknown_split_is_named(ready: Prepared) -> None:
    for read in (ready.images, ready.labels, ready.files, ready.patients, ready.digests):
        with pytest.raises(UsageError, match="unknown split 'validation'; there are train, val, test"):
            read("validation")


def test_facts_count_duplicates_and_shared_patients(tmp_path: Path) -> None:
    root = _dataset(tmp_path / "films", per_class=3)
    train, test = root / "train", root / "test"
    one = train / "PNEUMONIA" / "person0000_virus_0.png"
    shutil.copy(one, train / "PNEUMONIA" / "person0000_virus_9.png")  # within train
    shutil.copy(one, train / "PNEUMONIA" / "person0000_virus_8.png")  # the same group
    shutil.copy(train / "NORMAL" / "IM-0000-0001.png", test / "NORMAL" / "IM-0000-0001.png")  # across, and shared
    shutil.copy(train / "NORMAL" / "IM-0001-0001.png", test / "PNEUMONIA" / "x.png")  # across, other class
    assert cache.facts(prepare(root, 6, 6, 1, cache_dir=tmp_path / "cache")) == {
        "counts": {
            "train": {"NORMAL": 3, "PNEUMONIA": 5},
            "val": {"NORMAL": 3, "PNEUMONIA": 3},
            "test": {"NORMAL": 4, "PNEUMONIA": 4},
        },
        "duplicate_groups_within": {"train": 1, "val": 0, "test": 0},
        "duplicate_groups_across": 2,
        "duplicate_groups_of_both_classes": 1,
        "patients": {"train": 6, "val": 6, "test": 8},
        "patients_shared": {"train/val": 0, "train/test": 1, "val/test": 0},
    }


def test_reading_prepared_data_needs_no_pillow(ready: Prepared) -> None:
    # A worker's interpreter may have NumPy and a framework only.
    script = (
        "import sys; sys.modules['PIL'] = None\n"
        "from pathlib import Path; from parity.data import prepared\n"
        "print(len(prepared.load(Path(sys.argv[1])).labels('train')))"
    )
    command = [sys.executable, "-c", script, str(ready.folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=120, check=False)
    assert (done.stdout.strip(), done.returncode) == ("6", 0), done.stderr


# --- the synthetic films --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn() -> dict[tuple[int, int], NDArray[np.uint8]]:
    """60 normal and 60 pneumonia films, by (seed, label)."""
    return {(seed, seed % 2): synthetic.draw(seed, seed % 2) for seed in range(5000, 5120)}


def _auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    wins = (positive[:, None] > negative[None, :]).mean() + 0.5 * (positive[:, None] == negative[None, :]).mean()
    return float(wins)


def test_the_mean_grey_value_does_not_tell_the_classes_apart(
    drawn: dict[tuple[int, int], NDArray[np.uint8]],
) -> None:
    means = [np.array([film.mean() for (_, label), film in drawn.items() if label == wanted]) for wanted in (1, 0)]
    assert 0.3 < _auc(means[0], means[1]) < 0.7
    assert means[0].std() > 10  # exposure really varies


def test_the_lungs_do_tell_the_classes_apart_but_not_perfectly() -> None:
    # The same patients with and without disease: the lung fields, about a quarter of the film, become brighter
    # in relation to the rest. A threshold on this one number is right more often than chance, not always.
    def lung_share(film: NDArray[np.uint8]) -> float:
        lungs = np.concatenate([film[60:100, 38:62].ravel(), film[60:100, 104:122].ravel()])
        return float(lungs.mean() / film[20:140, 70:90].mean())

    ill, well = (np.array([lung_share(synthetic.draw(6000 + n, label)) for n in range(40)]) for label in (1, 0))
    assert 0.75 < _auc(ill, well) < 0.999


def test_drawing_is_reproducible_and_every_argument_counts() -> None:
    film = synthetic.draw(1, 1)
    assert film.shape == (160, 160)
    assert film.dtype == np.uint8
    assert np.array_equal(film, synthetic.draw(1, 1))
    others = [synthetic.draw(2, 1), synthetic.draw(1, 0), synthetic.draw(1, 1, film=1)]
    assert all(np.abs(film.astype(float) - other).mean() > 1 for other in others)
    assert synthetic.draw(1, 1, size=64).shape == (64, 64)


def _manifest() -> list[dict[str, str]]:
    with (FIXTURES / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_embedded_files_are_those_of_the_manifest() -> None:
    rows = _manifest()
    on_disk = {p.relative_to(FIXTURES).as_posix() for p in FIXTURES.rglob("*.jpeg")}
    assert {row["path"] for row in rows} == on_disk
    total_bytes = 0
    for row in rows:
        content = (FIXTURES / row["path"]).read_bytes()
        total_bytes += len(content)
        assert (hashlib.sha256(content).hexdigest(), str(len(content))) == (row["sha256"], row["bytes"]), row["path"]
        with Image.open(FIXTURES / row["path"]) as image:
            assert (str(image.width), str(image.height), image.mode) == (row["width"], row["height"], row["mode"])
    assert total_bytes < 2_000_000
    assert {row["mode"] for row in rows} == {"L", "RGB"}


def test_the_embedded_set_has_the_promised_sizes_and_no_patient_in_two_splits_or_classes() -> None:
    files = scan(FIXTURES)
    for split, sizes in synthetic.SET_SIZES.items():
        assert tuple(sum(f.split == split and f.label == c for f in files) for c in (0, 1)) == sizes
    places: dict[str, set[tuple[str, int]]] = {}
    films: dict[str, int] = {}
    for file in files:
        places.setdefault(file.patient, set()).add((file.split, file.label))
        films[file.patient] = films.get(file.patient, 0) + 1
    assert all(len(where) == 1 for where in places.values())
    assert set(films.values()) == {1, 2}
    assert len({row["sha256"] for row in _manifest()}) == len(files)


def test_redrawing_gives_the_embedded_films() -> None:
    listed = synthetic.films()
    assert {film.relative: film.mode for film in listed} == {row["path"]: row["mode"] for row in _manifest()}
    for film in listed[::9]:
        stored = images.decode(FIXTURES / film.relative, synthetic.SIZE, synthetic.SIZE, 1).pixels[:, :, 0]
        again = synthetic.draw(film.seed, film.label, film=film.film)
        # JPEG at quality 80 moves a grey value by about 2 of 255; another film is 20 and more away.
        assert np.abs(stored.astype(float) - again).mean() < 5, film.relative


def test_without_a_data_folder_the_embedded_set_is_prepared(tmp_path: Path) -> None:
    ready = prepare(None, 20, 20, 1, cache_dir=tmp_path)
    assert ready.name == "synthetic"
    assert ready.counts["test"] == {"NORMAL": 40, "PNEUMONIA": 40}
    assert cache.facts(ready)["patients_shared"] == {"train/val": 0, "train/test": 0, "val/test": 0}
    assert prepare(FIXTURES, 20, 20, 1, cache_dir=tmp_path).name == "synthetic"


def test_an_installed_package_draws_the_set_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "__file__", str(tmp_path / "lib" / "parity" / "data" / "synthetic.py"))
    monkeypatch.setattr(synthetic, "SET_SIZES", dict.fromkeys(SPLITS, (2, 2)))
    root = synthetic.embedded_root(tmp_path / "cache")
    assert root == tmp_path / "cache" / "chest_xray_synthetic"
    assert len(scan(root)) == 12
    with monkeypatch.context() as drawing_again_fails:
        drawing_again_fails.delattr(synthetic, "draw")
        assert synthetic.embedded_root(tmp_path / "cache") == root
        assert prepare(None, 8, 8, 1, cache_dir=tmp_path / "cache").name == "synthetic"
    (root / "train" / "NORMAL" / "left-over.jpeg").write_bytes(b"x")
    synthetic.write_set(root)  # what fixtures/draw.py does: a fresh set, nothing of the old one
    assert len(scan(root)) == 12
    assert [p.name for p in root.parent.iterdir() if p.name.startswith(".")] == []


# --- real films, where there are any --------------------------------------------------------------------


def test_real_films_decode() -> None:
    root = os.environ.get("PARITY_DATA")
    if not root:
        pytest.skip("PARITY_DATA is not set: no real films to decode")
    files = scan(Path(root))
    chosen = [f for s in SPLITS for c in (0, 1) for f in [f for f in files if (f.split, f.label) == (s, c)][:5]]
    for file in chosen:
        got = images.decode(file.path, 150, 150, 1)
        assert got.pixels.shape == (150, 150, 1)
        assert got.pixels.std() > 5, file.path.name
