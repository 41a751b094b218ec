from pathlib import Path

import pytest
import torch

from training.loop.checkpoint import load_checkpoint, save_checkpoint


@pytest.mark.parametrize(("part", "prefix"), [("model", ""), ("average", "module.")])
def test_weights_of_older_checkpoints_get_the_names_of_today(tmp_path: Path, part: str, prefix: str) -> None:
    old = {f"{prefix}clock.0.weight": torch.ones(2), f"{prefix}token.weight": torch.zeros(2)}
    save_checkpoint(tmp_path / "last.pt", {"model": {}, "average": None} | {part: old})
    found = load_checkpoint(tmp_path / "last.pt")[part]
    assert list(found) == [f"{prefix}position.0.weight", f"{prefix}token.weight"]
    assert torch.equal(found[f"{prefix}position.0.weight"], torch.ones(2))
