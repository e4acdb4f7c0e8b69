"""Registries: entries by name, such as samplers, models, metrics and prompt sets.

The modules of the registry's own package, and of packages inside it, are imported when a name is
first asked for, so one new file is enough to add an entry. Installed packages add theirs through an
entry point group of the package's name (for example `harness.samplers`), or of another name.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import marshal
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
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
        self._defined: dict[str, tuple[str, str] | None] = {}
        self._finders: list[Callable[[str], T | None]] = []
        self._loaded = False

    def find_by(self, finder: Callable[[str], T | None]) -> None:
        """Ask `finder` for names that no entry has; it gives None for those that it does not know.

        For entries of another library, which are too many to be listed one by one.
        """
        self._finders.append(finder)

    def add(self, name: str, entry: T, code: Callable[..., object] | None = None) -> T:
        """Register `entry`, defined by `code`; a name taken by another entry is an error.

        The same definition run again in a notebook or a script replaces the first.
        """
        if name in self._entries and not self._again(name, code):
            raise HarnessError(
                f"{self.kind} {name!r} is registered twice: give one another name, by which what "
                "is stored is told apart"
            )
        self._entries[name] = entry
        self._defined[name] = _place(code)
        return entry

    def _again(self, name: str, code: Callable[..., object] | None) -> bool:
        place = _place(code)
        return place == self._defined.get(name) and code is not None and self.only_here(code)

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
        if (entry := self._found(name)) is None:
            raise unknown(self.kind, name, self._entries)
        return entry

    def _found(self, name: str) -> T | None:
        if name in self._entries:
            return self._entries[name]
        return next((one for find in self._finders if (one := find(name)) is not None), None)

    def names(self) -> list[str]:
        self._load()
        return sorted(self._entries)

    def only_here(self, made: object) -> bool:
        """Whether a registered function or class is a script's or a notebook's, which no other
        process finds: neither the harness's own nor of a package with an entry point."""
        return _top(made.__module__) not in self._homes

    @cached_property
    def _homes(self) -> set[str]:
        """The packages whose entries every process finds; asked once, as it reads every package's
        list of entry points."""
        modules = [point.module for point in entry_points(group=self.group)]
        return {_top(module) for module in (self.package, *modules)}

    def __iter__(self) -> Iterator[tuple[str, T]]:
        self._load()
        return iter(sorted(self._entries.items()))

    def __contains__(self, name: object) -> bool:
        self._load()
        return isinstance(name, str) and self._found(name) is not None

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


def _place(code: Callable[..., object] | None) -> tuple[str, str] | None:
    return None if code is None else (code.__module__, code.__qualname__)


def code_digest(made: Callable[..., object]) -> str:
    """What identifies the code of a function or class: eight digits of a hash of its source, or of
    its byte code where there is no source (typed at a prompt)."""
    try:
        text = inspect.getsource(made).encode()
    except (OSError, TypeError):
        parts = vars(made).values() if isinstance(made, type) else [made]
        text = b"".join(marshal.dumps(p.__code__) for p in parts if hasattr(p, "__code__"))
    return hashlib.sha256(text).hexdigest()[:8]
