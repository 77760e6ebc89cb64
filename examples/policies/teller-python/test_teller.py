import json
import unittest

from teller import Teller
from witgate_providers import Beginning, End, Fault, Finish, Setup, Target, Text, Usage

TELLER = Teller(Setup("{}"))


def sent(**request):
    return TELLER.encode(request, Target("m", 100)).body


class TestTeller(unittest.TestCase):
    def test_tokens_become_words_and_words_become_tokens(self):
        self.assertEqual([TELLER.words(tokens) for tokens in (100, 0)], [75, 1])
        self.assertEqual([TELLER.tokens(words) for words in (75, 1, 0)], [100, 2, 0])

    def test_a_conversation_says_who_said_what(self):
        hi = {"role": "user", "content": "hi"}
        one = sent(messages=[hi], max_tokens=8)
        self.assertEqual(one, {"model": "m", "prompt": "hi", "max_words": 6, "stream": False})
        two = sent(messages=[{"role": "system", "content": "Be brief."}, hi])
        self.assertEqual((two["prompt"], two["max_words"]), ("system: Be brief.\n\nuser: hi", 75))

    def test_what_has_no_words_there_is_refused_by_name(self):
        answered = {"role": "tool", "tool_call_id": "c", "content": "1"}
        for request, blamed in [
            ({"n": 2}, "n"),
            ({"stop": "x"}, "stop"),
            ({"messages": [answered]}, "messages[0]"),
        ]:
            with self.assertRaises(Fault) as caught:
                sent(**request)
            self.assertEqual(caught.exception.param, blamed)
        # These ask for nothing.
        sent(messages=[], n=1, tools=[], response_format={"type": "text"})

    def test_a_stream_begins_once_and_ends_with_its_words(self):
        stream = TELLER.open()

        def push(line):
            return stream.push("", json.dumps(line).encode())

        self.assertEqual(push({"id": "t1", "answer": "So"}), [Beginning("t1"), Text("So")])
        self.assertEqual(push({"answer": " it is."}), [Text(" it is.")])
        last = push({"words": {"in": 1, "out": 3}, "cut": True})
        self.assertEqual(last, [Finish("length"), Usage(2, 4), End()])

    def test_what_is_no_reply_is_a_fault(self):
        for body in [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"answer": "So"}', b'{"error": {"says": "no"}}', b'{"answer": "\\ud800"}']:
            with self.assertRaises(Fault):
                TELLER.decode(body)
        self.assertEqual(TELLER.decode_error(502, b"<html>").message, "the provider refused with status 502")

    def test_settings_that_make_no_sense_are_refused(self):
        self.assertEqual(Teller(Setup('{"words_per_100_tokens": 60}')).words_per_100_tokens, 60)
        for settings in ['{"words_per_100_tokens": 0}', '{"words_per_100_tokens": "all"}', '{"least": 1}']:
            with self.assertRaises(ValueError):
                Teller(Setup(settings))


if __name__ == "__main__":
    unittest.main()
