package clients

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
)

// FewCases are those of a pass whose clients differ in how they connect only: a producer of each kind, a group, and a
// record rejected and one dropped.
func FewCases() []string {
	return []string{"codec/lz4", "idempotent", "group", "reject/idempotent", "drop/plain"}
}

// Cases are the cases that every client has, unless it is said to be unable.
func Cases() []string {
	return []string{"codec/none", "codec/gzip", "codec/snappy", "codec/lz4", "codec/zstd", "idempotent", "transaction",
		"group", "seek", "upper", "reject/plain", "reject/idempotent", "drop/plain", "drop/idempotent"}
}

// Check returns what is wrong with a report: of a pass straight against Kafka, or of one through a gateway that keeps the
// topics' policies. Where no policy acts, the two must be the same.
func (c Client) Check(r Report, p Pass) (problems []string) {
	wanted := p.Cases
	if len(wanted) == 0 {
		wanted = append(Cases(), c.Extra...)
	}

	for _, name := range wanted {
		got, ok := r.Cases[name]
		unable := slices.Contains(c.Unsupported, name)
		switch {
		case !ok:
			problems = append(problems, name+": not in the report")
		case got.Error != "":
			problems = append(problems, name+": "+got.Error)
		case got.Unsupported != unable:
			problems = append(problems, fmt.Sprintf("%s: unsupported is %v", name, got.Unsupported))
		case unable:
		default:
			if wrong := c.problem(name, got, p.Gateway); wrong != "" {
				problems = append(problems, name+": "+wrong)
			}
		}
	}

	return problems
}

func (c Client) problem(name string, got Result, gateway bool) string {
	if name == "reject/plain" || name == "reject/idempotent" {
		return c.rejection(got, gateway)
	}
	if want := expected(name, gateway); !reflect.DeepEqual(got, want) {
		return fmt.Sprintf("got %+v, want %+v", got, want)
	}
	return ""
}

// expected is the exact result of a case other than reject.
func expected(name string, gateway bool) Result {
	switch name {
	case "transaction":
		return Result{Kept: 10, Undone: 0}
	case "group", "group/consumer":
		return Result{Group: Group{Covered: true, Seen: 30, Resumed: 3, Redelivered: 0}}
	case "seek":
		return Result{Offset: true, Key: true}
	case "upper":
		if gateway {
			return Result{Acked: 5, Values: []string{"HELLO 0", "HELLO 1", "HELLO 2", "HELLO 3", "HELLO 4"}}
		}
		return Result{Acked: 5, Values: []string{"hello 0", "hello 1", "hello 2", "hello 3", "hello 4"}}
	case "drop/plain", "drop/idempotent":
		if gateway { // the producer is told nothing, and consumers see a hole that they can stand in
			return Result{Acked: 6, Values: []string{"keep 0", "keep 2", "keep 5"}, AfterHole: "keep 5"}
		}
		return Result{Acked: 6, Values: []string{"keep 0", "drop 1", "keep 2", "drop 3", "drop 4", "keep 5"}, AfterHole: "drop 3"}
	}
	return Result{Acked: 20, Read: 20, Intact: true}
}

// decision is how a rejected record's message must name what to look up: the module's reason, and the decision's id.
var decision = regexp.MustCompile(`reject_uppercase\.capital_letter.*\bgl-[0-9a-f]+-[0-9A-Za-z]+`)

// rejection checks the three batches of which the middle one has a bad record in its middle. Its neighbours fail with it
// where the client sent them in one batch; whatever was acknowledged is stored, and nothing else.
func (c Client) rejection(got Result, gateway bool) string {
	batches := [][]string{{"fine 0"}, {"fine 1", "BAD 2", "fine 3"}, {"fine 4"}}
	if len(got.Outcomes) != len(batches) {
		return fmt.Sprintf("outcomes %v", got.Outcomes)
	}

	var stored []string
	for i, batch := range batches {
		if len(got.Outcomes[i]) != len(batch) {
			return fmt.Sprintf("outcomes %v", got.Outcomes)
		}
		for j, value := range batch {
			outcome := got.Outcomes[i][j]
			switch {
			case value == "BAD 2" && gateway:
				if outcome != c.Rejection {
					return fmt.Sprintf("the bad record's outcome is %q", outcome)
				}
			case outcome == "ok":
				stored = append(stored, value)
			case i != 1 || !gateway:
				return fmt.Sprintf("the outcome of %q is %q", value, outcome)
			}
		}
	}

	if gateway && c.Messages && !slices.ContainsFunc(got.Messages, decision.MatchString) {
		return fmt.Sprintf("no message names reason and decision: %q", got.Messages)
	}
	if !slices.Equal(stored, got.Values) {
		return fmt.Sprintf("%q is stored, %q was acknowledged", got.Values, stored)
	}

	return ""
}
