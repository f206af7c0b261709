package gateway

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

func grant(name string) *pipeline.Grant { return &pipeline.Grant{Binding: name} }

func known(b *Bindings, c Client) *Known {
	k := b.Know(c)
	return &k
}

func TestFirstMatchingBindingDecides(t *testing.T) {
	b := NewBindings([]Binding{
		{Topics: []string{"orders.eu.*"}, Principals: []string{"User:alice"}, Grant: grant("alice-eu")},
		{Topics: []string{"orders.*"}, Grant: grant("orders")},
		{Topics: []string{"orders.eu.new", "exact"}, Grant: grant("exact")},
		{Topics: []string{"*.log"}, Grant: grant("logs")},
		{Topics: []string{"a*b*c"}, Grant: grant("glob")},
	}, grant("unbound"))
	for _, tc := range []struct{ topic, principal, want string }{
		{"orders.eu.new", "User:alice", "alice-eu"},
		{"orders.eu.new", "User:bob", "orders"},
		{"orders.us", "User:alice", "orders"},
		{"exact", "User:bob", "exact"},
		{"app.log", "User:bob", "logs"},
		{"orders.log", "User:bob", "orders"},
		{"a-b-c", "User:bob", "glob"},
		{"a-b-c-d", "User:bob", "unbound"},
		{"orders", "User:alice", "unbound"},
		{"", "", "unbound"},
	} {
		for range 2 { // found, then from the cache
			if got := b.Lookup(tc.topic, known(b, Client{Principal: tc.principal})).Binding; got != tc.want {
				t.Errorf("Lookup(%q, %q) = %q, want %q", tc.topic, tc.principal, got, tc.want)
			}
		}
	}
}

func TestLookupKeepsNoBytesOfTheFrame(t *testing.T) {
	b := NewBindings([]Binding{{Topics: []string{"t*"}, Grant: grant("t")}}, grant("unbound"))
	frame := []byte("topic")
	name := string(frame)
	p := known(b, Client{Principal: "p"})
	b.Lookup(name, p)

	if got := b.Lookup("other", p).Binding; got != "unbound" {
		t.Fatalf("other topic found %q", got)
	}
}

func TestPlaceholdersAreLookedForWhereModulesRun(t *testing.T) {
	withModule := grant("m")
	withModule.Modules = []audit.ModuleRef{{Name: "m"}}
	b := NewBindings([]Binding{{Topics: []string{"plain*"}, Grant: grant("p")}, {Topics: []string{"gdpr"}, Grant: withModule}}, grant("unbound"))
	for topic, want := range map[string]bool{"plain1": false, "gdpr": true, "other": false, "": true} {
		if got := b.mayDrop(topic); got != want {
			t.Errorf("mayDrop(%q) = %v", topic, got)
		}
	}
}

// BenchmarkLookup shows that the look-up is flat in the number of bindings, with
// conditions on clients and without, and that it allocates nothing.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		for name, conditions := range map[string]bool{"topics": false, "conditions": true} {
			s := NewBindings(manyBindings(n, conditions), grant("unbound"))
			exact := fmt.Sprintf("topic-%d", n-1)
			prefixed := fmt.Sprintf("prefix-%d.x", n-1)
			alice := Client{Principal: "User:alice", ID: fmt.Sprintf("app-%d-7", n-1), Source: sourceNumber(n - 1), TLS: MutualTLS}

			k := known(s, alice)
			if s.Lookup(exact, k).Binding != "g" || s.Lookup(prefixed, k).Binding != "g" {
				b.Fatal("no binding found")
			}

			b.Run(fmt.Sprintf("%s/cached/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.Lookup(exact, k)
				}
			})

			b.Run(fmt.Sprintf("%s/first/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.find(exact, &k.client)
					s.find(prefixed, &k.client)
				}
			})

			b.Run(fmt.Sprintf("%s/connection/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.Know(alice)
				}
			})
		}
	}
}

// manyBindings are n bindings, each of topics and, if asked for, of clients of
// its own.
func manyBindings(n int, conditions bool) []Binding {
	var all []Binding
	for i := range n {
		b := Binding{Topics: []string{fmt.Sprintf("topic-%d", i), fmt.Sprintf("prefix-%d.*", i)}, Grant: grant("g")}
		if conditions {
			b.Principals, b.ClientIDs, b.TLS = []string{"User:alice"}, []string{fmt.Sprintf("app-%d-*", i), fmt.Sprintf("job-%d", i)}, MutualTLS
			b.Sources = []netip.Prefix{netip.PrefixFrom(sourceNumber(i), 32-i%4).Masked()}
		}
		all = append(all, b)
	}

	return all
}

func sourceNumber(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 12), byte(i >> 4), byte(i << 4)})
}
