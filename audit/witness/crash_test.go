package witness

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/internal/disk/disktest"
)

// TestWitnessThatCrashesAnywhereSignsNoSecondHistory fails each step of each answer in
// turn. What was signed binds the witness after a kill and after a power cut, and the log
// that it signed for can go on.
func TestWitnessThatCrashesAnywhereSignsNoSecondHistory(t *testing.T) {
	h := newHistory(t)
	base := disktest.New("/witness")
	var on *disktest.Disk
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		New("/witness/seen", signer, []note.Verifier{h.verifier}).On(on).ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	ask := func(d *disktest.Disk, h *history) error {
		on = d
		_, _, err := h.show(t, NewClient(s.URL, &signer.Witness))
		return err
	}

	for range 3 {
		h.grow(t, 5, "entry")
		clean := base.Killed()
		if err := ask(clean, h); err != nil {
			t.Fatal(err)
		}

		for at := 1; at <= clean.Ops(); at++ {
			for _, fault := range []disktest.Fault{{At: at}, {At: at, Flavour: disktest.Persisted}, {At: at, Onwards: true}} {
				d := base.Killed()
				d.Inject(fault)
				signed := ask(d, h) == nil
				d.Inject(disktest.Fault{})

				for how, left := range map[string]*disktest.Disk{"killed": d.Killed(), "power cut": d.PowerCut(nil)} {
					name := fmt.Sprintf("%d entries, %+v, %s", h.size, fault, how)
					if err := ask(left.Killed(), h.fork().grow(t, int(h.size)+1, "another")); signed && err == nil {
						t.Errorf("%s: another history is signed", name)
					}
					if err := ask(left, h); err != nil {
						t.Errorf("%s: the log cannot go on: %v", name, err)
					}
				}
			}
		}
		base = clean
	}
}
