// Package cases runs a module over records in the real sandbox, offline, and holds
// what became of them against what someone wrote down.
//
// The format is YAML: files cases/*.yaml beside a module, each a list of cases. A
// case is one record and what must become of it; docs/modules/cases.md has every field.
// A Sandbox is the gateway's own: the same scan, the same rewriter, the same limits.
// The module has the grant that it asks for, which is every host function that it
// imports, with keys that are no secret.
//
// Trust: module and case files may come from someone else, and an approver runs them
// before anything was signed. A case reads files of the module's own directory and
// no others. The module is as hostile as in a gateway.
package cases

import (
	"regexp"

	"github.com/guardlock/guardlock/transforms"
)

// What can become of a record. The first five are the gateway's own words.
const (
	Passed        = "passed"
	Modified      = "modified"
	Rejected      = "rejected"
	Dropped       = "dropped"
	Routed        = "routed"
	Failed        = "failed"         // trap, timeout, output that breaks the ABI
	ConfigRefused = "config_refused" // the module does not take its configuration
)

// Outcomes are the words above.
func Outcomes() []string {
	return []string{Passed, Modified, Rejected, Dropped, Routed, Failed, ConfigRefused}
}

// Record is one Kafka record. A nil key or value is null.
type Record struct {
	Key       []byte
	Value     []byte
	Headers   []Header
	Timestamp int64 // milliseconds
	Topic     string
	Partition int32
}

// Header is one header. A nil value is null.
type Header struct {
	Key   string
	Value []byte
}

// Setup is what a module is started with.
type Setup struct {
	Name          string // what failures call it
	Config        []byte
	HostFunctions []string         // nil: those that it imports
	Keys          []transforms.Key // nil: TestKeys
	Routes        []string
	Limits        transforms.Limits
	// Tables reads the file of a table that the configuration declares. Nil: the
	// module is started without its tables.
	Tables func(name, format string) ([]byte, error)
}

// Case is one record and what must become of it.
type Case struct {
	Name      string
	Line      int
	Setup     Setup
	Continues bool // in the instance of the case before
	Record    Record
	Expect    *Expectation // nil: nobody wrote it down yet
}

// Expectation is what must become of a record. An empty text is not compared.
type Expectation struct {
	Outcome string
	Reason  string
	Route   string
	Failure string // which kind of failure
	Key     *Want  // nil: as it came
	Value   *Want
	Headers []WantHeader // nil: as they came
}

// WantHeader is one header that must be there.
type WantHeader struct {
	Key   string
	Value Want
}

// Want is what a key or value must be.
type Want struct {
	Bytes   []byte // nil: null
	JSON    bool   // white space does not count
	Pattern *regexp.Regexp
}

// File is one file of cases.
type File struct {
	Name  string
	Cases []Case

	raw []byte
}
