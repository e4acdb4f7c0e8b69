"""`load_prompts`: names, paths, URLs, limits, identities."""

from dataclasses import replace

import pytest

from harness.core.errors import HarnessError
from harness.core.shards import Prompt
from harness.prompts.base import PromptSet, load_prompts


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text(
        "Prompts,caption,category\n" + "".join(f"p{i},c{i},k{i % 2}\n" for i in range(5))
    )
    return path


def test_a_column_can_be_named_both_ways(table):
    by_option = load_prompts(str(table), column="caption")
    by_text = load_prompts(f"{table}(column=caption)")
    assert by_option == by_text
    assert by_text.prompts[4].text == "c4"
    assert by_text.source == str(table)


def test_limit_takes_the_first(table):
    whole = load_prompts(str(table), column="caption")
    assert load_prompts(str(table), column="caption", limit=2).prompts == whole.prompts[:2]
    assert load_prompts(str(table), column="caption", limit=99) == whole
    with pytest.raises(HarnessError, match=r"limit 0"):
        load_prompts(str(table), column="caption", limit=0)


def test_categories_are_counted(table):
    assert load_prompts(str(table), column="caption").categories == {"k0": 3, "k1": 2}


def test_a_path_with_brackets_is_a_path(tmp_path):
    path = tmp_path / "set (v=1).txt"
    path.write_text("a\n")
    assert load_prompts(str(path)).prompts[0].text == "a"


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("a\n")
    assert load_prompts("~/a.txt").prompts[0].text == "a"


def test_any_fsspec_url_is_read(table):
    import fsspec

    with fsspec.open("memory://sets/far.csv", "wb") as far:
        far.write(table.read_bytes())
    found = load_prompts("memory://sets/far.csv(column=caption)")
    assert [p.id for p in found.prompts][:2] == ["far-0000", "far-0001"]
    with pytest.raises(HarnessError, match=r"cannot read memory://sets/none.csv"):
        load_prompts("memory://sets/none.csv")
    with pytest.raises(HarnessError, match=r"cannot read nowhere://a.csv"):
        load_prompts("nowhere://a.csv")


@pytest.mark.parametrize(
    ("spec", "options", "says"),
    [
        ("drawbnch", {}, "unknown prompt set 'drawbnch': did you mean 'drawbench'"),
        ("a cat on a mat", {}, "unknown prompt set .*or give a file ending in .txt"),
        ("shapes(column=a)", {}, "'shapes' takes no 'column'"),
        ("shapes", {"column": "a"}, "'shapes' takes no 'column'"),
        ("shapes(limit=3)", {}, "'shapes' takes no 'limit'"),
        ("shapes", {"folder": "."}, "'shapes' is embedded"),
        ("{dir}/set.csv(colum=a)", {}, "unknown parameter 'colum' for .*did you mean 'column'"),
        ("{dir}/set.csv", {"folder": "."}, "is for registered prompt sets"),
        ("{dir}/sett.csv", {}, "there is no prompt file .*did you mean .*set.csv"),
        ("{dir}/none/x.csv", {}, "there is no prompt file"),
        ("{dir}", {}, "cannot read prompts from|cannot read the prompt file"),
        ("{dir}/folder.csv", {}, "cannot read the prompt file .*directory"),
        ("{dir}/empty.txt", {}, "empty.txt holds no prompts"),
        ("{dir}/empty.csv", {}, "empty.csv holds no prompts"),
        ("{dir}/empty.json", {}, "empty.json holds no prompts"),
        ("{dir}/blank.csv", {}, "blank.csv holds no prompts"),
        ("{dir}/ids.csv", {}, r"the id 'a' stands for 2 prompts \(and 1 more ids\)"),
    ],
)
def test_mistakes_say_what_and_what_to_do(tmp_path, table, spec, options, says):
    (tmp_path / "folder.csv").mkdir()
    for name in ("empty.txt", "empty.csv", "empty.json"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "blank.csv").write_text('prompt,n\n,1\n" ",2\n')
    (tmp_path / "ids.csv").write_text("id,prompt\na,1\nb,2\na,3\nb,4\n")
    with pytest.raises(HarnessError, match=says) as caught:
        load_prompts(spec.format(dir=tmp_path), **options)
    assert "\n" not in str(caught.value)


def test_the_identity_changes_with_everything_that_is_a_prompt():
    prompts = (Prompt("a", "one", "k", {"n": [1]}), Prompt("b", "two"))
    base = PromptSet("s", prompts, "somewhere")
    others = [
        (replace(prompts[0], id="c"), prompts[1]),
        (replace(prompts[0], text="one "), prompts[1]),
        (replace(prompts[0], category=""), prompts[1]),
        (replace(prompts[0], notes={"n": [2]}), prompts[1]),
        prompts[::-1],
        prompts[:1],
    ]
    sums = {base.sha256, *(PromptSet("s", other, "somewhere").sha256 for other in others)}
    assert len(sums) == 1 + len(others)
    assert PromptSet("t", prompts, "elsewhere").sha256 == base.sha256
    # Parts must not run into each other.
    joined = [PromptSet("s", (Prompt("ab", "c"),), ""), PromptSet("s", (Prompt("a", "bc"),), "")]
    assert joined[0].sha256 != joined[1].sha256
