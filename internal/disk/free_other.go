//go:build !linux && !darwin

package disk

import "errors"

// Free is known on Linux and macOS alone.
func Free(string) (int64, error) { return 0, errors.ErrUnsupported }

// Space is known on Linux and macOS alone.
func Space(string) (free, size int64, err error) { return 0, 0, errors.ErrUnsupported }
