"""Trains the pipeline's text encoder (a CLIPTextModel) on captions alone.

Linear probes must read from its final hidden states, which the U-Net attends to: at a noun its
colour, shape, count and size; at the end token both objects; at the first and second padding token
the first and the second object with its part in the relation.
"""

from __future__ import annotations

import json

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from harness.training.shapes.common import Log, arguments, cosine, restore, save, set_rate
from harness.world.grammar import (
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    Spec,
    specs,
    write,
)
from harness.world.scenes import training_spec

SEED = 21
LENGTH = 16

# Labels of one object slot; 0 means "none" everywhere.
ATTRIBUTES = {
    "colour": (None, *COLOURS),
    "shape": (None, *SHAPES),
    "count": (0, 1, 2, 3, 4),
    "size": (None, *SIZES),
    "place": (None, *PLACES.values()),
    "role": (None, *RELATIONS.values()),
    "background": (None, *BACKGROUNDS),
}
CLASSES = [len(values) for values in ATTRIBUTES.values()]
AT_NOUN = 4
"""How many of the attributes are known at a noun."""
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer whose vocabulary has every word of the grammar as one token."""
    words = sorted({word for c in CATEGORIES for spec in specs(c) for word in write(spec).split()})
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(words, trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += [a + b for a, b in merges if a + b not in tokens]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    made = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)
    for word in words:
        assert len(made(word)["input_ids"]) == 3, word
    return made


def configuration(words: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=64,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )


def tokenize(words: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids [B, LENGTH], padded as the pipeline pads them."""
    padded = words(captions, padding="max_length", truncation=True, max_length=LENGTH)
    return torch.tensor(padded["input_ids"])


def labels(spec: Spec | None) -> list[list[int]]:
    """Attribute labels of the two object slots; `None` is the empty caption."""
    slots = []
    for i in range(2):
        group = spec.groups[i] if spec and i < len(spec.groups) else None
        role = spec.relation if spec else None
        values = {
            "colour": group and group.colour,
            "shape": group and group.shape,
            "count": group.count if group else 0,
            "size": group and group.size,
            "place": spec.place if spec and group else None,
            "role": (OPPOSITE[role] if i else role) if role else None,
            "background": spec.background if spec and group else None,
        }
        slots.append([options.index(values[k]) for k, options in ATTRIBUTES.items()])
    return slots


class TextProbes(nn.Module):
    """Linear probes that keep the hidden states readable."""

    def __init__(self, words: CLIPTokenizer, width: int) -> None:
        super().__init__()
        self.slot = nn.Linear(width, sum(CLASSES))
        self.end = nn.Linear(width, 2 * sum(CLASSES))
        plural = {"cross": "crosses"}
        nouns = [f"{p}</w>" for s in SHAPES for p in (s, plural.get(s, f"{s}s"))]
        vocabulary = words.get_vocab()
        self.nouns: Tensor
        self.register_buffer("nouns", torch.tensor([vocabulary[noun] for noun in nouns]))
        self.eos = words.eos_token_id

    def text_loss(self, hidden: Tensor, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of all probes, and the share of slots read without error at the end token.

        hidden [B, L, D], ids [B, L], targets [B, 2, attributes].
        """
        rows = torch.arange(len(ids))
        end = (ids == self.eos).int().argmax(1)
        loss = torch.zeros(())
        read_end = self.end(hidden[rows, end]).unflatten(1, (2, -1))
        right = torch.ones(len(ids), 2, dtype=torch.bool)
        pads = torch.stack([hidden[rows, end + 1], hidden[rows, end + 2]], 1)
        read_pads = self.slot(pads)
        for k, (a, b) in enumerate(
            zip(read_end.split(CLASSES, -1), read_pads.split(CLASSES, -1), strict=True)
        ):
            loss = loss + F.cross_entropy(a.flatten(0, 1), targets[..., k].flatten())
            loss = loss + F.cross_entropy(b.flatten(0, 1), targets[..., k].flatten())
            right &= b.argmax(-1) == targets[..., k]
        nouns = torch.isin(ids, self.nouns)
        row, place = nouns.nonzero(as_tuple=True)
        order = (nouns.int().cumsum(1) - 1)[row, place]
        at = self.slot(hidden[row, place]).split(CLASSES, -1)
        for k in range(AT_NOUN):
            loss = loss + F.cross_entropy(at[k], targets[row, order, k])
        return loss, right.all(1).float().mean()


def main() -> None:
    args = arguments(__doc__ or "", steps=1500, batch=96)
    torch.manual_seed(SEED)
    words = tokenizer()
    model = CLIPTextModel(configuration(words))
    readers = TextProbes(words, 128)
    weights = [*model.parameters(), *readers.parameters()]
    optimiser = torch.optim.AdamW(weights, 1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    path = args.out / "text.pt"
    start = restore(path, model=model, readers=readers, optimiser=optimiser)
    log = Log(100)
    for step in range(start, args.steps):
        rng = np.random.default_rng((SEED, step))
        drawn = [training_spec(rng) for _ in range(args.batch)]
        # Some empty captions, because the unconditional half of guidance reads them.
        kept = [spec if rng.random() > 0.03 else None for spec in drawn]
        targets = torch.tensor([labels(spec) for spec in kept])
        ids = tokenize(words, [write(spec) if spec else "" for spec in kept])
        set_rate(optimiser, cosine(step, args.steps, 1.5e-3, floor=0.3))
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model(input_ids=ids).last_hidden_state
        loss, right = readers.text_loss(hidden.float(), ids, targets)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        log.add(step, loss=loss.item(), slots=right.item())
        if (step + 1) % 500 == 0 or step + 1 == args.steps:
            save(
                path,
                step=step + 1,
                model=model.state_dict(),
                readers=readers.state_dict(),
                optimiser=optimiser.state_dict(),
            )
    model.save_pretrained(args.out / "text_encoder")
    words.save_pretrained(args.out / "text_encoder")


if __name__ == "__main__":
    main()
