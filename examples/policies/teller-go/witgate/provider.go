package witgate

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Provider speaks for one deployment. Calls never overlap; bytes are good until the call returns. An error is told as a fault.
type Provider interface {
	// Encode writes a request: an OpenAI chat completion, whatever API the client spoke.
	Encode(request []byte, target Target) (Encoded, error)
	// Decode reads a whole reply.
	Decode(body []byte) ([]Event, error)
	// DecodeError gives the words of a refusal; what its status means the gateway knows.
	DecodeError(status uint16, body []byte) Fault
	// Open begins a stream.
	Open() Decoder
}

// Decoder reads one stream.
type Decoder interface {
	// Push reads the next piece. The name is the event's, empty where it has none or there are no events.
	Push(name string, data []byte) ([]Event, error)
}

// Setup is what a provider begins with.
type Setup struct {
	// A JSON object.
	Settings string
	// The instance's own.
	Seed uint64
}

// Framing says how streams are cut.
type Framing uint8

// Framings: events of text/event-stream, lines, or bytes as they come.
const (
	ServerSentEvents Framing = iota
	Lines
	Bytes
)

// Needs is what a provider wants to be told.
type Needs struct {
	Framing Framing
	// True: nothing of one request is remembered at the next, so an instance may serve one after another.
	Pure bool
}

// Target is what a request is written for.
type Target struct {
	// The model as the provider names it.
	Model string
	// The version of the provider's API, nil where the configuration has none.
	APIVersion *string
	// What was reserved for the reply: to be sent where the provider demands a bound and the client gave none.
	MaxOutputTokens uint32
}

// Header is one of `accept` and those that end with `-version`, `-beta`, `-features` or `-client-name`.
type Header struct{ Name, Value string }

// Encoded is a request in the provider's words.
type Encoded struct {
	// Path and query below the deployment's address, from a slash on.
	Path    string
	Headers []Header
	// Written as JSON.
	Body any
	// Fields of the request that the provider has no word for and whose loss does not change what was asked.
	Dropped []string
}

// Event is a step of a reply: a Beginning, Text, Reasoning, Refusal, ToolCall, ToolArguments, Finish, Usage or End.
type Event interface{ event() }

// Events.
type (
	// Beginning comes first, once.
	Beginning struct{ ID, Model string }
	Text      string
	Reasoning string
	Refusal   string
	ToolCall  struct {
		Index    uint32
		ID, Name string
	}
	// ToolArguments are more of a call's arguments, as JSON text.
	ToolArguments struct {
		Index    uint32
		Fragment string
	}
	// Finish says why the reply ends.
	Finish uint8
	// Usage counts all input tokens, those from and to a cache among them, and all output tokens, thinking among them.
	Usage struct{ InputTokens, CacheReadTokens, CacheWriteTokens, OutputTokens, ReasoningTokens uint64 }
	// End says that the reply is whole: a stream that breaks off before it is a fault. A whole reply may leave it out.
	End struct{}
)

func (Beginning) event()     {}
func (Text) event()          {}
func (Reasoning) event()     {}
func (Refusal) event()       {}
func (ToolCall) event()      {}
func (ToolArguments) event() {}
func (Finish) event()        {}
func (Usage) event()         {}
func (End) event()           {}

// Why a reply ends.
const (
	Stop Finish = iota
	Length
	ToolCalls
	ContentFilter
	Refused
	OtherReason
)

// Fault as an error says what cannot be written, or is no reply: in words, with the provider's word for it and the field of the request
// to blame, empty where there is none.
type Fault struct{ Message, Code, Param string }

func (f Fault) Error() string { return f.Message }

// deepest bounds JSON: the reader calls itself for each bracket, and its stack is small.
const deepest = 200

// ReadObject reads a JSON object, as encoding/json does; the error is a Fault.
func ReadObject(data []byte) (map[string]any, error) {
	var object map[string]any
	problem := bounded(data)
	if problem == nil {
		problem = json.Unmarshal(data, &object)
	}
	if problem != nil {
		return nil, Fault{Message: fmt.Sprint("this is no JSON object: ", problem)}
	}
	if object == nil {
		return nil, Fault{Message: "this is no JSON object"}
	}
	return object, nil
}

func bounded(data []byte) error {
	depth, quoted := 0, false
	for at := 0; at < len(data); at++ {
		switch letter := data[at]; {
		case quoted && letter == '\\':
			at++
		case letter == '"':
			quoted = !quoted
		case quoted:
		case letter == '[' || letter == '{':
			if depth++; depth > deepest {
				return errors.New("it is nested too deeply")
			}
		case letter == ']' || letter == '}':
			depth--
		}
	}
	return nil
}
