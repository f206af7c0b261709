package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
)

const moduleHelp = `A module is WebAssembly that looks at every record of some topics. A gateway
runs it only if its author signed it and people of the trust root approved it.

A module and what vouches for it lie together in a directory of their own:
  gdpr.wasm                     the module
  config.json                   its configuration, if it has one
  gdpr.sigstore.json            the author's signature       (module sign)
  approval.NAME.sigstore.json   one person's approval each   (module approve)
Where several modules share a directory, gdpr.json and gdpr.approval….sigstore.json
are those of gdpr.wasm.

All are Sigstore bundles: cosign can make and check them too.

To write one:
  guardlock module init --lang rust card-mask    a module that works, to change
  guardlock module build card-mask               the .wasm, checked as a gateway does
  guardlock module test modules/gdpr             run its cases in the real sandbox
  guardlock module run modules/gdpr records.txt  see what it makes of some records
  guardlock module try --topic payments --modules card-mask
                                                 see what it would do to a topic's records`

// NewModuleCommand is `guardlock module`, the group for authors and approvers
// of modules.
func NewModuleCommand(writing ...*cobra.Command) *cobra.Command {
	return cli.NewGroup("module", "Write, test, sign, approve and verify modules", moduleHelp, append(writing,
		newModuleInspectCommand(),
		newModuleSignCommand(),
		newModuleApproveCommand(),
		newModuleVerifyCommand(),
		newTrustRootCommand(),
	)...)
}

// moduleFiles is where a module and its proofs lie. All but the module may be
// missing.
type moduleFiles struct {
	wasm      string
	config    string // "" is no configuration
	signature string
	approvals []string
}

const (
	approvalPrefix = "approval."
	bundleSuffix   = signing.BundleSuffix
)

// Find names a module's file and its configuration, "" without one. The module is
// given as its .wasm file or as the directory that holds it.
func Find(path string) (wasm, config string, err error) {
	m, err := findModule(path)
	return m.wasm, m.config, err
}

// findModule names the files beside a module, given as its .wasm file or as
// the directory that holds it. Only the module itself must exist.
func findModule(path string) (moduleFiles, error) {
	wasm, err := findWasm(path)
	if err != nil {
		return moduleFiles{}, err
	}

	dir := filepath.Dir(wasm)
	stem := strings.TrimSuffix(wasm, ".wasm")
	m := moduleFiles{wasm: wasm, signature: stem + bundleSuffix}
	for _, config := range []string{stem + ".json", filepath.Join(dir, "config.json")} {
		if exists(config) {
			m.config = config
			break
		}
	}

	// Where modules share a directory, the files NAME.approval… are those of
	// the module NAME alone.
	for _, prefix := range []string{stem + ".approval", filepath.Join(dir, approvalPrefix)} {
		m.approvals, err = filepath.Glob(escapeGlob(prefix) + "*" + bundleSuffix)
		if err != nil || len(m.approvals) > 0 {
			break
		}
	}

	slices.Sort(m.approvals)
	return m, err
}

func findWasm(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	if !info.IsDir() {
		return path, nil
	}

	found, err := filepath.Glob(filepath.Join(escapeGlob(path), "*.wasm"))
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	if len(found) != 1 {
		return "", exit.WithHint(exit.Usagef("finding the module: %s holds %d .wasm files", path, len(found)), "name the file itself")
	}

	return found[0], nil
}

// escapeGlob makes a path stand for itself in a pattern, whatever characters it
// has.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// read loads everything that is there; what is missing stays empty, and is for
// the verification to object to.
func (m moduleFiles) read() (signing.Package, error) {
	var p signing.Package
	var err error
	if p.Wasm, err = m.readWasm(); err != nil {
		return p, err
	}
	if p.Config, err = m.readConfig(); err != nil {
		return p, err
	}

	if exists(m.signature) {
		if p.Signature, err = disk.Read(m.signature, signing.MaxBundleBytes); err != nil {
			return p, fmt.Errorf("reading the author's signature: %w", err)
		}
	}

	for _, path := range m.approvals {
		raw, err := disk.Read(path, signing.MaxBundleBytes)
		if err != nil {
			return p, fmt.Errorf("reading an approval: %w", err)
		}
		p.Approvals = append(p.Approvals, raw)
		p.Names = append(p.Names, filepath.Base(path))
	}

	return p, nil
}

// readModule reads a module's bytes alone, given as [findModule] takes it, for
// what needs no proofs.
func readModule(path string) (moduleFiles, []byte, error) {
	files, err := findModule(path)
	if err != nil {
		return files, nil, err
	}

	wasm, err := files.readWasm()
	return files, wasm, err
}

func (m moduleFiles) readWasm() ([]byte, error) { return ReadWasm(m.wasm) }

// ReadWasm reads a module's file. One that no gateway would read, since it is too
// large, is refused as whatever else no gateway would load.
func ReadWasm(path string) ([]byte, error) {
	wasm, err := disk.Read(path, signing.MaxModuleBytes)
	if errors.Is(err, disk.ErrTooLarge) {
		return nil, exit.WithHint(exit.Refusedf("reading the module: %w", err), "no gateway would load this module: have its toolchain optimise for size, and strip it")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the module: %w", err)
	}

	return wasm, nil
}

func (m moduleFiles) readConfig() ([]byte, error) {
	if m.config == "" {
		return nil, nil
	}
	config, err := disk.Read(m.config, signing.MaxConfigBytes)
	if err != nil {
		return nil, fmt.Errorf("reading the module's configuration: %w", err)
	}

	return config, nil
}
