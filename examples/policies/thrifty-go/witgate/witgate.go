// Package witgate is for writing a policy for Witgate in Go: give Export a function that makes one.
//
// What a policy may know is handed to it: settings, seeds, and what its role is asked about. Treat it as if there were no clock, no
// file and no network: the same inputs must always give the same answer.
package witgate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// State is what a policy learned. Schema is its own name for the shape of Bytes.
type State struct {
	Schema string
	Bytes  []byte
}

// Reject as an error ends the request in these words, which needs a grant.
type Reject string

func (r Reject) Error() string { return string(r) }

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
	words := func(number float64) string { return strconv.FormatFloat(number, 'f', -1, 64) }
	s.wrong(fmt.Errorf("setting `%s` must be a number, %s to %s", name, words(least), words(most)))
	return other
}

// Whole is a whole number from least to most, other where it is not given.
func (s *Settings) Whole(name string, least, most, other uint32) uint32 {
	value := s.Take(name)
	if value == nil {
		return other
	}
	if number, ok := value.(float64); ok && float64(least) <= number && number <= float64(most) && number == math.Trunc(number) {
		return uint32(number)
	}
	s.wrong(fmt.Errorf("setting `%s` must be a whole number from %d to %d", name, least, most))
	return other
}

// Text is a text, which must be given; what says what it is.
func (s *Settings) Text(name, what string) string {
	text, ok := s.Take(name).(string)
	if !ok {
		s.wrong(fmt.Errorf("setting `%s` must be a text: %s", name, what))
	}
	return text
}

// The first mistake is the one to tell.
func (s *Settings) wrong(problem error) {
	if s.problem == nil {
		s.problem = problem
	}
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
