"""Content-addressed stores, as in DVC, git-annex and Nix."""

from pathlib import Path

from music.bundle_files import file_sha256


def link_into_store(bundle: Path, store: Path) -> None:
    """Move each file of a bundle into a folder of the store, named by its hash, and leave a symbolic link."""
    for path in [path for path in bundle.iterdir() if path.is_file()]:
        folder = store / file_sha256(path)
        folder.mkdir(parents=True)
        path.rename(folder / "content")
        path.symlink_to(folder / "content")
