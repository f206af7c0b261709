package export

import "maps"

// SetMaxRows makes files smaller than they are.
func SetMaxRows(e *Exporter, n int) { e.maxRows = n }

// Advanced is the state before and after a file was found.
func Advanced(content []byte, name string) (before, after map[string]uint64, ok bool) {
	s, err := parseState(content)
	if err != nil {
		return nil, nil, false
	}
	before = maps.Clone(s.Logs)
	s.advance([]string{name})
	return before, s.Logs, true
}
