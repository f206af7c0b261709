// Package problem says what is wrong with a document: everything at once, each
// with the place where it is. Documents in YAML are read here too, strictly, so
// that every file that a person writes is refused in the same words.
//
// Trust: the documents come from people who may err. What is wrong is reported
// in the document's own terms, never in those of a Go type.
package problem

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with a document, and where. Fields that are not
// known are zero, and left out of its text.
type Problem struct {
	File    string // of a document of several files
	Line    int    // 0: not known, or the whole document
	Column  int    // 0: not known
	Path    string // of a field, as approvers[1].key
	Message string
}

// String is the message after the place, as far as the place is known: file or
// line first, then the path of the field.
func (p Problem) String() string {
	var place []string
	if p.File != "" && p.Line != 0 {
		place = append(place, fmt.Sprintf("%s:%d", p.File, p.Line))
	} else if p.File != "" {
		place = append(place, p.File)
	} else if p.Line != 0 && p.Column != 0 {
		place = append(place, fmt.Sprintf("line %d, column %d", p.Line, p.Column))
	} else if p.Line != 0 {
		place = append(place, fmt.Sprintf("line %d", p.Line))
	}

	if p.Path != "" {
		place = append(place, p.Path)
	}

	return strings.Join(append(place, p.Message), ": ")
}

// List is an error that reports everything wrong at once, so that a person
// corrects a document in one go. An empty List is no error: see Err.
type List []Problem

// Error joins the problems in one line, in the order in which they stand in the
// list.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, p := range l {
		lines[i] = p.String()
	}

	return strings.Join(lines, "; ")
}

// Unwrap gives each problem as an error of its own, for a command that prints
// one problem on a line.
func (l List) Unwrap() []error {
	errs := make([]error, len(l))
	for i, p := range l {
		errs[i] = one{p}
	}

	return errs
}

// one is a single problem as an error, which Unwrap needs.
type one struct{ Problem }

// Error is the problem's text with its place.
func (o one) Error() string { return o.String() }

// Add notes a problem of the field at path, in the path's own spelling, as
// approvers[1].key. The message is a format as fmt has it.
func (l *List) Add(path, format string, args ...any) {
	*l = append(*l, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// Err is the list as an error. It is nil when the list is empty, where a List
// in an error variable would not be.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}

// Sort orders problems by place: file, line, column, then path and message, for
// lists that were not made in the document's order.
func (l List) Sort() {
	slices.SortFunc(l, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Message, b.Message),
		)
	})
}
