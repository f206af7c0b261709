package policy

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/guardlock/guardlock/internal/problem"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/util"
)

// Bounds on a policy's size, which hold before anything of it is parsed or
// compiled.
const (
	maxFileBytes   = 4 << 20
	maxFiles       = 4096
	maxPolicyBytes = 32 << 20
)

// source is a policy as read. Nothing of it is parsed yet, since a document can
// take many times its size: that is done where it is evaluated (parseData).
type source struct {
	Modules  map[string]string // Rego text by path, tests included
	Files    map[string][]byte // data by path
	Config   []byte            // takes the place of data.config; nil: nothing does
	data     map[string]any    // once parsed
	text     []byte            // what the revision is the digest of
	revision string
	signed
}

// signed is a bundle whose signature was verified; zero of every other policy.
type signed struct {
	tarball []byte
	bundle  int64 // its revision
}

// defaultClass is data.config.default_class, the class of a topic for which
// none is named, and empty if there is none.
func (src *source) defaultClass() string {
	config, _ := src.data["config"].(map[string]any)
	class, _ := config["default_class"].(string)
	return class
}

// classifiesTopics reports whether data.config.topics is anything but empty, so
// that topics of one grant may differ in class.
func (src *source) classifiesTopics() bool {
	config, _ := src.data["config"].(map[string]any)
	topics, ok := config["topics"].(map[string]any)
	return !ok || len(topics) != 0
}

// builtIn reports whether the rules are those of the built-in policy, whatever the
// data: they are known to end.
func (src *source) builtIn() bool {
	own, err := readSource(Default(), Options{})
	return err == nil && maps.Equal(own.Modules, src.Modules)
}

// readSource reads a policy's files from a directory, or from the only bundle
// in it, and bounds their size.
func readSource(fsys fs.FS, o Options) (*source, error) {
	bundles, err := fs.Glob(fsys, "*.tar.gz")
	if err != nil {
		return nil, fmt.Errorf("listing files: %w", err)
	}

	switch {
	case len(bundles) > 1:
		return nil, errors.New("more than one bundle: keep one .tar.gz file")
	case len(bundles) == 1:
		tarball, err := fs.ReadFile(fsys, bundles[0])
		if err != nil {
			return nil, fmt.Errorf("reading bundle: %w", err)
		}
		return readBundle(tarball, o)
	case len(o.Keys) != 0:
		return nil, ErrUnsigned
	}

	files := fileSet{}
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if hidden(name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}

		if d.IsDir() || kindOf(name) == ignored {
			return nil
		}

		f, err := fsys.Open(name)
		if err != nil {
			return err
		}

		defer f.Close()
		return files.add(name, f)
	})
	if err != nil {
		return nil, fmt.Errorf("reading files: %w", err)
	}

	return files.source(o.Config)
}

// hidden is true of entries whose name begins with a dot. A Kubernetes ConfigMap
// is mounted as a directory ..2030_01_01_… of the files and a link to each beside
// it: without this each file would be there twice.
func hidden(name string) bool { return name != "." && strings.HasPrefix(path.Base(name), ".") }

// readBundle verifies a bundle, if keys are given, and takes the files from
// the bytes that were verified.
func readBundle(tarball []byte, o Options) (*source, error) {
	if len(tarball) > maxPolicyBytes {
		return nil, fmt.Errorf("bundle of %d bytes, at most %d", len(tarball), maxPolicyBytes)
	}
	if err := bounded(tarball); err != nil {
		return nil, err
	}

	number, err := verifyBundle(tarball, o.Keys)
	if err != nil {
		return nil, err
	}

	files := fileSet{}
	loader := bundle.NewTarballLoaderWithBaseURL(bytes.NewReader(tarball), "").WithSizeLimitBytes(maxFileBytes)
	for {
		d, err := loader.NextFile()
		if errors.Is(err, io.EOF) {
			src, err := files.source(o.Config)
			if err == nil && number > 0 {
				src.signed = signed{tarball, number}
			}
			return src, err
		}

		if err != nil {
			return nil, fmt.Errorf("reading bundle: %w", err)
		}

		name := strings.TrimPrefix(path.Clean("/"+d.Path()), "/")
		if foreign(name) {
			return nil, errForeign
		}
		if kindOf(name) == ignored {
			continue
		}
		if err := files.addFrom(name, d); err != nil {
			return nil, fmt.Errorf("reading bundle: %w", err)
		}
	}
}

