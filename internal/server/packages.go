package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// packages holds the packages of modules by the modules' names, as their files
// were when they last changed.
type packages map[string]pack

type pack struct {
	stamp  string // of the files, taken before they were read
	module admission.Module
}

// read reads the packages of which a file changed. One that cannot be read is
// refused at admission, like any other fault of a package.
func (p packages) read(ctx context.Context, files *disk.Reader, cfg *config.Config) map[string]admission.Module {
	out := map[string]admission.Module{}
	for _, m := range cfg.Modules {
		stamp, err := files.Stamp(ctx, "the files of module "+m.Name, moduleFiles(cfg, m)...)
		known, ok := p[m.Name]
		if !ok || err != nil || known.stamp != stamp || known.module.Missing != nil {
			known = pack{stamp, readModule(ctx, files, cfg, m)}
			p[m.Name] = known
		}

		out[m.Name] = known.module
	}

	return out
}

// moduleFiles are the paths of the files of a package, as far as they are
// configured.
func moduleFiles(cfg *config.Config, m config.Module) []string {
	var paths []string
	files := append([]string{m.Wasm, m.Config, m.Signature}, m.Approvals...)
	for _, table := range slices.Sorted(maps.Keys(m.Tables)) {
		files = append(files, m.Tables[table])
	}

	for _, name := range files {
		if name != "" {
			paths = append(paths, cfg.File(name))
		}
	}

	return paths
}

// readModule reads a package, each file up to what admission would take of it.
// What cannot be read is in Missing.
func readModule(ctx context.Context, files *disk.Reader, cfg *config.Config, m config.Module) admission.Module {
	out := admission.Module{Name: m.Name}
	var errs []error
	read := func(field, name string, limit int64) []byte {
		if name == "" {
			return nil
		}

		raw, err := files.Read(ctx, cfg.File(name), limit)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}
		return raw
	}

	out.Package.Wasm = read("wasm", m.Wasm, signing.MaxModuleBytes)
	out.Package.Config = read("config", m.Config, signing.MaxConfigBytes)
	out.Package.Signature = read("signature", m.Signature, signing.MaxBundleBytes)

	for _, a := range m.Approvals {
		out.Package.Approvals = append(out.Package.Approvals, read("approvals", a, signing.MaxBundleBytes))
	}

	out.Tables = map[string]*transforms.TableContent{}
	for _, table := range slices.Sorted(maps.Keys(m.Tables)) {
		out.Tables[table] = transforms.NewTableContent(read("tables."+table, m.Tables[table], transforms.MaxTableBytes))
	}

	out.Missing = errors.Join(errs...)
	return out
}

// samePackage reports whether two packages are the same, byte for byte, with
// the approvals in the same order and the same tables.
func samePackage(a, b admission.Module) bool {
	p := a.Package
	q := b.Package
	return (a.Missing == nil) == (b.Missing == nil) &&
		bytes.Equal(p.Wasm, q.Wasm) && bytes.Equal(p.Config, q.Config) && bytes.Equal(p.Signature, q.Signature) &&
		slices.EqualFunc(p.Approvals, q.Approvals, bytes.Equal) &&
		maps.EqualFunc(a.Tables, b.Tables, func(x, y *transforms.TableContent) bool { return x.Digest() == y.Digest() })
}
