package server

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/internal/config"
)

func TestLogTellsHowManyLinesItLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		log := NewLogger(config.Log{Level: "info", Format: "json"}, &out)
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
	log := NewLogger(config.Log{Level: "info"}, new(lockedBuffer))
	for i := range 10 * maxAlike {
		for range 11 {
			log.Info(fmt.Sprint("message ", i))
		}
	}

	if n := len(log.leftOut); n > maxAlike+1 {
		t.Errorf("%d messages are remembered", n)
	}
}

// lockedBuffer can be read while a logger writes to it.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
