"""Experiment trackers: progress and final tables to TensorBoard, Weights & Biases or MLflow.

By accelerate's own classes. One process writes, and none waits for another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import HarnessError
from harness.runs.rank_log import usual_folder
from harness.runs.status import Status

if TYPE_CHECKING:
    import pandas as pd

TRACKERS = ("tensorboard", "wandb", "mlflow")
_PROJECT = "sampler-harness"


class Tracker:
    """One experiment of a tracker, opened when there is something to tell; without a name, none.

    The step of every value is the number of images that the command has gone through by then.
    """

    def __init__(self, name: str | None, folder: str | None = None) -> None:
        self.name, self._folder = name, folder
        self._opened: Any = None
        self._alone = False
        self._done: dict[str, int] = {}

    def progress(self, status: Status) -> None:
        """Images so far, failures, and images/s of a stage."""
        if self.name is None:
            return
        self._done[status.title] = status.done
        values = {"images": status.done, "failed": status.failed, "images per second": status.rate}
        self._log({f"{status.title}/{name}": float(value) for name, value in values.items()})

    def table(self, name: str, frame: pd.DataFrame, by: Sequence[str]) -> None:
        """A final table, as the tracker shows tables best, and its numbers as values.

        A number is called by the table, what stands in the columns `by`, and its own column.
        """
        if self.name is None or frame.empty:
            return
        rows = frame[list(by)].astype(object).apply(lambda row: " ".join(row.dropna()), axis=1)
        values = {
            f"{name}/{_named(rows[at])}/{column}": float(value)
            for column in frame.select_dtypes("number")
            for at, value in frame[column].dropna().items()
        }
        self._log(values)
        tracker = self._tracker()
        if self.name == "wandb":
            tracker.log_table(name, dataframe=frame.astype(object), step=self._step)
        elif self.name == "tensorboard":
            self._log({name: _markdown(frame)})
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, f"{name}.csv")
                frame.to_csv(path, index=False)
                tracker.log_artifact(str(path))

    def close(self) -> None:
        """End the experiment."""
        if self._opened is None:
            return
        self._opened.finish()
        self._opened = None
        if self._alone:  # processes may be started later, which are to count themselves
            from accelerate import PartialState

            PartialState._reset_state()

    @property
    def _step(self) -> int:
        return sum(self._done.values())

    def _log(self, values: dict[str, Any]) -> None:
        self._tracker().log(values, step=self._step)

    def _tracker(self) -> Any:
        if self._opened is None:
            from accelerate import PartialState

            self._alone = not PartialState._shared_state  # no launcher
            PartialState()  # which trackers ask before they log
            self._opened = _open(str(self.name), self._folder)
        return self._opened


NO_TRACKER = Tracker(None)


def make_tracker(name: str | None, log: str | None, runs: Sequence[str]) -> Tracker:
    """The tracker that a user names, for work on `runs` (paths or the folder of all); none of None.

    Event files of TensorBoard lie in the folder of logs, `log` or the usual one. Raises
    HarnessError for a tracker that is unknown or not installed.
    """
    if name is None:
        return NO_TRACKER
    if name not in TRACKERS:
        raise HarnessError(f"unknown tracker {name!r}: expected {', '.join(TRACKERS)}")
    from accelerate import utils

    if not getattr(utils, f"is_{name}_available")():
        raise HarnessError(f"--track {name} needs a package that is not here: pip install {name}")
    folder = log or usual_folder(runs)
    if name == "tensorboard" and (folder is None or "://" in folder):
        raise HarnessError(
            "--track tensorboard writes local files: name their folder, --log-folder"
        )
    return Tracker(name, folder)


def _open(name: str, folder: str | None) -> Any:
    """accelerate's tracker of this name; whoever calls is the process that writes."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    tracker = kind(_PROJECT, folder) if kind.requires_logging_directory else kind(_PROJECT)
    tracker.main_process_only = False  # else it would count processes, which need not be launched
    tracker.start()
    return tracker


def _named(text: str) -> str:
    """A name that every tracker takes."""
    return "".join(c if c.isalnum() or c in "-._ " else "-" for c in text)


def _markdown(frame: pd.DataFrame) -> str:
    """A table as Markdown, which TensorBoard shows as such."""
    rows = [map(str, frame.columns), ["---"] * len(frame.columns)]
    rows += [map(_cell, row) for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
