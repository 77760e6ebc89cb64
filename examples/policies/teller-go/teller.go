// A small API that is nobody's: it takes one prompt and a bound in words, and counts words where others count tokens.
//
//	POST /v1/tell  {"model": "m", "prompt": "hi", "max_words": 75, "stream": false}
//	a reply        {"id": "t1", "answer": "Hello.", "words": {"in": 1, "out": 1}, "cut": false}
//	streamed       lines of the same: each has a piece of the answer, the last one has the words
//	a refusal      {"error": {"name": "too-long", "says": "the prompt is too long"}}
//
// Setting `words_per_100_tokens`: how many words its tokens make; 75 unless given.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"teller-go/witgate"
)

// What the API has no words for, and whose loss would change what was asked.
var refused = []string{"tools", "functions", "stop", "response_format", "logprobs"}

// Teller speaks to the API.
type Teller struct{ wordsPer100Tokens uint64 }

// Configure makes the provider.
func Configure(setup witgate.Setup) (witgate.Provider, witgate.Needs, error) {
	settings := witgate.ReadSettings(setup.Settings)
	teller := Teller{uint64(settings.Whole("words_per_100_tokens", 1, 1000, 75))}
	// Nothing of one request is remembered at the next.
	return teller, witgate.Needs{Framing: witgate.Lines, Pure: true}, settings.Finish()
}

// Asked is what the API is sent.
type Asked struct {
	Model    string `json:"model"`
	Prompt   string `json:"prompt"`
	MaxWords uint64 `json:"max_words"`
	Stream   bool   `json:"stream"`
}

// Encode writes a request.
func (t Teller) Encode(request []byte, target witgate.Target) (witgate.Encoded, error) {
	given, problem := witgate.ReadObject(request)
	if problem != nil {
		return witgate.Encoded{}, problem
	}
	messages, _ := given["messages"].([]any)
	prompt, problem := prompt(messages)
	if problem != nil {
		return witgate.Encoded{}, problem
	}
	// The bound has had two names; the API wants one, so where a client gave none it is what was reserved.
	tokens := uint64(target.MaxOutputTokens)
	for _, name := range []string{"max_tokens", "max_completion_tokens"} {
		if bound, ok := given[name].(float64); ok {
			tokens = uint64(bound)
		}
	}
	asked := Asked{target.Model, prompt, t.words(tokens), given["stream"] == true}
	// The API always tells what was used.
	for _, known := range []string{"model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options"} {
		delete(given, known)
	}
	maps.DeleteFunc(given, func(name string, value any) bool { return !asks(name, value) })
	if n, ok := given["n"]; ok && n != 1.0 {
		return witgate.Encoded{}, witgate.Fault{Message: "the provider gives one reply at a time", Param: "n"}
	}
	delete(given, "n")
	for _, name := range refused {
		if _, ok := given[name]; ok {
			return witgate.Encoded{}, witgate.Fault{Message: "the provider has no word for `" + name + "`", Param: name}
		}
	}
	return witgate.Encoded{Path: "/v1/tell", Body: asked, Dropped: slices.Sorted(maps.Keys(given))}, nil
}

// Decode reads a whole reply, which is a stream of one line.
func (t Teller) Decode(body []byte) ([]witgate.Event, error) {
	events, problem := t.Open().Push("", body)
	if problem == nil && !slices.Contains(events, witgate.Event(witgate.End{})) {
		problem = errors.New("the reply has no words counted")
	}
	return events, problem
}

// DecodeError reads a refusal.
func (t Teller) DecodeError(status uint16, body []byte) witgate.Fault {
	var told Answer
	if json.Unmarshal(body, &told) == nil && told.Error != nil {
		return told.Error.fault()
	}
	// What stands before the API, a proxy perhaps, refuses in words of its own.
	return witgate.Fault{Message: fmt.Sprint("the provider refused with status ", status)}
}

// Open begins a stream.
func (t Teller) Open() witgate.Decoder { return &Told{teller: t} }

// So many words fit into these tokens; one at least, for the API takes no bound of none.
func (t Teller) words(tokens uint64) uint64 { return max(1, tokens*t.wordsPer100Tokens/100) }

// So many tokens these words are. Rounded up: limits would rather count one too many.
func (t Teller) tokens(words uint64) uint64 {
	return (words*100 + t.wordsPer100Tokens - 1) / t.wordsPer100Tokens
}

// Answer is a reply of the API's, or a line of one.
type Answer struct {
	ID     string
	Answer string
	Words  struct{ In, Out *uint32 }
	Cut    bool
	Error  *Refusal
}

// Refusal is one of the API's.
type Refusal struct{ Name, Says string }

// The API's own word for it is the code.
func (r Refusal) fault() witgate.Fault { return witgate.Fault{Message: r.Says, Code: r.Name} }

// Told is a reply under way.
type Told struct {
	teller Teller
	begun  bool
}

// Push reads a line.
func (t *Told) Push(_ string, data []byte) ([]witgate.Event, error) {
	if _, problem := witgate.ReadObject(data); problem != nil {
		return nil, problem
	}
	var line Answer
	if problem := json.Unmarshal(data, &line); problem != nil {
		return nil, problem
	}
	if line.Error != nil {
		return nil, line.Error.fault()
	}
	var events []witgate.Event
	if !t.begun {
		// The API does not say which model answers.
		events = append(events, witgate.Beginning{ID: line.ID})
		t.begun = true
	}
	if line.Answer != "" {
		events = append(events, witgate.Text(line.Answer))
	}
	if given, answered := line.Words.In, line.Words.Out; given != nil && answered != nil {
		reason := witgate.Stop
		if line.Cut {
			reason = witgate.Length
		}
		usage := witgate.Usage{InputTokens: t.teller.tokens(uint64(*given)), OutputTokens: t.teller.tokens(uint64(*answered))}
		events = append(events, reason, usage, witgate.End{})
	}
	return events, nil
}

// One message is the prompt as it stands; of several, each says whose it is.
func prompt(messages []any) (string, error) {
	var said []string
	for index, message := range messages {
		message, _ := message.(map[string]any)
		place := fmt.Sprintf("messages[%d]", index)
		role, ok := message["role"].(string)
		if !ok {
			role = "user"
		}
		calls := asks("tool_calls", message["tool_calls"]) || asks("function_call", message["function_call"])
		if calls || role == "tool" || role == "function" {
			return "", witgate.Fault{Message: "the provider calls no tools", Param: place}
		}
		words, problem := content(message["content"])
		if problem != nil {
			return "", witgate.Fault{Message: problem.Error(), Param: place}
		}
		if len(messages) > 1 {
			words = role + ": " + words
		}
		said = append(said, words)
	}
	return strings.Join(said, "\n\n"), nil
}

func content(given any) (string, error) {
	parts, ok := given.([]any)
	if !ok {
		return text(given), nil
	}
	var words strings.Builder
	for _, part := range parts {
		part, _ := part.(map[string]any)
		kind := text(part["type"])
		if kind != "text" && kind != "refusal" {
			return "", fmt.Errorf("the provider takes no content of type `%s`", kind)
		}
		words.WriteString(text(part[kind]))
	}
	return words.String(), nil
}

// Whether a field asks for anything: clients send many that say what would be so without them.
func asks(name string, value any) bool {
	switch value := value.(type) {
	case nil:
		return false
	case bool:
		return value
	case []any:
		return len(value) > 0
	case map[string]any:
		return name != "response_format" || value["type"] != "text"
	default:
		return true
	}
}

func text(value any) string {
	text, _ := value.(string)
	return text
}
