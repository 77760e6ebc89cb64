package witgate

import (
	"fmt"
	"runtime/debug"
	"unsafe"
)

// What calls of every role share, as the component model's canonical ABI spells them.

//go:wasmimport witgate:policy/log@0.1.0 write
func write(level uint32, message unsafe.Pointer, length uint32)

// Log writes a line to the gateway's log, level 0 debug, 1 info, 2 warn: 20 a call, each cut at 1 KiB.
func Log(level int, message string) {
	write(uint32(level), unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)))
}

// An instance is small and there are many: what is no longer used is looked for early.
func init() { debug.SetGCPercent(10) }

// What lifecycle.configure was given, until the role begins.
type configured struct {
	settings string
	seed     uint64
	state    *State
}

var (
	given configured
	// What a successor should know, in a role that learns.
	learned = func() *State { return nil }
	// What the gateway put here for the call under way, and whether that call is over.
	handed [][]uint64
	over   bool
	// The block that is filled first, call after call.
	block = make([]uint64, 1<<13)
	used  uint32
	// Holds an error's words until the gateway has read them.
	words string
)

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

// An error that a policy returned where it could give no answer. It ends the instance, as a panic does.
type returned struct{ error }

// A panic ends the instance without a word; this gives it one.
func told() {
	switch stopped := recover().(type) {
	case nil:
	case returned:
		Log(2, "error: "+stopped.Error())
		panic(stopped)
	default:
		Log(2, fmt.Sprint("panic: ", stopped))
		panic(stopped)
	}
}

func text(at unsafe.Pointer, length uint32) string { return unsafe.String((*byte)(at), length) }

func texts(at unsafe.Pointer, count uint32) []string {
	texts := make([]string, 0, count)
	for _, each := range unsafe.Slice((*list)(at), count) {
		texts = append(texts, text(pointer(each.at), each.length))
	}
	return texts
}

func bit(set bool) uint32 {
	if set {
		return 1
	}
	return 0
}

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

// Holds the lists of what the policy needs.
var names [][]list

type unitOrWords struct {
	failed uint32
	words  list
}

var nothing unitOrWords

//go:wasmexport witgate:policy/lifecycle@0.1.0#configure
func configureExport(settings unsafe.Pointer, length uint32, seed uint64, hasState uint32, schema unsafe.Pointer, schemaLength uint32, bytes unsafe.Pointer, bytesLength uint32) unsafe.Pointer {
	given = configured{settings: kept(settings, length), seed: seed}
	if hasState != 0 {
		given.state = &State{kept(schema, schemaLength), []byte(kept(bytes, bytesLength))}
	}
	over = true
	return unsafe.Pointer(&nothing)
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
	saved = maybeState{}
	savedFrom = learned()
	if savedFrom != nil {
		saved = maybeState{1, listOfText(savedFrom.Schema), listOf(savedFrom.Bytes)}
	}
	return unsafe.Pointer(&saved)
}
