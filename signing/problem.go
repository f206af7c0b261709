package signing

import "strings"

// Problem is one thing wrong with a document, and where.
type Problem struct {
	Path    string // as approvers[1].key
	Message string
}

// Problems is an error that reports everything wrong at once.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "; ")
}

func (p Problem) String() string {
	if p.Path == "" {
		return p.Message
	}
	return p.Path + ": " + p.Message
}

func (ps *Problems) add(path, message string) {
	*ps = append(*ps, Problem{path, message})
}
