import unittest

from thrifty import Thrifty
from witgate import Setup, Signals, raised

NAN = float("nan")


def order(settings, costs, failures):
    """The order of deployments that cost and fail so much."""
    router = Thrifty(Setup(settings))
    return router.route(None, Signals(router.needs.signals, costs + failures, len(costs)), [], [])


class TestThrifty(unittest.TestCase):
    def test_the_cheapest_comes_first_and_an_unknown_price_last(self):
        self.assertEqual(order("{}", [NAN, 0.03, 0.01], [0, 0, NAN]), [2, 1, 0])

    def test_failures_make_it_dearer(self):
        self.assertEqual(order("{}", [0.01, 0.02], [0.5, 0]), [1, 0])
        self.assertEqual(order('{"penalty": 0}', [0.01, 0.02], [0.5, 0]), [0, 1])

    def test_settings_that_make_no_sense_are_refused(self):
        with self.assertRaisesRegex(ValueError, "setting `penalty` must be a number, 0 to 1000"):
            order('{"penalty": -1}', [], [])
        with self.assertRaisesRegex(ValueError, "unknown setting `limit`; this policy knows: penalty"):
            order('{"limit": 1}', [], [])

    def test_what_is_raised_is_told_with_where_it_was(self):
        try:
            order("{}", None, [])
        except TypeError as error:
            self.assertIn("TypeError: ", raised(error))
            self.assertIn("test_thrifty.py", raised(error))


if __name__ == "__main__":
    unittest.main()
