package main

import "clip-go/witgate"

// Clip lets no answer be longer than so many characters. What is within them passes as it comes; the rest is left out.
type Clip struct {
	// A setting, 2000 unless given.
	most uint32
}

// Configure makes the parser.
func Configure(setup witgate.Setup) (witgate.Parser, witgate.Needs, error) {
	settings := witgate.ReadSettings(setup.Settings)
	clip := &Clip{most: settings.Whole("most", 1, 1_000_000, 2000)}
	// Of all that a model gives, the text alone; nothing of one reply is remembered at the next.
	return clip, witgate.Needs{Deltas: witgate.TextKind, Pure: true}, settings.Finish()
}

// Open begins an answer.
func (c *Clip) Open(witgate.About) witgate.Reply { return &Clipped{left: c.most} }

// Clipped is one answer: how many characters are left.
type Clipped struct{ left uint32 }

// Push lets through what is within them.
func (c *Clipped) Push(delta witgate.Delta) []witgate.Delta {
	text, ok := delta.(witgate.Text)
	if !ok {
		return []witgate.Delta{delta}
	}
	for at := range text {
		if c.left == 0 {
			text = text[:at]
			break
		}
		c.left--
	}
	if text == "" {
		return nil
	}
	return []witgate.Delta{text}
}

// Finish has nothing to add.
func (c *Clipped) Finish(witgate.Reason) ([]witgate.Delta, error) { return nil, nil }
