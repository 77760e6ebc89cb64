package witgate

// Parser reads the replies of one group. Calls never overlap.
type Parser interface {
	// Open begins one alternative of one reply.
	Open(about About) Reply
}

// Reply is one alternative of one reply.
type Reply interface {
	// Push gives what the client gets in the place of the delta; may be nothing, now.
	Push(delta Delta) []Delta
	// Finish gives what was held back. Only an error that is a Complaint refuses the reply. Any other is a failure of the policy, told in
	// the log: the reply passes as the model gave it.
	Finish(reason Reason) ([]Delta, error)
}

// Setup is what a parser begins with.
type Setup struct {
	// A JSON object.
	Settings string
	// The instance's own.
	Seed uint64
}

// Kinds of deltas.
const (
	TextKind = 1 << iota
	ReasoningKind
	RefusalKind
	ToolCallsKind
)

// Needs is what a parser wants to be told.
type Needs struct {
	// The kinds that Push is called with; all others pass untouched.
	Deltas     uint8
	Attributes []string
	// True: nothing of one reply is remembered at the next, so an instance may read one reply after another.
	Pure bool
}

// About is what is known of a reply before it comes.
type About struct {
	// Which alternative, from 0.
	Choice uint32
	// Whether the client gets pieces as they come. A complaint then ends the reply with an error.
	Streamed bool
	// How often the model was asked before for this request.
	AskedAgain uint32
	// The JSON schema the client wants the reply to follow, and what the group's prompt builder left for it; nil where there is none.
	Schema, Note *string
	// One for each asked for; empty where absent.
	Attributes []string
}

// Delta is what a step of a reply adds: a Text, Reasoning, Refusal, ToolCall or ToolArguments.
type Delta interface{ delta() }

// Deltas.
type (
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
)

func (Text) delta()          {}
func (Reasoning) delta()     {}
func (Refusal) delta()       {}
func (ToolCall) delta()      {}
func (ToolArguments) delta() {}

// Reason says why a reply ends.
type Reason uint8

// Reasons.
const (
	Stop Reason = iota
	Length
	ToolCalls
	ContentFilter
	Refused
	OtherReason
)

// Complaint as an error says what is wrong with a reply and, unless it is empty, what to tell the model so that it does better.
type Complaint struct{ Problem, Repair string }

func (c Complaint) Error() string { return c.Problem }
