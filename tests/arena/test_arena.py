"""The arena: blind, kept, resumed, for this machine alone, and what its votes make of a winner."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.arena import Arena, Ballot
from harness.arena import ballot as ballot_module
from harness.arena.ballot import Pair
from harness.comparison.human_votes import preferences
from harness.core.errors import HarnessError
from harness.core.shards import Prompt, plan_shards
from harness.runs.folder import Settings, open_run
from harness.runs.importing import import_images
from harness.runs.make import generate
from harness.runs.manifest import Declared
from harness.runs.plan import plan
from harness.store.comparison_tables import load_comparison
from harness.store.run import Run
from harness.store.votes import votes_file
from tests.conftest import harness

SCRIPT = "<script>alert(1)</script>"
PROMPTS = [Prompt(f"p{i}", f"class {i}") for i in range(6)]


def _made(folder: Path, sampler: str) -> Run:
    job = plan("gmm", sampler)
    run = open_run(job, str(folder / job.spec.run_id), Settings())
    generate([(job, run, shard) for shard in plan_shards(PROMPTS, [0, 1])], Settings())
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    folder = tmp_path_factory.mktemp("runs")
    one, two = (_made(folder, f"{name}(steps=3, guidance=2)") for name in ("heun", "ddim"))
    return one, two


class Browser:
    """What a browser on the page does, and what others try."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = HTTPConnection("127.0.0.1", self.arena.server_port, timeout=10)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        text = None if body is None else body if isinstance(body, str) else json.dumps(body)
        connection.request(method, path, text, given)
        answer = connection.getresponse()
        found = answer.status, answer.read(), dict(answer.getheaders())
        connection.close()
        return found

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        status, answer, _ = self.ask("POST", path, body, X_Token=self.arena.token)
        return status, json.loads(answer) if status == 200 else None


@contextmanager
def browsing(ballot: Ballot) -> Iterator[Browser]:
    with Arena(ballot) as arena:
        thread = Thread(target=arena.serve_forever, daemon=True)
        thread.start()
        yield Browser(arena)
        arena.shutdown()
        thread.join()


def test_a_rater_votes_undoes_and_goes_on_later(runs: tuple[Run, Run], tmp_path: Path) -> None:
    ballot = Ballot(*runs, str(tmp_path), "ann")
    order = [pair.item_id for pair in ballot.pairs]
    assert sorted(order) == sorted(f"p{i}/{seed}" for i in range(6) for seed in (0, 1))
    assert {pair.left for pair in ballot.pairs} == {"candidate", "baseline"}
    with browsing(ballot) as browser:
        assert json.loads(browser.ask("GET", "/state")[1])["at"] == 0
        for at, choice in enumerate(["left", "tie", "right"]):
            status, state = browser.post("/vote", {"at": at, "choice": choice})
            assert (status, state["done"], state["at"]) == (200, at + 1, at + 1)
        assert browser.post("/undo", {})[1]["at"] == 2
        browser.post("/vote", {"at": 2, "choice": "left"})
    again = Ballot(*runs, str(tmp_path), "ann")
    assert [pair.item_id for pair in again.pairs] == order
    assert (again.done, again.next) == (3, 3)
    table = pd.read_parquet(again.path)
    assert table["item_id"].tolist() == order[:3]
    lefts = [pair.left for pair in again.pairs[:3]]
    assert table["winner"].tolist() == [lefts[0], "tie", lefts[2]]
    assert set(table["rater"]) == {"ann"}
    assert Ballot(*runs, str(tmp_path), "bob").done == 0
    assert [p.item_id for p in Ballot(*runs, str(tmp_path), "ann", seed=1).pairs] != order


def test_a_folder_holds_votes_on_one_question(runs: tuple[Run, Run], tmp_path: Path) -> None:
    asked = Ballot(*runs, str(tmp_path), "ann", question="looks")
    with browsing(asked) as browser:
        state = json.loads(browser.ask("GET", "/state")[1])
        assert state["question"] == "Which looks better?"
        browser.post("/vote", {"at": 0, "choice": "left"})
    assert pd.read_parquet(asked.path)["question"].tolist() == ["looks"]
    assert Ballot(*runs, str(tmp_path), "bob", question="looks").done == 0
    with pytest.raises(HarnessError, match=r"answer 'Which looks better\?'.*--out"):
        Ballot(*runs, str(tmp_path), "bob")
    with pytest.raises(HarnessError, match="did you mean 'looks'"):
        Ballot(*runs, str(tmp_path / "other"), "bob", question="look")
    old = pd.read_parquet(asked.path).drop(columns="question")
    old.to_parquet(asked.path)  # as written before votes named their question
    assert Ballot(*runs, str(tmp_path), "ann").done == 1


