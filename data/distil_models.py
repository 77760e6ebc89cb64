"""Distils LiteLLM's price map into `data/models.json`: python3 data/distil_models.py PRICE_MAP SOURCE.

PRICE_MAP is `litellm/model_prices_and_context_window_backup.json` of the litellm wheel on PyPI (MIT licence), SOURCE what
the file says of where its figures are from. Only `source` and `models` are replaced. Chat and embedding models of the
providers below are kept unless their deprecation date is more than a year past, and models that draw and have a price of such tokens: those that nobody
chats with (`images_only`) are what other models draw with. Of prices: input, output, cache reads and writes, recordings and speech (`audio_…`), pictures (`image_…`),
every step by length of the prompt (`above`, the shortest first), and all of that for the vendor's batch API (`batch`) and its service tiers (`flex`, `priority`, `ultrafast`); by
which factor Claude's `speed` and `inference_geo` make all of it dearer (`fast`, `us`); what a search costs that the vendor makes for a reply (`search`), and whether a reply pays for one however
many there were (`search_once`); of what it does beside text, what the map says and what it denies. Prices of caches that last an hour are not kept: all are twice that of input, which src/money.rs reckons
with; this stops at one that is not. A price that a step does not name is that below it, one that a service tier does not name that of everybody, as LiteLLM reckons.
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
    "audio_input": "input_cost_per_audio_token",
    "audio_cache_read": "cache_read_input_audio_token_cost",
    "audio_output": "output_cost_per_audio_token",
    "image_input": "input_cost_per_image_token",
    "image_cache_read": "cache_read_input_image_token_cost",
    "image_output": "output_cost_per_image_token",
}
# Whose searches are counted in replies, and what one costs where the map does not say it of a model: Anthropic takes $10 for a
# thousand whatever the model (https://platform.claude.com/docs/en/about-claude/pricing).
SEARCHES = {"openai": None, "azure": None, "gemini": None, "anthropic": 0.01}


# What models do beside text, as the map names it: `supports_…`.
FACTS = "vision audio_input pdf_input function_calling response_schema".split()


def number(value):
    """A number, or a number as text; else nothing."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def prices(entry, ending=""):
    # Pictures in a prompt have a price of their own where models draw; elsewhere they cost what text does, whatever its length.
    draws = FIELDS["image_output"] in entry
    names = {ours: theirs for ours, theirs in FIELDS.items() if draws or not ours.startswith("image_")}
    found = {ours: number(entry.get(theirs + ending)) for ours, theirs in names.items()}
    return {ours: price for ours, price in found.items() if price is not None}


def steps(entry, base, ending=""):
    """The prices of prompts that are longer than so many tokens."""
    if isinstance(entry.get("tiered_pricing"), list) and not ending:
        tiers = [(int(tier["range"][0]), prices(tier)) for tier in entry["tiered_pricing"] if "range" in tier]
    else:
        pattern = rf"input_cost_per_token_above_(\d+)k_tokens{ending}"
        found = [int(match[1]) for key in entry if (match := re.fullmatch(pattern, key))]
        tiers = [(step * 1000, prices(entry, f"_above_{step}k_tokens{ending}")) for step in found]
    below, made = base, []
    for tokens, own in sorted((tier for tier in tiers if tier[0] > 0), key=lambda tier: tier[0]):
        below = {**below, **own}
        made.append({"tokens": tokens, **below})
    return made


def tier(entry, base, usual, name):
    """The prices of a service tier: what the map does not name of it, it has of everybody's."""
    ending = "_" + name
    own = prices(entry, ending)
    if "input" not in own:
        return None
    own = {**base, **own}
    steps_of_all = {step["tokens"]: step for step in usual}
    pattern = rf"(?:input|output)_cost_per_token_above_(\d+)k_tokens{ending}"
    found = {int(match[1]) * 1000 for key in entry if (match := re.fullmatch(pattern, key))}
    made, below = [], own
    for tokens in sorted(found | set(steps_of_all)):
        below = {**below, **steps_of_all.get(tokens, {}), **prices(entry, f"_above_{tokens // 1000}k_tokens{ending}")}
        made.append({**below, "tokens": tokens})
    return {**own, "above": [{"tokens": step.pop("tokens"), **step} for step in made]} if made else own


