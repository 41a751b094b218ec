"""Results on disk: frozen pydantic models, each in a JSON file."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from music.errors import FantasiaError
from report.files import replace_file


class RecordError(FantasiaError):
    """A file does not hold the record that it should. The message names the file."""


class Record(BaseModel):
    """Base of results that are kept on disk, and of their parts.

    Records are immutable. Unknown fields, infinities and NaN are refused, so that what is saved can be loaded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def save(self, path: Path) -> None:
        """Write JSON: the whole file or nothing. Missing folders are created.

        Raises:
            OSError: the file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, (self.model_dump_json(indent=2) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RecordError: the file cannot be read, is not JSON, or has missing, unknown or invalid fields.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise RecordError(f"{path} cannot be read ({error.strerror})") from error
        except ValidationError as error:
            first, *others = error.errors(include_url=False)
            place = ".".join(map(str, first["loc"]))
            more = f" ({len(others)} more)" if others else ""
            reason = f"{place}: {first['msg']}" if place else first["msg"]
            raise RecordError(f"{path} is not a valid {cls.__name__}: {reason}{more}") from error

    @classmethod
    def load_folder(cls, folder: Path) -> dict[str, Self]:
        """Every `*.json` directly in a folder, by file name without suffix, in alphabetical order.

        Raises:
            RecordError: a file does not hold such a record.
        """
        return {path.stem: cls.load(path) for path in sorted(folder.glob("*.json"))}