def test_what_is_sent_tells_nothing_of_which_run_is_which(
    runs: tuple[Run, Run], tmp_path: Path
) -> None:
    ballot = Ballot(*runs, str(tmp_path), "ann")
    with browsing(ballot) as browser:
        page = browser.ask("GET", "/")
        state = browser.ask("GET", "/state")
        left = browser.ask("GET", "/image/0/left")
        right = browser.ask("GET", "/image/0/right")
    for _, body, headers in (page, state):
        assert not any(word in body.decode() for word in ("heun", "ddim", str(tmp_path)))
        assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert set(json.loads(state[1])) == {"done", "total", "at", "prompt", "question"}
    images = {}
    for role, run in zip(("candidate", "baseline"), runs, strict=True):
        frame = run.frame("images").set_index("item_id")
        images[role] = frame.loc[ballot.pairs[0].item_id, "image"]["bytes"]
    first = ballot.pairs[0].left
    assert left[1] == images.pop(first)
    assert right[1] == images.popitem()[1]
    assert left[2]["Content-Type"] == "image/png"


def test_prompts_are_data(runs: tuple[Run, Run], tmp_path: Path) -> None:
    """The page takes them as text from JSON; none is ever part of its HTML."""
    ballot = Ballot(*runs, str(tmp_path), "ann")
    ballot.pairs[0] = replace(ballot.pairs[0], prompt=f"{SCRIPT} {5000 * 'x'}")
    with browsing(ballot) as browser:
        _, state, headers = browser.ask("GET", "/state")
        assert json.loads(state)["prompt"] == ballot.pairs[0].prompt
        assert headers["Content-Type"] == "application/json"
        page = browser.ask("GET", "/")[1].decode()
        assert SCRIPT not in page
        assert "innerHTML" not in page
        assert "http://" not in page
        assert "https://" not in page


def test_only_this_page_on_this_machine_may_vote(runs: tuple[Run, Run], tmp_path: Path) -> None:
    ballot = Ballot(*runs, str(tmp_path), "ann")
    with browsing(ballot) as browser:
        arena = browser.arena
        assert arena.server_address[0] == "127.0.0.1"
        good, vote = arena.token, {"at": 0, "choice": "left"}
        port = arena.server_port
        refused = [
            browser.ask("POST", "/vote", vote),
            browser.ask("POST", "/vote", vote, X_Token="x" * len(good)),
            browser.ask("POST", "/vote", vote, X_Token=good, Host=f"evil.example:{port}"),
            browser.ask("POST", "/vote", vote, X_Token=good, Origin="http://evil.example"),
            browser.ask("POST", "/vote", vote, X_Token=good, Origin="null"),
            browser.ask("POST", "/vote", vote, X_Token=good, Sec_Fetch_Site="cross-site"),
            browser.ask("GET", "/", Host=f"evil.example:{port}"),
            browser.ask("GET", "/", Host="127.0.0.1"),
            browser.ask("GET", "/image/0/left", Sec_Fetch_Site="cross-site"),
        ]
        assert [answer[0] for answer in refused] == [403] * len(refused)
        assert not any(good.encode() in answer[1] for answer in refused)
        bad: list[Any] = ["{", "[]", '"x"', {"at": 0}, {"at": "0", "choice": "left"}]
        bad += [{"at": 99, "choice": "left"}, {"at": -1, "choice": "left"}, {"at": 0, "choice": 1}]
        bad += [{"at": True, "choice": "left"}, {"at": 0, "choice": "left", "more": "x" * 2000}]
        assert {browser.post("/vote", body)[0] for body in bad} == {400}
        for path in ("/image/99/left", "/image/0/up", "/image/x/left", "/../run.json", "/nothing"):
            assert browser.ask("GET", path)[0] == 404
        assert browser.ask("PUT", "/vote", vote)[0] == 501
        assert ballot.done == 0
        own = {"Origin": f"http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-origin"}
        assert browser.ask("POST", "/vote", vote, X_Token=good, **own)[0] == 200
    assert ballot.done == 1


