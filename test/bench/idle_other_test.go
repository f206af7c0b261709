//go:build !linux

package bench

import "errors"

func takeIdleTime() error { return errors.ErrUnsupported }
