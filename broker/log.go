package broker

import (
	"bytes"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// maxLogLine bounds what one line of the child may take in the gateway's log; the rest of a longer line is dropped.
const maxLogLine = 4096

// lineLog is the child's standard error: each line becomes one log entry. It belongs to the one goroutine that copies.
type lineLog struct {
	log  *zap.Logger
	line []byte
}

// Write takes any split of the stream and never fails: a child whose standard error is not read would stop.
func (l *lineLog) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			l.keep(p)
			return n, nil
		}

		l.keep(p[:i])
		l.flush()
		p = p[i+1:]
	}
}

func (l *lineLog) keep(p []byte) {
	l.line = append(l.line, p[:min(len(p), maxLogLine-len(l.line))]...)
}

// flush logs the line that is held. It is called once more when the child has ended, whose last line may have no end.
func (l *lineLog) flush() {
	if len(l.line) == 0 {
		return
	}
	level, text := splitLevel(string(l.line))
	l.log.Log(level, text, zap.String("source", "embedded broker"))
	l.line = l.line[:0]
}

// splitLevel reads the level that childLog wrote. A line without one is a crash's trace: an error.
func splitLevel(line string) (zapcore.Level, string) {
	if len(line) > 4 {
		switch line[:4] {
		case "ERR ":
			return zap.ErrorLevel, line[4:]
		case "WRN ":
			return zap.WarnLevel, line[4:]
		case "INF ":
			return zap.InfoLevel, line[4:]
		case "DBG ":
			return zap.DebugLevel, line[4:]
		}
	}
	return zap.ErrorLevel, line
}
