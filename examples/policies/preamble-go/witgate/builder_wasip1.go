package witgate

import "unsafe"

// The calls between the gateway and a prompt builder, as the component model's canonical ABI spells them.

//go:wasmimport witgate:policy/tokens@0.1.0 count
func count(text unsafe.Pointer, length uint32) uint32

// CountTokens counts as the group's first model does.
func CountTokens(text string) uint32 {
	return count(unsafe.Pointer(unsafe.StringData(text)), uint32(len(text)))
}

var (
	configure func(Setup) (Builder, Needs, error)
	builder   Builder
)

// Export makes a prompt builder the component's own.
func Export(make func(Setup) (Builder, Needs, error)) { configure = make }

type needsOrWords struct {
	failed     uint32
	attributes list
	pure       bool
}

var started needsOrWords

//go:wasmexport witgate:policy/prompting@0.1.0#start
func startExport() unsafe.Pointer {
	defer told()
	begin()
	var needs Needs
	var problem error
	builder, needs, problem = configure(Setup{Settings: given.settings, Seed: given.seed})
	if problem != nil {
		words = problem.Error()
		started = needsOrWords{failed: 1, attributes: listOfText(words)}
		return unsafe.Pointer(&started)
	}
	started = needsOrWords{attributes: listOfTexts(needs.Attributes), pure: needs.Pure}
	return unsafe.Pointer(&started)
}

// Parts and messages as they come.
type part struct {
	kind byte
	_    [3]byte
	text list
}

type message struct {
	role  byte
	_     [3]byte
	parts list
}

// Parts and messages as they go.
type builtPart struct {
	kept, source, worded uint32
	text                 list
}

type builtMessage struct {
	role         uint32
	parts        list
	kept, source uint32
}

type promptOrWords struct {
	failed          uint32
	messages, items list
	noted           uint32
	note            list
}

var (
	answer promptOrWords
	// Hold what the gateway has yet to read.
	prompt Prompt
	parts  []builtPart
	turns  []builtMessage
)

//go:wasmexport witgate:policy/prompting@0.1.0#build
func buildExport(nowMs, seed uint64, messages unsafe.Pointer, messageCount uint32, variables unsafe.Pointer, variablesLength uint32, items unsafe.Pointer, itemCount, hasBudget, budget uint32, attributes unsafe.Pointer, attributeCount uint32) unsafe.Pointer {
	defer told()
	begin()
	request := Request{
		NowMs: nowMs, Seed: seed, Messages: conversation(messages, messageCount), Variables: text(variables, variablesLength),
		Items: texts(items, itemCount), Attributes: texts(attributes, attributeCount),
	}
	if hasBudget != 0 {
		request.Budget = &budget
	}
	var problem error
	prompt, problem = builder.Build(&request)
	over = true
	if problem != nil {
		if _, refused := problem.(Reject); !refused {
			// No refusal, but a failure of the policy: the gateway counts it, and its words are the log's alone.
			panic(returned{problem})
		}
		words = problem.Error()
		answer = promptOrWords{failed: 1, messages: listOfText(words)}
		return unsafe.Pointer(&answer)
	}
	answer = promptOrWords{messages: crossed(prompt.Messages), items: listOf(prompt.Items)}
	if prompt.Note != "" {
		answer.noted, answer.note = 1, listOfText(prompt.Note)
	}
	return unsafe.Pointer(&answer)
}

func conversation(at unsafe.Pointer, count uint32) []Message {
	messages := make([]Message, 0, count)
	for _, each := range unsafe.Slice((*message)(at), count) {
		parts := make([]Part, 0, each.parts.length)
		for _, part := range unsafe.Slice((*part)(pointer(each.parts.at)), each.parts.length) {
			parts = append(parts, Part{Kind(part.kind), text(pointer(part.text.at), part.text.length)})
		}
		messages = append(messages, Message{Role(each.role), parts})
	}
	return messages
}

// The parts of all messages stand in one list, so that one variable holds them.
func crossed(messages []BuiltMessage) list {
	count := 0
	for _, message := range messages {
		count += len(message.Parts)
	}
	parts, turns = make([]builtPart, 0, count), make([]builtMessage, 0, len(messages))
	for _, message := range messages {
		first := len(parts)
		for _, part := range message.Parts {
			parts = append(parts, builtPart{bit(part.kept), part.source, bit(part.worded), listOfText(part.text)})
		}
		turns = append(turns, builtMessage{uint32(message.Role), listOf(parts[first:]), bit(message.kept), message.source})
	}
	return listOf(turns)
}
