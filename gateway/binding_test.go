package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
)

func grant(name string) *Grant { return &Grant{Binding: name} }

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
			if got := b.Lookup(tc.topic, tc.principal).Binding; got != tc.want {
				t.Errorf("Lookup(%q, %q) = %q, want %q", tc.topic, tc.principal, got, tc.want)
			}
		}
	}
}

func TestLookupKeepsNoBytesOfTheFrame(t *testing.T) {
	b := NewBindings([]Binding{{Topics: []string{"t*"}, Grant: grant("t")}}, grant("unbound"))
	frame := []byte("topic")
	name := string(frame)
	b.Lookup(name, "p")
	if got := b.Lookup("other", "p").Binding; got != "unbound" {
		t.Fatalf("other topic found %q", got)
	}
}

func TestStarsCannotMakeMatchingSlow(t *testing.T) {
	pattern, name := strings.Repeat("*a", 500)+"b", strings.Repeat("a", 5000)
	done := make(chan bool, 1)
	go func() { done <- Match(pattern, name) }()
	select {
	case got := <-done:
		if got {
			t.Error("matched")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("matching takes more than 5 s")
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a*b", "axxb")
	f.Add("*", "")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		got := Match(pattern, name)
		if !strings.Contains(pattern, "*") && got != (pattern == name) {
			t.Errorf("Match(%q, %q) = %v without a star", pattern, name, got)
		}
		if !Match("*", name) || !Match(name+"*", name) {
			t.Errorf("%q is not matched by *", name)
		}
	})
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

// BenchmarkLookup shows that the look-up is flat in the number of bindings.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		var all []Binding
		for i := range n {
			all = append(all, Binding{Topics: []string{fmt.Sprintf("topic-%d", i), fmt.Sprintf("prefix-%d.*", i)}, Grant: grant("g")})
		}
		s := NewBindings(all, grant("unbound"))
		exact, prefixed := fmt.Sprintf("topic-%d", n-1), fmt.Sprintf("prefix-%d.x", n-1)
		b.Run(fmt.Sprintf("cached/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Lookup(exact, "User:alice")
			}
		})
		b.Run(fmt.Sprintf("first/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.find(exact, "User:alice")
				s.find(prefixed, "User:alice")
			}
		})
	}
}
