"""The models that the server has loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from music.bundle import Bundle
from runtime.scorer import ForcedScorer, Scorer
from server.engine.engine import Engine
from server.errors import ModelNotFoundError, StartupError, shortened

PREFERRED_DEFAULT: Final = "chorales"
"""The default model if none is configured and this one is among the loaded ones."""


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """A bundle and the engine that runs it."""

    bundle: Bundle
    engine: Engine
    threads: int = 1
    """CPU threads of one run."""
    scorer: Scorer | ForcedScorer | None = None
    """Evaluates pieces; None if the model supports no evaluation."""

    @property
    def name(self) -> str:
        """Its name, unique on this server."""
        return self.bundle.name


class Catalogue:
    """Models by name. Iteration starts with the default model; the others follow by name.

    Args:
        models: at least one.
        default: name of the default model; see `choose_default`.

    Raises:
        StartupError: see `choose_default`.
    """

    def __init__(self, models: Sequence[ServedModel], default: str = "") -> None:
        default = choose_default([model.name for model in models], default)
        by_name = {model.name: model for model in sorted(models, key=lambda model: model.name)}
        self._models = {default: by_name.pop(default), **by_name}

    def get(self, name: str, field: str = "model") -> ServedModel:
        """The model with this name, or the default model if the name is empty.

        Args:
            name: the name that the caller asked for.
            field: path of the request's field that holds it, for the error.

        Raises:
            ModelNotFoundError: no such model is loaded.
        """
        if not name:
            return next(iter(self))
        if name not in self._models:
            raise ModelNotFoundError(name, self.names, field)
        return self._models[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models, the default model first."""
        return tuple(self._models)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())


def choose_default(names: Sequence[str], default: str = "") -> str:
    """Choose the default model. A new bundle never becomes the default because of its name.

    Args:
        names: names of all models.
        default: the name that is configured; if empty, `PREFERRED_DEFAULT` if it is loaded, else the only model.

    Raises:
        StartupError: no model is loaded, two have the same name, the default is not loaded, or several are loaded and
            no default is configured.
    """
    if not names:
        raise StartupError("there is no model to serve")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise StartupError(f"two bundles have the same name: {', '.join(duplicates)}")
    loaded = ", ".join(sorted(names))
    if default:
        if default not in names:
            raise StartupError(f"the default model {shortened(default)!r} is not loaded; loaded models: {loaded}")
        return default
    if PREFERRED_DEFAULT in names:
        return PREFERRED_DEFAULT
    if len(names) == 1:
        return names[0]
    raise StartupError(
        f"no default model is configured, and several are loaded ({loaded}): "
        "name one with --default-model (or FANTASIA_DEFAULT_MODEL)"
    )
