from pathlib import Path

import pytest
from click.testing import CliRunner

from training.__main__ import main
from training.corpus import folk
from training.corpus.folk import COLLECTIONS, folk_sources
from training.corpus.sources import Source
from training.corpus.store import Corpus, Split

JIGS = ["GAB cde", "dBG AFD", "gfe dcB", "efg agf", "ABc BAG", "dde fed", "B2A G2E", "cBA dcB"]


def book(first: int) -> str:
    """Six jigs, the last the same as the first but for its key."""
    tunes = []
    for number in range(6):
        bars = [JIGS[(first + number * number + index * (number + 1)) % len(JIGS)] for index in range(16)]
        bars = bars if number < 5 else [JIGS[(first + index) % len(JIGS)] for index in range(16)]
        key = "C" if number < 5 else "C transpose=0"
        tunes.append(f"X:{number + 1}\nT:Jig\nM:6/8\nL:1/8\nK:{key}\n{'|'.join(bars)}|\n\n")
    return "".join(tunes)


def test_only_collections_that_may_be_used_are_read() -> None:
    folders = {source.name.split("/")[0] for source in folk_sources()}
    assert folders == {collection.folder for collection in COLLECTIONS} == {"oneills1850", "ryansMammoth"}
    assert len(folk_sources()) > 1000


@pytest.mark.slow
def test_preparing_keeps_one_of_each_and_splits_by_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = []
    for index, collection in enumerate(COLLECTIONS):
        path = tmp_path / f"{collection.folder}.abc"
        path.write_text(book(index) + "X:99\nT:Odd\nM:5/4\nL:1/8\nK:C\n" + "CDEFG CDEFG|" * 4 + "\n")
        sources.append(Source(f"{collection.folder}/book.abc", path))
    monkeypatch.setattr(folk, "folk_sources", lambda: sources)
    out = tmp_path / "folk.npz"
    result = CliRunner().invoke(main, ["prepare", "folk", "--out", str(out), "--workers", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    assert "skipped oneills1850/book.abc#99: a rare meter" in result.output
    assert "oneills1850/book.abc#6: nearly the same as another tune" in result.output
    corpus = Corpus.load(out)
    names = [piece.name for piece in corpus.pieces()]
    assert "oneills1850/book.abc#1" in names
    assert "oneills1850/book.abc#6" not in names
    assert all(corpus.count(split) for split in Split)
    assert "tunes of O'Neill's Music of Ireland (1903) and " in corpus.source
    assert corpus.source.endswith("split by tune family")
