"""The pocket CLIP tokenizer: byte-pair merges that make every word of the world one token.

Same files and class as the real one (`vocab.json`, `merges.txt`, transformers' CLIPTokenizer); unknown
words fall apart into letters, as they do there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from transformers import CLIPTokenizer

from methods.pocket.world import VOCABULARY, looks
from methods.pocket.world.names import NAMED

CONTEXT_LENGTH = 64
WORDS = tuple(sorted({*VOCABULARY, *looks.words(), *(word for name in NAMED for word in name.split())}))
"""Every word that captions can say."""
_START, _END = "<|startoftext|>", "<|endoftext|>"
_SYMBOLS = "abcdefghijklmnopqrstuvwxyz0123456789,.!?'\"-:;()*&/#<>|_"


def _merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Left-to-right merges that build each word from its letters, shared prefixes once."""
    merges: dict[tuple[str, str], None] = {}
    for word in sorted(words, key=lambda w: (len(w), w)):
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        # Existing merges act on this word too, in their order of priority, as at run time.
        for left, right in list(merges):
            i = 0
            while i < len(pieces) - 1:
                if (pieces[i], pieces[i + 1]) == (left, right):
                    pieces[i : i + 2] = [left + right]
                i += 1
        while len(pieces) > 1:
            merges.setdefault((pieces[0], pieces[1]))
            pieces[:2] = [pieces[0] + pieces[1]]
    return list(merges)


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write and return the tokenizer for every one of `WORDS`, `CONTEXT_LENGTH` tokens long.

    Raises:
        ValueError: if a word of the world does not come out as one token.
    """
    parts = [part for word in WORDS for part in re.findall(r"[a-z]+", word)]  # CLIP splits at hyphens
    words = tuple(dict.fromkeys(part for part in parts if len(part) > 1))
    merges = _merges(words)
    tokens = [*_SYMBOLS, *(f"{s}</w>" for s in _SYMBOLS), *("".join(m) for m in merges), _START, _END]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        unk_token=_END,
        bos_token=_START,
        eos_token=_END,
        pad_token=_END,
        model_max_length=CONTEXT_LENGTH,
    )
    split = [word for word in words if len(tokenizer(word).input_ids) != 3]
    if split:
        raise ValueError(f"{len(split)} words are not one token, first: {split[:5]}")
    tokenizer.save_pretrained(folder)
    return tokenizer