def test_the_human_winning_rate_stands_beside_the_models(
    runs: tuple[Run, Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    paths = [run.path for run in runs]
    command = ["compare", *paths, "--metrics", "contrast,human", "--out", str(tmp_path)]
    assert harness(monkeypatch, *command) == 2
    assert "holds no vote on these two runs: first harness arena" in capsys.readouterr().err
    wins: dict[tuple[str, str], list[float]] = {}
    for rater, turned in (("ann", False), ("bob", False), ("cy", True)):
        ballot = Ballot(*(runs[::-1] if turned else runs), str(tmp_path), rater)
        for at, pair in enumerate(ballot.pairs[:9]):
            choice = ("left", "right", "tie", "left")[(at + len(rater)) % 4]
            ballot.vote(at, choice)
            left = (pair.left == "candidate") != turned
            won = {"left": float(left), "right": float(not left), "tie": 0.5}[choice]
            wins.setdefault((pair.item_id, pair.other_id), []).append(won)
    shares = {item: sum(won) / len(won) for item, won in wins.items()}
    ids = [run.spec.run_id for run in runs]
    assert preferences(str(tmp_path), *ids) == pytest.approx(shares)
    other = preferences(str(tmp_path), *ids[::-1])
    assert other == pytest.approx({item: 1 - share for item, share in shares.items()})
    for path in paths:
        assert harness(monkeypatch, "evaluate", path, "--metrics", "contrast") == 0
    assert harness(monkeypatch, *command) == 0
    assert "Human preference" in capsys.readouterr().out
    rates = pd.read_parquet(tmp_path / "compare" / "winning_rates.parquet")
    (row,) = rates[rates["metric"] == "human"].to_dict("records")
    outcome = [(share > 0.5) + 0.5 * (share == 0.5) for share in shares.values()]
    assert (row["pairs"], row["left_out"]) == (len(shares), 12 - len(shares))
    assert row["wins"] + 0.5 * row["ties"] == sum(outcome)
    pairs = pd.read_parquet(tmp_path / "compare" / "pairs.parquet")
    left_out = pairs[(pairs["metric"] == "human") & pairs["outcome"].isna()]["left_out"]
    assert set(left_out) <= {"no vote"}
    assert "Human preference" in (tmp_path / "report" / "index.html").read_text()


@pytest.fixture
def imports(tmp_path: Path) -> tuple[Run, Run]:
    """Unpaired images of 5 prompts: 4 and 3 of each."""
    made = []
    for name, count in (("a", 4), ("b", 3)):
        where = tmp_path / name
        where.mkdir()
        rows = ["file,prompt,seed"]
        for prompt in range(5):
            for seed in range(count):
                pixels = np.zeros((8, 8, 3), np.uint8)
                pixels[0] = 20 * prompt + seed + 100 * (name == "a")
                Image.fromarray(pixels).save(where / f"{prompt}-{seed}.png")
                rows.append(f"{prompt}-{seed}.png,prompt {prompt},{seed}")
        table = tmp_path / f"{name}.csv"
        table.write_text("\n".join(rows) + "\n")
        made.append(import_images(str(where), Declared(None, str(table)), out=f"{where}-run"))
    return made[0], made[1]


def test_unpaired_images_meet_at_random_and_each_once(
    imports: tuple[Run, Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    ballot = Ballot(*imports, str(tmp_path), "ann")
    assert len(ballot.pairs) == 5 * 3
    for side in ("item_id", "other_id"):
        assert len({getattr(pair, side) for pair in ballot.pairs}) == 15
    prompts = [[pair.item_id.split("/")[0], pair.other_id.split("/")[0]] for pair in ballot.pairs]
    assert all(one == other for one, other in prompts)
    assert any(pair.item_id != pair.other_id for pair in ballot.pairs)
    assert ballot.pairs == Ballot(*imports, str(tmp_path), "bob").pairs
    first = ballot.pairs[0]
    for side in ("left", "right"):
        candidate = (side == "left") == (first.left == "candidate")
        item = first.item_id if candidate else first.other_id
        level = np.asarray(Image.open(io.BytesIO(bytes(ballot.image(0, side)))))[0, 0, 0]
        assert (level >= 100, level % 20) == (candidate, int(item.split("/")[1]))
    shares: dict[str, list[float]] = {}
    for at, pair in enumerate(ballot.pairs[:11]):
        wins = at % 3 != 0
        ballot.vote(at, _side(pair, wins))
        shares.setdefault(pair.item_id.split("/")[0], []).append(float(wins))
    turned = Ballot(*imports[::-1], str(tmp_path), "cy", seed=7)
    turned.vote(0, _side(turned.pairs[0], False))  # for the candidate of the other ballot
    key = (turned.pairs[0].other_id, turned.pairs[0].item_id)
    ids = [run.spec.run_id for run in imports]
    votes = preferences(str(tmp_path), *ids)
    said = {(pair.item_id, pair.other_id) for pair in ballot.pairs[:11]}
    assert set(votes) == said | {key}
    if key not in said:
        assert votes[key] == 1
        shares.setdefault(key[0].split("/")[0], []).append(1.0)
    paths = [run.path for run in imports]
    command = ["compare", *paths, "--metrics", "human", "--out", str(tmp_path)]
    assert harness(monkeypatch, *command) == 0
    (row,) = load_comparison(str(tmp_path)).rates.to_dict("records")
    assert (row["pairs"], row["left_out"]) == (len(votes), 5 * 12 - len(votes))
    assert row["prompts"] == len(shares)
    assert row["winning_rate"] == pytest.approx(np.mean([np.mean(won) for won in shares.values()]))
    assert "imported as unpaired" in " ".join(capsys.readouterr().out.split())
    assert harness(monkeypatch, *command, "--matrix") == 2
    assert "without --fair and --matrix" in " ".join(capsys.readouterr().err.split())


def test_a_metrics_agreement_with_votes_is_told_where_there_are_some(
    runs: tuple[Run, Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A rater who sees contrast agrees with it throughout; the metric human need not be named."""
    paths = [run.path for run in runs]
    assert harness(monkeypatch, "evaluate", *paths, "--metrics", "contrast") == 0
    ballot = Ballot(*runs, str(tmp_path), "ann")
    command = ["compare", *paths, "--metrics", "contrast", "--out", str(tmp_path), "-v"]
    assert harness(monkeypatch, *command) == 0
    assert not load_comparison(str(tmp_path)).agreements
    outcomes = load_comparison(str(tmp_path)).pairs.set_index("item_id")["outcome"]
    for at, pair in enumerate(ballot.pairs[:7]):
        ballot.vote(at, _side(pair, outcomes[pair.item_id] == 1))
    capsys.readouterr()
    assert harness(monkeypatch, *command) == 0
    (row,) = load_comparison(str(tmp_path)).agreements
    assert (row.metric, row.agreement.value, row.pairs) == ("contrast", 1.0, 7)
    shown = " ".join(capsys.readouterr().out.split())
    assert "prefers the image that people prefer in 100.0" in shown
    assert "of 7 pairs with votes" in shown


@pytest.mark.parametrize("paired", [True, False])
def test_a_ballot_has_the_images_of_a_text_once(tmp_path: Path, paired: bool) -> None:
    """Of a table that repeats each text; images made elsewhere meet those of their text."""
    prompts = [Prompt(f"row{i}", f"class {i // 5}") for i in range(15)]
    made = []
    for sampler in ("heun(steps=1)", "ddim(steps=1)"):
        job = plan("gmm", sampler)
        run = open_run(job, str(tmp_path / job.spec.run_id), Settings())
        generate([(job, run, shard) for shard in plan_shards(prompts, [0, 1])], Settings())
        made.append(run)
    if not paired:
        made[0].declare({"source": "there", "paired": False})
    pairs = Ballot(*made, str(tmp_path), "ann").pairs
    firsts = {f"row{i}/{seed}" for i in (0, 5, 10) for seed in (0, 1)}
    assert len(pairs) == 6
    assert {pair.other_id for pair in pairs} == firsts
    assert paired is ({pair.item_id for pair in pairs} == firsts)


def _side(pair: Pair, candidate_wins: bool) -> str:
    return "left" if (pair.left == "candidate") == candidate_wins else "right"


def test_failed_images_lose_in_their_turn(
    runs: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They count as often as the pairs that are voted on, not all of them at once."""
    plain = Ballot(*runs, str(tmp_path), "ann")
    order = [pair.item_id for pair in plain.pairs]
    failed = {"candidate": {order[1], order[2], order[9]}, "baseline": {order[2]}}
    places = ballot_module._places

    def some_failed(run: Run) -> dict[str, Any]:
        role = "candidate" if run is runs[0] else "baseline"
        return {k: v._replace(failed=k in failed[role]) for k, v in places(run).items()}

    monkeypatch.setattr(ballot_module, "_places", some_failed)
    ballot = Ballot(*runs, str(tmp_path), "ann")
    assert [pair.item_id for pair in ballot.pairs] == order
    ballot.vote(0, _side(ballot.pairs[0], True))
    assert (ballot.done, ballot.next) == (3, 3)
    ids = [run.spec.run_id for run in runs]
    votes = preferences(str(tmp_path), *ids)
    assert votes == {(order[k], order[k]): share for k, share in enumerate((1.0, 0.0, 0.5))}
    ballot.undo()
    assert (ballot.done, ballot.next) == (0, 0)
    assert preferences(str(tmp_path), *ids) == {}


def test_mistakes(runs: tuple[Run, Run], tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="compared with itself"):
        Ballot(runs[0], runs[0], str(tmp_path), "ann")
    with browsing(Ballot(*runs, str(tmp_path), "ann")) as browser:
        taken = browser.arena.server_port
        with pytest.raises(HarnessError, match=f"cannot listen at 127.0.0.1:{taken}"):
            Arena(Ballot(*runs, str(tmp_path), "bob"), taken)
    with pytest.raises(HarnessError, match="not in 0 to 65535"):
        Arena(Ballot(*runs, str(tmp_path), "bob"), 70000)
    assert "/" not in Path(votes_file("", "a", "b", "../../evil")).name
