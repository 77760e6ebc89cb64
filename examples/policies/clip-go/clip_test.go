package main

import (
	"slices"
	"testing"

	"clip-go/witgate"
)

func TestCharactersAreCountedOverAllPieces(t *testing.T) {
	reply := Clipped{left: 4}
	for _, step := range []struct {
		said  witgate.Text
		heard []witgate.Delta
	}{
		{"äö", []witgate.Delta{witgate.Text("äö")}},
		{"ü😀yz", []witgate.Delta{witgate.Text("ü😀")}},
		{"more", nil},
	} {
		if got := reply.Push(step.said); !slices.Equal(got, step.heard) {
			t.Error(got)
		}
	}
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	if _, _, problem := Configure(witgate.Setup{Settings: `{"most": 10}`}); problem != nil {
		t.Error(problem)
	}
	for _, settings := range []string{`{"most": 0}`, `{"most": "all"}`, `{"least": 1}`} {
		if _, _, problem := Configure(witgate.Setup{Settings: settings}); problem == nil {
			t.Error(settings)
		}
	}
}
