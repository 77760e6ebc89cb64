// Package witgate is for writing a router for Witgate in Go: give Export a function that makes one.
//
// What a router may know is handed to it: time, seeds, signals. Treat it as if there were no clock, no file and no network:
// the same inputs must always give the same answer.
package witgate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
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

// State is what a policy learned. Schema is its own name for the shape of Bytes.
type State struct {
	Schema string
	Bytes  []byte
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

// Reject as an error ends the request in these words, which needs a grant.
type Reject string

func (r Reject) Error() string { return string(r) }

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

// Settings are read by name; Finish says what was wrong.
type Settings struct {
	given   map[string]any
	asked   []string
	problem error
}

// mostBrackets bounds settings: the reader calls itself for each, and its stack is small.
const mostBrackets = 500

// ReadSettings reads settings, a JSON object: ask for each by name, then call Finish.
func ReadSettings(text string) *Settings {
	s := &Settings{}
	if strings.Count(text, "[")+strings.Count(text, "{") > mostBrackets {
		s.problem = errors.New("settings are nested too deeply")
	} else if json.Unmarshal([]byte(text), &s.given) != nil || s.given == nil {
		s.problem = errors.New("settings must be a JSON object")
	}
	return s
}

// Take gives the setting of this name as encoding/json reads it; nil where it is not given.
func (s *Settings) Take(name string) any {
	s.asked = append(s.asked, name)
	return s.given[name]
}

// Number is a setting from least to most, other where it is not given.
func (s *Settings) Number(name string, least, most, other float64) float64 {
	value := s.Take(name)
	if value == nil {
		return other
	}
	if number, ok := value.(float64); ok && least <= number && number <= most {
		return number
	}
	if s.problem == nil {
		words := func(number float64) string { return strconv.FormatFloat(number, 'f', -1, 64) }
		s.problem = fmt.Errorf("setting `%s` must be a number, %s to %s", name, words(least), words(most))
	}
	return other
}

// Finish says what was wrong, a setting that nobody asked for included.
func (s *Settings) Finish() error {
	if s.problem != nil {
		return s.problem
	}
	var unknown []string
	for name := range s.given {
		if !slices.Contains(s.asked, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	if len(s.asked) == 0 {
		return fmt.Errorf("unknown setting `%s`; this policy has no settings", slices.Min(unknown))
	}
	return fmt.Errorf("unknown setting `%s`; this policy knows: %s", slices.Min(unknown), strings.Join(s.asked, ", "))
}
