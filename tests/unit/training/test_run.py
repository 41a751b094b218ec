from pathlib import Path

import pytest
import torch

from training.config import load_config
from training.corpus.store import Corpus
from training.errors import OutOfMemoryError
from training.run import train


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_a_lack_of_memory_names_the_values_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(path: Path) -> Corpus:
        raise error

    monkeypatch.setattr(Corpus, "load", fail)
    with pytest.raises(OutOfMemoryError, match=r"training\.batch_size below 4, or training\.window below 64"):
        train(load_config("smoke"), tmp_path / "corpus.npz", tmp_path / "run", device="cpu", progress=False)
