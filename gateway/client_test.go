package gateway

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/internal/pattern"
)

func prefixes(t testing.TB, all ...string) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	for _, s := range all {
		p, err := ParseSource(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}

	return out
}

// conditional are bindings of one topic, each for other clients.
func conditional(t testing.TB) []Binding {
	all := []Binding{
		{ClientIDs: []string{"etl-*"}, Sources: prefixes(t, "10.1.0.0/16"), TLS: MutualTLS, Grant: grant("all at once")},
		{ClientIDs: []string{"etl-7"}, Grant: grant("one client")},
		{ClientIDs: []string{"etl-*", "*-batch"}, Grant: grant("batch jobs")},
		{Sources: prefixes(t, "10.1.2.0/24", "2001:db8::/32"), Grant: grant("inner network")},
		{Sources: prefixes(t, "10.0.0.0/8"), TLS: ServerTLS, Grant: grant("network")},
		{TLS: MutualTLS, Grant: grant("mutual")},
		{TLS: ServerTLS, Principals: []string{"User:alice"}, Grant: grant("alice by TLS")},
	}
	for i := range all {
		all[i].Topics = []string{"t*"}
	}

	return all
}

func TestEveryConditionOfABindingMustHold(t *testing.T) {
	b := NewBindings(conditional(t), grant("unbound"))
	for _, tc := range []struct {
		id, source string
		tls        TLSLevel
		want       string
	}{
		{"etl-1", "10.1.9.9", MutualTLS, "all at once"},
		{"etl-7", "10.1.9.9", ServerTLS, "one client"},
		{"etl-1", "10.1.9.9", ServerTLS, "batch jobs"},
		{"etl-1", "10.2.9.9", MutualTLS, "batch jobs"},
		{"night-batch", "", NoTLS, "batch jobs"},
		{"etl", "10.1.2.3", NoTLS, "inner network"},
		{"", "::ffff:10.1.2.3", NoTLS, "inner network"},
		{"", "2001:db8:1::7%eth0", NoTLS, "inner network"},
		{"", "10.1.3.3", NoTLS, "unbound"},
		{"", "10.1.3.3", ServerTLS, "network"},
		{"", "11.1.3.3", MutualTLS, "mutual"},
		{"", "", MutualTLS, "mutual"},
		{"", "2001:db9::", ServerTLS, "alice by TLS"},
		{"", "", NoTLS, "unbound"},
	} {
		source, _ := netip.ParseAddr(tc.source)
		k := known(b, Client{Principal: "User:alice", ID: tc.id, Source: source, TLS: tc.tls})
		for range 2 { // found, then from the cache
			if got := b.Lookup("t", k).Binding; got != tc.want {
				t.Errorf("%+v: got %q", tc, got)
			}
		}
	}
}

