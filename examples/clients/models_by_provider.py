"""The models there are, by provider."""
from openai import OpenAI

client = OpenAI()


def models_by_provider():
    providers = {}
    for one in client.get("/model/info", cast_to=object)["data"]:
        providers.setdefault(one["model_info"]["litellm_provider"], set()).add(one["model_name"])
    return {provider: sorted(names) for provider, names in providers.items()}
