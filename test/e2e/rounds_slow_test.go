//go:build slow

package e2e

import "testing"

func usualRounds() int {
	if testing.Short() {
		return 5
	}
	return 50
}
