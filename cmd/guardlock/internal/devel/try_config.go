package devel

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/cases"
)

// configured is what a gateway's configuration says of modules. Without one it knows
// none.
type configured struct {
	gateway *config.Config
}

func readConfigured(path string) (configured, error) {
	if path == "" {
		return configured{}, nil
	}

	cfg, err := config.Load(path)
	return configured{cfg}, err
}

// find is the configured module of a name, or else the one in a file or directory.
func (c configured) find(cmd *cobra.Command, named string) (module, cases.Setup, error) {
	if c.gateway != nil {
		for _, m := range c.gateway.Modules {
			if m.Name == named {
				return c.configured(cmd.Context(), m, cmd.ErrOrStderr())
			}
		}
	}

	m, err := loadBuilt(cmd, named, false)
	if err != nil && c.gateway != nil {
		err = exit.WithHint(err, "the configuration has no module of that name either")
	}
	return m, cases.Setup{Config: m.config, Tables: m.beside().Table}, err
}

// configured reads the files of a module, and what its approvals grant. Approvals that
// do not hold are no reason not to try it: it may be tried before it is approved.
func (c configured) configured(ctx context.Context, m config.Module, warnings io.Writer) (module, cases.Setup, error) {
	pkg, err := c.read(m)
	if err != nil {
		return module{}, cases.Setup{}, fmt.Errorf("module %s: %w", m.Name, err)
	}

	loaded := module{file: c.gateway.File(m.Wasm), bytes: pkg.Wasm, config: pkg.Config}
	setup := cases.Setup{Config: pkg.Config, Tables: func(name, _ string) ([]byte, error) {
		if m.Tables[name] == "" {
			return nil, transforms.ErrTableMissing
		}
		return disk.Read(c.gateway.File(m.Tables[name]), transforms.MaxTableBytes)
	}}
	verified, err := c.verify(ctx, pkg)
	if err != nil {
		cli.Warn(warnings, fmt.Errorf("module %s is tried with the grant that it asks for and test keys: %w", m.Name, err))
		return loaded, setup, nil
	}

	grant := verified.Grant
	setup.HostFunctions = append([]string{}, grant.HostFunctions...)
	setup.Routes = grant.Routes
	setup.Limits = transforms.Limits{
		MemoryBytes: uint32(min(grant.Limits.MemoryBytes, 1<<32-1)),
		Deadline:    time.Duration(grant.Limits.DeadlineMS) * time.Millisecond,
		OutputBytes: int(grant.Limits.OutputBytes),
	}

	setup.Keys, err = c.keys(grant.Keys)
	if err != nil {
		return loaded, setup, fmt.Errorf("module %s: %w", m.Name, err)
	}

	return loaded, setup, nil
}

func (c configured) verify(ctx context.Context, pkg signing.Package) (signing.Verified, error) {
	raw, err := disk.Read(c.gateway.File(c.gateway.Trust.Root), disk.MaxBytes)
	if err != nil {
		return signing.Verified{}, fmt.Errorf("reading the trust root: %w", err)
	}

	root, err := signing.ParseTrustRoot(raw)
	if err != nil {
		return signing.Verified{}, fmt.Errorf("reading the trust root: %w", err)
	}

	return root.VerifyPackage(ctx, pkg, time.Now())
}

// read reads a module's files. Only the module and its configuration must be there.
func (c configured) read(m config.Module) (signing.Package, error) {
	var pkg signing.Package
	var err error
	if pkg.Wasm, err = disk.Read(c.gateway.File(m.Wasm), signing.MaxModuleBytes); err != nil {
		return pkg, err
	}

	if m.Config != "" {
		if pkg.Config, err = disk.Read(c.gateway.File(m.Config), signing.MaxConfigBytes); err != nil {
			return pkg, err
		}
	}

	// What is missing or cannot be read is missed where the package is verified.
	pkg.Signature, _ = disk.Read(c.gateway.File(m.Signature), signing.MaxBundleBytes)
	for _, path := range m.Approvals {
		if raw, err := disk.Read(c.gateway.File(path), signing.MaxBundleBytes); err == nil {
			pkg.Approvals = append(pkg.Approvals, raw)
			pkg.Names = append(pkg.Names, path)
		}
	}

	return pkg, nil
}

// keys are the secrets of names, in their order: a guest knows them by their number. A
// module that was granted none has none, and not those for tests.
func (c configured) keys(names []string) ([]transforms.Key, error) {
	keys := []transforms.Key{}
	for _, name := range names {
		n := slices.IndexFunc(c.gateway.Keys, func(k config.Key) bool { return k.Name == name })
		if n < 0 {
			return nil, exit.Refusedf("its approval names key %s, which is not in keys of the configuration", name)
		}

		secret, err := disk.ReadSecret(c.gateway.File(c.gateway.Keys[n].File))
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", name, err)
		}
		keys = append(keys, transforms.Key{Name: name, Secret: secret})
	}

	return keys, nil
}
