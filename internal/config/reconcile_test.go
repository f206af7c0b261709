package config

import (
	"strings"
	"testing"
	"time"
)

func TestReconcileIsCheckedByItself(t *testing.T) {
	const rest = "broker: {embedded: {}}\naudit: {dir: mine, reconcile: "
	for setting, want := range map[string]string{
		"{}":          "",
		"{every: 1m}": "",
		"{every: 1h, logs: [a, ../b], key_files: [k]}": "",
		"{every: 59s}":                 "audit.reconcile.every: 59s is less than 1m",
		"{every: -1h}":                 "audit.reconcile.every: ",
		"{logs: [a]}":                  "audit.reconcile: needs every",
		"{every: 1h, logs: [a, a/]}":   "audit.reconcile.logs[1]: ",
		"{every: 1h, logs: [./mine]}":  "audit.reconcile.logs[0]: ",
		`{every: 1h, logs: [""]}`:      "audit.reconcile.logs[0]: names no directory",
		`{every: 1h, key_files: [""]}`: "audit.reconcile.key_files[0]: names no file",
	} {
		_, err := Parse([]byte(rest+setting+"}\n"), "")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", setting, err, want)
		}
	}

	c, err := Parse([]byte(rest+"{every: 1h}}\n"), "")
	if err != nil || c.Audit.Reconcile.Every != time.Hour {
		t.Errorf("%+v, %v", c, err)
	}
}
