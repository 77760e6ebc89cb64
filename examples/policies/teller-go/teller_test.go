package main

import (
	"slices"
	"strings"
	"testing"

	"teller-go/witgate"
)

var teller = Teller{75}

func sent(request string) (Asked, error) {
	encoded, problem := teller.Encode([]byte(request), witgate.Target{Model: "m", MaxOutputTokens: 100})
	if problem != nil {
		return Asked{}, problem
	}
	return encoded.Body.(Asked), nil
}

func TestTokensBecomeWordsAndWordsBecomeTokens(t *testing.T) {
	if got := [2]uint64{teller.words(100), teller.words(0)}; got != [2]uint64{75, 1} {
		t.Error(got)
	}
	if got := [3]uint64{teller.tokens(75), teller.tokens(1), teller.tokens(0)}; got != [3]uint64{100, 2, 0} {
		t.Error(got)
	}
}

func TestAConversationSaysWhoSaidWhat(t *testing.T) {
	for request, wanted := range map[string]Asked{
		`{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}`:                                            {"m", "hi", 6, false},
		`{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}], "stream": true}`: {"m", "system: Be brief.\n\nuser: hi", 75, true},
	} {
		if got, problem := sent(request); problem != nil || got != wanted {
			t.Error(got, problem)
		}
	}
}

func TestWhatHasNoWordsThereIsRefusedByName(t *testing.T) {
	for request, blamed := range map[string]string{
		`{"n": 2}`:      "n",
		`{"stop": "x"}`: "stop",
		`{"messages": [{"role": "tool", "tool_call_id": "c", "content": "1"}]}`: "messages[0]",
	} {
		_, problem := sent(request)
		if fault, ok := problem.(witgate.Fault); !ok || fault.Param != blamed {
			t.Error(request, problem)
		}
	}
	// These ask for nothing.
	if _, problem := sent(`{"messages": [], "n": 1, "tools": [], "response_format": {"type": "text"}}`); problem != nil {
		t.Error(problem)
	}
}

func TestAStreamBeginsOnceAndEndsWithItsWords(t *testing.T) {
	stream := teller.Open()
	for _, step := range []struct {
		line  string
		heard []witgate.Event
	}{
		{`{"id": "t1", "answer": "So"}`, []witgate.Event{witgate.Beginning{ID: "t1"}, witgate.Text("So")}},
		{`{"answer": " it is."}`, []witgate.Event{witgate.Text(" it is.")}},
		{`{"words": {"in": 1, "out": 3}, "cut": true}`, []witgate.Event{witgate.Length, witgate.Usage{InputTokens: 2, OutputTokens: 4}, witgate.End{}}},
	} {
		if got, problem := stream.Push("", []byte(step.line)); problem != nil || !slices.Equal(got, step.heard) {
			t.Error(got, problem)
		}
	}
}

func TestWhatIsNoReplyIsAFault(t *testing.T) {
	for _, body := range []string{"", "[]", "{}", "null", strings.Repeat("[", 100_000), `{"answer": "So"}`, `{"error": {"says": "no"}}`} {
		if events, problem := teller.Decode([]byte(body)); problem == nil {
			t.Error(body, events)
		}
	}
	if fault := teller.DecodeError(502, []byte("<html>")); fault.Message != "the provider refused with status 502" {
		t.Error(fault)
	}
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	if _, _, problem := Configure(witgate.Setup{Settings: `{"words_per_100_tokens": 60}`}); problem != nil {
		t.Error(problem)
	}
	for _, settings := range []string{`{"words_per_100_tokens": 0}`, `{"words_per_100_tokens": "all"}`, `{"least": 1}`} {
		if _, _, problem := Configure(witgate.Setup{Settings: settings}); problem == nil {
			t.Error(settings)
		}
	}
}
