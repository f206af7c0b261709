package server

import (
	"context"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/guardlock/guardlock/internal/config"
)

// Logger is the gateway's own log. What clients can cause a thousand
// times a second must not fill the disk, so that most of many lines alike are
// left out; how many is told by run.
type Logger struct {
	*zap.Logger
	whole *zap.Logger // leaves nothing out

	mu      sync.Mutex
	leftOut map[alike]uint64
}

// alike is what lines have in common that count as the same, whatever their
// fields.
type alike struct {
	level   zapcore.Level
	message string
}

const (
	summaryEvery = 10 * time.Second
	maxAlike     = 100 // the embedded broker's messages are not ours; the rest is one sum
)

// NewLogger writes to w in the configured form. The fields of its lines never
// hold anything of a record.
func NewLogger(c config.Log, w io.Writer) *Logger {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		level = zapcore.InfoLevel
	}

	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.RFC3339TimeEncoder
	encoder := zapcore.NewConsoleEncoder(enc)

	if c.Format == "json" {
		encoder = zapcore.NewJSONEncoder(enc)
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(writerOnly{w})), level)
	l := &Logger{whole: zap.New(core), leftOut: map[alike]uint64{}}
	l.Logger = zap.New(zapcore.NewSamplerWithOptions(core, time.Second, 10, 100, zapcore.SamplerHook(l.sampled)))

	return l
}

// writerOnly hides os.File's Sync, which fails on terminals and is of no use to
// a log of this kind.
type writerOnly struct{ io.Writer }

func (l *Logger) sampled(e zapcore.Entry, d zapcore.SamplingDecision) {
	if d&zapcore.LogDropped == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()

	key := alike{e.Level, e.Message}
	if _, known := l.leftOut[key]; !known && len(l.leftOut) >= maxAlike {
		key.message = "others"
	}
	l.leftOut[key]++
}

// run tells from time to time, and when ctx ends, how many lines were left out.
func (l *Logger) run(ctx context.Context) {
	tick := time.NewTicker(summaryEvery)
	defer tick.Stop()
	defer l.summarize()

	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.summarize()
		}
	}
}

func (l *Logger) summarize() {
	l.mu.Lock()
	leftOut := l.leftOut
	l.leftOut = map[alike]uint64{}
	l.mu.Unlock()
	for a, n := range leftOut {
		l.whole.Log(a.level, "suppressed lines that differ at most in their fields", zap.String("message", a.message), zap.Uint64("suppressed", n))
	}
}

// WarnInsecure shows every unsafe choice at start (invariant 8), each in a line
// that says INSECURE.
func WarnInsecure(cfg *config.Config, log *Logger) {
	for _, name := range cfg.Insecure() {
		log.Warn("INSECURE setting in use", zap.String("setting", name))
	}
}
