//go:build !linux

package child

func dumpable() {}
