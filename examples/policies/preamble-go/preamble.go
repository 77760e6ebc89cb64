package main

import "preamble-go/witgate"

// Preamble puts the operator's instructions first, then everything the client wrote, as it wrote it.
type Preamble struct {
	// A setting that must be given: the instructions.
	text string
}

// Configure makes the builder.
func Configure(setup witgate.Setup) (witgate.Builder, witgate.Needs, error) {
	settings := witgate.ReadSettings(setup.Settings)
	preamble := &Preamble{text: settings.Text("text", "the instructions")}
	// Nothing of one request is remembered at the next.
	return preamble, witgate.Needs{Pure: true}, settings.Finish()
}

// Build builds one prompt.
func (p *Preamble) Build(request *witgate.Request) (witgate.Prompt, error) {
	first := []witgate.BuiltMessage{witgate.New(witgate.System, p.text)}
	return witgate.Prompt{Messages: append(first, witgate.KeepAll(request.Messages)...)}, nil
}
