package witgate

import (
	"encoding/json"
	"errors"
	"unsafe"
)

// The calls between the gateway and a provider, as the component model's canonical ABI spells them.

var (
	configure func(Setup) (Provider, Needs, error)
	provider  Provider
	// The streams under way; the gateway names each by its place.
	streams = map[uint32]Decoder{}
	next    uint32
)

// Export makes a provider the component's own.
func Export(make func(Setup) (Provider, Needs, error)) { configure = make }

type needsOrWords struct {
	failed        uint32
	framing, pure uint8
	_             [6]byte
}

type failedWords struct {
	failed uint32
	words  list
}

var (
	started needsOrWords
	refused failedWords
)

//go:wasmexport witgate:policy/providing@0.1.0#start
func startExport() unsafe.Pointer {
	defer told()
	begin()
	var needs Needs
	var problem error
	provider, needs, problem = configure(Setup{Settings: given.settings, Seed: given.seed})
	if problem != nil {
		words = problem.Error()
		refused = failedWords{1, listOfText(words)}
		return unsafe.Pointer(&refused)
	}
	started = needsOrWords{framing: uint8(needs.Framing), pure: uint8(bit(needs.Pure))}
	return unsafe.Pointer(&started)
}

type maybeText struct {
	known uint32
	text  list
}

func maybe(text string) maybeText { return maybeText{bit(text != ""), listOfText(text)} }

type crossingFault struct {
	message     list
	code, param maybeText
}

type encodedOrFault struct {
	failed                       uint32
	path, headers, body, dropped list
}

type eventsOrFault struct {
	failed uint32
	events list
	_      [24]byte
}

type failure struct {
	failed uint32
	fault  crossingFault
}

// An event as it goes: up to ten words behind the tag.
type crossing struct {
	tag   uint64
	words [10]uint32
}

// Hold what the gateway has yet to read.
var (
	sent      encodedOrFault
	encoded   Encoded
	body      []byte
	headers   [][2]list
	heard     eventsOrFault
	events    []Event
	crossings []crossing
	failed    failure
	fault     Fault
)

// What an error is as a fault.
func faulted(problem error) *failure {
	if !errors.As(problem, &fault) {
		fault = Fault{Message: problem.Error()}
	}
	failed = failure{1, crossingFault{listOfText(fault.Message), maybe(fault.Code), maybe(fault.Param)}}
	return &failed
}

func bytesAt(at unsafe.Pointer, length uint32) []byte { return unsafe.Slice((*byte)(at), length) }

//go:wasmexport witgate:policy/providing@0.1.0#encode
func encodeExport(request unsafe.Pointer, requestLength uint32, model unsafe.Pointer, modelLength, hasVersion uint32, version unsafe.Pointer, versionLength, maxOutputTokens uint32) unsafe.Pointer {
	defer told()
	begin()
	target := Target{Model: kept(model, modelLength), MaxOutputTokens: maxOutputTokens}
	if hasVersion != 0 {
		of := kept(version, versionLength)
		target.APIVersion = &of
	}
	var problem error
	encoded, problem = provider.Encode(bytesAt(request, requestLength), target)
	if problem == nil {
		body, problem = json.Marshal(encoded.Body)
	}
	over = true
	if problem != nil {
		return unsafe.Pointer(faulted(problem))
	}
	headers = headers[:0]
	for _, header := range encoded.Headers {
		headers = append(headers, [2]list{listOfText(header.Name), listOfText(header.Value)})
	}
	names = names[:0]
	sent = encodedOrFault{0, listOfText(encoded.Path), listOf(headers), listOf(body), listOfTexts(encoded.Dropped)}
	return unsafe.Pointer(&sent)
}

//go:wasmexport witgate:policy/providing@0.1.0#decode
func decodeExport(at unsafe.Pointer, length uint32) unsafe.Pointer {
	defer told()
	begin()
	var problem error
	events, problem = provider.Decode(bytesAt(at, length))
	return crossed(problem)
}

//go:wasmexport witgate:policy/providing@0.1.0#decode-error
func decodeErrorExport(status uint32, at unsafe.Pointer, length uint32) unsafe.Pointer {
	defer told()
	begin()
	words := provider.DecodeError(uint16(status), bytesAt(at, length))
	over = true
	return unsafe.Pointer(&faulted(words).fault)
}

//go:wasmimport [export]witgate:policy/providing@0.1.0 [resource-new]decoder
func resourceNew(place uint32) uint32

//go:wasmexport witgate:policy/providing@0.1.0#[constructor]decoder
func openExport() uint32 {
	defer told()
	begin()
	next++
	streams[next] = provider.Open()
	over = true
	return resourceNew(next)
}

//go:wasmexport witgate:policy/providing@0.1.0#[dtor]decoder
func dropExport(stream uint32) { delete(streams, stream) }

//go:wasmexport witgate:policy/providing@0.1.0#[method]decoder.push
func pushExport(stream uint32, name unsafe.Pointer, nameLength uint32, data unsafe.Pointer, length uint32) unsafe.Pointer {
	defer told()
	begin()
	var problem error
	events, problem = streams[stream].Push(kept(name, nameLength), bytesAt(data, length))
	return crossed(problem)
}

func crossed(problem error) unsafe.Pointer {
	over = true
	if problem != nil {
		return unsafe.Pointer(faulted(problem))
	}
	crossings = crossings[:0]
	for _, event := range events {
		crossings = append(crossings, crossing{})
		to := &crossings[len(crossings)-1]
		put := func(tag uint64, words ...uint32) {
			to.tag = tag
			copy(to.words[:], words)
		}
		text := func(tag uint64, text string) {
			at := listOfText(text)
			put(tag, at.at, at.length)
		}
		switch event := event.(type) {
		case Beginning:
			id, model := listOfText(event.ID), listOfText(event.Model)
			put(0, id.at, id.length, model.at, model.length)
		case Text:
			text(1, string(event))
		case Reasoning:
			text(2, string(event))
		case Refusal:
			text(3, string(event))
		case ToolCall:
			id, name := listOfText(event.ID), listOfText(event.Name)
			put(4, event.Index, id.at, id.length, name.at, name.length)
		case ToolArguments:
			fragment := listOfText(event.Fragment)
			put(5, event.Index, fragment.at, fragment.length)
		case Finish:
			put(6, uint32(event))
		case Usage:
			put(7)
			counts := [5]uint64{event.InputTokens, event.CacheReadTokens, event.CacheWriteTokens, event.OutputTokens, event.ReasoningTokens}
			for at, count := range counts {
				to.words[2*at], to.words[2*at+1] = uint32(count), uint32(count>>32)
			}
		default:
			put(8)
		}
	}
	heard = eventsOrFault{events: listOf(crossings)}
	return unsafe.Pointer(&heard)
}
