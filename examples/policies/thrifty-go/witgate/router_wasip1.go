package witgate

import (
	"math"
	"unsafe"
)

// The calls between the gateway and a router, as the component model's canonical ABI spells them.

var (
	configure func(Setup) (Router, Needs, error)
	needs     Needs
	router    Router
	rows      int
	request   Request
	ranking   Ranking
)

// Export makes a router the component's own.
func Export(make func(Setup) (Router, Needs, error)) {
	configure = make
	learned = func() *State {
		if saver, learns := router.(Saver); learns {
			return saver.Save()
		}
		return nil
	}
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
	setup := Setup{Settings: given.settings, Deployments: make([]Deployment, 0, count), Seed: given.seed, State: given.state}
	for at := range count {
		each := (*deployment)(unsafe.Add(deployments, uintptr(at)*unsafe.Sizeof(deployment{})))
		setup.Deployments = append(setup.Deployments, each.own())
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

var answer rankingOrRefusal

// What an answer has in the place of a ranking when the policy failed.
var failure = []float32{0}

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
		Log(2, "error: "+problem.Error())
		// One propensity of no deployment stands for a failure: the gateway counts it and takes its built-in order.
		answer = rankingOrRefusal{second: listOf(failure)}
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
