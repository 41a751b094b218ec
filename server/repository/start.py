"""Loads a repository when the server starts."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from music.bundle import Bundle
from music.errors import FantasiaError
from server.catalogue import ServedModel, choose_default
from server.errors import StartupError
from server.loading import ModelLoader
from server.repository.layout import ALIAS_RULE, BundleFolder, ModelFolder, read_repository
from server.repository.place import Place
from server.settings import Settings, parse_default_versions

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded, with engines that are not started."""

    places: dict[Path, Place] = field(default_factory=dict)
    default_versions: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, models: Iterable[ServedModel]) -> Self:
        """Models that come from no repository."""
        return cls(
            {Path(f"{model.name}/{model.version}"): Place(Path(model.name), model.version, model) for model in models}
        )

    @property
    def models(self) -> list[ServedModel]:
        """All versions."""
        return [place.model for place in self.places.values() if place.model is not None]


@dataclass(frozen=True, slots=True)
class _Chosen:
    folder: ModelFolder
    version: BundleFolder
    bundle: Bundle
    is_default: bool


def load_repository(settings: Settings, loader: ModelLoader) -> Loaded:
    """Load the versions that are to be served.

    A version that cannot be used is logged and left out if another version of its model can be, and it is not the
    configured default.

    Raises:
        BundleError: no version of a model, or not its configured default, can be used.
        ProviderUnavailableError: CUDA is required and does not work.
        PrecisionUnavailableError: int8 is required and does not work.
        StartupError: the repository cannot be read or has no bundle, or there is no clear default; see
            `choose_default`.
    """
    folders = read_repository(settings.models)
    if not folders:
        raise StartupError(
            f"{settings.models} contains no bundle: it has no manifest.json and no folder that could be a bundle; "
            "set --models to a folder of bundles, or to one bundle"
        )
    configured = parse_default_versions(settings.default_versions)
    loaded = Loaded()
    # Every bundle is checked before the first graph is loaded, which takes longer.
    chosen = [_verified(folder, settings, loader, configured, loaded) for folder in folders]
    names = [versions[0].bundle.name for versions in chosen]
    choose_default(names, settings.default_model)
    if unknown := sorted(configured.keys() - set(names)):
        raise StartupError(f"--default-versions names {', '.join(unknown)}, which is not in {settings.models}")
    try:
        for versions in chosen:
            _create(versions, loader, loaded, models=len(names))
    except BaseException:
        for model in loaded.models:
            model.unload()
        raise
    for path, place in loaded.places.items():  # now, because a start that fails says why in one sentence
        if place.error:
            place.report(path)
    return loaded


def _verified(
    folder: ModelFolder, settings: Settings, loader: ModelLoader, configured: dict[str, int], loaded: Loaded
) -> list[_Chosen]:
    """The versions of a model that are to be served, the highest first; at least one."""
    if folder.problem:
        raise StartupError(f"{folder.path}: {folder.problem}")
    for note in folder.notes:
        _log.warning("repository", extra={"fields": {"path": folder.path, "reason": note}})
    default = configured.get(folder.name, folder.default)
    if default == 0:
        raise StartupError(f"{folder.path}: {ALIAS_RULE}")
    found: list[_Chosen] = []
    errors: list[FantasiaError] = []
    for version in folder.bundles:
        if len(found) >= settings.served_versions and version.version != default:
            continue
        try:
            bundle = loader.verify(folder, version)
        except FantasiaError as error:
            if version.version == default:
                raise
            errors.append(error)
            loaded.places[version.path] = Place.refused(version, folder, error)
        else:
            default = default or configured.get(bundle.name)
            found.append(_Chosen(folder, version, bundle, version.version == default))
    if not found:
        raise errors[0]
    if default and not any(each.is_default for each in found):
        versions = ", ".join(str(version.version) for version in folder.bundles)
        raise StartupError(f"{folder.path} has no version {default}, the default version; it has {versions}")
    return found


def _create(versions: list[_Chosen], loader: ModelLoader, loaded: Loaded, *, models: int) -> None:
    """Create the versions of one model; one whose graphs do not load is left out if there is another one."""
    created: list[ServedModel] = []
    errors: list[FantasiaError] = []
    for each in versions:
        try:
            model = loader.create(each.bundle, each.version.version, models=models)
        except FantasiaError as error:
            if each.is_default:
                raise
            errors.append(error)
            loaded.places[each.version.path] = Place.refused(each.version, each.folder, error)
            continue
        created.append(model)
        loaded.places[each.version.path] = Place(
            each.folder.path, each.version.version, model, each.version.fingerprint
        )
        if each.is_default:
            loaded.default_versions[model.name] = model.version
    if not created:
        raise errors[0]
