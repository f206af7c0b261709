package policy

import (
	"embed"
	"io/fs"
)

//go:embed default/*.rego default/data.yaml
var defaults embed.FS

// Default returns the policy that comes with Guardlock, with its configuration
// and its tests, as a directory that Load reads.
func Default() fs.FS {
	sub, err := fs.Sub(defaults, "default")
	if err != nil {
		panic("policy: the embedded policy is not there: " + err.Error())
	}
	return sub
}
