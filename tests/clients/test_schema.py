"""The JSON Schema of the configuration, as an editor holds a file to it."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs/config.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_example_fits(file):
    problems = [f"{problem.json_path}: {problem.message}" for problem in VALIDATOR.iter_errors(yaml.safe_load(file.read_text()))]
    assert problems == []


@pytest.mark.parametrize(
    "text",
    [
        "witgate: {queues: {}}",
        "witgate: {queue: {order: sorted}}",
        "witgate: {routers: {g: {polcy: least-busy}}}",
        "model_list: {model_name: a}",
        "model_list: [{model_name: a, litellm_params: {model: openai/a, rpm: many}}]",
        "router_settings: {num_retries: -1}",
    ],
)
def test_a_mistake_does_not(text):
    assert not VALIDATOR.is_valid(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "model_list: [{model_name: a, litellm_params: {model: openai/a, rpm: os.environ/RPM, unknown: 1}}]",
        "router_settings: {num_retries: '3', another: {}}",
        "witgate:",
    ],
)
def test_what_is_read_does(text):
    assert VALIDATOR.is_valid(yaml.safe_load(text))
