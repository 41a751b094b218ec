"""What is known of one bundle's folder."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from server.catalogue import ServedModel, UnavailableModel, UnavailableState
from server.repository.layout import BundleFolder, Fingerprint, ModelFolder

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Place:
    """A folder where a version of a model is, or was."""

    model_path: Path
    """Folder of the model."""
    version: int
    model: ServedModel | None = None
    """What was loaded from it, which may have changed since; None if nothing could be."""
    attempted: Fingerprint | None = None
    """Its files when it was last verified."""
    error: str = ""
    """Why its present files cannot be used."""
    reported: bool = False
    """Whether the error is in the log. It is not as long as the files may still be copied."""
    retry: bool = False
    """Whether the reason for the error may go away while the files stay as they are."""
    missing: int = 0
    """Number of looks that have not found it, one after another."""

    @classmethod
    def refused(cls, version: BundleFolder, folder: ModelFolder, error: Exception) -> Self:
        """A place whose bundle cannot be used."""
        return cls(folder.path, version.version, attempted=version.fingerprint, error=str(error))

    def report(self, path: Path) -> None:
        """Write the error into the log."""
        self.reported = True
        fields = {"model": self.name, "version": self.version, "path": path, "reason": self.error}
        _log.error("model refused", extra={"fields": fields})

    @property
    def name(self) -> str:
        """Name of the model; of one that was never loaded, that of its folder."""
        return self.model_path.name if self.model is None else self.model.name

    @property
    def unavailable(self) -> UnavailableModel | None:
        """What callers are told of the error; None without one."""
        if not self.error:
            return None
        if not self.reported:
            return UnavailableModel(self.name, self.version, UnavailableState.LOADING)
        return UnavailableModel(self.name, self.version, UnavailableState.REFUSED, self.error)
