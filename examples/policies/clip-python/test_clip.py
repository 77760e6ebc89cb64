import unittest

from clip import Clip, Clipped
from witgate_replies import Setup, Text


class TestClip(unittest.TestCase):
    def test_characters_are_counted_over_all_pieces(self):
        reply = Clipped(4)
        self.assertEqual(reply.push(Text("äö")), [Text("äö")])
        self.assertEqual(reply.push(Text("üxyz")), [Text("üx")])
        self.assertEqual(reply.push(Text("more")), [])

    def test_settings_that_make_no_sense_are_refused(self):
        self.assertEqual(Clip(Setup('{"most": 10}')).most, 10)
        for settings in ['{"most": 0}', '{"most": "all"}', '{"least": 1}']:
            with self.assertRaises(ValueError):
                Clip(Setup(settings))


if __name__ == "__main__":
    unittest.main()
