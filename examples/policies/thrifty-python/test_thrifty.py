import unittest

import witgate
from thrifty import Thrifty
from witgate import Setup, Signals, Wait, log, raised, refusal, told

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

        def deep(left):
            return deep(left - 1) if left else {}["oops"]

        try:
            deep(20)
        except KeyError as error:
            self.assertEqual(raised(error).count(" in deep"), 5)

    def test_mistakes_have_words(self):
        for milliseconds in (1.5, -1, 2**32, "1"):
            with self.assertRaisesRegex(TypeError, "a whole number of milliseconds, which .* is not"):
                raise Wait(milliseconds)
        with self.assertRaisesRegex(ValueError, "no level is called 'error'"):
            log("x", "error")
        self.assertEqual(refusal(ValueError("setting `penalty` must be a number")), "setting `penalty` must be a number")
        self.assertTrue(refusal(KeyError("nothere")).startswith("KeyError: 'nothere'; at "))
        self.assertTrue(refusal(ValueError()).startswith("ValueError; at "))
        # Whoever asks to exit has failed.
        with self.assertRaises(RuntimeError):
            told(lambda: exit(1))

    def test_answers_that_are_none_are_told(self):
        self.assertEqual(witgate._ranking([1, 0]), ([1, 0], []))
        self.assertEqual(witgate._ranking(range(2)), ([0, 1], []))
        self.assertEqual(witgate._ranking(([1], [0.5])), ([1], [0.5]))
        for answer in (None, [0.0], ["a"], {0, 1}, [-1], "01", ([0], "x"), ([0], [None])):
            with self.assertRaises(TypeError):
                witgate._ranking(answer)
        for saved in (("a", 5), "a", (b"a", b"b")):
            with self.assertRaisesRegex(TypeError, "`save` must give a Saved"):
                witgate._saved(saved)
        self.assertEqual(witgate._saved(witgate.Saved("a", b"b")), ("a", b"b"))


if __name__ == "__main__":
    unittest.main()
