package main

import (
	"slices"
	"testing"

	"preamble-go/witgate"
)

func TestTheInstructionsComeFirstAndTheRestIsKept(t *testing.T) {
	builder, _, problem := Configure(witgate.Setup{Settings: `{"text": "Be brief."}`})
	if problem != nil {
		t.Fatal(problem)
	}
	parts := []witgate.Part{{Kind: witgate.Text, Text: "hi"}, {Kind: witgate.Other}}
	prompt, problem := builder.Build(&witgate.Request{Messages: []witgate.Message{{Role: witgate.User, Parts: parts}}})
	if problem != nil {
		t.Fatal(problem)
	}
	if got := prompt.Messages[0].Parts; !slices.Equal(got, []witgate.BuiltPart{witgate.Words("Be brief.")}) {
		t.Error(got)
	}
	if got := prompt.Messages[1].Parts; !slices.Equal(got, []witgate.BuiltPart{witgate.Kept(0), witgate.Kept(1)}) {
		t.Error(got)
	}
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, settings := range []string{`{}`, `{"text": 3}`, `{"text": "x", "more": 1}`} {
		if _, _, problem := Configure(witgate.Setup{Settings: settings}); problem == nil {
			t.Error(settings)
		}
	}
}
