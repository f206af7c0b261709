// Package build says which build of Guardlock is running.
//
// Trust: what is told was recorded by the Go tool or by deploy/build.sh.
package build

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// version and revision are set by deploy/build.sh, with the linker's -X: its
// builds hold nothing of the directory that they are made in, so the Go tool
// records neither.
var version, revision string

// Info says which build this is, from what was recorded in it. Revision and
// Time are empty where nothing was recorded.
type Info struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Modified bool   `json:"modified"`
	Time     string `json:"time"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Read returns what was recorded in the running program. What deploy/build.sh
// set counts before what the Go tool recorded.
func Read() Info {
	b := Info{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}

	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}

	if version != "" {
		b.Version = version
	}
	if revision != "" {
		b.Revision, b.Modified = strings.CutSuffix(revision, changesMark)
	}

	return b
}

// changesMark follows a revision whose sources were changed and not committed,
// in what deploy/build.sh records and in what people read.
const changesMark = "+changes"

// ShortRevision is the beginning of the revision for people, with a mark if the
// tree had changes that were not committed. Without a revision it is "unknown".
func (b Info) ShortRevision() string {
	r := b.Revision
	if r == "" {
		return "unknown"
	}

	r = r[:min(12, len(r))]
	if b.Modified {
		r += changesMark
	}
	return r
}
