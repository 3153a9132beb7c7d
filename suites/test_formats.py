"""Does a saved model come back as the same model, in each framework's own formats?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from parity.campaign import Campaign

pytestmark = pytest.mark.section("parity")
FILES = (
    ("tensorflow", "chest_xray_tf_model.keras"),
    ("tensorflow", "chest_xray_tf_model.h5"),
    ("tensorflow", "chest_xray_tf_model.safetensors"),
    ("torch", "chest_xray_pt_model.pth"),
    ("torch", "chest_xray_pt_model.safetensors"),
)


@pytest.mark.parametrize(("framework", "name"), FILES, ids=[name for _, name in FILES])
def test_saved_model_comes_back_bit_for_bit(campaign: Campaign, framework: str, name: str, tmp_path: Path) -> None:
    from parity.model import layout
    from parity.pair import probe_weights, raise_for, same_bits

    pair = campaign.pair()
    pair.copy_weights(probe_weights(campaign.spec, campaign.options.seed))
    worker = pair.workers[framework]
    images, _ = campaign.radiographs(2)
    x = images.astype(np.float32) / np.float32(255.0)
    x = layout.to_torch(x, "image") if framework == "torch" else x
    before, output = worker.call("get_weights"), worker.call("forward", x=x)["output"]
    worker.call("save", path=str(tmp_path / name))
    worker.call("build", spec=campaign.spec.to_dict(), seed=campaign.options.seed + 1)
    changed = worker.call("get_weights")
    assert not any(np.array_equal(before[key], changed[key]) for key in before)  # a load that does nothing is seen
    worker.call("load", path=str(tmp_path / name))
    after = worker.call("get_weights")
    findings = [same_bits(f"{name}:{key}", before[key], after[key]) for key in before]
    findings.append(same_bits(f"{name}:output", output, worker.call("forward", x=x)["output"]))
    campaign.add_findings("format", "probe", "radiographs", findings)
    raise_for(findings)
