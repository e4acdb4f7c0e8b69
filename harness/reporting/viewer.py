"""Data of the page's viewer of image pairs: choice of pairs, and their pictures, downsized."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.core.outcome import LOSS, TIE, WIN, balance
from harness.core.shards import item_id
from harness.reporting import words
from harness.reporting.shown_pairs import ShownPairs
from harness.reporting.shown_runs import pictures_of
from harness.store.comparison_tables import CANDIDATE, ComparisonTables, MetricInfo
from harness.store.run import Run
from harness.store.run_facts import RunFacts

MOST = 60
_COLUMNS = ["item_id", "a_value", "b_value", "outcome"]
_WORDS = {WIN: "win", TIE: "tie", LOSS: "loss"}
_LARGEST_SIDE = 448


def viewer_data(shown: ShownPairs) -> dict[str, Any] | None:
    """JSON-like data for the page's viewer, images as data URLs or null; None without runs."""
    comparison = shown.tables
    if len(gone(comparison)) == len(comparison.runs):
        return None
    chosen = choose(comparison)
    names = words.run_names(comparison)
    order = [CANDIDATE, *comparison.baselines]
    return {
        "runs": [
            {"role": role, "name": names[role], "nfe": words.count(comparison.runs[role].cost.nfe)}
            for role in order
        ],
        "metrics": [
            {"name": m.name, "label": words.label(m), "sign": m.sign} for m in comparison.metrics
        ],
        "comparisons": [{"name": role, "label": label} for role, label in shown.titles.items()],
        "opens": shown.opens,
        "pairs": list(_pairs(shown, chosen, pictures(shown, sides(comparison, chosen)))),
        "outcomes": {f"{value:g}": word for value, word in _WORDS.items()},
        "total": comparison.pair_table.items(),
    }


def gone(comparison: ComparisonTables) -> list[str]:
    """Roles of the runs that are no longer at their paths, as in tables copied without them."""
    return [role for role, run in comparison.runs.items() if _opened(run) is None]


def absence(comparison: ComparisonTables) -> str | None:
    """A sentence on the pictures that cannot be shown; None where all runs are there."""
    if not (roles := gone(comparison)):
        return None
    names = words.run_names(comparison)
    if len(roles) == len(comparison.runs):
        what, where = (
            "No pairs are shown",
            f"none of the runs is where it was (the candidate: {comparison.candidate.path})",
        )
    else:
        places = [f"{names[role]} is not at {comparison.runs[role].path}" for role in roles]
        what, where = "Pictures are missing", words.joined(places)
    return (
        f"{what}: {where}. Everything else is from the stored tables. For pictures, put the runs "
        "where they were beside these tables, or make and compare them again."
    )


def _opened(facts: RunFacts) -> Run | None:
    return Run.find(facts.path, facts.run_id)


def choose(comparison: ComparisonTables, most: int = MOST) -> list[str]:
    """Item ids of at most `most` pairs, the largest wins and losses of every metric first.

    Takes turns over metrics, comparisons and (win, loss), so that each is shown; ties come last.
    """
    queues = []
    for metric in comparison.metrics:
        for role in comparison.baselines:
            frame = advantages(comparison, metric, role)
            order = frame.sort_values("advantage", ascending=False, kind="stable")
            won, lost = (order.loc[order["outcome"] == end, "item_id"] for end in (WIN, LOSS))
            queues += [won[:most].tolist(), lost[-most:].tolist()[::-1]]
    longest = max(map(len, queues))
    turns = [queue[at] for at in range(longest) for queue in queues if at < len(queue)]
    chosen = dict.fromkeys(turns)
    if len(chosen) < most:
        chosen |= dict.fromkeys(comparison.pair_table.frame(columns=["item_id"])["item_id"])
    return list(chosen)[:most]


def advantages(
    comparison: ComparisonTables, metric: MetricInfo, role: str, more: Sequence[str] = ()
) -> pd.DataFrame:
    """Pairs that count, with the candidate's `advantage` in score; infinite against failures.

    With their ids, values and outcomes, and `more` columns.
    """
    frame = comparison.pair_table.frame(role, metric.name, [*_COLUMNS, *more])
    frame = frame[frame["outcome"].notna()]
    gap = metric.sign * (frame["a_value"] - frame["b_value"])
    return frame.assign(advantage=gap.fillna(balance(frame["outcome"]) * float("inf")).fillna(0))


