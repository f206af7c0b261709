package admission

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/gateway"
)

func TestPolicySeesForWhichClientsABindingIs(t *testing.T) {
	got := Place{Binding: "b", Topics: []string{"t"}, Principals: []string{"User:alice"}, ClientIDs: []string{"etl-*"},
		Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")}, TLS: gateway.MutualTLS,
		DataClass: "restricted", Isolation: Apart}.facts()
	if !slices.Equal(got.Topics, []string{"t"}) || !slices.Equal(got.Principals, []string{"User:alice"}) ||
		!slices.Equal(got.ClientIDs, []string{"etl-*"}) || !slices.Equal(got.Sources, []string{"10.0.0.0/8", "2001:db8::1/128"}) ||
		got.TLS != "mutual" || got.DataClass != "restricted" || got.Isolation != "process" {
		t.Errorf("got %+v", got)
	}
	got = Place{}.facts()
	if got.TLS != "" || got.Isolation != "shared" {
		t.Errorf("a binding that says nothing asks for TLS %q and isolation %q", got.TLS, got.Isolation)
	}
}

func TestLongListsOfHostFunctionsAreGrouped(t *testing.T) {
	names := []string{"a.x", "b.p", "b.q", "b.r", "b.s", "c", "a.y"}
	got := strings.Join(Grouped(names), ", ")
	if want := "a.x, b.{p q r s}, c, a.y"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
