//go:build !wasip1

package witgate

// Export does nothing in a policy's own tests.
func Export(func(Setup) (Provider, Needs, error)) {}
