package main

import (
	"math"
	"slices"
	"testing"

	"thrifty-go/witgate"
)

// order is that of deployments which cost and fail so much.
func order(t *testing.T, settings string, costs, failures []float32) []uint32 {
	router, needs, problem := Configure(witgate.Setup{Settings: settings})
	if problem != nil {
		t.Fatal(problem)
	}
	var ranking witgate.Ranking
	signals := witgate.Signals{Names: needs.Signals, Values: slices.Concat(costs, failures), Rows: len(costs)}
	if problem := router.Route(&witgate.Request{}, signals, &ranking); problem != nil {
		t.Fatal(problem)
	}
	return ranking.Deployments
}

func TestTheCheapestComesFirstAndAnUnknownPriceLast(t *testing.T) {
	nan := float32(math.NaN())
	if got := order(t, "{}", []float32{nan, 0.03, 0.01}, []float32{0, 0, nan}); !slices.Equal(got, []uint32{2, 1, 0}) {
		t.Error(got)
	}
}

func TestFailuresMakeItDearer(t *testing.T) {
	costs, failures := []float32{0.01, 0.02}, []float32{0.5, 0}
	if got := order(t, "{}", costs, failures); !slices.Equal(got, []uint32{1, 0}) {
		t.Error(got)
	}
	if got := order(t, `{"penalty": 0}`, costs, failures); !slices.Equal(got, []uint32{0, 1}) {
		t.Error(got)
	}
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	for settings, words := range map[string]string{
		`{"penalty": -1}`: "setting `penalty` must be a number, 0 to 1000",
		`{"limit": 1}`:    "unknown setting `limit`; this policy knows: penalty",
	} {
		if _, _, problem := Configure(witgate.Setup{Settings: settings}); problem == nil || problem.Error() != words {
			t.Error(problem)
		}
	}
}

func TestSignalsHaveNames(t *testing.T) {
	nan := float32(math.NaN())
	signals := witgate.Signals{Names: []string{"cost-usd", "failure-rate"}, Values: []float32{1, 2, 0.5, nan}, Rows: 2}
	if got := signals.Named("cost-usd"); !slices.Equal(got, []float32{1, 2}) || signals.Named("healthy") != nil {
		t.Error(got)
	}
	first, second := signals.Row(0), signals.Row(1)
	if first.At("failure-rate") != 0.5 || second.Or("failure-rate", 7) != 7 || second.Or("healthy", 8) != 8 {
		t.Error(first, second)
	}
}
