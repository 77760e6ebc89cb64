package witgate

// Builder builds the prompts of one group. Calls never overlap.
type Builder interface {
	// Build says what the model is told. An error that is a Reject refuses the request in its words; any other is told in the log and
	// refuses it too.
	Build(request *Request) (Prompt, error)
}

// Setup is what a builder begins with.
type Setup struct {
	// A JSON object.
	Settings string
	// The instance's own.
	Seed uint64
}

// Needs is what a builder wants to be told.
type Needs struct {
	Attributes []string
	// True: Build depends on its arguments alone, so an instance may serve one request after another.
	Pure bool
}

// Role is who speaks.
type Role uint8

// Roles.
const (
	System Role = iota
	Developer
	User
	Assistant
	Tool
)

// Kind is what a part of a message is. Pictures and the like are Other and have no words.
type Kind uint8

// Kinds.
const (
	Text Kind = iota
	ToolCall
	ToolResult
	Reasoning
	Refusal
	Other
)

// Part of a message.
type Part struct {
	Kind Kind
	Text string
}

// Message is one turn of the conversation.
type Message struct {
	Role  Role
	Parts []Part
}

// Request is what a client sent. Its texts are good until Build returns.
type Request struct {
	NowMs, Seed uint64
	Messages    []Message
	// The client's `prompt_variables`, a JSON object.
	Variables string
	// The client's `prompt_items`, each as JSON.
	Items []string
	// Tokens the prompt may have; nil where no model's size is known.
	Budget *uint32
	// One for each asked for; empty where absent.
	Attributes []string
}

// Prompt is what the model is told.
type Prompt struct {
	Messages []BuiltMessage
	// The items that are in it, by index.
	Items []uint32
	// Kept for the group's response parser, and shown to nobody else; empty for none.
	Note string
}

// BuiltPart is made by Words, Kept or Reworded.
type BuiltPart struct {
	source       uint32
	text         string
	kept, worded bool
}

// BuiltMessage is made by New, KeepAll or Keep.
type BuiltMessage struct {
	Role   Role
	Parts  []BuiltPart
	source uint32
	kept   bool
}

// Words is a new text.
func Words(text string) BuiltPart { return BuiltPart{text: text, worded: true} }

// Kept is a part of the request as it was: number counts the parts of all messages from 0.
func Kept(number uint32) BuiltPart { return BuiltPart{source: number, kept: true} }

// Reworded is a part of the request with other words.
func Reworded(number uint32, text string) BuiltPart {
	return BuiltPart{source: number, text: text, kept: true, worded: true}
}

// New is a new message of one text.
func New(role Role, text string) BuiltMessage {
	return BuiltMessage{Role: role, Parts: []BuiltPart{Words(text)}}
}

// Keep is a message that keeps the name and the unknown fields of the request's message of this index.
func Keep(source uint32, role Role, parts []BuiltPart) BuiltMessage {
	return BuiltMessage{Role: role, Parts: parts, source: source, kept: true}
}

// KeepAll gives the messages of a request as they are, to be changed here and there: every part is kept.
func KeepAll(messages []Message) []BuiltMessage {
	built, next := make([]BuiltMessage, 0, len(messages)+1), uint32(0)
	for source, message := range messages {
		parts := make([]BuiltPart, len(message.Parts))
		for part := range parts {
			parts[part] = Kept(next)
			next++
		}
		built = append(built, Keep(uint32(source), message.Role, parts))
	}
	return built
}
