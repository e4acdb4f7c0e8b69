"""Any image metric of torchmetrics: `torchmetrics(PSNR, reference=RUN)`, `torchmetrics(KID, ...)`.

A metric is known by its class's name in torchmetrics, or by what papers call it. What it is follows
from its signatures: with a `feature`, one of sets; with two pictures, one of each picture and the
same item's in the run `reference`; with source and target, one of pictures and their prompts.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.errors import HarnessError, first_line, unknown
from harness.metrics.base import METRICS, About, ItemMetric, Metric, Scores
from harness.metrics.encoders import ItemRow, parameters
from harness.metrics.library_parts import OURS, build, digest_of, one_number
from harness.metrics.library_sets import LibraryReferenceSet, LibrarySet, LibrarySettings
from harness.metrics.reference_pictures import ReferencePictures
from harness.metrics.transfer import to_device
from harness.metrics.undefined import Undefined

if TYPE_CHECKING:
    import torch

PREFIX = "torchmetrics:"

_SHORT = {
    "CLIP-IQA": "CLIPImageQualityAssessment",
    "DISTS": "DeepImageStructureAndTextureSimilarity",
    "FID": "FrechetInceptionDistance",
    "IS": "InceptionScore",
    "KID": "KernelInceptionDistance",
    "LPIPS": "LearnedPerceptualImagePatchSimilarity",
    "MiFID": "MemorizationInformedFrechetInceptionDistance",
    "MS-SSIM": "MultiScaleStructuralSimilarityIndexMeasure",
    "PSNR": "PeakSignalNoiseRatio",
    "SSIM": "StructuralSimilarityIndexMeasure",
    "TV": "TotalVariation",
    "UQI": "UniversalImageQualityIndex",
    "VIF": "VisualInformationFidelity",
}


class LibraryItem(LibrarySettings, ItemMetric):
    """One of torchmetrics' on each picture alone: reset, update with it, compute."""

    takes: ClassVar[str]  # "picture", "reference" or "prompt"
    reference: str = ""

    @property
    def family(self) -> str | None:
        """As of any metric; of OpenAI's CLIPs their architecture, as of our metrics by these."""
        of_clip = re.search(r"clip-vit-(b|l)\w*-patch(\d+)", str(self.params))
        return "vit-{}-{}".format(*of_clip.groups()) if of_clip else super().family

    @cached_property
    def pictures(self) -> ReferencePictures | None:
        """The pictures that others are compared to, of a metric of two."""
        return ReferencePictures(self.reference) if self.takes == "reference" else None

    @cached_property
    def made(self) -> Any:
        """The metric of torchmetrics."""
        return build(self.library, self.settings)

    def check(self) -> None:
        if self.pictures is not None:
            if not self.reference:
                raise HarnessError(
                    f"{self.name} compares pictures: name the run of the others, as "
                    f"{self.name}(reference=FOLDER); a folder of pictures becomes one by harness "
                    "import"
                )
            if not self.pictures.run.shards("images"):
                raise HarnessError(f"{self.reference} holds no images to refer to")
        assert self.made is not None

    def weights(self) -> str:
        known = digest_of(self.made)
        return known if self.pictures is None else f"{known}-{self.pictures.key()}"

    def setup(self, device: str) -> None:
        self.made.to(device)
        self.device = device

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        if self.pictures is None:
            return None
        if reason := self.pictures.missing(row):
            return reason
        height, width = self.pictures.pixels(row).shape[1:]
        if (height, width) != size:
            return f"the reference's picture is {height}x{width}"
        return None

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Scores:
        import torch

        pairs = zip(to_device(images, self.device), rows, strict=True)
        values = [self._value(image[None], row) for image, row in pairs]
        numbers = [value for value in values if not isinstance(value, Undefined)]
        if len(numbers) == len(values):
            return torch.stack(numbers)  # read all at once
        return [value if isinstance(value, Undefined) else float(value) for value in values]

    def _value(self, image: torch.Tensor, row: ItemRow) -> torch.Tensor | Undefined:
        import torch

        self.made.reset()
        given: list[Any] = [image]
        if self.takes == "prompt":  # whose processor takes them as they are
            given.append([row.prompt])
        else:
            given[0] = given[0].float() / 255
        if self.pictures is not None:
            other = torch.from_numpy(self.pictures.pixels(row)).float() / 255
            given.append(to_device(other[None], self.device))
        try:
            self.made.update(*given)
            return one_number(self.made.compute(), self.name)
        except torch.cuda.OutOfMemoryError:
            raise
        except (ValueError, RuntimeError) as error:  # of pictures that it does not take
            return Undefined(first_line(error))


def find(name: str) -> type[Metric] | None:
    """The metric of this name, `torchmetrics:NAME`; None for a name of another form.

    Raises HarnessError for a NAME that torchmetrics does not have, or that is no metric of pictures
    alone.
    """
    if not name.startswith(PREFIX):
        return None
    asked, kinds = name.removeprefix(PREFIX), _kinds()
    plain = {_plain(one): one for one in (*kinds, *_SHORT)}
    if (known := plain.get(_plain(asked))) is None:
        raise unknown("metric of torchmetrics", asked, plain.values())
    return _metric_of(_SHORT.get(known, known))


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


@cache
def _kinds() -> dict[str, type]:
    """The classes of torchmetrics for pictures, by name."""
    from torchmetrics import image, multimodal

    found = {**vars(image), **{k: v for k, v in vars(multimodal).items() if k.startswith("CLIP")}}
    return {name: kind for name, kind in found.items() if inspect.isclass(kind)}


@cache
def _metric_of(name: str) -> type[Metric]:
    kind: Any = _kinds()[name]
    update = dict(inspect.signature(kind.update).parameters)
    update.pop("self")
    if "generator" in update or "dict" in str(update.get("target")):
        needed = "a generator" if "generator" in update else "several targets of each picture"
        raise HarnessError(f"{PREFIX}{name} is no metric of pictures alone: it needs {needed}")
    options = _options(kind)
    base: Any = LibraryItem
    if "feature" in options:
        base = LibraryReferenceSet if "real" in update else LibrarySet
    takes = "prompt" if "source" in update else "reference" if len(update) > 1 else "picture"
    if takes == "reference":
        options = {"reference": "", **options}
    made: Any = dataclasses.make_dataclass(
        name,
        [(key, Any, dataclasses.field(default=default)) for key, default in options.items()],
        bases=(base,),
        namespace={"library": kind, "takes": takes, "__module__": __name__},
        eq=False,
    )
    made.name = f"{PREFIX}{name}"
    network = getattr(kind, "feature_network", None)
    made.about = About(
        made.name,
        base.kind,
        next((short for short, long in _SHORT.items() if long == name), name),
        "higher" if kind.higher_is_better else "lower",
        (-float("inf"), float("inf")),
        f"torchmetrics' {name}" if network else "none",
        "see torchmetrics",
        "Apache-2.0; its weights have their own",
        needs_prompts=takes == "prompt",
        parameters=parameters(made),
        description=(inspect.getdoc(kind) or "").partition("\n")[0].rstrip(".:"),
    )
    return made


def _options(kind: Any) -> Mapping[str, Any]:
    """The options of a metric's own that a user may set, with their defaults."""
    found = inspect.signature(kind.__init__).parameters
    return {
        key: one.default
        for key, one in found.items()
        if key not in OURS and one.kind is not one.VAR_KEYWORD
    }


METRICS.find_by(find)
