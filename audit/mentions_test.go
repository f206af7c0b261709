package audit

import "testing"

// TestATextMentionsWholeNamesAlone: what is said of somebody with a longer name is not
// taken from him, and the end of a sentence hides nobody.
func TestATextMentionsWholeNamesAlone(t *testing.T) {
	for text, want := range map[string]bool{
		"User:shop":                         true,
		"refused User:shop.":                true,
		"User:shop, from 10.0.0.9":          true,
		"(User:shop)":                       true,
		"User:shop: denied":                 true,
		"User:shop-":                        true,
		"User:shop-7 and User:shop":         true,
		"":                                  false,
		"User:shop-7":                       false,
		"User:shop_7":                       false,
		"User:shop@example.com":             false,
		"User:shopping":                     false,
		"aUser:shop":                        false,
		"my-User:shop":                      false,
		"User:shopä":                        false,
		"User:sho":                          false,
		"User:shop--7, not the one without": false,
	} {
		if got := mentions(text, "User:shop"); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	for text, want := range map[string]bool{"10.0.0.1:5432": true, "10.0.0.10": false, "110.0.0.1": false} {
		if got := mentions(text, "10.0.0.1"); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
