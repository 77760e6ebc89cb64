"""openai-python's files and batches, and the programs of examples/clients, against gateways of their own with simulated models."""

import importlib.util
import json
import time

import openai
import pytest

from conftest import KEY, ROOT, served

CONFIG = f"""
model_list:
  - model_name: quick
    litellm_params:
      model: simulated/quick
      input_cost_per_token: 0.000001
      output_cost_per_token: 0.000002
      simulated: {{output_tokens: 5}}
  - model_name: slow
    litellm_params: {{model: simulated/slow, rpm: 1}}
  - model_name: grade
    litellm_params: {{model: simulated/grade, mock_response: '[{{"number": 2, "result": 5}}, {{"number": 1, "result": 4}}]'}}
general_settings: {{master_key: {KEY}}}
witgate:
  prompt_builders: {{grade: {{policy: batch, may_reject: true, settings: {{system: "Grade each text."}}}}}}
  response_parsers: {{grade: {{policy: batch-split, hold: true}}}}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def running(folder):
    process, url = served(folder, folder / "config.yaml")
    yield url
    process.kill()
    process.wait()


def client_of(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=30)


def lines(model, count):
    for place in range(count):
        body = {"model": model, "messages": [{"role": "user", "content": f"text {place}"}]}
        yield {"custom_id": f"line-{place}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def begin(client, written):
    content = "\n".join(map(json.dumps, written)).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600})
    assert (file.purpose, file.bytes, file.filename) == ("batch", len(content), "in.jsonl")
    assert file.expires_at - file.created_at == 3600
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"study": "one"}
    )


def until(client, batch, done):
    for _ in range(3000):
        batch = client.batches.retrieve(batch.id)
        if done(batch):
            return batch
        time.sleep(0.01)
    raise AssertionError(batch)


def test_a_batch_from_its_file_to_its_replies(running):
    client = client_of(running)
    batch = begin(client, lines("quick", 30))
    assert batch.metadata == {"study": "one"} and batch.expires_at - batch.created_at == 86_400
    batch = until(client, batch, lambda batch: batch.status in ("completed", "failed"))
    counts = batch.request_counts
    assert (batch.status, counts.total, counts.completed, counts.failed) == ("completed", 30, 30, 0), batch
    assert batch.model == "quick"
    assert batch.in_progress_at and batch.finalizing_at and batch.completed_at and batch.error_file_id is None
    replies = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert [line["custom_id"] for line in replies] == [f"line-{place}" for place in range(30)]
    for line in replies:
        reply = openai.types.chat.ChatCompletion.model_validate(line["response"]["body"])
        assert reply.choices[0].message.content and line["error"] is None
    used = [line["response"]["body"]["usage"] for line in replies]
    assert batch.usage.input_tokens == sum(one["prompt_tokens"] for one in used) > 0
    assert batch.usage.output_tokens == sum(one["completion_tokens"] for one in used) > 0
    assert batch.usage.total_tokens == sum(one["total_tokens"] for one in used)
    assert batch.usage.input_tokens_details.cached_tokens == batch.usage.output_tokens_details.reasoning_tokens == 0
    second = begin(client, [*lines("quick", 1), *lines("nobody", 2)])
    second = until(client, second, lambda batch: batch.status == "failed")
    assert [(error.line, error.code) for error in second.errors.data] == [(2, "model_not_found"), (3, "model_not_found")]
    assert [one.id for one in client.batches.list(limit=1)] == [second.id, batch.id], "page after page"
    assert {file.id for file in client.files.list(purpose="batch")} == {batch.input_file_id, second.input_file_id}
    assert client.files.delete(batch.input_file_id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(batch.input_file_id)


def test_it_goes_on_after_its_gateway_was_killed_and_is_cancelled(folder):
    process, url = served(folder, folder / "config.yaml")
    client = client_of(url)
    # One line a minute, and some at once.
    batch = begin(client, [*lines("quick", 5), *({**line, "custom_id": f"slow-{line['custom_id']}"} for line in lines("slow", 20))])
    until(client, batch, lambda batch: batch.request_counts.completed >= 6)
    process.kill()
    process.wait()
    process, url = served(folder, folder / "config.yaml")
    try:
        client = client_of(url)
        known = client.batches.retrieve(batch.id)
        assert known.status == "in_progress" and known.request_counts.completed >= 6
        assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
        batch = until(client, batch, lambda batch: batch.status == "cancelled")
        counts = batch.request_counts
        assert counts.completed >= 6 and counts.completed + counts.failed == 25
        replies = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
        assert len({line["custom_id"] for line in replies}) == counts.completed
    finally:
        process.kill()
        process.wait()


def example(name, url, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples/clients" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_program_of_the_examples(running, monkeypatch):
    def of(name):
        return example(name, running, monkeypatch)

    said, cost = of("one_text").analyze("The sea is calm.", "quick")
    assert said and cost > 0
    assert of("many_texts").analyze_all(["good", "better"], "grade") == [4, 5]
    overnight = of("overnight")
    assert set(overnight.results(overnight.begin(["one", "two"], "quick"), every=0.01)) == {0, 1}
    tested = of("connections").connections()
    assert tested.keys() == {"simulated/quick", "simulated/slow", "simulated/grade"} and tested["simulated/quick"].endswith(" ms")
    assert of("models_by_provider").models_by_provider() == {"simulated": ["grade", "quick", "slow"]}
    assert {file.stem for file in (ROOT / "examples/clients").glob("*.py")} == {
        "one_text", "many_texts", "overnight", "connections", "models_by_provider"
    }, "each program is run here"
