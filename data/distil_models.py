"""Distils LiteLLM's price map into `data/models.json`: python3 data/distil_models.py PRICE_MAP SOURCE.

PRICE_MAP is `litellm/model_prices_and_context_window_backup.json` of the litellm wheel on PyPI (MIT licence), SOURCE what
the file says of where its figures are from. Only `source` and `models` are replaced. Chat and embedding models of the
providers below are kept unless their deprecation date is more than a year past; of prices: input, output, cache reads and writes, and the one
step by length of the prompt that a model has (`above`); of what it does beside text, what the map says and what it denies.
"""

import datetime
import json
import pathlib
import re
import sys

# The map's provider → the name in data/providers.json.
PROVIDERS = {
    name: name
    for name in (
        "openai anthropic gemini mistral azure bedrock cerebras cohere deepseek groq moonshot perplexity "
        "together_ai xai dashscope"
    ).split()
} | {"bedrock_converse": "bedrock", "cohere_chat": "cohere"}
MODES = {"chat", "completion", "responses", "embedding"}
FIELDS = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
}


# What models do beside text, as the map names it: `supports_…`.
FACTS = "vision audio_input pdf_input function_calling response_schema".split()


def number(value):
    """A number, or a number as text; else nothing."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def prices(entry, ending=""):
    found = {ours: number(entry.get(theirs + ending)) for ours, theirs in FIELDS.items()}
    return {ours: price for ours, price in found.items() if price is not None}


def row(name, entry, today):
    provider = PROVIDERS.get(entry.get("litellm_provider"))
    base = prices(entry)
    if provider is None or entry.get("mode") not in MODES or "input" not in base:
        return None
    if entry.get("deprecation_date", "9") < today:
        return None
    model = name
    for prefix in (entry["litellm_provider"], provider):
        model = model.removeprefix(prefix + "/")
    # Of Bedrock's rows, those by region: the model's own row says the same or the region's name is part of the model's.
    if provider == "bedrock" and "/" in model:
        return None
    base.setdefault("output", 0.0)
    if base["input"] == 0 and base["output"] == 0:
        return None
    made = {"provider": provider, "model": model, **base}
    steps = [re.fullmatch(r"input_cost_per_token_above_(\d+)k_tokens", key) for key in entry]
    for step in sorted((int(found[1]) for found in steps if found), reverse=True)[:1]:
        made["above"] = {"tokens": step * 1000, **{"output": base["output"]}, **prices(entry, f"_above_{step}k_tokens")}
    for ours, theirs in (("max_input", "max_input_tokens"), ("max_output", "max_output_tokens")):
        tokens = number(entry.get(theirs))
        if tokens:
            made[ours] = int(tokens)
    for ours, said in (("takes", True), ("lacks", False)):
        facts = [fact for fact in FACTS if entry.get(f"supports_{fact}") is said]
        if facts:
            made[ours] = facts
    return made


def main():
    file = pathlib.Path(__file__).with_name("models.json")
    table = json.loads(file.read_text())
    today = (datetime.date.today() - datetime.timedelta(days=365)).isoformat()
    rows = {}
    for name, entry in json.loads(pathlib.Path(sys.argv[1]).read_text()).items():
        made = row(name, entry, today)
        if made:
            rows.setdefault((made["provider"], made["model"]), made)
    # What the table knew and the map has dropped since stays known.
    for kept in table["models"]:
        rows.setdefault((kept["provider"], kept["model"]), kept)
    order = list(PROVIDERS.values())
    lines = sorted(rows.values(), key=lambda made: (order.index(made["provider"]), made["model"]))
    written = [json.dumps(made) for made in lines]
    text = [line.rstrip() for line in file.read_text().splitlines()]
    head = text[: text.index('  "models": [')]
    head[1] = f'  "source": {json.dumps(sys.argv[2])},'
    file.write_text("\n".join([*head, '  "models": [', ",\n".join("    " + line for line in written), "  ]", "}", ""]))


if __name__ == "__main__":
    main()
