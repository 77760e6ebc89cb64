"""A list of texts through the batch interface: at the lowest priority, within every limit, and carried on by the gateway whatever
becomes of this program."""
import json
import time

from openai import OpenAI

client = OpenAI()


def begin(texts, model):
    body = lambda text: {"model": model, "messages": [{"role": "user", "content": text}]}
    lines = [{"custom_id": str(place), "method": "POST", "url": "/v1/chat/completions", "body": body(text)} for place, text in enumerate(texts)]
    file = client.files.create(file=("texts.jsonl", "\n".join(map(json.dumps, lines)).encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h").id


def results(batch_id, every=30):
    while (batch := client.batches.retrieve(batch_id)).status in ("validating", "in_progress", "finalizing"):
        time.sleep(every)
    lines = client.files.content(batch.output_file_id).text.splitlines()
    return {int(line["custom_id"]): line["response"]["body"]["choices"][0]["message"]["content"] for line in map(json.loads, lines)}
