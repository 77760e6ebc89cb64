package main

import (
	"math"

	"thrifty-go/witgate"
)

// Thrifty ranks the cheapest deployment first, where each failure makes a deployment dearer.
//
// What a request is expected to cost counts times `1 + penalty × failure-rate`. An unknown failure rate is none; a
// deployment whose cost is unknown comes last; of equals the one named first.
type Thrifty struct {
	// A setting, a number from 0 to 1000, 10 unless given.
	penalty float64
	scores  []float64
}

// Configure makes the router.
func Configure(setup witgate.Setup) (witgate.Router, witgate.Needs, error) {
	settings := witgate.ReadSettings(setup.Settings)
	thrifty := &Thrifty{penalty: settings.Number("penalty", 0, 1000, 10)}
	// Its answers depend on its arguments alone: several instances may serve at once.
	return thrifty, witgate.Needs{Signals: []string{"cost-usd", "failure-rate"}, Pure: true}, settings.Finish()
}

// Route ranks the deployments.
func (t *Thrifty) Route(_ *witgate.Request, signals witgate.Signals, ranking *witgate.Ranking) error {
	costs, failures := signals.Column(0), signals.Column(1)
	t.scores = t.scores[:0]
	for row, cost := range costs {
		rate := float64(failures[row])
		if math.IsNaN(rate) {
			rate = 0
		}
		t.scores = append(t.scores, float64(cost)*(1+t.penalty*rate))
	}
	ranking.ByScore(t.scores)
	return nil
}
