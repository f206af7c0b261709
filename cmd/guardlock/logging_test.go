package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

func TestLogTellsHowManyLinesItLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out gatewayLog
		log := newLogger(logConfig{Level: "info", Format: "json"}, &out)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { log.run(ctx); close(ended) }()
		for i := range 50 {
			log.Warn("refused", zap.Int("number", i))
			log.Debug("not of this level")
		}
		log.Info("once")
		time.Sleep(summaryEvery + time.Second)
		synctest.Wait()
		if text := out.String(); strings.Count(text, `"msg":"refused"`) != 10 || strings.Count(text, "suppressed") != 2 ||
			!strings.Contains(text, `"message":"refused","suppressed":40}`) {
			t.Errorf("the log says:\n%s", text)
		}
		for range 15 {
			log.Warn("refused")
		}
		stop()
		<-ended
		if text := out.String(); !strings.HasSuffix(text, `"message":"refused","suppressed":5}`+"\n") {
			t.Errorf("what was left out before the end is not told:\n%s", text)
		}
	})
}

func TestLeftOutMessagesAreCountedInBoundedMemory(t *testing.T) {
	log := newLogger(logConfig{Level: "info"}, new(gatewayLog))
	for i := range 10 * maxAlike {
		for range 11 {
			log.Info(fmt.Sprint("message ", i))
		}
	}
	if n := len(log.leftOut); n > maxAlike+1 {
		t.Errorf("%d messages are remembered", n)
	}
}

// Many bindings of one refused module are many lines alike.
func TestServeTellsHowManyRefusalsItDidNotShow(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"keygen", "--no-password", "--out", filepath.Join(dir, "ada")}, {"keygen", "--no-password", "--out", filepath.Join(dir, "grace")},
		{"module", "trust-root", "--author", "ada=" + filepath.Join(dir, "ada.pub"), "--approver", "grace=" + filepath.Join(dir, "grace.pub"), "--out", filepath.Join(dir, "trust.yaml")},
	} {
		var errs gatewayLog
		if code := run(t.Context(), args, nil, &errs, &errs); code != exitOK {
			t.Fatalf("%v: %s", args, &errs)
		}
	}
	config := "listen: {address: \"127.0.0.1:0\"}\nbroker: {embedded: {insecure_no_sync: true}}\naudit: {insecure_no_sync: true}\n" +
		"trust: {root: trust.yaml}\nmodules: [{name: gdpr, wasm: missing, signature: missing, approvals: [missing]}]\nbindings:\n"
	for i := range 15 {
		config += fmt.Sprintf("  - {topics: [topic-%d], modules: [gdpr]}\n", i)
	}
	writeFiles(t, dir, 0o600, map[string]string{"guardlock.yaml": config})
	s := serveConfig(t, filepath.Join(dir, "guardlock.yaml"), 1)
	if code := s.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if text := s.log.String(); strings.Count(text, "module refused; ") != 11 || !strings.Contains(text, `"suppressed": 5`) {
		t.Errorf("the log says:\n%s", text)
	}
}
