//go:build !slow

package e2e

// usualRounds is how often a test kills; the build tag slow makes it fifty.
func usualRounds() int { return 5 }
