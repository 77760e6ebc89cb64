//go:build !wasip1

package witgate

import "strings"

// Export does nothing in a policy's own tests.
func Export(func(Setup) (Builder, Needs, error)) {}

// CountTokens counts words in a policy's own tests.
func CountTokens(text string) uint32 { return uint32(len(strings.Fields(text))) }