// FuzzLookup: the cache, by class, gives what asking each binding gives.
func FuzzLookup(f *testing.F) {
	f.Add("t1", "User:alice", "etl-1", []byte{10, 1, 2, 3}, uint8(2))
	f.Add("u", "User:bob", "a-batch", netip.MustParseAddr("2001:db8::1").AsSlice(), uint8(0))
	f.Add("t", "", "", []byte(nil), uint8(1))
	f.Add("__consumer_offsets", "User:alice", "", []byte(nil), uint8(1))
	all := conditional(f)
	all = append(all, Binding{Topics: []string{"*"}, ClientIDs: []string{"", "a*c", "a*d*"}, Grant: grant("any topic")})
	b := NewBindings(all, grant("unbound"))
	f.Fuzz(func(t *testing.T, topic, principal, id string, source []byte, level uint8) {
		c := Client{Principal: principal, ID: id, TLS: TLSLevel(level % 3)}
		c.Source, _ = netip.AddrFromSlice(source)
		want := "unbound"
		k := known(b, c)
		for i := len(all) - 1; i >= 0; i-- {
			if pattern.Any(all[i].Topics, topic) && all[i].admits(&k.client) {
				want = all[i].Grant.Binding
			}
		}

		if strings.HasPrefix(topic, "__") { // Kafka's own: none of these patterns says so
			want = pipeline.Unbound.Binding
		}

		if got := b.Lookup(topic, k).Binding; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestNamesThatClientsClaimDoNotFillTheCache(t *testing.T) {
	b := NewBindings(conditional(t), grant("unbound"))
	for i := range 1000 {
		for _, id := range []string{"x-%d", "etl-x%d", "%d-batch"} {
			c := Client{ID: fmt.Sprintf(id, i), Source: netip.AddrFrom4([4]byte{10, byte(i), byte(i >> 8), 1})}
			b.Lookup("t", known(b, c))
		}
	}

	if n := b.cached.Load(); n > 3*3 { // of three kinds of name, from three kinds of place
		t.Errorf("%d entries in the cache", n)
	}
}

func TestMorePrincipalsThanNumbersAreStillTold(t *testing.T) {
	b := NewBindings(conditional(t), grant("unbound"))
	b.numbered.Store(maxCached)
	for principal, want := range map[string]string{"User:alice": "alice by TLS", "User:bob": "unbound"} {
		if got := b.Lookup("t", known(b, Client{Principal: principal, TLS: ServerTLS})).Binding; got != want {
			t.Errorf("%s: got %q, want %q", principal, got, want)
		}
	}

	if n := b.cached.Load(); n != 0 {
		t.Errorf("%d entries in the cache", n)
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	b := NewBindings(conditional(t), grant("unbound"))
	principal := "User:alice"
	c := &reader{cluster: &Cluster{topics: &topicNames{}}, login: &login{}, peer: &peer{source: "10.1.2.3", level: ServerTLS}}
	c.login.principal.Store(&principal)
	id := []byte("etl-9")
	look := func() { b.Lookup("t", c.knownTo(b, id)) }
	look()

	if n := testing.AllocsPerRun(1000, look); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestClientIsSeenAnewWhenAnythingOfItChanges(t *testing.T) {
	alice := "User:alice"
	bob := "User:bob"
	c := &reader{cluster: &Cluster{topics: &topicNames{}}, login: &login{}, peer: &peer{level: ServerTLS}}
	c.login.principal.Store(&alice)
	b := NewBindings(conditional(t), grant("unbound"))
	look := func(b *Bindings, id, want string) {
		t.Helper()
		if got := b.Lookup("t", c.knownTo(b, []byte(id))).Binding; got != want {
			t.Errorf("%s: got %q, want %q", id, got, want)
		}
	}

	look(b, "etl-7", "one client")
	look(b, "etl-8", "batch jobs")
	look(b, "", "alice by TLS")
	look(NewBindings(conditional(t)[:6], grant("unbound")), "", "unbound")
	look(b, "", "alice by TLS")
	c.login.principal.Store(&bob)
	look(b, "", "unbound")
}

func TestSourcesAreReadInOneForm(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1/32", "10.0.0.0/8": "10.0.0.0/8", "0.0.0.0/0": "0.0.0.0/0", "::1": "::1/128", "2001:DB8::/32": "2001:db8::/32",
		"::ffff:10.0.0.1": "10.0.0.1/32", "::ffff:10.0.0.0/104": "10.0.0.0/8", "::ffff:0:0/96": "0.0.0.0/0", "::/0": "::/0",
	} {
		if got, err := ParseSource(in); err != nil || got.String() != want {
			t.Errorf("%s: got %s, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "::ffff:0:0/90", "fe80::1%eth0", "fe80::%eth0/10", "10.0.0.0/8,::1", "2001:db8::1/32"} {
		if got, err := ParseSource(bad); err == nil {
			t.Errorf("%q reads as %s", bad, got)
		}
	}
}

func FuzzParseSource(f *testing.F) {
	f.Add("10.0.0.0/8")
	f.Add("::ffff:10.0.0.0/104")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseSource(s)
		if err != nil {
			return
		}
		if again, err := ParseSource(p.String()); err != nil || again != p {
			t.Errorf("%q reads as %s, that as %s, %v", s, p, again, err)
		}
		if !p.Contains(addrOf(p.Addr().String())) {
			t.Errorf("%q does not hold its own address", s)
		}
	})
}

func TestLevelsOfTLSReadBack(t *testing.T) {
	for _, l := range []TLSLevel{NoTLS, ServerTLS, MutualTLS} {
		if got, err := ParseTLSLevel(l.String()); err != nil || got != l {
			t.Errorf("%v: got %v, %v", l, got, err)
		}
	}
	if _, err := ParseTLSLevel("none"); err == nil {
		t.Error("took none")
	}
}
