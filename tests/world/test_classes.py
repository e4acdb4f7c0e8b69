"""Classes of the shapes world: every picture shows its class, and the judge reads it at 32x32."""

from __future__ import annotations

import numpy as np
import torch

from harness.world.grammar import parse
from harness.world.judge import grades, load_judge
from harness.world.scenes import REACH, SIZE
from harness.world.single_objects import CLASSES, class_caption, class_scene, class_spec, draw_class


def test_classes_are_all_pairs_of_colour_and_shape() -> None:
    captions = [class_caption(index) for index in range(CLASSES)]
    assert len(set(captions)) == CLASSES == 48
    assert (captions[0], captions[1], captions[6]) == (
        "a red circle",
        "a red square",
        "a green circle",
    )


def test_the_object_lies_within_the_picture_and_varies() -> None:
    rng = np.random.default_rng(1)
    places = []
    for index in list(range(CLASSES)) * 4:
        (obj,) = class_scene(index, rng).objects
        assert obj.colour + " " + obj.shape == class_spec(index).groups[0].name
        reach = obj.radius * REACH[obj.shape]
        assert reach < min(obj.x, obj.y)
        assert max(obj.x, obj.y) < SIZE - reach
        places.append((obj.x, obj.y, obj.radius))
    assert (np.std(places, axis=0) > 1).all()


def test_pictures_are_small_and_follow_from_the_generator() -> None:
    one, again = (draw_class(7, np.random.default_rng(5)) for _ in range(2))
    assert one.shape == (3, 32, 32)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)
    assert (one != draw_class(7, np.random.default_rng(6))).any()


def test_the_judge_reads_small_pictures() -> None:
    rng = np.random.default_rng(2)
    pictures = np.stack([draw_class(i % CLASSES, rng) for i in range(4 * CLASSES)])
    wanted = [parse(class_caption(i % CLASSES)) for i in range(4 * CLASSES)]
    verdicts = grades(load_judge().look(torch.from_numpy(pictures)), wanted)
    assert np.mean([exact for _, exact in verdicts]) > 0.97
    swapped = grades(load_judge().look(torch.from_numpy(pictures[:48])), wanted[1:49])
    assert not any(exact for _, exact in swapped)
