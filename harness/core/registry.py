"""Registries: entries by name, such as samplers, models, metrics and prompt sets.

The modules of the registry's own package, and of packages inside it, are imported when a name is
first asked for, so one new file is enough to add an entry. Installed packages add theirs through an
entry point group of the package's name (for example `harness.samplers`), or of another name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from harness.core.errors import HarnessError, unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries of one kind by name, from the modules of `package` and from entry points."""

    def __init__(self, kind: str, package: str, group: str | None = None) -> None:
        self.kind = kind
        self.package, self.group = package, group or package
        self._entries: dict[str, T] = {}
        self._loaded = False

    def add(self, name: str, entry: T) -> T:
        """Register `entry`; a name taken by another entry is an error."""
        if name in self._entries:
            raise HarnessError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry
        return entry

    @contextmanager
    def aside(self) -> Iterator[dict[str, T]]:
        """A temporary empty registry: yields the entries added while open, then restores."""
        self._load()
        own, self._entries = self._entries, {}
        try:
            yield self._entries
        finally:
            self._entries = own

    def get(self, name: str) -> T:
        """The entry called `name`; raises HarnessError with the closest name if there is none."""
        self._load()
        try:
            return self._entries[name]
        except KeyError:
            raise unknown(self.kind, name, self._entries) from None

    def names(self) -> list[str]:
        self._load()
        return sorted(self._entries)

    def only_here(self, made: object) -> bool:
        """Whether a registered function or class is a script's or a notebook's, which no other
        process finds: neither the harness's own nor of a package with an entry point."""
        homes = [self.package, *(point.module for point in entry_points(group=self.group))]
        return _top(made.__module__) not in map(_top, homes)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        self._load()
        return iter(sorted(self._entries.items()))

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def _load(self) -> None:
        if self._loaded:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.walk_packages(package.__path__, self.package + "."):
            importlib.import_module(module.name)
        for point in entry_points(group=self.group):
            self._load_point(point)
        self._loaded = True

    def _load_point(self, point: EntryPoint) -> None:
        try:
            point.load()
        except Exception as error:  # whatever another package does wrong
            owner = point.dist.name if point.dist else point.value
            raise HarnessError(
                f"{self.kind} {point.name!r} of the installed package {owner} does not load "
                f"({type(error).__name__}: {error}): update or uninstall that package"
            ) from error


def _top(module: str) -> str:
    return module.partition(".")[0]
