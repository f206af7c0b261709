//go:build linux || darwin

package disk

import "golang.org/x/sys/unix"

// Free is how many bytes a process without privileges can still write to the disk
// that path is on.
func Free(path string) (int64, error) {
	free, _, err := Space(path)
	return free, err
}

// Space is as Free, with the size of the disk.
func Space(path string) (free, size int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), nil
}
