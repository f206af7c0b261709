package coverage

import (
	"slices"
	"testing"

	"github.com/guardlock/guardlock/internal/config"
)

func TestEachFindingIsWhatItSays(t *testing.T) {
	cfg := &config.Config{Bindings: []config.Binding{
		{Name: "customers", Topics: []string{"customers", "customers.*"}},
		{Name: "late", Topics: []string{"customers.eu"}, Principals: []string{"User:a"}},
		{Name: "some", Topics: []string{"payments"}, Principals: []string{"User:*"}},
		{Name: "old", Topics: []string{"gone.*"}},
		{Name: "elsewhere", Cluster: "other", Topics: []string{"*"}},
	}}

	got := Bindings(cfg, "main", []string{"payments", "customers", "customers.eu", "logs"})
	want := []Finding{
		{Kind: Unbound, Topic: "logs"},
		{Kind: Partly, Topic: "payments"},
		{Kind: Shadowed, Binding: "late", By: "customers"},
		{Kind: NoTopic, Binding: "old"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}

	if got := Bindings(cfg, "other", []string{"logs"}); slices.ContainsFunc(got, func(f Finding) bool { return f.Topic != "" }) {
		t.Errorf("%+v", got)
	}
}

// A binding that can match is never called shadowed.
func TestShadowedIsWhatAnEarlierBindingTakesWhole(t *testing.T) {
	all := []string{"*"}
	for name, c := range map[string]struct {
		earlier, later config.Binding
		want           bool
	}{
		"SameTopics":      {config.Binding{Topics: all}, config.Binding{Topics: []string{"a"}}, true},
		"WiderTopics":     {config.Binding{Topics: []string{"a*"}}, config.Binding{Topics: all}, false},
		"OneOfTwoTopics":  {config.Binding{Topics: []string{"a"}}, config.Binding{Topics: []string{"a", "b"}}, false},
		"SomeClients":     {config.Binding{Topics: all, Principals: []string{"User:a"}}, config.Binding{Topics: all}, false},
		"SameClients":     {config.Binding{Topics: all, Principals: []string{"User:*"}}, config.Binding{Topics: all, Principals: []string{"User:b"}}, true},
		"ClientIDs":       {config.Binding{Topics: all, ClientIDs: []string{"x"}}, config.Binding{Topics: all}, false},
		"EveryPrincipal":  {config.Binding{Topics: all, Principals: all}, config.Binding{Topics: all}, true},
		"Sources":         {config.Binding{Topics: all, Sources: []string{"10.0.0.0/8"}}, config.Binding{Topics: all}, false},
		"NarrowerSources": {config.Binding{Topics: all, Sources: []string{"10.0.0.0/8"}}, config.Binding{Topics: all, Sources: []string{"10.1.0.0/16", "::ffff:10.2.0.1"}}, true},
		"WiderSources":    {config.Binding{Topics: all, Sources: []string{"10.1.0.0/16"}}, config.Binding{Topics: all, Sources: []string{"10.0.0.0/8"}}, false},
		"OtherFamily":     {config.Binding{Topics: all, Sources: []string{"::/0"}}, config.Binding{Topics: all, Sources: []string{"10.0.0.1"}}, false},
		"StricterTLS":     {config.Binding{Topics: all, TLS: "mutual"}, config.Binding{Topics: all, TLS: "required"}, false},
		"LooserTLS":       {config.Binding{Topics: all, TLS: "required"}, config.Binding{Topics: all, TLS: "mutual"}, true},
	} {
		if got := Takes(c.earlier, c.later); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWritersAreAllButTheGateway(t *testing.T) {
	got := Writers([]ACL{
		{"User:old", "*", "*", false},
		{"User:old", "*", "*", false},
		{"User:gateway", "*", "*", false},
		{"User:app", "10.0.0.7", "pay", true},
		{"User:app", "10.0.0.8", "pay", true},
	}, []string{"User:gateway"}, []string{"10.0.0.8"})
	want := []Finding{
		{Kind: Writer, Principal: "User:app", Host: "10.0.0.7", Topic: "pay", Prefix: true},
		{Kind: Writer, Principal: "User:old", Host: "*", Topic: "*"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}