// bounded refuses a bundle that unpacks to more than a policy may be. OPA's reader
// bounds each file, and keeps them all.
func bounded(tarball []byte) error {
	unpacked, err := gzip.NewReader(bytes.NewReader(tarball))
	if err != nil {
		return fmt.Errorf("reading bundle: %w", err)
	}

	n, err := io.Copy(io.Discard, io.LimitReader(unpacked, 2*maxPolicyBytes+1))
	if err != nil {
		return fmt.Errorf("reading bundle: %w", err)
	}
	if n > 2*maxPolicyBytes {
		return fmt.Errorf("bundle unpacks to more than %d bytes", 2*maxPolicyBytes)
	}

	return nil
}

// verifyBundle accepts a bundle that one of the keys verifies, and returns its
// revision; or any bundle, if there are no keys.
func verifyBundle(tarball []byte, keys []Key) (int64, error) {
	reader := func() *bundle.Reader {
		return bundle.NewReader(bytes.NewReader(tarball)).WithSizeLimitBytes(maxFileBytes).WithLazyLoadingMode(true)
	}
	if len(keys) == 0 {
		return 0, nil // nor is it parsed here: that is for the worker
	}

	var failures []error
	for _, k := range keys {
		config, err := k.config()
		if err != nil {
			return 0, err
		}

		manifest, err := readable(reader().WithBundleVerificationConfig(config))
		if err == nil {
			return numbered(manifest)
		}
		failures = append(failures, fmt.Errorf("key %s: %w", k.ID, err))
	}

	all := errors.Join(failures...)
	if strings.Contains(all.Error(), "missing .signatures.json") {
		return 0, ErrUnsigned
	}

	return 0, fmt.Errorf("%w: %w", ErrSignature, all)
}

