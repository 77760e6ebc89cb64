import unittest

from preamble import Preamble
from witgate_prompts import BuiltPart, Message, Part, Request, Setup


class TestPreamble(unittest.TestCase):
    def test_the_instructions_come_first_and_the_rest_is_kept(self):
        said = Message("user", [Part("text", "hi"), Part("other", "")])
        prompt = Preamble(Setup('{"text": "Be brief."}')).build(Request([said]))
        self.assertEqual(prompt.messages[0].parts, [BuiltPart(text="Be brief.")])
        self.assertEqual(prompt.messages[1].parts, [BuiltPart(0), BuiltPart(1)])

    def test_settings_that_make_no_sense_are_refused(self):
        for settings in ["{}", '{"text": 3}', '{"text": "x", "more": 1}']:
            with self.assertRaises(ValueError):
                Preamble(Setup(settings))


if __name__ == "__main__":
    unittest.main()