def search(provider, name, entry):
    """What a search costs; stops where that hangs on how much of the pages is read, which no reply tells."""
    told = entry.get("search_context_cost_per_query") or {}
    costs = {number(cost) for cost in told.values()} - {None}
    if provider not in SEARCHES or (entry["mode"] == "embedding" and not costs):
        return {}
    if len(costs) > 1:
        sys.exit(f"{name}: a search costs {sorted(costs)}: data/models.json needs a field for it")
    cost = costs.pop() if costs else SEARCHES[provider]
    once = {"search_once": True} if provider == "gemini" and entry.get("web_search_billing_unit") != "per_query" else {}
    return {"search": cost, **once} if cost is not None else {}


def check_hours(name, entry):
    """Stops where writing to a cache for an hour costs anything else than twice the input."""
    hour = "cache_creation_input_token_cost_above_1hr"
    for key in entry:
        if key.startswith(hour):
            told, price = number(entry[key]), number(entry.get("input_cost_per_token" + key.removeprefix(hour)))
            if told is not None and (price is None or abs(told - 2 * price) > price * 1e-6):
                sys.exit(f"{name}: {key} is {told}, and the input's price {price}: data/models.json needs a field for it")


def row(name, entry, today):
    provider = PROVIDERS.get(entry.get("litellm_provider"))
    base = prices(entry)
    # Where all prices are steps, the first of them is from no token on.
    if "input" not in base and isinstance(entry.get("tiered_pricing"), list):
        base = prices(next((tier for tier in entry["tiered_pricing"] if tier.get("range", [1])[0] == 0), {}))
    draws = entry.get("mode") == "image_generation" and "image_output" in base
    if provider is None or not (entry.get("mode") in MODES or draws) or "input" not in base:
        return None
    if entry.get("deprecation_date", "9") < today:
        return None
    model = name
    for prefix in (entry["litellm_provider"], provider):
        model = model.removeprefix(prefix + "/")
    # Of Bedrock's rows, those by region: the model's own row says the same or the region's name is part of the model's.
    if provider == "bedrock" and "/" in model:
        return None
    check_hours(name, entry)
    base.setdefault("output", 0.0)
    if base["input"] == 0 and base["output"] == 0:
        return None
    made = {"provider": provider, "model": model, **base}
    if above := steps(entry, base):
        made["above"] = above
    usual = above
    batch = prices(entry, "_batches")
    batch.setdefault("output", 0.0 if base["output"] == 0 else None)
    if "input" in batch and batch["output"] is not None:
        above = steps(entry, batch, "_batches")
        made["batch"] = {**batch, "above": above} if above else batch
    for service in ("flex", "priority", "ultrafast"):
        if found := tier(entry, base, usual, service):
            made[service] = found
    if provider == "anthropic":
        factors = entry.get("provider_specific_entry") or {}
        made |= {name: factors[name] for name in ("fast", "us") if name in factors}
    made |= search(provider, name, entry)
    for ours, theirs in (("max_input", "max_input_tokens"), ("max_output", "max_output_tokens")):
        tokens = number(entry.get(theirs))
        if tokens:
            made[ours] = int(tokens)
    # The map's mode says so of models that no other API serves, at the two of whom that is known for sure.
    if entry["mode"] == "responses" and provider in ("openai", "azure"):
        made["responses"] = True
    if draws and "/v1/chat/completions" not in entry.get("supported_endpoints", []):
        made["images_only"] = True
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
        if isinstance(kept.get("above"), dict):
            kept["above"] = [kept["above"]]
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