// numbered is a bundle's revision as a number, so that it can be told which of two
// is newer.
func numbered(m bundle.Manifest) (int64, error) {
	n, err := strconv.ParseInt(m.Revision, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != m.Revision {
		return 0, ErrRevision
	}
	return n, nil
}

// config names the key for OPA. An empty key ID was how unsigned bundles once
// slipped through OPA, and without a scope any bundle of the signer would do.
func (k Key) config() (*bundle.VerificationConfig, error) {
	if k.ID == "" || k.Scope == "" {
		return nil, errors.New("a policy key must have an id and a scope")
	}
	algorithm := cmp.Or(k.Algorithm, "ES256")
	keys := map[string]*bundle.KeyConfig{k.ID: {Key: k.PEM, Algorithm: algorithm, Scope: k.Scope}}
	return bundle.NewVerificationConfig(keys, k.ID, k.Scope, nil), nil
}

// readable reads a bundle through and refuses kinds other than Rego and data,
// which OPA would load without a word.
func readable(r *bundle.Reader) (bundle.Manifest, error) {
	b, err := r.Read()
	if err != nil {
		return bundle.Manifest{}, fmt.Errorf("reading bundle: %w", err)
	}
	if b.Type() != bundle.SnapshotBundleType || len(b.WasmModules)+len(b.PlanModules) != 0 {
		return bundle.Manifest{}, errForeign
	}

	return b.Manifest, nil
}

var errForeign = errors.New("only bundles of Rego and data are accepted: no delta, wasm or plan bundles")

// foreign is true of files that make a bundle one of another kind, such as one
// of WebAssembly or of plans.
func foreign(name string) bool {
	switch path.Base(name) {
	case bundle.WasmFile, bundle.PlanFile, bundle.PlanProtoFile, "patch.json":
		return true
	}
	return false
}

type fileKind int

const (
	ignored fileKind = iota
	regoFile
	dataFile
)

func kindOf(name string) fileKind {
	switch base := path.Base(name); {
	case strings.HasSuffix(base, ".rego"):
		return regoFile
	case base == "data.json", base == "data.yaml", base == "data.yml":
		return dataFile
	}
	return ignored
}

// fileSet holds a policy's files by their paths, as they were read.
type fileSet map[string][]byte

func (s fileSet) addFrom(name string, d *bundle.Descriptor) error {
	defer d.Close()
	var buf bytes.Buffer
	if _, err := d.Read(&buf, maxFileBytes+1); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return s.add(name, &buf)
}

// add reads one file into the set, within the bounds of a file, of the whole,
// and of their number.
func (s fileSet) add(name string, r io.Reader) error {
	raw, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if len(raw) > maxFileBytes {
		return fmt.Errorf("%s has more than %d bytes", name, maxFileBytes)
	}
	if s.size()+len(raw) > maxPolicyBytes {
		return fmt.Errorf("more than %d bytes in all", maxPolicyBytes)
	}
	if _, again := s[name]; again {
		return fmt.Errorf("%s is there twice", name)
	}
	if len(s) == maxFiles {
		return fmt.Errorf("more than %d files", maxFiles)
	}

	s[name] = raw
	return nil
}

// size is the length of all files together, in bytes.
func (s fileSet) size() int {
	total := 0
	for _, raw := range s {
		total += len(raw)
	}
	return total
}

// source separates Rego from data, and refuses a set without Rego. A config, if
// there is one, takes the place of data.config.
func (s fileSet) source(config []byte) (*source, error) {
	src := &source{
		Modules: map[string]string{},
		Files:   map[string][]byte{},
		Config:  config,
		text:    s.text(config),
	}
	digest := sha256.Sum256(src.text)
	src.revision = hex.EncodeToString(digest[:])
	for name, raw := range s {
		if kindOf(name) == regoFile {
			src.Modules[name] = string(raw)
		} else {
			src.Files[name] = raw
		}
	}

	if len(src.Modules) == 0 {
		return nil, ErrNoPolicy
	}
	return src, nil
}

// parseData parses the data files and merges them into one document. All that
// is wrong is returned at once.
func (src *source) parseData() problem.List {
	src.data = map[string]any{}
	var problems problem.List
	for _, name := range slices.Sorted(maps.Keys(src.Files)) {
		if err := src.merge(name, src.Files[name]); err != nil {
			problems = append(problems, problem.Problem{File: name, Message: err.Error()})
		}
	}

	if src.Config != nil {
		var doc map[string]any
		if err := util.Unmarshal(src.Config, &doc); err != nil {
			problems = append(problems, problem.Problem{File: "config", Message: err.Error()})
		}
		src.data["config"] = doc
	}

	return problems
}

// merge puts a data file under the path of its directory, as OPA does. Two
// files must not give one name two values.
func (src *source) merge(name string, raw []byte) error {
	var doc map[string]any
	if err := util.Unmarshal(raw, &doc); err != nil {
		return err
	}

	if dir := path.Dir(name); dir != "." {
		parts := strings.Split(dir, "/")
		for i := len(parts) - 1; i >= 0; i-- {
			doc = map[string]any{parts[i]: doc}
		}
	}

	return mergeInto(src.data, doc, "data")
}

// mergeInto merges data of two files, and refuses one name with two values:
// which of them counts would depend on an order that nobody sees.
func mergeInto(dst, src map[string]any, at string) error {
	for k, v := range src {
		old, clash := dst[k]
		oldMap, ok1 := old.(map[string]any)
		newMap, ok2 := v.(map[string]any)

		switch {
		case !clash:
			dst[k] = v
		case !ok1 || !ok2:
			return fmt.Errorf("%s.%s is given in two data files", at, k)
		default:
			if err := mergeInto(oldMap, newMap, at+"."+k); err != nil {
				return err
			}
		}
	}
	return nil
}

// text is names and contents in the order of names, each preceded by its length so
// that nothing can move from one to the next.
func (s fileSet) text(config []byte) []byte {
	var text []byte
	put := func(b []byte) {
		text = binary.BigEndian.AppendUint64(text, uint64(len(b)))
		text = append(text, b...)
	}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		put([]byte(name))
		put(s[name])
	}

	if config != nil {
		put([]byte("config"))
		put(config)
	}

	return text
}
