"""A list of texts, as many in one call as its budget takes. The group has the prompt builder `batch` and the parser `batch-split`
(`grade` in examples/prompts.yaml); what did not fit, or came back without a result, goes into the next call."""
import json

from openai import OpenAI

client = OpenAI()


def analyze_all(texts, model):
    results = {}
    while left := [place for place in range(len(texts)) if place not in results]:
        more = {"prompt_items": [texts[place] for place in left]}
        raw = client.chat.completions.with_raw_response.create(model=model, messages=[], extra_body=more)
        ranges = [part.split("-") for part in raw.headers["x-witgate-items"].split(",")]  # 0-4,6
        sent = [left[item] for ends in ranges for item in range(int(ends[0]), int(ends[-1]) + 1)]
        elements = json.loads(raw.parse().choices[0].message.content)
        results |= {sent[element["item"]]: element["result"] for element in elements if "result" in element}
    return [results[place] for place in range(len(texts))]