def _pairs(
    shown: ShownPairs, chosen: list[str], images: dict[str, dict[str, str | None]]
) -> Iterator[dict[str, Any]]:
    comparison = shown.tables
    frame = comparison.pair_table.frame(items=chosen)
    by_item = dict(list(frame.groupby("item_id", sort=False)))
    for item in chosen:
        rows = by_item[item]
        first = rows.iloc[0]
        failed: dict[str, str] = {}
        values: dict[str, dict[str, float | None]] = {role: {} for role in comparison.runs}
        outcomes: dict[str, dict[str, float | None]] = {role: {} for role in comparison.baselines}
        for one in rows.itertuples():
            row: Any = one
            values[CANDIDATE][row.metric] = _plain(row.a_value)
            values[row.comparison][row.metric] = _plain(row.b_value)
            outcomes[row.comparison][row.metric] = _plain(row.outcome)
            for role, reason in ((CANDIDATE, row.a_failed), (row.comparison, row.b_failed)):
                if not words.missing(reason):
                    failed[role] = str(reason)
        yield {
            "prompt": str(first["prompt"]),
            "category": "" if words.missing(first["category"]) else str(first["category"]),
            "seed": int(first["seed"]),
            "images": {role: images[role].get(item) for role in comparison.runs},
            "names": shown.own_names(item),
            "failed": failed,
            "values": values,
            "outcomes": outcomes,
        }


def sides(comparison: ComparisonTables, chosen: list[str]) -> dict[str, dict[str, str]]:
    """The item id of each side's picture, by role and chosen pair."""
    columns = ["comparison", "item_id", "seed", "b_seed"]
    frame = comparison.pair_table.frame(columns=columns, items=chosen)
    frame = frame.drop_duplicates(["comparison", "item_id"])
    items: dict[str, dict[str, str]] = {role: {} for role in comparison.runs}
    for one in frame.itertuples():
        row: Any = one
        own, other = _sides(row.item_id, row.seed, row.b_seed)
        items[CANDIDATE][row.item_id], items[row.comparison][row.item_id] = own, other
    return items


def pictures(
    shown: ShownPairs, wanted: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str | None]]:
    """Data URLs by role and pair, of what `sides` names; null where there is no picture."""
    found: dict[str, dict[str, str | None]] = {}
    for role, items in wanted.items():
        found[role] = {}
        for facts in {id(one): one for one in (shown.facts(role, p) for p in items)}.values():
            here = {p: item for p, item in items.items() if shown.facts(role, p) is facts}
            read = read_pictures(facts, here)
            found[role] |= {pair: read.get(item) for pair, item in here.items()}
    return found


def _sides(item: str, seed: int, b_seed: Any) -> tuple[str, str]:
    """The two images of a pair's id: `p0/3`, `p0/3 with seed 5` or, of other ids, `p0/3 with q1/5`;
    the first is at `seed`, the other at `b_seed`, or at the same where that is missing."""
    if words.missing(b_seed):
        return item, item
    prompt, other = item.split(f"/{seed} with ", 1)
    alike = other == f"seed {b_seed}"
    return item_id(prompt, seed), item_id(prompt, b_seed) if alike else other


def _plain(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def read_pictures(facts: RunFacts, items: Mapping[str, str]) -> dict[str, str]:
    """Data URLs by item, of those of which the run, if it is there, has a readable picture."""
    if (run := _opened(facts)) is None:
        return {}
    found = pictures_of(run, set(items.values()))
    addresses = {item: data_address(data) for item, data in found.items()}
    return {item: address for item, address in addresses.items() if address}


def data_address(png: bytes) -> str | None:
    """A PNG as it is, or a JPEG of at most 448 pixels a side where it is larger; None if broken."""
    from PIL import Image, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(png))
        opened.load()
    except (UnidentifiedImageError, OSError):
        return None
    kind = "png"
    if max(opened.size) > _LARGEST_SIDE:
        image = opened.convert("RGB")
        image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=88)
        png, kind = buffer.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(png).decode()}"
