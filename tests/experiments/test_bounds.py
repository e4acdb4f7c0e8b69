"""Names are names, and work is bounded before it starts."""

from __future__ import annotations

import pytest

from harness.core.call import Call, parse_call, show_value
from harness.core.errors import HarnessError
from harness.core.shards import parse_seeds
from harness.experiments.benchmark import load
from harness.experiments.varying import expand
from harness.models.edm.build import build

BENCHMARK = "model: shapes\ntitle: x\nprompts: shapes\ncandidate: ddim\nmetrics: [saturation]\n"


@pytest.mark.parametrize("name", ["../../evil", "..", "a/b", "a\\b", ".hidden", "C:x", "a" * 101])
def test_a_benchmarks_name_is_no_path(tmp_path, name):
    path = tmp_path / "b.yaml"
    path.write_text(f"{BENCHMARK}name: '{name}'\n")
    with pytest.raises(HarnessError, match="is no name"):
        load(str(path))
    path.write_text(f"{BENCHMARK}name: my bench 2.1\n")
    assert load(str(path)).name == "my bench 2.1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tiny: hello\n", "tiny must hold keys"),
        ("tiny: 3\n", "tiny must hold keys"),
        ("limit: " + "9" * 5000, "cannot read"),
        ("limit: 2001-99-99\n", "cannot read"),
        ("vary: " + "[" * 5000, "levels of keys"),
        ("vary: &a [1]\n" + "".join(f"k{n}: [*a, *a]\n" for n in range(9)), "aliases"),
        ("#" * (1 << 18), "more than .* bytes"),
    ],
)
def test_yaml_that_is_no_benchmark(tmp_path, text, words):
    path = tmp_path / "b.yaml"
    path.write_text(BENCHMARK + text)
    with pytest.raises(HarnessError, match=words):
        load(str(path))


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (f"0-{2**63}", "above 9223372036854775807"),
        ("9" * 5000, "above 9223372036854775807"),
        ("0-4294967295", "more than 10,000,000"),
        (str(2**63), "above"),
    ],
)
def test_seeds_are_counted_before_they_are_made(seeds, words):
    with pytest.raises(HarnessError, match=words):
        parse_seeds(seeds)


def test_deep_and_large_sampler_texts():
    with pytest.raises(HarnessError, match="brackets in brackets"):
        parse_call(f"a(b={'[' * 100_000}{']' * 100_000})")
    for number in ("9" * 400, "-" + "9" * 20, "9" * 5000):
        with pytest.raises(HarnessError, match=r"too large|not a finite"):
            parse_call(f"a(b={number})")
    for text in ("inf", "nan", "9" * 400):  # texts that look like numbers stay texts
        assert parse_call(f"a(b={show_value(text)})") == Call("a", {"b": text})


def test_networks_and_grids_have_an_end():
    with pytest.raises(HarnessError, match="num_blocks is 10000000, at most 64"):
        build("EDMPrecond", {"img_resolution": 32, "img_channels": 3, "num_blocks": 10**7})
    with pytest.raises(HarnessError, match="1,000,000 combinations"):
        expand(Call("ddim"), {"a": range(1000), "b": range(1000)})
    assert len(expand(Call("ddim"), {"a": range(100), "b": range(100)})) == 10_000
