"""The registered sets, on small made-up files of the published formats."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from harness.core.errors import HarnessError
from harness.prompts.base import PROMPT_SETS, describe, load_prompts

NAMES = [
    "asyndm-animal", "asyndm-drawbench", "asyndm-geneval", "asyndm-mscoco",
    "coco", "coco-5k", "drawbench", "geneval", "hpdv2", "interval-figures", "partiprompts",
    "pickapic", "pickapic-500", "shapes", "shapes-classes", "unprompted",
]  # fmt: skip
EMBEDDED = {"interval-figures", "shapes", "shapes-classes", "unprompted"}


def parsed(name, files):
    """The prompts that the set's reader finds in `files`, whatever their number."""
    data = {key: text.encode() for key, text in files.items()}
    return list(PROMPT_SETS.get(name).parse(data))


def test_the_registry_holds_these_sets_and_says_what_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    rows = describe()
    assert [row["name"] for row in rows] == NAMES == PROMPT_SETS.names()
    for row in rows:
        assert row["prompts"] >= row["categories"] >= 1
        assert row["description"]
        assert row["home"]
        assert row["licence"]
        assert row["location"] == ("embedded" if row["name"] in EMBEDDED else "not downloaded")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in EMBEDDED])
def test_addresses_name_a_revision_or_a_release(name):
    pinned = ("/260dbde7", "/32241ee9", "/91de66c5", "/2c99f665", "/b636c3c5", "/v0.0.1/")
    unpinned = ("docs.google.com", "images.cocodataset.org")  # have no revisions
    for file in PROMPT_SETS.get(name).files:
        assert any(part in file.url for part in pinned + unpinned)


def test_shapes_is_embedded_and_as_large_as_it_says():
    found = load_prompts("shapes", download=False)
    source = PROMPT_SETS.get("shapes")
    assert len(found.prompts) == source.prompts
    assert len(found.categories) == source.categories
    assert all(prompt.notes["objects"] for prompt in found.prompts)
    assert len({prompt.text for prompt in found.prompts}) == source.prompts


def test_classes_say_in_their_notes_what_a_picture_must_show():
    prompts = load_prompts("shapes-classes").prompts
    assert [prompt.text for prompt in prompts] == [f"class {i}" for i in range(48)]
    assert {prompt.category for prompt in prompts} == {
        p.notes["caption"].split()[2] for p in prompts
    }
    first = prompts[0]
    assert first.notes == {"class": 0, "caption": "a red circle", "objects": ["red circle"]}
    assert prompts[-1].notes["caption"] == "a cyan cross"


def test_drawbench():
    text = '"Prompts","Category"\n"A red, old car.","Colors"\n"Two ""L""s.","Gary Marcus et al. "'
    prompts = parsed("drawbench", {"drawbench.csv": text})
    assert [(p.id, p.text, p.category) for p in prompts] == [
        ("drawbench-0000", "A red, old car.", "Colors"),
        ("drawbench-0001", 'Two "L"s.', "Gary Marcus et al."),
    ]


def test_pickapic_is_rows_0_to_100_without_the_empty_one():
    rows = [f"{i},{'' if i == 87 else f'prompt {i}'},译,\n" for i in range(500)]
    text = "\ufeff序号,caption,caption_zh,备注\n" + "".join(rows)
    prompts = parsed("pickapic", {"test_unique_caption_zh.csv": text})
    assert [p.text for p in prompts] == [f"prompt {i}" for i in range(101) if i != 87]
    assert (prompts[87].id, prompts[87].text) == ("pickapic-0088", "prompt 88")
    assert len(parsed("pickapic-500", {"test_unique_caption_zh.csv": text})) == 499


def test_hpdv2_styles_take_turns():
    styles = ["anime", "concept-art", "paintings", "photo"]
    files = {f"{s}.json": json.dumps([f"{s} {i}" for i in range(3)]) for s in styles}
    prompts = parsed("hpdv2", files)
    assert [p.category for p in prompts] == styles * 3
    assert (prompts[5].id, prompts[5].text) == ("hpdv2-concept-art-0001", "concept-art 1")


def test_partiprompts_quotes_are_quotes():
    text = (
        "Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\tBiology\n"
        '"G I G" painted, "so"\tIllustrations\tWriting & Symbols\t\n'
    )
    prompts = parsed("partiprompts", {"PartiPrompts.tsv": text})
    assert prompts[1].text == '"G I G" painted, "so"'
    assert prompts[1].category == "Illustrations"
    assert prompts[1].notes == {"challenge": "Writing & Symbols"}
    with pytest.raises(HarnessError, match=r"does not name Prompt"):
        parsed("partiprompts", {"PartiPrompts.tsv": "<html>"})


def test_geneval_tag_is_the_category_and_the_rest_are_notes():
    row = {"tag": "counting", "include": [{"class": "dog", "count": 2}], "prompt": "two dogs"}
    row["exclude"] = [{"class": "dog", "count": 3}]
    (prompt,) = parsed("geneval", {"evaluation_metadata.jsonl": json.dumps(row) + "\n"})
    assert (prompt.id, prompt.category, prompt.text) == ("geneval-0000", "counting", "two dogs")
    assert prompt.notes == {"include": row["include"], "exclude": row["exclude"]}


def test_coco_keeps_the_image():
    name = "MS-COCO_val2014_30k_captions.csv"
    (prompt,) = parsed("coco", {name: 'image_id,text\n391895,"A man, a bike."\n'})
    assert (prompt.text, prompt.notes) == ("A man, a bike.", {"image_id": 391895})
    with pytest.raises(HarnessError, match=r"row 1: expected image_id and text"):
        parsed("coco", {name: "id,text\n1,a\n"})


def test_coco_5k_repeats_restarts_draw_with_pandas():
    images = [{"id": 900 - i, "file_name": f"{900 - i}.jpg"} for i in range(800)]
    notes = [{"image_id": 101 + i % 800, "id": i, "caption": f"c{i}"} for i in range(6000)]
    files = {"captions_val2014.json": json.dumps({"images": images, "annotations": notes})}
    merged = pd.DataFrame(images).merge(
        pd.DataFrame(notes), how="left", left_on="id", right_on="image_id"
    )[["file_name", "caption"]]
    state = np.random.RandomState(123)
    drawn = merged.sample(frac=1, random_state=state).sample(5000, random_state=state)
    prompts = parsed("coco-5k", files)
    assert [p.text for p in prompts] == list(drawn["caption"])
    assert [p.notes["image"] for p in prompts] == list(drawn["file_name"])
    with pytest.raises(HarnessError, match=r"no file of COCO captions"):
        parsed("coco-5k", {"captions_val2014.json": '{"images": []}'})


def test_a_set_of_another_size_is_refused(tmp_path):
    (tmp_path / "drawbench.csv").write_text("Prompts,Category\na,b\n")
    with pytest.raises(HarnessError, match=r"'drawbench' has 200 prompts, but .* holds 1"):
        load_prompts("drawbench", folder=str(tmp_path))


def test_prompts_can_be_looked_up_without_heavy_libraries():
    import subprocess
    import sys

    code = (
        "import sys; from harness.prompts.base import describe; describe();"
        "heavy = {'torch', 'pandas', 'pyarrow', 'numpy', 'rich', 'fsspec'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ids_of_a_registered_set_must_differ():
    source = PROMPT_SETS.get("shapes")
    one = next(iter(source.parse({})))
    pair = [one, replace(one, text="another")]
    doubled = replace(source, parse=lambda files: pair, prompts=2)
    with pytest.raises(HarnessError, match=r"the id 'shapes-0000' stands for 2 prompts"):
        doubled.load()
