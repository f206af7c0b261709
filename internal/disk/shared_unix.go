//go:build unix

package disk

import (
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// handedByRoot reports whether a file is root's, and closed to everybody but a group
// of this process. Its mode alone would forbid it, but nobody else can have changed
// it, and it is how Kubernetes hands a secret to a pod that is not root (fsGroup).
func handedByRoot(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid != 0 || info.Mode().Perm()&0o037 != 0 {
		return false
	}

	groups, err := os.Getgroups()
	return err == nil && handedTo(os.Geteuid(), append(groups, os.Getegid()), int(stat.Gid))
}

// handedTo reports whether a process of these groups is one to which the group gid
// hands a file. Root needs no group.
func handedTo(user int, groups []int, gid int) bool {
	return user != 0 && gid != 0 && slices.Contains(groups, gid)
}
