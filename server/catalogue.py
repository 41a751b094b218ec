"""The models that the server has loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from music.bundle import Bundle
from server.engine.engine import Engine
from server.errors import ModelNotFoundError, StartupError

USUAL_DEFAULT: Final = "chorales"
"""The default model where none is named and several are loaded, if it is among them."""


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """A bundle and the engine that runs it."""

    bundle: Bundle
    engine: Engine
    threads: int = 1
    """CPU threads of one run."""

    @property
    def name(self) -> str:
        """Its name on this server."""
        return self.bundle.name


class Catalogue:
    """Models by name, one of them the default; iterates over them, the default first, then by name.

    Args:
        models: at least one.
        default: name of the default model; empty for `USUAL_DEFAULT` where it is loaded, else the only model.

    Raises:
        StartupError: there is no model, two have one name, none is called like the default, or several are loaded
            and nothing says which is the default.
    """

    def __init__(self, models: Sequence[ServedModel], default: str = "") -> None:
        by_name = {model.name: model for model in sorted(models, key=lambda model: model.name)}
        if not by_name:
            raise StartupError("there is no model to serve")
        if len(by_name) < len(models):
            names = [model.name for model in models]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise StartupError(f"two bundles have the same name: {', '.join(twice)}")
        default = default or _usual_default(tuple(by_name))
        if default not in by_name:
            raise StartupError(f"the default model {default!r} is not loaded; loaded: {', '.join(by_name)}")
        self._models = {default: by_name.pop(default), **by_name}

    def get(self, name: str, field: str = "model") -> ServedModel:
        """The model called `name`, or the default one if that is empty; `field` is where the caller wrote it.

        Raises:
            ModelNotFoundError: there is none.
        """
        if not name:
            return next(iter(self))
        if name not in self._models:
            raise ModelNotFoundError(name, self.names, field)
        return self._models[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models, the default one first."""
        return tuple(self._models)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())


def _usual_default(names: Sequence[str]) -> str:
    """The default model where no setting names one: never one that is there by the accident of its name."""
    if USUAL_DEFAULT in names:
        return USUAL_DEFAULT
    if len(names) == 1:
        return names[0]
    raise StartupError(
        f"which model is the default? Loaded are {', '.join(names)}: name one with --default-model "
        "(or FANTASIA_DEFAULT_MODEL)"
    )
