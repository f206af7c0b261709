// Package ops is where a gateway is watched: an HTTP listener of its own for
// metrics, health and status. What it shows comes from a Source; it changes
// nothing.
//
//	/livez         the process answers
//	/readyz        clients are served; if not, what is missing
//	/metrics       Prometheus or OpenMetrics text (docs/metrics.md)
//	/status        JSON: Status
//	/debug/pprof/  profiles, if asked for
//
// Trust: whoever connects is hostile. Beyond loopback all but a yes or no of the
// first two needs a bearer token or a client certificate. Nothing of records,
// principals or client ids is shown to anybody.
package ops

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Source is the gateway that is watched. All of it may be called at any time, also
// concurrently, and none of it may wait for clients, brokers or the disk's flushes.
type Source interface {
	// Measure gives the values of metrics.
	Measure(to *Samples)
	// Status says what runs.
	Status() Status
	// Missing says why the gateway is not ready; nothing means that it is.
	Missing() []string
	// Refusing says which bindings take nothing, and why. Others are served.
	Refusing() []string
	// DecisionID names the decision with a number.
	DecisionID(seq uint64) string
}

// Config is how a Listener is reached, and by whom.
type Config struct {
	TLS    *tls.Config   // nil: plaintext
	Token  func() []byte // what must follow "Bearer "; nil: none is asked for
	Mutual bool          // a client certificate that TLS verified will do
	Pprof  bool
}

// The bounds of a request, which has no content and few headers.
const (
	headerBytes  = 16 << 10
	readWithin   = 10 * time.Second
	writeWithin  = time.Minute // a profile of half of it comes through
	idleWithin   = 2 * time.Minute
	atOnce       = 4 // scrapes
	scrapeWithin = 20 * time.Second
	closeWithin  = 2 * time.Second
)

// Listener serves one gateway's operators.
type Listener struct {
	cfg    Config
	from   Source
	ln     net.Listener
	server *http.Server
}

// New makes a listener of a socket that is open. Nothing is answered before Run.
func New(ln net.Listener, cfg Config, from Source) *Listener {
	l := &Listener{cfg: cfg, from: from, ln: ln}
	l.server = &http.Server{
		Handler:           l.routes(),
		ReadHeaderTimeout: readWithin,
		ReadTimeout:       readWithin,
		WriteTimeout:      writeWithin,
		IdleTimeout:       idleWithin,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          log.New(nothing{}, "", 0), // it would tell of each port scan
	}
	return l
}

type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }

// URL is where the listener answers.
func (l *Listener) URL() string {
	scheme := "http"
	if l.cfg.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + l.ln.Addr().String()
}

// Close ends a listener that was not run.
func (l *Listener) Close() error { return l.ln.Close() }

// Run answers until ctx ends.
func (l *Listener) Run(ctx context.Context) error {
	ended := context.AfterFunc(ctx, func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
		defer cancel()
		if l.server.Shutdown(closing) != nil {
			l.server.Close()
		}
	})
	defer ended()

	ln := l.ln
	if l.cfg.TLS != nil {
		ln = tls.NewListener(ln, l.cfg.TLS)
	}
	if err := l.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving operators: %w", err)
	}
	return nil
}

func (l *Listener) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", l.ready)
	mux.Handle("GET /metrics", l.known(promhttp.HandlerFor(newRegistry(l.from), promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: atOnce,
		Timeout:             scrapeWithin,
	})))
	mux.Handle("GET /status", l.known(http.HandlerFunc(l.status)))

	if l.cfg.Pprof {
		mux.Handle("GET /debug/pprof/", l.known(http.HandlerFunc(pprof.Index)))
		mux.Handle("GET /debug/pprof/profile", l.known(http.HandlerFunc(pprof.Profile)))
		mux.Handle("GET /debug/pprof/symbol", l.known(http.HandlerFunc(pprof.Symbol)))
		mux.Handle("GET /debug/pprof/trace", l.known(http.HandlerFunc(pprof.Trace)))
	}

	return mux
}

// ready tells everybody yes or no, and what is missing to whom that concerns.
func (l *Listener) ready(w http.ResponseWriter, r *http.Request) {
	missing := l.from.Missing()
	code := http.StatusOK
	lines := []string{"ready"}
	if len(missing) > 0 {
		code = http.StatusServiceUnavailable
		lines[0] = "not ready"
	}

	if l.allowed(r) {
		lines = append(lines, missing...)
		lines = append(lines, l.from.Refusing()...)
	}
	say(w, code, strings.Join(lines, "\n")+"\n")
}

func (l *Listener) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(l.from.Status()) // who has gone does not read it
}

func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	w.Write([]byte(text)) // the same
}

// known lets through who may see more than a yes or no.
func (l *Listener) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.allowed(r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			say(w, http.StatusUnauthorized, "a bearer token or a client certificate is needed\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowed reports whether the client has shown what is asked for: either of both,
// where both are.
func (l *Listener) allowed(r *http.Request) bool {
	if l.cfg.Token == nil && !l.cfg.Mutual {
		return true
	}
	if l.cfg.Mutual && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	if l.cfg.Token == nil {
		return false
	}

	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(token), l.cfg.Token()) == 1
}
