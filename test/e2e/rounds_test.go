//go:build !slow

package e2e

// killRounds is how often a test kills; the build tag slow makes it fifty.
func killRounds() int { return 5 }
