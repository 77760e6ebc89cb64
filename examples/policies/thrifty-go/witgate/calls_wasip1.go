package witgate

import (
	"fmt"
	"math"
	"unsafe"
)

// The calls between the gateway and a router, as the component model's canonical ABI spells them.

//go:wasmimport witgate:policy/log@0.1.0 write
func write(level uint32, message unsafe.Pointer, length uint32)

// Log writes a line to the gateway's log, level 0 debug, 1 info, 2 warn: 20 a call, each cut at 1 KiB.
func Log(level int, message string) {
	write(uint32(level), unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)))
}

var (
	configure func(Setup) (Router, Needs, error)
	setup     Setup
	needs     Needs
	router    Router
	rows      int
	request   Request
	ranking   Ranking
	// What the gateway put here for the call under way, and whether that call is over.
	handed [][]uint64
	over   bool
	// The block that is filled first, call after call.
	block = make([]uint64, 1<<13)
	used  uint32
)

// Export makes a router the component's own.
func Export(make func(Setup) (Router, Needs, error)) { configure = make }

// Where the gateway puts what it hands over, before the call itself.
//
//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	begin()
	place := take(size)
	if old != nil {
		copy(unsafe.Slice((*byte)(place), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return place
}

func take(size uint32) unsafe.Pointer {
	words := (size + 7) / 8
	if used+words > uint32(len(block)) {
		own := make([]uint64, words+1)
		handed = append(handed, own)
		return unsafe.Pointer(&own[0])
	}
	place := unsafe.Pointer(unsafe.Add(unsafe.Pointer(&block[0]), used*8))
	used += words
	return place
}

func begin() {
	if over {
		over, used = false, 0
		clear(handed)
		handed = handed[:0]
	}
}

// A panic ends the instance without a word; this gives it one.
func told() {
	if panicked := recover(); panicked != nil {
		Log(2, fmt.Sprint("panic: ", panicked))
		panic(panicked)
	}
}

func text(at unsafe.Pointer, length uint32) string { return unsafe.String((*byte)(at), length) }

// Of one's own: what was handed over is good for one call.
func kept(at unsafe.Pointer, length uint32) string { return string(unsafe.Slice((*byte)(at), length)) }

// An address of the gateway's has 32 bits, a pointer of Go's 64. Go does not see that a list holds on to anything: what is
// handed to the gateway is held by a variable besides.
type list struct{ at, length uint32 }

func pointer(at uint32) unsafe.Pointer { return unsafe.Pointer(uintptr(at)) }

func listOf[T any](values []T) list {
	return list{uint32(uintptr(unsafe.Pointer(unsafe.SliceData(values)))), uint32(len(values))}
}

func listOfText(text string) list {
	return list{uint32(uintptr(unsafe.Pointer(unsafe.StringData(text)))), uint32(len(text))}
}

func listOfTexts(values []string) list {
	texts := make([]list, len(values))
	for at, value := range values {
		texts[at] = listOfText(value)
	}
	names = append(names, texts)
	return listOf(texts)
}

// Holds the lists of what the router needs.
var names [][]list

type unitOrWords struct {
	failed uint32
	words  list
}

var nothing unitOrWords

//go:wasmexport witgate:policy/lifecycle@0.1.0#configure
func configureExport(settings unsafe.Pointer, length uint32, seed uint64, hasState uint32, schema unsafe.Pointer, schemaLength uint32, bytes unsafe.Pointer, bytesLength uint32) unsafe.Pointer {
	setup = Setup{Settings: kept(settings, length), Seed: seed}
	if hasState != 0 {
		setup.State = &State{kept(schema, schemaLength), []byte(kept(bytes, bytesLength))}
	}
	over = true
	return unsafe.Pointer(&nothing)
}

type maybeF64 struct {
	known byte
	_     [7]byte
	value float64
}

type maybeU64 struct {
	known byte
	_     [7]byte
	value uint64
}

type maybeU32 struct {
	known byte
	_     [3]byte
	value uint32
}

func (m *maybeF64) pointer() *float64 {
	if m.known == 0 {
		return nil
	}
	value := m.value
	return &value
}

func (m *maybeU64) pointer() *uint64 {
	if m.known == 0 {
		return nil
	}
	value := m.value
	return &value
}

func (m *maybeU32) pointer() *uint32 {
	if m.known == 0 {
		return nil
	}
	value := m.value
	return &value
}

type deployment struct {
	id, provider, model, tags list
	weight                    maybeF64
	order                     uint32
	_                         uint32
	inputPrice, outputPrice   maybeF64
	contextWindow             maybeU32
	rpm, tpm, itpm, otpm      maybeU64
}

func (d *deployment) own() Deployment {
	var tags []string
	for _, tag := range unsafe.Slice((*list)(pointer(d.tags.at)), d.tags.length) {
		tags = append(tags, kept(pointer(tag.at), tag.length))
	}
	return Deployment{
		ID: kept(pointer(d.id.at), d.id.length), Provider: kept(pointer(d.provider.at), d.provider.length),
		Model: kept(pointer(d.model.at), d.model.length), Tags: tags,
		Weight: d.weight.pointer(), Order: d.order,
		InputPrice: d.inputPrice.pointer(), OutputPrice: d.outputPrice.pointer(),
		ContextWindow: d.contextWindow.pointer(),
		RPM:           d.rpm.pointer(), TPM: d.tpm.pointer(), ITPM: d.itpm.pointer(), OTPM: d.otpm.pointer(),
	}
}

type needsOrWords struct {
	failed                        uint32
	signals, features, attributes list
	exactTokens, pure             bool
}

var started needsOrWords

//go:wasmexport witgate:policy/routing@0.1.0#start
func startExport(deployments unsafe.Pointer, count uint32) unsafe.Pointer {
	defer told()
	rows = int(count)
	setup.Deployments = make([]Deployment, 0, count)
	for at := range count {
		given := (*deployment)(unsafe.Add(deployments, uintptr(at)*unsafe.Sizeof(deployment{})))
		setup.Deployments = append(setup.Deployments, given.own())
	}
	over = true
	var problem error
	router, needs, problem = configure(setup)
	if problem != nil {
		words = problem.Error()
		started = needsOrWords{failed: 1, signals: listOfText(words)}
		return unsafe.Pointer(&started)
	}
	started = needsOrWords{
		signals: listOfTexts(needs.Signals), features: listOfTexts(needs.Features), attributes: listOfTexts(needs.Attributes),
		exactTokens: needs.ExactTokens, pure: needs.Pure,
	}
	return unsafe.Pointer(&started)
}

// A ranking: deployments and propensities. A refusal: its kind, then milliseconds or words.
type rankingOrRefusal struct {
	failed        uint32
	first, second list
}

var (
	answer rankingOrRefusal
	// Holds an error's words until the gateway has read them.
	words string
)

//go:wasmexport witgate:policy/routing@0.1.0#route
func routeExport(nowMs, seed uint64, inputTokens, expectedOutputTokens, hasMost, most uint32, priority int32, hasDeadline, deadlineMs, traits uint32, values unsafe.Pointer, cells uint32, features unsafe.Pointer, featureCount uint32, attributes unsafe.Pointer, attributeCount uint32) unsafe.Pointer {
	defer told()
	begin()
	texts := request.Attributes[:0]
	for _, attribute := range unsafe.Slice((*list)(attributes), attributeCount) {
		texts = append(texts, text(pointer(attribute.at), attribute.length))
	}
	request = Request{
		NowMs: nowMs, Seed: seed, InputTokens: inputTokens, ExpectedOutputTokens: expectedOutputTokens,
		MaxOutputTokens: most * hasMost, Priority: priority, DeadlineMs: deadlineMs * hasDeadline, Traits: traits,
		Features: unsafe.Slice((*float32)(features), featureCount), Attributes: texts,
	}
	ranking.Deployments, ranking.Propensities = ranking.Deployments[:0], ranking.Propensities[:0]
	signals := Signals{needs.Signals, unsafe.Slice((*float32)(values), cells), rows}
	problem := router.Route(&request, signals, &ranking)
	over = true
	switch problem := problem.(type) {
	case nil:
		answer = rankingOrRefusal{first: listOf(ranking.Deployments), second: listOf(ranking.Propensities)}
	case Wait:
		answer = rankingOrRefusal{failed: 1, first: list{0, uint32(problem)}}
	case Reject:
		words = string(problem)
		told := listOfText(words)
		answer = rankingOrRefusal{failed: 1, first: list{1, told.at}, second: list{told.length, 0}}
	default:
		Log(2, problem.Error())
		// Nothing stands for a failure; the gateway counts it and takes its built-in order.
		answer = rankingOrRefusal{}
	}
	return unsafe.Pointer(&answer)
}

//go:wasmexport witgate:policy/routing@0.1.0#observe
func observeExport(seed uint64, attempt, deployment, failed, fault, inputTokens, outputTokens uint32, costUSD float64, latencyMs float32, hasTTFT uint32, ttftMs float32, hasQuality uint32, quality float32) {
	observer, learns := router.(Observer)
	if !learns {
		return
	}
	defer told()
	unknown := float32(math.NaN())
	outcome := Outcome{seed, attempt, deployment, Fault(fault), inputTokens, outputTokens, costUSD, latencyMs, ttftMs, quality}
	if failed == 0 {
		outcome.Fault = None
	}
	if hasTTFT == 0 {
		outcome.TTFTMs = unknown
	}
	if hasQuality == 0 {
		outcome.Quality = unknown
	}
	observer.Observe(outcome)
}

type maybeState struct {
	known         uint32
	schema, bytes list
}

var (
	saved     maybeState
	savedFrom *State
)

//go:wasmexport witgate:policy/lifecycle@0.1.0#save
func saveExport() unsafe.Pointer {
	defer told()
	saved, savedFrom = maybeState{}, nil
	if saver, learns := router.(Saver); learns {
		savedFrom = saver.Save()
	}
	if savedFrom != nil {
		saved = maybeState{1, listOfText(savedFrom.Schema), listOf(savedFrom.Bytes)}
	}
	return unsafe.Pointer(&saved)
}
