package signing

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// DefaultClockSkew is how far the clock of an approver may be ahead of the
// gateway's, where the configuration says nothing else.
const DefaultClockSkew = time.Minute

// Gateway is who asks whether a module may run. Approvals may be for some
// gateways only, and clocks differ from gateway to gateway.
type Gateway struct {
	Name        string // of the gateway; may be empty
	Environment string // that it is part of, as "production"; may be empty

	// ClockSkew is how long before its beginning an approval or a key is accepted,
	// since the clocks of people and gateways differ. No end is put off by it.
	ClockSkew time.Duration
}

// For returns the trust root as it holds for gateway g. Without it a trust root
// holds for a gateway without a name, for which no approval with an audience
// counts, and allows DefaultClockSkew.
func (t *TrustRoot) For(g Gateway) *TrustRoot {
	same := *t
	same.gateway = g
	return &same
}

// Gateway is whom the trust root holds for, as [TrustRoot.For] was given it.
func (t *TrustRoot) Gateway() Gateway { return t.gateway }

// addressed refuses an approval that is for other gateways. A gateway that is
// part of an environment wants every approval to say so: one that names nobody
// may have been given for a test.
func (g Gateway) addressed(a Approval) error {
	if len(a.Audience) == 0 && g.Environment == "" {
		return nil
	}

	names := g.names()
	if slices.ContainsFunc(a.Audience, func(n string) bool { return slices.Contains(names, n) }) {
		return nil
	}

	audience := "no gateway"
	if len(a.Audience) != 0 {
		audience = strings.Join(a.Audience, ", ")
	}

	return fmt.Errorf("by %s, for %s, not for %s: %w", a.Approver, audience, g, ErrAudience)
}

// names are those by which an audience can mean the gateway: its own and that
// of its environment, as far as it has them.
func (g Gateway) names() []string {
	var names []string
	if g.Name != "" {
		names = append(names, "gateway:"+g.Name)
	}
	if g.Environment != "" {
		names = append(names, "environment:"+g.Environment)
	}

	return names
}

// String is the gateway as an error names it: by the same names that an
// audience would use.
func (g Gateway) String() string {
	if names := g.names(); len(names) != 0 {
		return strings.Join(names, " in ")
	}
	return "a gateway without a name"
}
