"""Content stores, as DVC, git-annex and Nix keep them."""

from pathlib import Path

from music.bundle_files import file_sha256


def link_into_store(bundle: Path, store: Path) -> None:
    """Move every file of a bundle into a folder of its own, named by its hash, and leave a symbolic link there."""
    for path in [path for path in bundle.iterdir() if path.is_file()]:
        folder = store / file_sha256(path)
        folder.mkdir(parents=True)
        path.rename(folder / "content")
        path.symlink_to(folder / "content")
