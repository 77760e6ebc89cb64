package witgate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Router ranks the deployments of one group, request by request. Calls never overlap.
type Router interface {
	// Route fills the ranking. An error that is a Wait or a Reject is an answer; any other is a failure, told in the log,
	// for which the gateway takes its built-in order.
	Route(request *Request, signals Signals, ranking *Ranking) error
}

// Observer is a router that learns how attempts ended.
type Observer interface{ Observe(outcome Outcome) }

// Saver is a router that has something to tell its successor, or the next start.
type Saver interface{ Save() *State }

// Deployment is what never changes while an instance lives. Prices are US dollars per million tokens; nil is unknown.
type Deployment struct {
	ID, Provider, Model     string
	Tags                    []string
	Weight                  *float64
	Order                   uint32
	InputPrice, OutputPrice *float64
	ContextWindow           *uint32
	RPM, TPM, ITPM, OTPM    *uint64
}

// Setup is what a router begins with.
type Setup struct {
	// A JSON object.
	Settings    string
	Deployments []Deployment
	// The instance's own.
	Seed uint64
	// What was saved last; ignore a schema you do not know.
	State *State
}

// Needs is what a router wants to be told.
type Needs struct {
	Signals, Features, Attributes []string
	// False: InputTokens may be an upper bound that cost no counting.
	ExactTokens bool
	// True: answers depend on their arguments alone, so several instances may serve at once.
	Pure bool
}

// Traits of a request.
const (
	Streaming = 1 << iota
	Tools
	Images
	JSON
	// The input tokens are what the model reads, counted, or what it cannot exceed; neither: an estimate.
	InputExact
	InputBound
)

// Request is what is asked. Its slices are good until Route returns.
type Request struct {
	NowMs, Seed                       uint64
	InputTokens, ExpectedOutputTokens uint32
	// 0 where the client said nothing.
	MaxOutputTokens uint32
	// Lower is more urgent.
	Priority int32
	// 0 where the client said nothing.
	DeadlineMs uint32
	Traits     uint32
	// One for each asked for; NaN where unknown.
	Features []float32
	// One for each asked for; empty where absent.
	Attributes []string
}

// Signals is what the router asked to know about each deployment at this moment. It is good until Route returns.
type Signals struct {
	Names []string
	// The columns of Names one after another, one number for each of Rows deployments; NaN where unknown.
	Values []float32
	Rows   int
}

// Column has one number for each deployment: the signal of this index, in the order in which they were asked for.
func (s Signals) Column(index int) []float32 {
	return s.Values[index*s.Rows : (index+1)*s.Rows : (index+1)*s.Rows]
}

// At is one cell by its signal's name; NaN where unknown.
func (s Signals) At(name string, row int) float32 {
	column := slices.Index(s.Names, name)
	if column < 0 {
		return float32(math.NaN())
	}
	return s.Values[column*s.Rows+row]
}

// Named is the column of this name; nil where it was not asked for.
func (s Signals) Named(name string) []float32 {
	index := slices.Index(s.Names, name)
	if index < 0 {
		return nil
	}
	return s.Column(index)
}

// Row is what is known of one deployment, by name.
type Row struct {
	signals Signals
	index   int
}

// Row is what is known of the deployment of this index.
func (s Signals) Row(index int) Row { return Row{s, index} }

// At is the signal of this name; NaN where unknown.
func (r Row) At(name string) float32 { return r.signals.At(name, r.index) }

// Or is the signal of this name; other where it is unknown.
func (r Row) Or(name string, other float32) float32 {
	if value := r.At(name); value == value {
		return value
	}
	return other
}

// Ranking is what Route fills: deployments, best first, and where any was drawn the probability with which each was.
type Ranking struct {
	Deployments  []uint32
	Propensities []float32
	keys         []key
}

type key struct {
	score float64
	index uint32
}

// ByScore ranks a deployment for each score, the lowest first; NaN counts as infinite, of equals the first comes first.
func (r *Ranking) ByScore(scores []float64) {
	r.keys = r.keys[:0]
	for index, score := range scores {
		if score != score {
			score = math.Inf(1)
		}
		r.keys = append(r.keys, key{score, uint32(index)})
	}
	slices.SortFunc(r.keys, func(one, other key) int {
		switch {
		case one.score < other.score:
			return -1
		case one.score > other.score:
			return 1
		}
		return cmp.Compare(one.index, other.index)
	})
	r.Deployments = r.Deployments[:0]
	for _, key := range r.keys {
		r.Deployments = append(r.Deployments, key.index)
	}
}

// Wait as an error asks to be asked again in so many milliseconds.
type Wait uint32

func (w Wait) Error() string { return fmt.Sprintf("wait %d ms", uint32(w)) }

// Fault says why an attempt failed; None where it did not.
type Fault uint32

// Faults.
const (
	RateLimited Fault = iota
	Unavailable
	TimedOut
	Rejected
	BrokenStream
	Cancelled
	None Fault = math.MaxUint32
)

// Outcome is how an attempt ended. Numbers that are unknown are NaN.
type Outcome struct {
	Seed                      uint64
	Attempt, Deployment       uint32
	Fault                     Fault
	InputTokens, OutputTokens uint32
	CostUSD                   float64
	LatencyMs, TTFTMs         float32
	Quality                   float32
}
