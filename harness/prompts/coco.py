"""MS-COCO 2014 validation captions: 30,000 for FID-30K, and the 5,000 of the Restart paper.

There is no official draw of 30,000. `coco` is the list that the text2image-benchmark project
published, one caption for each of 30,000 images, because a list can be shared and a recipe drifts.
`coco-5k` repeats the draw of Restart's published script on the official annotations.

Some images have the same caption, word for word. Papers make a picture for each line; here a
caption is one prompt, with the names of all its images in the notes, and a run at one seed has as
many pictures as there are distinct captions: the n of its Frechet distance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from harness.core.errors import HarnessError
from harness.core.shards import Prompt
from harness.fetch.download import PublicFile
from harness.prompts.base import PromptSource, register
from harness.prompts.readers import decode, parse_json, read_rows

_RELEASE = "https://github.com/boomb0om/text2image-benchmark/releases/download/v0.0.1"
_LIST = PublicFile("prompts/coco", f"{_RELEASE}/MS-COCO_val2014_30k_captions.csv")

_ANNOTATIONS = PublicFile(
    "prompts/coco",
    "http://images.cocodataset.org/annotations/annotations_trainval2014.zip",
    "captions_val2014.json",
    member="annotations/captions_val2014.json",
)


def _parse_list(files: Mapping[str, bytes]) -> Iterator[Prompt]:
    for at, row in enumerate(read_rows(files[_LIST.name], _LIST.name)):
        if not row.get("text", "").strip() or not row.get("image_id", "").isdigit():
            raise HarnessError(f"{_LIST.name}, row {at + 1}: expected image_id and text")
        yield Prompt(f"coco-{at:04d}", row["text"], notes={"image_id": int(row["image_id"])})


def _parse_restart(files: Mapping[str, bytes]) -> Iterator[Prompt]:
    """Xu et al. 2023: captions in the images' order, shuffled, then 5,000 drawn, numpy seed 123.

    Captions are drawn, not images: an image can come twice. pandas' `sample(n)` of that script
    takes the first n of a permutation from numpy's legacy generator, which does not change.
    """
    import numpy as np

    captions = _captions(files[_ANNOTATIONS.name])
    generator = np.random.RandomState(123)
    shuffled = generator.permutation(len(captions))
    for at, index in enumerate(shuffled[generator.permutation(len(captions))[:5000]]):
        image, caption = captions[index]
        yield Prompt(f"coco-5k-{at:04d}", caption, notes={"image": image})


def _captions(data: bytes) -> list[tuple[str, str]]:
    """(file name, caption), by image in the file's order, and by annotation within an image."""
    name = _ANNOTATIONS.name
    content = parse_json(decode(data, name), name)
    try:
        of_image = defaultdict(list)
        for annotation in content["annotations"]:
            of_image[annotation["image_id"]].append(str(annotation["caption"]))
        images = [(image["file_name"], image["id"]) for image in content["images"]]
    except (KeyError, TypeError) as error:
        raise HarnessError(f"{name} is no file of COCO captions: {error}") from None
    return [(file, caption) for file, key in images for caption in of_image[key]]


register(
    PromptSource(
        name="coco",
        description="30,000 captions of as many images (val2014), the usual FID-30K",
        home="https://github.com/boomb0om/text2image-benchmark",
        licence="CC BY 4.0",
        citation="Lin et al. 2014, arXiv:1405.0312",
        prompts=30000,
        categories=1,
        parse=_parse_list,
        files=(_LIST,),
    )
)
register(
    PromptSource(
        name="coco-5k",
        description="5,000 captions (val2014) as drawn by Restart Sampling; 241 MB to download",
        home="https://cocodataset.org",
        licence="CC BY 4.0",
        citation="Lin et al. 2014, arXiv:1405.0312; drawn as Xu et al. 2023, arXiv:2306.14878",
        prompts=5000,
        categories=1,
        parse=_parse_restart,
        files=(_ANNOTATIONS,),
    )
)
