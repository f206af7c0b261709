//go:build !linux

package timeslice

import "errors"

// Shorten is errors.ErrUnsupported: only Linux is asked for short turns.
func Shorten() error { return errors.ErrUnsupported }
