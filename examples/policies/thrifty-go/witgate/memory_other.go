//go:build !wasip1

package witgate

// Log writes nothing in a policy's own tests.
func Log(level int, message string) {}
