"""dev and test: the same cut for everybody, without a common prompt, under two names."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import HarnessError
from harness.prompts.base import load_prompts
from harness.prompts.split import DEV_SHARE, split_of, with_split


def test_the_cut_is_by_the_ids_alone_and_a_quarter() -> None:
    found = [split_of(f"p{i}") for i in range(8000)]
    share = found.count("dev") / len(found)
    assert abs(share - DEV_SHARE) < 4 * (DEV_SHARE * (1 - DEV_SHARE) / len(found)) ** 0.5
    # for ever: another cut would leak tuned prompts into tests made before
    assert "".join(word[0] for word in found[:24]) == "dtdttttdtdtdtttttdtttttd"


def test_a_set_falls_into_two_parts_in_order() -> None:
    whole = load_prompts("shapes")
    dev, test = (load_prompts(f"shapes(split={name})") for name in ("dev", "test"))
    assert not {p.id for p in dev.prompts} & {p.id for p in test.prompts}
    both = [p for p in whole.prompts if split_of(p.id) == "dev"]
    assert list(dev.prompts) == both
    assert len(dev.prompts) + len(test.prompts) == len(whole.prompts)
    assert load_prompts("shapes(split=dev)", limit=3).prompts == dev.prompts[:3]


@pytest.mark.parametrize("split", ["dev", "test"])
def test_each_part_has_a_folder_of_its_own(tmp_path: Path, split: str) -> None:
    path = tmp_path / "my prompts.csv"
    path.write_text("id,prompt\n" + "".join(f"p{i},a thing {i}\n" for i in range(40)))
    text = with_split(str(path), split)
    found = load_prompts(text)
    assert found.name == f"my prompts-{split}"
    assert {split_of(p.id) for p in found.prompts} == {split}
    assert with_split(text, split) == text


def test_mistakes_are_named(tmp_path: Path) -> None:
    for call in (lambda: with_split("shapes", "tset"), lambda: load_prompts("shapes(split=tset)")):
        with pytest.raises(HarnessError, match=r"unknown split 'tset' .*did you mean 'test'"):
            call()
    with pytest.raises(HarnessError, match="is a split already"):
        with_split("shapes(split=dev)", "test")
    one = tmp_path / "one.txt"
    one.write_text("a thing\n")
    other = "dev" if split_of(load_prompts(str(one)).prompts[0].id) == "test" else "test"
    with pytest.raises(HarnessError, match="none of the 1 prompts"):
        load_prompts(with_split(str(one), other))
