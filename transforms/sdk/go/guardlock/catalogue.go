package guardlock

// Reason is why a transform does what it does: its number in the module's catalogue.
type Reason uint16

// Unspecified is the reason of a transform that has none to give.
const Unspecified Reason = 0

// Metric is something that a transform counts: its number in the module's catalogue.
type Metric uint16

const (
	maxReasons = 256
	maxMetrics = 64
	maxName    = 64
)

// The names of both catalogues by their numbers, which begin at 1.
var (
	reasons = []string{"unspecified"}
	metrics = []string{"unspecified"}
)

// NewReason declares a reason of the module, a name of [a-z0-9_.]{1,64}. It is for
// variables of the main package:
//
//	var masked = guardlock.NewReason("mask.masked")
//
// There, `guardlock module build` reads the names from the source and puts them into
// the section that makes them part of the signed bytes; Go's linker cannot. It refuses
// a source in which it could read others than the program declares.
func NewReason(name string) Reason {
	reasons = declared(reasons, name, maxReasons)
	return Reason(len(reasons) - 1)
}

// NewMetric declares what host.AddMetric counts, in the same way.
func NewMetric(name string) Metric {
	metrics = declared(metrics, name, maxMetrics)
	return Metric(len(metrics) - 1)
}

func declared(names []string, name string, most int) []string {
	if !isName(name) {
		panic("guardlock: a name is of [a-z0-9_.], with at most 64 letters")
	}
	if len(names) > most {
		panic("guardlock: a module has at most 256 reasons and 64 metrics")
	}

	return append(names, name)
}

func isName(name string) bool {
	for n := range len(name) {
		c := name[n]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' {
			return false
		}
	}

	return name != "" && len(name) <= maxName
}

// String returns the reason's name.
func (r Reason) String() string { return nameOf(reasons, int(r)) }

// String returns the metric's name.
func (m Metric) String() string { return nameOf(metrics, int(m)) }

func nameOf(names []string, number int) string {
	if number >= len(names) {
		return "undeclared"
	}
	return names[number]
}
