"""Keeps the loaded models up to date with the repository while the server serves."""

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from music.errors import FantasiaError, plain_text
from server.catalogue import Catalogue, ServedModel, UnavailableModel, UnavailableState, default_of
from server.errors import MemoryShortageError, StartupError
from server.loading import ModelLoader, export_bundle_info
from server.metrics import Metrics
from server.repository.background import run_in_background
from server.repository.layout import ALIAS_RULE, BundleFolder, ModelFolder, read_repository
from server.repository.notes import Notes
from server.repository.place import Place
from server.repository.start import Loaded
from server.repository.unloading import Unloading
from server.settings import Settings, parse_default_versions

_log = logging.getLogger(__name__)

_GONE: Final = 2
"""Number of looks, one after another, that must miss a folder before its model is unloaded: another may replace it."""


class ModelHost(Protocol):
    """What serves the models of the catalogue."""

    def add_model(self, model: ServedModel) -> None:
        """Prepare for calls of a model.

        Raises:
            StartupError: the model cannot be described to callers.
        """

    def remove_model(self, model: ServedModel) -> None:
        """Forget a model that no call uses any more."""

    async def set_ready(self, ready: bool) -> None:
        """Say whether there is a model to serve."""


class ModelRepository:
    """Looks for changes in the repository, and loads and unloads models. Used on the event loop.

    Reading files, loading and unloading run on threads beside the event loop.

    A bundle whose files have changed is verified, loaded and warmed up. Only then do calls get it; those that run keep
    the model that they have. A bundle that cannot be used changes nothing: what was loaded from its folder stays. It is
    verified again when its files change, and logged when they have not changed between two looks, since they may still
    be copied before that.

    Args:
        settings: the server's settings.
        loaded: what was loaded at the start.
        loader: loads bundles.
        catalogue: the models that calls can use.
        host: serves them.
        metrics: of the server.
    """

    def __init__(
        self,
        settings: Settings,
        loaded: Loaded,
        loader: ModelLoader,
        catalogue: Catalogue,
        host: ModelHost,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._root = settings.models
        self._configured = parse_default_versions(settings.default_versions)
        self._places = dict(loaded.places)
        self._loader = loader
        self._catalogue = catalogue
        self._host = host
        self._metrics = metrics
        self._unloading = Unloading(host.remove_model, metrics, self._publish)
        self._loading: Place | None = None
        self._notes = Notes()
        for _ in range(self._refused):  # at the start
            metrics.repository.refused()
        metrics.repository.scanned(refused=self._refused)
        self._publish()

    @property
    def _refused(self) -> int:
        """Number of bundles that cannot be used, as far as the log has them."""
        return sum(place.reported for place in self._places.values())

    @property
    def unloading(self) -> tuple[ServedModel, ...]:
        """Models that calls do not get any more, and that are not unloaded yet."""
        return self._unloading.models

    async def watch(self, reload: asyncio.Event) -> None:
        """Look for changes at intervals, and when an event asks for it, until the task is cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(reload.wait(), self._settings.model_poll_seconds or None)
            asked = reload.is_set()
            reload.clear()
            try:
                await self.refresh(asked=asked)
            except Exception:  # a fault of ours must not end the looks
                _log.exception("the repository could not be refreshed")

    async def refresh(self, *, asked: bool = False) -> None:
        """Look for changes once.

        Args:
            asked: whether an operator asked for it, which says that all files are complete: bundles that cannot be
                used are verified again and logged at once, and models whose folders are gone are unloaded at once.
        """
        default = self._catalogue.default
        try:
            folders = await run_in_background(lambda: read_repository(self._root))
        except StartupError as error:
            self._notes.write(self._root, str(error))
            return
        self._notes.write(self._root, "")
        found = {folder.path: folder for folder in folders}
        self._count_missing(found, asked=asked)
        for folder in folders:
            if not folder.problem:  # else what is loaded stays
                await self._refresh_versions(folder, asked=asked)
        for path in dict.fromkeys([*found, *(place.model_path for place in self._places.values())]):
            self._choose_versions(path, found.get(path))
        self._log_default_model(default)
        await self._host.set_ready(bool(self._catalogue.names))
        self._publish()
        self._metrics.repository.scanned(refused=self._refused)

    def _count_missing(self, found: Mapping[Path, ModelFolder], *, asked: bool) -> None:
        """Count the looks that have missed each folder."""
        present = {version.path for folder in found.values() for version in folder.bundles}
        unknown = {folder.path for folder in found.values() if folder.problem}
        for path, place in self._places.items():
            if path in present or place.model_path in unknown:
                place.missing = 0
            else:
                place.missing += _GONE if asked else 1

    async def _refresh_versions(self, folder: ModelFolder, *, asked: bool) -> None:
        """Load the versions of a model that are to be served, the highest first."""
        pinned = self._pinned(folder)
        good = 0
        for version in folder.bundles:
            place = self._places.get(version.path)
            if good >= self._settings.served_versions and version.version != pinned:
                if place is not None and place.model is None:
                    del self._places[version.path]
                continue
            if place is None:
                place = self._places[version.path] = Place(folder.path, version.version)
            await self._refresh_place(folder, version, place, asked=asked)
            good += place.model is not None

    async def _refresh_place(self, folder: ModelFolder, version: BundleFolder, place: Place, *, asked: bool) -> None:
        changed = version.fingerprint != place.attempted
        if changed or place.retry or (asked and place.error):
            await self._verify_and_load(folder, version, place)
        if place.error and not place.reported and (asked or not changed):
            place.report(version.path)
            self._metrics.repository.refused()

    async def _verify_and_load(self, folder: ModelFolder, version: BundleFolder, place: Place) -> None:
        same_files, error_before = version.fingerprint == place.attempted, place.error
        place.attempted, place.retry = version.fingerprint, False
        self._loading = place
        self._publish()
        try:
            model = await self._load(folder, version, place)
        except Exception as error:
            if not isinstance(error, FantasiaError | MemoryError):
                _log.exception("loading %s failed", version.path)
            place.error = self._relative(plain_text(str(error) or "there is not enough memory"))
            place.reported = place.reported and same_files and place.error == error_before
            place.retry = isinstance(error, MemoryShortageError | MemoryError)
            return
        finally:
            self._loading = None
        place.error, place.reported = "", False
        if model is None:  # the same bundle as before
            return
        old, place.model = place.model, model
        if old is not None and old.name != model.name:
            self._retire(old)
        replaced = self._catalogue.add(model)
        export_bundle_info(model, self._metrics)
        if replaced is not None:
            self._unloading.begin(replaced)

    async def _load(self, folder: ModelFolder, version: BundleFolder, place: Place) -> ServedModel | None:
        """The new model of a place, which runs already; None if its bundle is the one that is loaded.

        Raises:
            FantasiaError: the bundle cannot be used.
        """
        begin = time.perf_counter()
        bundle = await run_in_background(lambda: self._loader.verify(folder, version))
        others = {other.model_path for other in self._places.values() if other.model and other.name == bundle.name}
        if others - {folder.path}:
            raise StartupError(
                f"{version.path}: {min(others - {folder.path})} already holds a model called {bundle.name}"
            )
        if place.model is not None and place.model.bundle.digest == bundle.digest:
            return None
        models = len({*self._catalogue.names, bundle.name})

        def load() -> ServedModel:
            self._loader.check_memory(bundle)
            model = self._loader.create(bundle, version.version, models=models)
            try:
                model.engine.warm_up()
                model.engine.start()
            except BaseException:
                model.unload()
                raise
            return model

        model = await run_in_background(load, abandoned=ServedModel.unload)
        try:
            self._host.add_model(model)
        except StartupError:
            await run_in_background(model.unload)
            raise
        seconds = time.perf_counter() - begin
        self._metrics.repository.loaded(seconds)
        fields = {
            "model": model.name,
            "version": model.version,
            "digest": bundle.digest,
            "path": version.path,
            "precision": model.engine.precision,
            "seconds": round(seconds, 3),
        }
        _log.info("model loaded", extra={"fields": fields})
        return model

    def _choose_versions(self, path: Path, folder: ModelFolder | None) -> None:
        """Choose the default version of a model, and unload what is not served any more.

        Args:
            path: of the model's folder.
            folder: what it holds; None if this look has missed it.
        """
        for each in self._paths_of(path):
            if self._places[each].model is None and self._places[each].missing:
                del self._places[each]
        loaded = {self._places[each].version: each for each in self._paths_of(path) if self._places[each].model}
        left = sorted((version for version, each in loaded.items() if self._places[each].missing < _GONE), reverse=True)
        kept: set[int] = set(left)
        notes = [] if folder is None else [folder.problem, *folder.notes]
        if left and folder is not None and not folder.problem:
            name = self._places[loaded[left[0]]].name
            default, pinned = self._catalogue.versions(name)[0].version, self._pinned(folder)
            if pinned is None or pinned in left:
                default = self._set_default_version(name, pinned or left[0], before=default)
            elif pinned:
                notes.append(f"the default version {pinned} cannot be served: version {default} stays the default")
            else:
                notes.append(f"{ALIAS_RULE}: the default version stays {default}")
            kept = {*left[: self._settings.served_versions], default}
        for version in sorted(loaded.keys() - kept, key=lambda version: self._is_default(loaded[version])):
            self._retire(self._places.pop(loaded[version]).model)
        self._notes.write(path, self._relative("; ".join(filter(None, notes))))

    def _set_default_version(self, name: str, version: int, *, before: int) -> int:
        if version != before:
            self._catalogue.set_default_version(name, version)
            fields = {"model": name, "version": version, "before": before}
            _log.info("default version", extra={"fields": fields})
        return version

    def _is_default(self, path: Path) -> bool:
        model = self._places[path].model
        return model is not None and self._catalogue.is_default_version(model)

    def _retire(self, model: ServedModel | None) -> None:
        """Give no more calls to a model, and unload it when it has none."""
        assert model is not None
        self._catalogue.remove(model)
        self._unloading.begin(model)

    def _pinned(self, folder: ModelFolder) -> int | None:
        """The default version that the settings or the folder name; 0 if it names none, None if it is the highest."""
        return self._configured.get(folder.name, folder.default)

    def _paths_of(self, model_path: Path) -> list[Path]:
        return [path for path, place in self._places.items() if place.model_path == model_path]

    def _relative(self, text: str) -> str:
        """The text with paths in the repository as they are there."""
        return text.replace(f"{self._root}{os.sep}", "")

    def _log_default_model(self, before: str) -> None:
        default, names = self._catalogue.default, self._catalogue.names
        if default != before:
            _log.warning("default model", extra={"fields": {"model": default or "none", "before": before or "none"}})
        if not names:
            if before:
                _log.error("no model is loaded", extra={"fields": {"path": self._root}})
        elif not self._settings.default_model and default_of(names) is None and len(names) > 1:
            text = (
                "several models are loaded and none is configured as the default: the next start needs --default-model"
            )
            self._notes.write(self._root / "default model", text)

    def _publish(self) -> None:
        """Tell callers and metrics what is loaded, what is not and why."""
        unavailable = [place.unavailable for place in self._places.values()]
        if self._loading is not None and self._loading.unavailable is None:
            unavailable.append(UnavailableModel(self._loading.name, self._loading.version, UnavailableState.LOADING))
        unloading = self._unloading.models
        unavailable += [UnavailableModel(each.name, each.version, UnavailableState.UNLOADING) for each in unloading]
        self._catalogue.unavailable = tuple(
            sorted((each for each in unavailable if each is not None), key=lambda each: (each.name, each.version))
        )
        versions = {name: self._catalogue.versions(name)[0].version for name in self._catalogue.names}
        self._metrics.repository.set_default_versions(versions)
        self._metrics.repository.set_unloading(len(unloading))
