"""Which of the records that earlier runs have left `--resume` goes on with, and what becomes of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from parity.campaign import INTERRUPTED_NAME, PARTIAL_NAME, Campaign, CampaignOptions, git_commit
from parity.errors import UsageError
from parity.report import new_record
from parity.report.record import RECORD_NAME, read, write
from parity.timing import Bench, make_plan, rows, take_over


def options(folder: Path, **changes: Any) -> CampaignOptions:
    asked: dict[str, Any] = {"profile": "smoke", "device": "cpu", "height": 24, "width": 20, "blocks": 3, "threads": 1}
    return CampaignOptions(**{**asked, "lanes": ("torch-eager",), "report_dir": folder, **changes})


def left(asked: CampaignOptions, name: str, finished: int, at_s: float, mark: float = 0.01) -> Path:
    """Write what a run of these options leaves after so many blocks, as if at that time."""
    campaign = Campaign(asked)
    plan, timing = make_plan(campaign), campaign.timing()
    record = new_record(asked.profile, "pytest suites/")
    samples = [
        {**row.setting.fields(), "lane": row.lane, "block": row.block, "order": row.order, "kind": "step",
         "seconds": [mark] * timing.rounds_of(row.setting)}
        for row in rows(asked) if row.block < finished
    ]  # fmt: skip
    record["benchmarks"] = {"plan": plan.fields(), "samples": samples}
    path = asked.report_dir / name
    write(record, path)
    os.utime(path, (at_s, at_s))
    return path


def resumed(asked: CampaignOptions) -> tuple[Campaign, int]:
    campaign = Campaign(asked)
    campaign.kept = take_over(campaign)
    return campaign, len(campaign.kept.blocks)


def test_the_run_that_ended_last_is_gone_on_with(tmp_path: Path) -> None:
    """A run killed on Monday has left one block, and one that Ctrl-C ended on Tuesday two, which must not be lost."""
    asked = options(tmp_path, resume=True)
    left(asked, INTERRUPTED_NAME, 1, at_s=1000.0)
    left(asked, RECORD_NAME, 2, at_s=2000.0)
    campaign, blocks = resumed(asked)
    assert (blocks, campaign.resumed) == (2, tmp_path / RECORD_NAME)


def test_a_run_that_was_killed_after_a_whole_one_is_gone_on_with(tmp_path: Path) -> None:
    asked = options(tmp_path, resume=True)
    left(asked, RECORD_NAME, 3, at_s=1000.0)
    left(asked, PARTIAL_NAME, 1, at_s=2000.0)
    campaign, blocks = resumed(asked)  # which has set the partial record aside before its own would replace it
    assert (blocks, campaign.resumed) == (1, tmp_path / INTERRUPTED_NAME)


def test_a_run_of_other_options_in_between_is_passed_over(tmp_path: Path) -> None:
    asked = options(tmp_path, resume=True)
    left(asked, INTERRUPTED_NAME, 1, at_s=1000.0)
    left(options(tmp_path, seed=1), RECORD_NAME, 3, at_s=2000.0)
    assert resumed(asked)[1] == 1
    with pytest.raises(UsageError, match=r"cannot resume: .* differs in blocks \(3 then, 2 now\)"):
        resumed(options(tmp_path, resume=True, blocks=2))


def test_what_an_import_sets_is_no_other_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of all suites has scikit-learn in it, which sets this; going on with the timing alone has not."""
    asked = options(tmp_path, resume=True)
    for name in ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as imported:
        imported.setenv("KMP_DUPLICATE_LIB_OK", "True")
        imported.setenv("KMP_INIT_AT_FORK", "FALSE")
        left(asked, INTERRUPTED_NAME, 1, at_s=1000.0)
    assert resumed(asked)[1] == 1
    monkeypatch.setenv("KMP_BLOCKTIME", "0")
    with pytest.raises(UsageError, match=r"differs in variables\.KMP_BLOCKTIME"):
        resumed(asked)


def test_two_states_that_nobody_committed_are_told_apart(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)

    assert git_commit(tmp_path) is None
    code = tmp_path / "step.py"
    code.write_text("1\n")
    git("init", "-q")
    git("add", "step.py")
    git("commit", "-q", "-m", "first")
    found = [git_commit(tmp_path)]
    for text in ("2\n", "3\n", "2\n"):
        code.write_text(text)
        found.append(git_commit(tmp_path))
    assert found[1] == found[3] != found[2]
    assert str(found[2]).startswith(f"{found[0]}-dirty-")


def test_nothing_left_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to resume: there is no record of an interrupted campaign"):
        resumed(options(tmp_path, resume=True))


@pytest.mark.parametrize(
    ("content", "said"),
    [('{"schema": 1, "bench', "comparison.partial.json cannot be read"), ('{"schema": 1}', "nothing to resume")],
)
def test_a_damaged_record_of_a_killed_run_is_not_called_none(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / PARTIAL_NAME).write_text(content)
    with pytest.raises(UsageError, match=said) as raised:
        resumed(options(tmp_path, resume=True))
    assert "there is no record" not in str(raised.value)


@pytest.mark.parametrize("name", [INTERRUPTED_NAME, RECORD_NAME])
def test_what_was_gone_on_with_is_in_the_new_record_and_the_rest_stays(tmp_path: Path, name: str) -> None:
    asked = options(tmp_path, resume=True)
    left(asked, name, 2, at_s=2000.0, mark=0.02)
    if name == RECORD_NAME:
        left(options(tmp_path, seed=1), INTERRUPTED_NAME, 1, at_s=1000.0)
    campaign, _ = resumed(asked)
    bench = Bench(campaign)
    assert bench.progress.left_s() == pytest.approx(bench.progress.lane_s("torch-eager"))  # one process of three
    bench.close()
    campaign.finish()
    kept = read(tmp_path / RECORD_NAME)["benchmarks"]["samples"]
    assert {(sample["block"], sample["seconds"][0]) for sample in kept} == {(0, 0.02), (1, 0.02)}
    assert (tmp_path / INTERRUPTED_NAME).exists() == (name == RECORD_NAME)
