package replay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/objects"
	"github.com/guardlock/guardlock/transforms"
)

// What a decision was made of, and is not at hand.
var (
	ErrNoAdmission = errors.New("the log does not hold the admissions of its modules: they may have been in a part that was pruned")
	ErrNoKey       = errors.New("its approval names a key that was not given")
	ErrNoTable     = errors.New("it looks up in a table that was not given")
)

// link is one module of a chain, as it was let run.
type link struct {
	spec     transforms.Spec
	admitted *audit.ControlEntry
	varies   variation
}

// chain reads the modules of a decision, each by the digest that the log names.
func (m *Materials) chain(d *Decision) ([]link, error) {
	if len(d.Admissions) != len(d.Entry.Modules) {
		return nil, ErrNoAdmission
	}

	var all []link
	for i, c := range d.Admissions {
		if c.Admission == nil {
			return nil, ErrNoAdmission
		}
		one, err := m.link(d.Entry.Modules[i], c)
		if err != nil {
			return nil, fmt.Errorf("module %s: %w", c.Module.Name, err)
		}

		all = append(all, one)
	}

	return all, nil
}

func (m *Materials) link(ref audit.ModuleRef, c *audit.ControlEntry) (link, error) {
	file, err := m.Objects.Read(ref.Digest, objects.MaxBytes)
	if err != nil {
		return link{}, err
	}

	config, err := m.Objects.Read(c.Admission.Config, objects.MaxBytes)
	if err != nil {
		return link{}, fmt.Errorf("configuration: %w", err)
	}

	info, err := transforms.Inspect(file, transforms.ScanLimits{})
	if err != nil {
		return link{}, err
	}

	g := &c.Admission.Grant
	keys, err := m.keys(g.Keys)
	if err != nil {
		return link{}, err
	}

	tables, err := m.tables(info, config)
	if err != nil {
		return link{}, err
	}

	spec := transforms.Spec{
		Name:   ref.Name,
		Wasm:   file,
		Config: config,
		Tables: tables,
		Grant: transforms.Grant{
			HostFunctions: g.Functions,
			Keys:          keys,
			Routes:        g.Routes,
			Limits: transforms.Limits{
				MemoryBytes: uint32(min(g.Limits.MemoryBytes, 1<<32-1)),
				Deadline:    time.Duration(g.Limits.DeadlineMS) * time.Millisecond,
				OutputBytes: int(g.Limits.OutputBytes),
				Instances:   int(g.Limits.Instances),
			},
		},
	}

	if len(g.Topics) > 0 {
		spec.Topic = g.Topics[0]
	}
	return link{spec, c, varies(info)}, nil
}

func (m *Materials) keys(names []string) ([]transforms.Key, error) {
	keys := make([]transforms.Key, 0, len(names))
	for _, name := range names {
		secret, ok := m.Keys[name]
		if !ok {
			return nil, fmt.Errorf("%w: %s", ErrNoKey, name)
		}
		keys = append(keys, transforms.Key{Name: name, Secret: secret})
	}

	return keys, nil
}

// tables opens those that the configuration declares, whose digests it names.
func (m *Materials) tables(info transforms.Info, config []byte) (map[string]*transforms.Table, error) {
	if !transforms.UsesTables(info) {
		return nil, nil
	}
	return transforms.OpenTables(config, func(name, _ string) (*transforms.TableContent, error) {
		raw, ok := m.Tables[name]
		if !ok {
			return nil, fmt.Errorf("%w: %s", ErrNoTable, name)
		}
		return transforms.NewTableContent(raw), nil
	})
}

// variation is why a module need not come to the same on the same batch twice.
type variation struct {
	why      string // empty: it does
	verdicts bool   // not only its output
}

func varies(info transforms.Info) variation {
	v := variation{}
	for _, im := range info.Imports {
		switch {
		case strings.HasPrefix(im.Module, "guardlock_state"):
			return variation{"counts what it has seen, and here it had seen nothing", true}
		case im.Name == "random_get":
			v = variation{"asks for random bytes", true}
		case im.Name == "aes_gcm_seal" && v.why == "":
			v.why = "seals under random salts and nonces"
		}
	}

	return v
}

// describe says what was read by its digest, and was as it is.
func (l *link) describe(r *Result) {
	c := l.admitted
	r.add("module", Same, fmt.Sprintf("%s  %s", l.spec.Name, c.Module.Digest))
	r.add("config", Same, fmt.Sprintf("%s  %s", l.spec.Name, c.Admission.Config))
	l.describeTables(r)
}

// describeTables holds the tables that were given against those that the module was
// admitted with. The configuration may name several files for one table.
func (l *link) describeTables(r *Result) {
	logged := details(l.admitted.Tables())
	for name, t := range l.spec.Tables {
		given := name + " " + audit.Digest(t.Digest()).String()
		if slices.Contains(logged, given) {
			r.add("table", Same, l.spec.Name+"  "+given)
			continue
		}
		r.add("table", Differs, l.spec.Name+"  "+given+", and it was admitted with "+strings.Join(logged, ", "))
	}
}

func details(steps []audit.Step) (all []string) {
	for _, s := range steps {
		all = append(all, s.Detail)
	}
	return all
}
