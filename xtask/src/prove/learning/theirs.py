"""The data of the package paretobandit as `witgate evaluate` reads it, and that package's own router played over them.

    theirs.py export FOLDER   writes paretobandit.jsonl, and the licence of the data as LICENSE
    theirs.py play FOLDER     reads question.json: what a router is told of each prompt, in which orders they come, and budgets;
                              writes theirs.json: which models its router chose

Its router is told the same numbers as ours, as they are and, since its own features are whitened components, whitened over all prompts,
which nobody could know before. It knows nothing of the models but its own table of prices.
"""

import json
import logging
import shutil
import sys
from importlib.metadata import distribution
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from pareto_bandit import BanditRouter
from pareto_bandit.budget_pacer import BudgetPacer, PacingMode
from pareto_bandit.data import get_example_holdout_path, get_example_val_path
from pareto_bandit.feature_service import FeatureService

COMPONENTS = 25


def rows():
    for path in (get_example_val_path(), get_example_holdout_path()):
        with open(path, encoding="utf-8") as file:
            yield from map(json.loads, file)


ROWS = list(rows())


def export(folder):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "paretobandit.jsonl", "w", encoding="utf-8") as out:
        for row in ROWS:
            models = {name: {"reward": arm["reward"], "cost": arm["cost"]} for name, arm in row["arms"].items()}
            out.write(json.dumps({"prompt": row["prompt"], "models": models}) + "\n")
    licence = next(file for file in distribution("paretobandit").files if file.name == "LICENSE")
    shutil.copy(licence.locate(), folder / "LICENSE")


def whitened(numbers):
    centred = numbers - numbers.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    components = centred @ axes[:COMPONENTS].T
    return components / components.std(axis=0)


def played(task):
    numbers, order, seed, budget = task
    logging.disable(logging.CRITICAL)
    pacer = None if budget is None else BudgetPacer(target_avg_spend_usd=budget, mode=PacingMode.ADAPTIVE)
    # With a budget as its own demonstration has it, else as it comes.
    settings = {} if budget is None else {"cost_penalty": 0.0}
    router = BanditRouter.create(
        feature_service=FeatureService.for_precomputed(numbers.shape[1]),
        priors="none",
        budget_pacer=pacer,
        bandit_seed=seed,
        **settings,
    )
    chosen = []
    for place in order:
        model, log = router.route(numbers[place])
        arm = ROWS[place]["arms"][model]
        log.cost_usd = arm["cost"]
        router.process_feedback(log.request_id, reward=arm["reward"])
        chosen.append(model)
    return chosen


def play(folder):
    question = json.loads((folder / "question.json").read_text())
    plain = np.array(question["features"], dtype=float)
    constant = np.ones((len(plain), 1))
    told = {"": np.hstack([plain, constant]), ", whitened": np.hstack([whitened(plain), constant])}
    cases = [(name, budget) for budget in [None, *question["budgets"]] for name in told]
    tasks = [
        (told[name], order, number, budget) for name, budget in cases for number, order in enumerate(question["orders"])
    ]
    with Pool() as pool:
        chosen = pool.map(played, tasks, chunksize=1)
    seeds = len(question["orders"])
    runs = [
        {"name": f"paretobandit{name}", "budget": budget, "runs": chosen[place * seeds : (place + 1) * seeds]}
        for place, (name, budget) in enumerate(cases)
    ]
    (folder / "theirs.json").write_text(json.dumps(runs))


if __name__ == "__main__":
    verb, where = sys.argv[1], Path(sys.argv[2])
    if verb == "export":
        export(where)
    else:
        play(where)
