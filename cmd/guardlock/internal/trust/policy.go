package trust

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/policy"
)

const policyHelp = `A policy decides, in Rego, which approved modules may run on which topics and
what they may call there. It can narrow what the approvers granted, never widen
it. PATH is a directory of .rego and data files or an OPA bundle (.tar.gz);
without it the built-in policy is meant.`

// NewPolicyCommand is `guardlock policy`, the group for those who write
// policies.
func NewPolicyCommand() *cobra.Command {
	return cli.NewGroup("policy", "Check, test and try out policies", policyHelp,
		newPolicyCheckCommand(),
		newPolicyTestCommand(),
		newPolicyEvalCommand(),
		newPolicyExportCommand(),
	)
}

// openPolicy opens a policy for reading: a directory or a bundle. An empty path
// is the built-in policy.
func openPolicy(path string) (fs.FS, error) {
	if path == "" {
		return policy.Default(), nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("opening the policy: %w", err)
	}
	if info.IsDir() {
		return disk.Tree(path), nil
	}
	if !strings.HasSuffix(path, ".tar.gz") {
		return nil, exit.Usagef("opening the policy: %s is neither a directory nor a bundle (.tar.gz)", path)
	}

	return oneFile{dir: disk.Tree(filepath.Dir(path)), name: filepath.Base(path)}, nil
}

// policyOptions evaluate a policy as a gateway does: in a child, where it can
// do no harm.
func policyOptions() policy.Options { return policy.Options{Worker: []string{policy.WorkerCommand}} }

// openEngine loads the policy at path as a gateway does. An empty path is the
// built-in policy.
func openEngine(ctx context.Context, path string) (*policy.Engine, error) {
	fsys, err := openPolicy(path)
	if err != nil {
		return nil, err
	}
	return policy.LoadWith(ctx, fsys, policyOptions())
}

// oneFile is a directory of which only one file is there, for a bundle that
// lies among other things.
type oneFile struct {
	dir  fs.FS
	name string
}

// Open implements fs.FS for the one file and the directory that holds it.
func (o oneFile) Open(name string) (fs.File, error) {
	if name == "." {
		return o.dir.Open(name)
	}
	if name != o.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return o.dir.Open(name)
}

// ReadDir implements fs.ReadDirFS: there is one entry.
func (o oneFile) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	info, err := fs.Stat(o.dir, o.name)
	if err != nil {
		return nil, err
	}

	return []fs.DirEntry{fs.FileInfoToDirEntry(info)}, nil
}

// optionalPath checks a positional argument that may be left out, and refuses
// more than one.
func optionalPath(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return exit.WithHint(exit.Usagef("%s: unexpected argument %q", cli.CommandName(cmd), args[1]), "see `%s --help`", cmd.CommandPath())
	}
	return nil
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// policyName is how messages call a policy: by its path, or as the built-in
// one.
func policyName(path string) string {
	if path == "" {
		return "the built-in policy"
	}
	return path
}
