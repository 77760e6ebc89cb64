"""Asks a gateway with examples/learning.yaml many questions and shows its learning curve. Needs Python alone.

    python3 examples/learning.py                starts a gateway, which remembers nothing afterwards
    python3 examples/learning.py --url http://127.0.0.1:4000
"""
import argparse
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parent.parent
MODELS = ["tiny", "coder", "middle", "large"]
# Requests at the end of which the mean is told: a few hundred hang too much on which questions were drawn.
LAST = 1000
CODE = "Write a Python function that {} {} numbers, and explain each line of the function."
PROSE = "Tell me how {} {} people in a small town by the sea spend an evening in winter."
VERBS = ["adds", "sorts", "counts", "compares", "collects"]
WORDS = ["friendly", "busy", "quiet", "curious", "tired"]


def question(number, draw):
    if draw.random() < 0.5:
        return CODE.format(draw.choice(VERBS), number)
    return PROSE.format(number, draw.choice(WORDS))


def ask(url, text):
    body = json.dumps({"model": "assistant", "messages": [{"role": "user", "content": text}]}).encode()
    request = Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
    with urlopen(request) as reply:
        reply.read()
        return reply.headers["x-witgate-deployment"], float(reply.headers["x-litellm-response-cost"])


def judged(url):
    """How many replies were judged, and what they were worth together."""
    with urlopen(f"{url}/metrics") as reply:
        text = reply.read().decode()
    sums = {part: re.findall(rf'witgate_quality_{part}{{group="assistant",.*}} (\S+)', text) for part in ("count", "sum")}
    return [sum(map(float, sums[part])) for part in ("count", "sum")]


def why(url, text):
    body = json.dumps({"model": "assistant", "messages": [{"role": "user", "content": text}]}).encode()
    with urlopen(Request(f"{url}/route/explain", body, {"content-type": "application/json"})) as reply:
        for row in json.load(reply)["deployments"]:
            known = row["reasons"]
            print(
                f"  {row['deployment']:<8} score {known['score']:.2f} = quality {known['quality']:.2f}"
                f" ({known['quality_low']:.2f} to {known['quality_high']:.2f}) - price {known['price']:.2f};"
                f" chosen with probability {known['probability']:.3f}"
            )


def learn(url, requests):
    draw = random.Random(1)
    print(f"{'requests':>8} {'USD each':>10} {'worth':>6}  " + "  ".join(f"{model:>7}" for model in MODELS))
    before, all_replies = judged(url), []
    with ThreadPoolExecutor(4) as pool:
        for begun in range(0, requests, 200):
            texts = [question(number, draw) for number in range(begun, min(begun + 200, requests))]
            replies = list(pool.map(lambda text: ask(url, text), texts))
            all_replies += replies
            each = mean(cost for _, cost in replies)
            now = judged(url)
            worth = (now[1] - before[1]) / max(now[0] - before[0], 1)
            before = now
            shares = [sum(name == model for name, _ in replies) / len(replies) for model in MODELS]
            print(f"{begun + len(replies):>8} {each:>10.6f} {worth:>6.2f}  " + "  ".join(f"{share:>7.1%}" for share in shares))
    last = mean(cost for _, cost in all_replies[-LAST:])
    of_each = ([cost for name, cost in all_replies if name == model] for model in MODELS)
    even = mean(mean(costs) for costs in of_each if costs)
    print(
        f"the last {len(all_replies[-LAST:])} requests cost {last:.6f} USD each: {last / even:.0%} of the {even:.6f} that an even choice"
        " over the models costs"
    )
    for text in (CODE.format("sorts", 7), PROSE.format(7, "quiet")):
        print(text)
        why(url, text)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--url")
    arguments.add_argument("--requests", type=int, default=2000)
    given = arguments.parse_args()
    if given.url:
        return learn(given.url, given.requests)
    built = [os.environ.get("WITGATE"), shutil.which("witgate"), *(ROOT / "target" / kind / "witgate" for kind in ("release", "debug"))]
    program = next((str(path) for path in built if path and Path(path).is_file()), None)
    if not program:
        raise SystemExit("there is no witgate here: cargo build --release, or set WITGATE to the program")
    with tempfile.TemporaryDirectory() as state:
        serve = [program, "serve", "--config", str(ROOT / "examples/learning.yaml"), "--port", "0", "--log", "error", "--seed", "1"]
        environment = {**os.environ, "XDG_STATE_HOME": state}
        gateway = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
        try:
            learn(gateway.stdout.readline().split("listening on ")[1].split()[0], given.requests)
        finally:
            gateway.terminate()
            gateway.wait()


if __name__ == "__main__":
    main()
