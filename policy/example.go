package policy

import (
	"strings"
	"time"
)

// Example is a request that the built-in policy allows at now. Policies are
// tried with it before they are put into force.
func Example(now time.Time) Input {
	now = now.UTC().Truncate(time.Second)
	from := now.Add(-time.Hour)
	until := now.AddDate(0, 0, 90)
	digest := strings.Repeat("0", 58) + "acce55"

	return Input{
		Module: Module{
			Name:      "uppercase",
			Digest:    digest,
			Size:      4096,
			Imports:   []string{"guardlock_log.log"},
			Author:    "ada@example.com",
			Approvers: []string{"grace@example.com"},
			Approvals: []string{digest},
		},
		Grant: Grant{
			Approvals:     []Approval{{ID: digest, Approver: "grace@example.com", Ticket: "SEC-112", NotBefore: from, NotAfter: until}},
			Topics:        []string{"customers*"},
			HostFunctions: []string{"guardlock_log.log"},
			Limits:        Limits{MemoryBytes: 16 << 20, DeadlineMS: 50},
			NotBefore:     from,
			NotAfter:      until,
			Digest:        digest,
		},
		Binding: Binding{
			Topics:    []string{"customers"},
			ClientIDs: []string{"crm-*"},
			Sources:   []string{"10.0.0.0/8"},
			TLS:       "required",
			DataClass: "confidential",
			Isolation: "shared",
		},
		Gateway: Gateway{ID: "gateway"},
		Now:     now,
	}
}
