"""The cheapest deployment first, where each failure makes a deployment dearer.

What a request is expected to cost counts times `1 + penalty * failure_rate`. An unknown failure rate is none; a deployment
whose cost is unknown comes last; of equals the one named first.

Settings: `penalty`, a number from 0 to 1000, 10 unless given.
"""

from witgate import Needs, Settings, rank


class Thrifty:
    # Its answers depend on its arguments alone: several instances may serve at once.
    needs = Needs(signals=["cost-usd", "failure-rate"], pure=True)

    def __init__(self, setup):
        settings = Settings(setup.settings)
        self.penalty = settings.number("penalty", 0, 1000, 10)
        settings.finish()

    def route(self, request, signals, features, attributes):
        values, rows, penalty = signals.values, signals.rows, self.penalty
        # A rate that is not equal to itself is unknown.
        return rank(
            [
                cost * (1 + penalty * (rate if rate == rate else 0))
                for cost, rate in zip(values[:rows], values[rows:])
            ]
        )
