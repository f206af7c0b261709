package devel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
)

// assemblyScript runs the asc that npm installed in the directory, as its asconfig.json
// says. That is the one which package-lock.json pins, and no other on the machine.
func (b builder) assemblyScript(ctx context.Context) (file []byte, name string, err error) {
	root, err := filepath.Abs(b.dir)
	if err != nil {
		return nil, "", fmt.Errorf("building %s: %w", b.dir, err)
	}
	compiler := filepath.Join(root, "node_modules", "assemblyscript", "bin", "asc.js")
	if _, err := os.Stat(compiler); errors.Is(err, fs.ErrNotExist) {
		return nil, "", exit.WithHint(fmt.Errorf("building %s: the AssemblyScript compiler is not installed in it", b.dir), "run `npm ci` in the directory, once")
	}

	temporary, err := os.MkdirTemp("", "guardlock-build-")
	if err != nil {
		return nil, "", fmt.Errorf("building %s: %w", b.dir, err)
	}
	defer os.RemoveAll(temporary)

	out := filepath.Join(temporary, "out.wasm")
	if err := b.run(exec.CommandContext(ctx, "node", compiler, "--outFile", out), ""); err != nil {
		return nil, "", err
	}
	file, err = disk.Read(out, signing.MaxModuleBytes)

	return file, filepath.Base(root), err
}
