"""The model card and the table of saved models: what they must say, from a record alone, and no more than it holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parity.errors import RecordError
from parity.model.spec import example_cnn
from parity.report import new_record, render
from parity.report.card import CARD_NAME, model_card, write_card
from parity.saved import CARD_NAME as NAME_OF_SAVED
from parity.saved import FILES, FORMATS, _one_line
from suites.meta.test_report import _record
from suites.test_training import _network as network_of

GOOD = {"verdict": "identical", "note": "Bit for bit.", "n": 120, "largest_logit_difference": 0.0, "differing": 0,
        "differing_images": []}  # fmt: skip


class _Campaign:
    spec = example_cnn(20, 18)


def models(**reloads: Any) -> list[dict[str, Any]]:
    return [
        {
            "file": name, "framework": framework, "format": FORMATS[Path(name).suffix], "bytes": 1_234_567,
            "sha256": f"{place:02x}" * 32, "reload": reloads.get(Path(name).suffix[1:], GOOD),
        }
        for place, (framework, name) in enumerate((side, name) for side, names in FILES.items() for name in names)
    ]  # fmt: skip


@pytest.fixture
def record() -> dict[str, Any]:
    found = _record()
    found["training"] |= {"models": models(), "network": network_of(_Campaign()), "epsilon": 1e-7}  # type: ignore[arg-type]
    return found


def test_the_card_says_first_that_it_is_no_medical_device(record: dict[str, Any]) -> None:
    lines = [line for line in model_card(record).splitlines() if line]
    assert lines[1].startswith("> **This is no medical device.** It must not be used for diagnosis")


def test_the_card_holds_data_seed_versions_and_digests(record: dict[str, Any]) -> None:
    card = re.sub(r" +", " ", model_card(record))
    for row in record["training"]["models"]:
        assert (
            f"| `{row['file']}` | {row['format']} | 1,234,567 | `{row['sha256']}` | identical; no logit differs" in card
        )
    assert record["data"]["digest"] in card
    assert "| `train` | 128 | 128 |" in card
    for line in ("| seed | 7 |", "| epochs | 3 |", "| batch | 32 |", "| optimizer | adam |", "tensorflow=2.21.0"):
        assert line in card
    assert "Conv2D(16, 3x3) -> ReLU -> MaxPool(2) -> Flatten -> Dense(64) -> ReLU -> Dense(1) -> Sigmoid" in card


def test_the_card_gives_wilson_intervals(record: dict[str, Any]) -> None:
    for run in record["training"]["runs"]:
        run["test"] |= {"n": 148, "accuracy": 15 / 148, "confusion": [[10, 90], [43, 5]], "precision": None}
    card = model_card(record)
    assert "0.101 (0.062 to 0.160)" in card  # Newcombe 1998: 15/148 gives 0.0624 to 0.1605
    assert "0.053 (0.023 to 0.117)" in card  # precision 5/95, from the counts
    assert "Always calling the larger class is right on 67.6 %." in card


def test_synthetic_data_are_called_so_and_real_ones_credited(record: dict[str, Any]) -> None:
    assert "**The data are synthetic**" in model_card(record)
    record["data"] |= {"name": "chest_xray", "source": "Kermany, Zhang, Goldbaum, 2018, CC BY 4.0"}
    card = model_card(record)
    assert "synthetic" not in card
    assert "Source and licence: Kermany, Zhang, Goldbaum, 2018, CC BY 4.0." in card
    assert "flatter" not in card
    record["data"]["facts"] = {"patients_shared": {"train/val": 3, "train/test": 1170}}
    assert "1,170 names of patients are in files of both `train` and `test`" in model_card(record)
    record["data"]["skipped"] = [["a.jpeg", "zero bytes"]]
    assert "Left out as unreadable: 1 file." in model_card(record)


BAD = {"verdict": "semantic", "note": "Other weights: dense1/kernel in 1 of 9 numbers.", "n": 120, "differing": 2,
       "largest_logit_difference": 0.25, "differing_images": ["test/NORMAL/a.jpeg", "test/NORMAL/b.jpeg"]}  # fmt: skip
HALF = {"verdict": "not-compared", "note": "File is not a zip file."}


def test_a_file_that_came_back_otherwise_is_said_on_card_and_report(record: dict[str, Any]) -> None:
    record["training"]["models"] = models(h5=BAD, keras=HALF, onnx=None)
    card, shown = model_card(record), render(record)
    assert (
        "**semantic**: Other weights: dense1/kernel in 1 of 9 numbers; logits differ by at most 0.25, 2 of 120" in card
    )
    assert "**not-compared**: File is not a zip file" in card
    assert len(re.findall(r"\| not checked +\|", card)) == 2
    lines = {line.split("`")[1]: re.sub(r" +", " ", line) for line in shown.splitlines() if line.startswith("| `chest")}
    assert "| **semantic** | 0.25 | 2 of 120 | Other weights: dense1/kernel" in lines["chest_xray_tf_model.h5"]
    assert "| **not-compared** | – | – | File is not a zip file. |" in lines["chest_xray_tf_model.keras"]
    assert "| not checked | – | – | |" in lines["chest_xray_pt_model.onnx"]
    assert "| identical | 0 | 0 of 120 |" in lines["chest_xray_pt_model.pth"]
    assert "- `chest_xray_tf_model.h5` decides otherwise on `test/NORMAL/a.jpeg`, `test/NORMAL/b.jpeg`" in shown


def test_the_share_of_the_bound_is_shown(record: dict[str, Any]) -> None:
    graph = {
        **GOOD,
        "verdict": "rounding",
        "bound_share": 0.0125,
        "bounded_images": 32,
        "largest_logit_difference": 3e-7,
    }
    record["training"]["models"] = models(onnx=graph)
    assert "At most 1.2 % of the float32 bound is used (32 images furthest apart)." in render(record)
    assert "rounding; logits differ by at most 3.0e-7, 0 of 120 decisions differ" in model_card(record)


def test_an_old_record_still_names_its_files(record: dict[str, Any]) -> None:
    del record["training"]["models"]
    assert "Trained models saved: TensorFlow `chest_xray_tf_model`; PyTorch `chest_xray_pt_model`." in render(record)


def test_a_card_without_training_is_refused() -> None:
    with pytest.raises(RecordError, match="section 'training'"):
        model_card({**new_record("smoke", "x"), "training": []})


def test_the_card_is_written_whole_beside_the_models(record: dict[str, Any], tmp_path: Path) -> None:
    assert write_card(record, tmp_path / "models") == tmp_path / "models" / CARD_NAME
    assert [path.name for path in (tmp_path / "models").iterdir()] == [CARD_NAME]
    assert (tmp_path / "models" / CARD_NAME).read_text() == model_card(record)
    assert CARD_NAME == NAME_OF_SAVED  # what is cleared is what is written
    before = (tmp_path / "models" / CARD_NAME).read_bytes()
    with pytest.raises(RecordError):
        write_card({**record, "training": {"models": [{}]}}, tmp_path / "models")
    assert (tmp_path / "models" / CARD_NAME).read_bytes() == before


def test_programs_on_the_card_are_python_and_name_every_file(record: dict[str, Any]) -> None:
    programs = re.findall(r"```python\n(.*?)```", model_card(record), re.DOTALL)
    assert len(programs) == 6
    for program, name in zip(programs, [name for names in FILES.values() for name in names], strict=True):
        compile(program, name, "exec")
        assert f'"{name}"' in program
    assert '("dense1", nn.Linear(1152, 64))' in programs[3]  # ((20 - 2) // 2) * ((18 - 2) // 2) * 16


@pytest.mark.whole_run
def test_the_program_for_torch_loads_what_it_builds(record: dict[str, Any], tmp_path: Path) -> None:
    """The card's own program, run by a stranger: a file of the network's weights goes in, strictly."""
    programs = re.findall(r"```python\n(.*?)```", model_card(record), re.DOTALL)
    program = next(text for text in programs if "chest_xray_pt_model.pth" in text)
    build, _, _ = program.partition("model.load_state_dict")
    saving = f'{build}\ntorch.save(model.state_dict(), "chest_xray_pt_model.pth")\n'
    asking = "\nassert model(torch.zeros(3, 1, 20, 18)).shape == (3, 1)\nprint('loaded')"
    done = subprocess.run(
        [sys.executable, "-c", saving + program + asking],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "loaded"), done.stderr


def test_an_error_is_one_line_without_the_folder() -> None:
    from parity.errors import UsageError, WorkerError
    from parity.saved import Saved

    saved = Saved("torch", Path("/somewhere/else/model.pth"))
    broken = WorkerError("/somewhere/else/model.pth is broken.\nfurther lines")
    assert _one_line(broken, saved) == "model.pth cannot be loaded and run (model.pth is broken)."
    assert _one_line(WorkerError("EOFError: "), saved) == "model.pth cannot be loaded and run (EOFError)."
    assert _one_line(UsageError("no layer `x`"), saved) == "model.pth: no layer `x`."
    assert _one_line(UsageError("no file /somewhere/else/model.pth"), saved) == "no file model.pth."
