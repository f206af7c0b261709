package main

import (
	"testing"

	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock"
)

func TestACardNumberIsMasked(t *testing.T) {
	r := guardlock.NewRecord(guardlock.Given{Value: []byte("card 4111111111111111, paid")})
	verdict := (&mask{keep: 4}).Apply(r)
	if verdict != guardlock.Modify(masked) || string(r.Value()) != "card ************1111, paid" {
		t.Errorf("%v: %s", verdict, r.Value())
	}
	if h, _ := r.Header("masked"); string(h.Value) != "1" {
		t.Errorf("the header says %q", h.Value)
	}
}

func TestOtherNumbersPass(t *testing.T) {
	r := guardlock.NewRecord(guardlock.Given{Value: []byte("order 12345678901")})
	if verdict := (&mask{keep: 4}).Apply(r); verdict != guardlock.Pass {
		t.Errorf("%v: %s", verdict, r.Value())
	}
}

func TestAConfigurationThatIsNoDigitIsRefused(t *testing.T) {
	for config, taken := range map[string]bool{"": true, "0": true, "8": true, "9": false, "44": false} {
		if err := new(mask).Configure([]byte(config)); (err == nil) != taken {
			t.Errorf("%q: %v", config, err)
		}
	}
}
