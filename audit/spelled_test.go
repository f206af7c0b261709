package audit

import (
	"slices"
	"testing"
)

// TestOtherSpellingsOfANameAreFound, in the fields that an erasure leaves, and nothing that
// it takes out or that names somebody else.
func TestOtherSpellingsOfANameAreFound(t *testing.T) {
	p := &Personal{Principals: []string{"User:José", "User:shop-7"}, ClientIDs: []string{"Till 3"}, Sources: []string{"10.0.0.9"}}
	batch := func(principal, client, source string) *Entry {
		return &Entry{Batch: &BatchEntry{Caller: Caller{Principal: principal, ClientID: client, Source: source}}}
	}
	says := func(detail string) *Entry {
		return &Entry{Control: &ControlEntry{Kind: KindAdmin, Steps: []Step{{Name: "resource", Detail: detail}}}}
	}

	for name, c := range map[string]struct {
		entry *Entry
		want  []string
	}{
		"as the log has it":        {batch("User:José", "Till 3", "10.0.0.9"), nil},
		"case":                     {batch("USER:SHOP-7", "till 3", "10.0.0.8"), []string{"principal", "client_id"}},
		"decomposed":               {batch("User:Jose\u0301", "", ""), []string{"principal"}},
		"full width":               {batch("Ｕｓｅｒ：ｓｈｏｐ－７", "", ""), []string{"principal"}},
		"somebody else":            {batch("user:shop-77", "till 33", "110.0.0.9"), nil},
		"nobody":                   {batch("", "", ""), nil},
		"a detail, which is taken": {says("refused User:shop-7."), nil},
		"a detail's case":          {says("refused user:Shop-7."), []string{"detail"}},
		"percent-encoding":         {says("path /a?user=User%3Ashop-7&b"), []string{"detail"}},
		"encoded twice":            {says("User%253Ashop%252D7"), []string{"detail"}},
		"encoded, decomposed":      {says("user%3ajose%CC%81"), []string{"detail"}},
		"no encoding at all":       {says("100% of User%zzshop-7 %"), nil},
		"a client id in a detail":  {says("till 3"), nil},
		"a reason":                 {&Entry{Control: &ControlEntry{Reason: "asked by User:shop-7"}}, []string{"reason"}},
		"in clear":                 {&Entry{Control: &ControlEntry{Subject: "user:shop-7"}}, []string{"clear"}},
		"in clear, counted":        {&Entry{Control: &ControlEntry{Subject: "User:shop-7"}}, nil},
		"what the log reads":       {&Entry{Control: &ControlEntry{Steps: []Step{{Name: StepTable, Detail: "user:shop-7"}}}}, nil},
	} {
		if got := p.Spellings().In(c.entry); !slices.Equal(got, c.want) {
			t.Errorf("%s: found in %q, want %q", name, got, c.want)
		}
	}
}
