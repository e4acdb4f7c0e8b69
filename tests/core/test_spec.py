from __future__ import annotations

import pytest

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError
from harness.core.run_spec import RunSpec, parse_size
from harness.core.shards import Prompt, asked_items, item_id, listed_seeds, parse_seeds, plan_shards


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("ddim", Call("ddim")),
        ("ddim()", Call("ddim")),
        ("zz(steps=10, inversion=exact)", Call("zz", {"steps": 10, "inversion": "exact"})),
        ("a(x=-1.5, y=1e-3)", Call("a", {"x": -1.5, "y": 1e-3})),
        ("a(z=true, w=none)", Call("a", {"z": True, "w": None})),
        ("r(x=[[3,2,0.06],[1,1,1]])", Call("r", {"x": [[3, 2, 0.06], [1, 1, 1]]})),
        ("w(lora=./a b/c-1.safetensors)", Call("w", {"lora": "./a b/c-1.safetensors"})),
        ("w(text='a, (b) = c')", Call("w", {"text": "a, (b) = c"})),
        ("/m/x(kind=v_prediction)", Call("/m/x", {"kind": "v_prediction"})),
    ],
)  # fmt: skip
def test_calls_are_read(text: str, call: Call) -> None:
    assert parse_call(text) == call


@pytest.mark.parametrize("call", ["a", "a(x=1, y=[1, [2, 3]], z=b/c, t='d, e')", "a(x=true)"])
def test_a_call_reads_back_from_its_own_text(call: str) -> None:
    parsed = parse_call(call)
    assert parse_call(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a(x)", "parameter=value"),
        ("a(x=1, x=2)", "twice"),
        ("a(x=[1)", "missing"),
        ("a(x=1])", "unbalanced"),
        ("a(x='b)", "missing"),
        ("a(x=)", "without a value"),
        ("a(x=1", "cannot read"),
        ("(x=1)", "cannot read"),
        ("a(x=nan)", "finite"),
    ],
)
def test_bad_calls_are_refused_with_a_reason(text: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        parse_call(text)


def test_seeds() -> None:
    assert parse_seeds("0-3") == [0, 1, 2, 3]
    assert parse_seeds("7") == [7]
    assert parse_seeds("5-6, 0,2") == [0, 2, 5, 6]
    assert listed_seeds("5-6, 0,2") == [5, 6, 0, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [("5-2", "write 2-5"), ("1,1", "twice"), ("a", "cannot read"), ("", "cannot"), ("-1", "cannot"),
     (str(2**63), "above")],
)  # fmt: skip
def test_bad_seeds(text: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        parse_seeds(text)


def test_sizes() -> None:
    assert parse_size("512x768") == (512, 768)
    assert parse_size("64") == (64, 64)
    with pytest.raises(HarnessError, match="HxW"):
        parse_size("64 by 64")


def _spec(**changes: object) -> RunSpec:
    values = {
        "model": "m",
        "sampler": Call("ddim", {"steps": 5}),
        "size": (8, 8),
        "dtype": "float32",
        "noise_key": "prompt",
    }
    return RunSpec(**{**values, **changes})  # type: ignore[arg-type]


def test_a_run_id_depends_on_what_changes_pixels() -> None:
    same = _spec()
    assert RunSpec.from_dict(same.to_dict()) == same
    assert same.run_id == _spec().run_id
    changed = [
        _spec(model="n"),
        _spec(sampler=Call("ddim", {"steps": 6})),
        _spec(size=(8, 16)),
        _spec(negative=""),
        _spec(noise_key="seed"),
    ]
    assert len({spec.run_id for spec in [same, *changed]}) == 6


def test_more_prompts_or_seeds_extend_a_plan_without_renaming() -> None:
    prompts = [Prompt(str(i), f"text {i}") for i in range(70)]
    small = plan_shards(prompts[:64], [0])
    large = plan_shards(prompts, [0, 1])
    keys = {shard.name: shard.items_key for shard in large}
    assert all(keys[shard.name] == shard.items_key for shard in small)
    ids = [item_id(p.id, shard.seed) for shard in large for p in shard.prompts]
    assert len(ids) == len(set(ids)) == 140
    assert [large[0].first, large[1].first, large[2].first] == [0, 32, 64]


def test_a_shard_key_sees_every_part_of_a_prompt() -> None:
    prompts = [
        Prompt("0", "a"),
        Prompt("1", "a"),
        Prompt("0", "b"),
        Prompt("0", "a", "c"),
        Prompt("0", "a", notes={"d": 1}),
    ]
    keys = {plan_shards([prompt], [0])[0].items_key for prompt in prompts}
    keys.add(plan_shards(prompts[:1], [1])[0].items_key)
    assert len(keys) == 6


def test_without_prompts_a_shard_is_a_slice_of_the_seeds() -> None:
    nothing = [Prompt("none", "")]
    few, many = plan_shards(nothing, [3, 5]), plan_shards(nothing, list(range(40)))
    assert [shard.seeds for shard in few] == [[0, 1, 2, 3, 4, 5]]  # filled from its beginning
    assert [shard.seeds for shard in many] == [list(range(32)), list(range(32, 40))]
    assert few[0].name == many[0].name != many[1].name
    assert many[1].item_ids == [f"none/{seed}" for seed in range(32, 40)]
    assert asked_items(nothing, [3, 5]) == {"none/3", "none/5"} <= set(few[0].item_ids)
