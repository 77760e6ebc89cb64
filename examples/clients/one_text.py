"""One text: what is said of it, and what that cost in dollars."""
from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL (http://127.0.0.1:4000/v1) and OPENAI_API_KEY


def analyze(text, model):
    asked = [{"role": "system", "content": "Say in a sentence what the text is about."}, {"role": "user", "content": text}]
    raw = client.chat.completions.with_raw_response.create(model=model, messages=asked)
    cost = raw.headers.get("x-litellm-response-cost")  # missing where the model's price is not known
    return raw.parse().choices[0].message.content, cost and float(cost)
