"""Testing the connections: every deployment is asked for one token, which costs one. Needs the operator's key."""
from openai import OpenAI

client = OpenAI()


def connections():
    tested = client.get(str(client.base_url.join("/health")), cast_to=object)
    works = {one["model"]: f"{one['latency_ms']:.0f} ms" for one in tested["healthy_endpoints"]}
    return works | {one["model"]: one["error"] for one in tested["unhealthy_endpoints"]}
