// Package modules holds the transforms that come with Guardlock, as WebAssembly
// built from the C sources in the folders beside this file (build.sh).
//
// A module here is as untrusted as any other: it runs only when it is signed and
// approved. What the package adds is that the bytes are at hand, for a
// demonstration, a first approval and the tests.
package modules

import (
	"embed"
	"slices"
)

//go:embed */*.wasm */config.json
var files embed.FS

// Names lists the modules, sorted.
func Names() []string {
	return []string{"convert", "enrich", "fraud", "fraud-velocity", "gdpr", "gdpr-keys", "reject-uppercase", "sensor", "uppercase", "validate"}
}

// Wasm returns a module's bytes; false when there is none of that name. The
// caller may keep and change them.
func Wasm(name string) ([]byte, bool) {
	return read(name, name+".wasm")
}

// ExampleConfig returns a module's example configuration (JSON); false when the
// module takes none, or there is none of that name.
func ExampleConfig(name string) ([]byte, bool) {
	return read(name, "config.json")
}

func read(name, file string) ([]byte, bool) {
	if !slices.Contains(Names(), name) {
		return nil, false
	}
	b, err := files.ReadFile(name + "/" + file)
	return b, err == nil
}
