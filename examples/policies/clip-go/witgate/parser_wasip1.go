package witgate

import "unsafe"

// The calls between the gateway and a response parser, as the component model's canonical ABI spells them.

var (
	configure func(Setup) (Parser, Needs, error)
	parser    Parser
	// The replies under way; the gateway names each by its place.
	replies = map[uint32]Reply{}
	next    uint32
)

// Export makes a response parser the component's own.
func Export(make func(Setup) (Parser, Needs, error)) { configure = make }

type parserNeeds struct {
	deltas     uint32
	attributes list
	pure       bool
}

type needsOrWords struct {
	failed uint32
	needs  parserNeeds
}

type failedWords struct {
	failed uint32
	words  list
}

var (
	started needsOrWords
	refused failedWords
)

//go:wasmexport witgate:policy/parsing@0.1.0#start
func startExport() unsafe.Pointer {
	defer told()
	begin()
	var needs Needs
	var problem error
	parser, needs, problem = configure(Setup{Settings: given.settings, Seed: given.seed})
	if problem != nil {
		words = problem.Error()
		refused = failedWords{1, listOfText(words)}
		return unsafe.Pointer(&refused)
	}
	started = needsOrWords{needs: parserNeeds{uint32(needs.Deltas), listOfTexts(needs.Attributes), needs.Pure}}
	return unsafe.Pointer(&started)
}

//go:wasmimport [export]witgate:policy/parsing@0.1.0 [resource-new]parser
func resourceNew(place uint32) uint32

//go:wasmexport witgate:policy/parsing@0.1.0#[constructor]parser
func openExport(choice, streamed, askedAgain, hasSchema uint32, schema unsafe.Pointer, schemaLength, hasNote uint32, note unsafe.Pointer, noteLength uint32, attributes unsafe.Pointer, attributeCount uint32) uint32 {
	defer told()
	begin()
	about := About{Choice: choice, Streamed: streamed != 0, AskedAgain: askedAgain}
	about.Schema, about.Note = maybe(hasSchema, schema, schemaLength), maybe(hasNote, note, noteLength)
	for _, each := range texts(attributes, attributeCount) {
		about.Attributes = append(about.Attributes, string([]byte(each)))
	}
	next++
	replies[next] = parser.Open(about)
	over = true
	return resourceNew(next)
}

func maybe(has uint32, at unsafe.Pointer, length uint32) *string {
	if has == 0 {
		return nil
	}
	text := kept(at, length)
	return &text
}

//go:wasmexport witgate:policy/parsing@0.1.0#[dtor]parser
func dropExport(reply uint32) { delete(replies, reply) }

// A delta as it goes: a text where there is no index, which stands before it where there is one.
type crossing struct {
	tag                  uint32
	first, second, third uint32
	fourth, fifth        uint32
}

type deltasOrComplaint struct {
	failed   uint32
	first    list
	repaired uint32
	repair   list
}

var (
	pushed   list
	finished deltasOrComplaint
	// Hold what the gateway has yet to read.
	deltas    []Delta
	crossings []crossing
	complaint Complaint
)

//go:wasmexport witgate:policy/parsing@0.1.0#[method]parser.push
func pushExport(reply, tag, first, second, third, fourth, fifth uint32) unsafe.Pointer {
	defer told()
	begin()
	deltas = replies[reply].Push(arrived(tag, first, second, third, fourth, fifth))
	over = true
	pushed = crossed()
	return unsafe.Pointer(&pushed)
}

//go:wasmexport witgate:policy/parsing@0.1.0#[method]parser.finish
func finishExport(reply, reason uint32) unsafe.Pointer {
	defer told()
	begin()
	var problem error
	deltas, problem = replies[reply].Finish(Reason(reason))
	over = true
	switch problem := problem.(type) {
	case nil:
		finished = deltasOrComplaint{first: crossed()}
	case Complaint:
		complaint = problem
		finished = deltasOrComplaint{1, listOfText(complaint.Problem), bit(complaint.Repair != ""), listOfText(complaint.Repair)}
	default:
		// No complaint about the reply, but a failure of the policy: the gateway counts it and passes the reply.
		panic(returned{problem})
	}
	return unsafe.Pointer(&finished)
}

// A delta may be held back past this call: its words are kept.
func arrived(tag, first, second, third, fourth, fifth uint32) Delta {
	switch tag {
	case 0:
		return Text(kept(pointer(first), second))
	case 1:
		return Reasoning(kept(pointer(first), second))
	case 2:
		return Refusal(kept(pointer(first), second))
	case 3:
		return ToolCall{first, kept(pointer(second), third), kept(pointer(fourth), fifth)}
	default:
		return ToolArguments{first, kept(pointer(second), third)}
	}
}

func crossed() list {
	crossings = crossings[:0]
	for _, delta := range deltas {
		var to crossing
		words := func(tag uint32, text string) {
			at := listOfText(text)
			to = crossing{tag: tag, first: at.at, second: at.length}
		}
		switch delta := delta.(type) {
		case Text:
			words(0, string(delta))
		case Reasoning:
			words(1, string(delta))
		case Refusal:
			words(2, string(delta))
		case ToolCall:
			id, name := listOfText(delta.ID), listOfText(delta.Name)
			to = crossing{3, delta.Index, id.at, id.length, name.at, name.length}
		case ToolArguments:
			fragment := listOfText(delta.Fragment)
			to = crossing{tag: 4, first: delta.Index, second: fragment.at, third: fragment.length}
		}
		crossings = append(crossings, to)
	}
	return listOf(crossings)
}
