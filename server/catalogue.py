"""The models that the server has loaded."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from music.bundle import Bundle
from runtime.scorer import ForcedScorer, Scorer
from server.engine.engine import Engine
from server.errors import ModelNotFoundError, StartupError, VersionNotFoundError, shortened

PREFERRED_DEFAULT: Final = "chorales"
"""The default model if none is configured and this one is among the loaded ones."""


class CallCount:
    """Counts the calls that use a model. Used on the event loop only."""

    def __init__(self) -> None:
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> None:
        self._calls += 1
        self._idle.clear()

    def __exit__(self, *error: object) -> None:
        self._calls -= 1
        if not self._calls:
            self._idle.set()

    async def wait_until_idle(self) -> None:
        """Wait until no call uses the model."""
        await self._idle.wait()


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """One version of a model: a bundle and the engine that runs it."""

    bundle: Bundle
    engine: Engine
    threads: int = 1
    """CPU threads of one run."""
    scorer: Scorer | ForcedScorer | None = None
    """Evaluates pieces; None if the model supports no evaluation."""
    version: int = 1
    """Its number, at least 1."""
    on_unload: Callable[[], None] | None = None
    """Called after the engine has stopped, on any thread."""
    calls: CallCount = field(default_factory=CallCount)
    """The calls that use it."""

    @property
    def name(self) -> str:
        """Name of the model; with the version, unique on this server."""
        return self.bundle.name

    def unload(self) -> None:
        """Stop the engine, which may block. Call this once."""
        self.engine.stop()
        if self.on_unload is not None:
            self.on_unload()


class UnavailableState(Enum):
    """Why a version takes no calls."""

    LOADING = "loading"
    REFUSED = "refused"
    UNLOADING = "unloading"


@dataclass(frozen=True, slots=True)
class UnavailableModel:
    """A version that takes no calls."""

    name: str
    version: int
    state: UnavailableState
    reason: str = ""
    """What is wrong with a refused bundle, as one sentence."""


class Catalogue:
    """Models by name and version. Used on the event loop only.

    Iteration starts with the default model; the others follow by name. Of a model, it starts with the default version;
    the others follow, the highest first.

    Args:
        models: the versions of at least one model.
        default: name of the default model; see `choose_default`.
        default_versions: numbers of default versions by name of the model, each among `models`; by default the highest.

    Raises:
        StartupError: see `choose_default`.
    """

    def __init__(
        self, models: Sequence[ServedModel], default: str = "", default_versions: Mapping[str, int] | None = None
    ) -> None:
        self._configured = default
        self.unavailable: tuple[UnavailableModel, ...] = ()
        """Versions that take no calls, for information."""
        self._default = ""
        self._models: dict[str, dict[int, ServedModel]] = {}
        self._default_versions: dict[str, int] = {}
        for model in models:
            if self.add(model) is not None:
                raise StartupError(f"two bundles have the same name: {model.name}")
        for name, versions in self._models.items():
            self.set_default_version(name, (default_versions or {}).get(name, max(versions)))
        self._default = choose_default(list(self._models), default)

    @property
    def default(self) -> str:
        """Name of the default model; empty if there is none."""
        return self._default

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models, the default model first."""
        return tuple(sorted(self._models, key=lambda name: (name != self._default, name)))

    def versions(self, name: str) -> tuple[ServedModel, ...]:
        """The versions of a model: the default version first, then the highest first. Empty if it is not loaded."""
        default = self._default_versions.get(name, 0)
        found = self._models.get(name, {}).values()
        return tuple(sorted(found, key=lambda model: (model.version != default, -model.version)))

    def get(
        self, name: str, version: int = 0, *, field: str = "model", version_field: str = "model_version"
    ) -> ServedModel:
        """The version of a model that a call asks for.

        Args:
            name: name of the model; empty for the default model.
            version: its number; 0 for the default version.
            field: path of the request's field that holds the name, for the error.
            version_field: path of the field that holds the version.

        Raises:
            ModelNotFoundError: no such model is loaded.
            VersionNotFoundError: the model is loaded, but not this version.
        """
        name = name or self._default
        if name not in self._models:
            raise ModelNotFoundError(name, self.names, field)
        versions = self._models[name]
        version = version or self._default_versions[name]
        if version not in versions:
            raise VersionNotFoundError(name, version, [model.version for model in self.versions(name)], version_field)
        return versions[version]

    def is_default_version(self, model: ServedModel) -> bool:
        """Whether calls that name the model without a version use this one."""
        return self._default_versions.get(model.name) == model.version

    def add(self, model: ServedModel) -> ServedModel | None:
        """Add a version, in place of a loaded one with the same number, which is returned.

        The first version of a model is its default version. A model that is added is the default model only if it is
        configured, or no model was loaded.
        """
        versions = self._models.setdefault(model.name, {})
        replaced = versions.get(model.version)
        versions[model.version] = model
        self._default_versions.setdefault(model.name, model.version)
        self._choose_default()
        return replaced

    def remove(self, model: ServedModel) -> None:
        """Remove a version; calls that use it go on. It must not be the default version if there are others.

        If the default model has no version left, and none is configured, another one may become the default.
        """
        versions = self._models[model.name]
        assert versions[model.version] is model
        assert len(versions) == 1 or not self.is_default_version(model), "the default version is removed last"
        del versions[model.version]
        if not versions:
            del self._models[model.name], self._default_versions[model.name]
        self._choose_default()

    def set_default_version(self, name: str, version: int) -> None:
        """Let calls that name the model without a version use this one, which must be loaded."""
        assert version in self._models[name], (name, version)
        self._default_versions[name] = version

    def __iter__(self) -> Iterator[ServedModel]:
        return (model for name in self.names for model in self.versions(name))

    def _choose_default(self) -> None:
        """Keep the default model while it is loaded."""
        if self._default not in self._models:
            self._default = default_of(self._models, self._configured) or ""


def default_of(names: Collection[str], configured: str = "") -> str | None:
    """The default model of these; None if none of them is. See `choose_default`."""
    if configured:
        return configured if configured in names else None
    if PREFERRED_DEFAULT in names:
        return PREFERRED_DEFAULT
    return next(iter(names)) if len(names) == 1 else None


def choose_default(names: Sequence[str], configured: str = "") -> str:
    """Choose the default model. A new bundle never becomes the default because of its name.

    Args:
        names: names of all models.
        configured: the name that is configured; if empty, `PREFERRED_DEFAULT` if it is loaded, else the only model.

    Raises:
        StartupError: no model is loaded, two have the same name, the default is not loaded, or several are loaded and
            no default is configured.
    """
    if not names:
        raise StartupError("there is no model to serve")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise StartupError(f"two bundles have the same name: {', '.join(duplicates)}")
    default = default_of(names, configured)
    if default is not None:
        return default
    loaded = ", ".join(sorted(names))
    if configured:
        raise StartupError(f"the default model {shortened(configured)!r} is not loaded; loaded models: {loaded}")
    raise StartupError(
        f"no default model is configured, and several are loaded ({loaded}): "
        "name one with --default-model (or FANTASIA_DEFAULT_MODEL)"
    )
