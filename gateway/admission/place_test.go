package admission

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/guardlock/guardlock/gateway"
)

func TestPolicySeesForWhichClientsABindingIs(t *testing.T) {
	got := Place{Binding: "b", Topics: []string{"t"}, Principals: []string{"User:alice"}, ClientIDs: []string{"etl-*"},
		Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")}, TLS: gateway.MutualTLS,
		DataClass: "restricted"}.facts()
	if !slices.Equal(got.Topics, []string{"t"}) || !slices.Equal(got.Principals, []string{"User:alice"}) ||
		!slices.Equal(got.ClientIDs, []string{"etl-*"}) || !slices.Equal(got.Sources, []string{"10.0.0.0/8", "2001:db8::1/128"}) ||
		got.TLS != "mutual" || got.DataClass != "restricted" {
		t.Errorf("got %+v", got)
	}
	if got := (Place{}).facts().TLS; got != "" {
		t.Errorf("a binding that asks nothing of TLS asks for %q", got)
	}
}
