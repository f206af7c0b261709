package cases

import (
	"slices"
	"testing"
)

func TestMangledNamesAreReadAsTheirAuthorWroteThem(t *testing.T) {
	for name, want := range map[string]string{
		"boom": "boom",
		"_RNvNtCsebHcaeoSrxy_3std9panicking15panic_with_hook": "std::panicking::panic_with_hook",
		"_RNvCsfLfy6EI15iL_7___rustc10rust_panic":             "__rustc::rust_panic",
		"_ZN9card_mask4mask17h0123456789abcdefE":              "card_mask::mask",
		"_R":                                                  "_R",
		"_RNvCs":                                              "_RNvCs",
		"_RNv99short":                                         "_RNv99short",
	} {
		if got := readable(name); got != want {
			t.Errorf("%s is read as %s, want %s", name, got, want)
		}
	}

	calls := ownCalls([]string{"__rustc::rust_panic", "std::panicking::panic", "core::panic", "card_mask::mask", "std::x"})
	if !slices.Equal(calls, []string{"a panic", "card_mask::mask", "std::x"}) {
		t.Errorf("the calls are %v", calls)
	}
	if all := []string{"std::x"}; !slices.Equal(ownCalls(all), all) {
		t.Error("nothing is left of calls that are all the library's")
	}
}

func FuzzReadable(f *testing.F) {
	f.Add("_RNvNtCsebHcaeoSrxy_3std9panicking15panic_with_hook")
	f.Add("_ZN9card_mask4mask17h0123456789abcdefE")
	f.Fuzz(func(t *testing.T, name string) {
		if got := readable(name); got == "" && name != "" || len(got) > 2*len(name) {
			t.Errorf("%q is read as %q", name, got)
		}
	})
}
