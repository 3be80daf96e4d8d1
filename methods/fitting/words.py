"""A learned word inside the frozen text encoder.

The word of an identity is n rows of token embeddings. Wherever a prompt says "person" the rows stand in its
place, or before it. They enter by a hook on the embedding layer for the length of one call: no weight and no
vocabulary changes, and prompts of other people never see them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from methods.backbone.text import TextEncoder, TokenEncoder
from methods.errors import UsageError

NOUN = "person"
"""The plain word for anybody: what a learned word starts from, replaces or precedes."""


@dataclass(frozen=True, eq=False)
class Placed:
    """The tokens of a prompt with room for a learned word.

    ids:    int64 [T_i] for each tokenizer; what stands at learned places does not matter
    spots:  for each tokenizer int64 [m], places of learned rows, and int64 [m], which row belongs there
    source: int64 [T], for every place of the features the place of the plain prompt that it came from
    """

    ids: tuple[Tensor, ...]
    spots: tuple[tuple[Tensor, Tensor], ...]
    source: Tensor

    @property
    def at(self) -> Tensor:
        """Places of learned rows in the features."""
        return self.spots[-1][0]

    @property
    def row(self) -> Tensor:
        """Which row belongs at each of them."""
        return self.spots[-1][1]


def place(text: TextEncoder, prompt: str, rows: int, *, keep_noun: bool = False) -> Placed | None:
    """Make room for `rows` learned rows at every "person" of a prompt; None when it has none within T tokens.

    keep_noun: the rows precede the noun instead of replacing it ("V0 V1 person")
    """
    text = _tokens(text)
    ids: list[Tensor] = []
    spots: list[tuple[Tensor, Tensor]] = []
    source: list[int] = []
    for tokenizer, length in zip(text.tokenizers, text.lengths, strict=True):
        plain = tokenizer(prompt, truncation=False, verbose=False).input_ids
        noun = tokenizer(NOUN, add_special_tokens=False).input_ids
        tokens = _make_room(plain, noun, rows, keep_noun)
        own = [token for token, _, _ in tokens]
        if len(own) > length:  # as the tokenizer truncates: the end token stays
            own = [*own[: length - 1], plain[-1]]
        padding = length - len(own)
        ids.append(torch.tensor(own + [tokenizer.pad_token_id or 0] * padding))
        kept = tokens[: length - 1] if len(tokens) >= length else tokens
        learned = [(at, row) for at, (_, row, _) in enumerate(kept) if row >= 0]
        at, row = torch.tensor(learned, dtype=torch.int64).view(-1, 2).T
        spots.append((at, row))
        source = [came_from for _, _, came_from in tokens][:length]
        source += [len(plain) + after for after in range(padding)]
    if not len(spots[-1][0]):
        return None
    return Placed(tuple(ids), tuple(spots), torch.tensor(source).clamp(max=len(ids[-1]) - 1))


def encode(text: TextEncoder, prompts: Sequence[Placed], words: Tensor) -> tuple[Tensor, Tensor | None]:
    """Text features of prompts with a learned word each; differentiable in the words.

    words: [B, n, sum of the encoders' embedding widths], or [1, n, ...] for one word in all prompts
    returns hidden [B, T, C] and pooled [B, P] (SDXL) or None
    """
    count = len(prompts)
    parts = words.to(text.device).expand(count, -1, -1).split(embedding_widths(text), dim=-1)
    with ExitStack() as hooks:
        for place, (model, part) in enumerate(zip(text.models, parts, strict=True)):
            spots = [one.spots[place] for one in prompts]
            batch = torch.cat([torch.full_like(at, number) for number, (at, _) in enumerate(spots)])
            at, row = (torch.cat(values) for values in zip(*spots, strict=True))
            put = _Put(batch, at, part[batch, row])
            hooks.callback(_embeddings(model).register_forward_hook(put).remove)
        return _tokens(text).forward(
            [torch.stack(own) for own in zip(*(one.ids for one in prompts), strict=True)]
        )


def embedding_widths(text: TextEncoder) -> list[int]:
    """Width of the token embeddings of each encoder."""
    return [_embeddings(model).embedding_dim for model in text.models]


def noun_embedding(text: TextEncoder) -> Tensor:
    """Token embedding of "person": float32 [sum of widths], mean over its tokens, encoders side by side."""
    return _embedding_columns(text, [NOUN], None)[0]


def celebrity_anchor(text: TextEncoder, names: Sequence[str]) -> Tensor:
    """Where cross-initialised words start: E0 float32 [2, sum of widths].

    Column i is the mean embedding of the i-th token of all names that have one; [BOS, c1, c2, EOS, PAD ...]
    goes through the frozen encoder, and its *output* at the two places is taken as the *input* embedding
    (Cross Initialization, arXiv 2312.15905; ID-EA's `train.py`).

    Raises UsageError for encoders whose output is not as wide as their token embeddings side by side.
    """
    columns = torch.stack([_embedding_columns(text, names, column)[0] for column in range(2)])
    room = place(text, NOUN, 2)
    assert room is not None
    with torch.no_grad():
        hidden, _ = encode(text, [room], columns[None])
    if hidden.shape[-1] != columns.shape[-1]:
        raise UsageError(
            "Cross-initialised words need encoders whose output can be read as token embeddings.",
            hint="Give an SD or SDXL backbone, or leave out init=celebrity.",
        )
    return hidden[0, room.at].float()


def _tokens(text: TextEncoder) -> TokenEncoder:
    """The encoder, if words can be put into it."""
    if not isinstance(text, TokenEncoder):
        raise UsageError(
            "Learned words need a backbone whose text encoders read tokens.",
            hint="Give an SD, SDXL or FLUX backbone.",
        )
    return text


def _make_room(
    plain: Sequence[int], noun: Sequence[int], rows: int, keep_noun: bool
) -> list[tuple[int, int, int]]:
    """Tokens as (id, learned row or -1, place in the plain prompt)."""
    made: list[tuple[int, int, int]] = []
    at = 0
    while at < len(plain):
        if list(plain[at : at + len(noun)]) != list(noun):
            made.append((plain[at], -1, at))
            at += 1
            continue
        made += [(noun[0], row, at) for row in range(rows)]
        if keep_noun:
            made += [(token, -1, at + offset) for offset, token in enumerate(noun)]
        at += len(noun)
    return made


def _embedding_columns(text: TextEncoder, words: Iterable[str], column: int | None) -> Tensor:
    """Mean token embedding [1, sum of widths] over words: of their `column`-th token, or of all tokens."""
    parts = []
    for tokenizer, model in zip(_tokens(text).tokenizers, text.models, strict=True):
        ids = [tokenizer(word, add_special_tokens=False).input_ids for word in words]
        if column is not None:
            ids = [one[column : column + 1] for one in ids]
        flat = torch.tensor([token for one in ids for token in one])
        table = _embeddings(model).weight
        parts.append(table[flat.to(table.device)].detach().float().mean(dim=0).to(text.device))
    return torch.cat(parts)[None]


def _embeddings(model: Any) -> Any:
    """The layer that turns tokens into embeddings: the stack's own in T5, tied to the model's."""
    stack: Any = getattr(model, "encoder", None)
    return stack.embed_tokens if hasattr(stack, "embed_tokens") else model.get_input_embeddings()


class _Put:
    """Forward hook of an embedding layer: learned rows at their places."""

    def __init__(self, batch: Tensor, at: Tensor, rows: Tensor) -> None:
        self.batch, self.at, self.rows = batch, at, rows

    def __call__(self, module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        place = (self.batch.to(output.device), self.at.to(output.device))
        return output.index_put(place, self.rows.to(output))
