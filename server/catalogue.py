"""The models that the server has loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from music.bundle import Bundle
from server.engine.engine import Engine
from server.errors import ModelNotFoundError, StartupError, shortened

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
        StartupError: see `default_name`.
    """

    def __init__(self, models: Sequence[ServedModel], default: str = "") -> None:
        default = default_name([model.name for model in models], default)
        by_name = {model.name: model for model in sorted(models, key=lambda model: model.name)}
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


def default_name(names: Sequence[str], default: str = "") -> str:
    """Which of the models is the default; never one that is there by the accident of its name.

    Args:
        names: of all models.
        default: the one that a setting names; empty for `USUAL_DEFAULT` where it is loaded, else the only model.

    Raises:
        StartupError: there is no model, two have one name, none is called like the default, or several are loaded
            and nothing says which is the default.
    """
    if not names:
        raise StartupError("there is no model to serve")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise StartupError(f"two bundles have the same name: {', '.join(twice)}")
    loaded = ", ".join(sorted(names))
    if default:
        if default not in names:
            raise StartupError(f"the default model {shortened(default)!r} is not loaded; loaded: {loaded}")
        return default
    if USUAL_DEFAULT in names:
        return USUAL_DEFAULT
    if len(names) == 1:
        return names[0]
    raise StartupError(
        f"which model is the default? Loaded are {loaded}: name one with --default-model (or FANTASIA_DEFAULT_MODEL)"
    )
