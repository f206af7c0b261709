// Package kafka holds the commands that talk to a gateway or a broker as any
// client does: produce, consume and topic.
//
// Trust: a server's answers are printed escaped and decide nothing else.
package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

// ClientFlags say how the client commands reach a broker or a gateway, and who
// they are there.
type ClientFlags struct {
	bootstrap    []string
	timeout      time.Duration
	tls          bool
	ca           string
	cert         string
	key          string
	mechanism    string
	username     string
	passwordFile string
	plainText    bool
}

const defaultBootstrap = "127.0.0.1:9092"

// Register adds the flags to a command. The default of --bootstrap may come
// from the environment.
func (f *ClientFlags) Register(cmd *cobra.Command) {
	bootstrap := defaultBootstrap
	if env := os.Getenv("GUARDLOCK_BOOTSTRAP"); env != "" {
		bootstrap = env
	}

	fl := cmd.Flags()
	fl.StringSliceVarP(&f.bootstrap, "bootstrap", "b", strings.Split(bootstrap, ","), "`HOST:PORT` of a gateway or broker, several with commas (env GUARDLOCK_BOOTSTRAP)")
	fl.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long to wait for the first answer of a broker")
	fl.BoolVar(&f.tls, "tls", false, "connect with TLS; implied by --ca and --cert")
	fl.StringVar(&f.ca, "ca", "", "PEM `FILE` of the authorities to trust instead of the system's")
	fl.StringVar(&f.cert, "cert", "", "PEM `FILE` of the client certificate, with --key")
	fl.StringVar(&f.key, "key", "", "PEM `FILE` of the client certificate's key")
	fl.StringVar(&f.mechanism, "sasl-mechanism", "", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	fl.StringVar(&f.username, "username", "", "SASL user name")
	fl.StringVar(&f.passwordFile, "password-file", "", "`FILE` with the SASL password (env GUARDLOCK_SASL_PASSWORD)")
	fl.BoolVar(&f.plainText, "insecure-plain-password", false, "send a PLAIN password without TLS to another machine")
}

// Connect makes a client and proves that one broker answers, so that a wrong
// address or password is a plain error now and not a retry loop later.
// The caller closes the client. The tap may be nil.
func (f *ClientFlags) Connect(ctx context.Context, tap *Tap, more ...kgo.Opt) (*kgo.Client, error) {
	opts, err := f.options(ctx, tap)
	if err != nil {
		return nil, err
	}

	client, err := kgo.NewClient(append(opts, more...)...)
	if err != nil {
		return nil, exit.Usagef("making the client: %w", err)
	}

	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, f.explain(err)
	}

	return client, nil
}

// admin is Connect for the commands that only ask and configure. The caller
// closes it.
func (f *ClientFlags) admin(ctx context.Context) (*kadm.Client, error) {
	client, err := f.Connect(ctx, nil)
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(client), nil
}

func (f *ClientFlags) explain(err error) error {
	err = fmt.Errorf("connecting to %s: %w", strings.Join(f.bootstrap, ","), err)
	var unknownCA x509.UnknownAuthorityError
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return exit.WithHint(err, "check --username and --password-file") // nothing was asked, and of some commands exit.Refused is an answer
	case errors.As(err, &unknownCA):
		return exit.WithHint(err, "give the authority that signed the server's certificate with --ca")
	case f.usesTLS() && !errors.Is(err, syscall.ECONNREFUSED):
		return exit.WithHint(err, "does that port speak TLS? If not, leave out --tls, --ca and --cert")
	}

	return exit.WithHint(err, "is it running there? give the address with --bootstrap; `guardlock demo` starts a chain on this machine")
}

func (f *ClientFlags) options(ctx context.Context, tap *Tap) ([]kgo.Opt, error) {
	dial, err := f.dialer(ctx)
	if err != nil {
		return nil, err
	}

	mechanism, err := f.sasl(ctx)
	if err != nil {
		return nil, err
	}
	if tap != nil {
		dial = tap.Wrap(dial)
	}

	opts := []kgo.Opt{
		kgo.SeedBrokers(f.bootstrap...),
		kgo.ClientID("guardlock-cli"),
		kgo.Dialer(dial),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.RetryTimeout(f.timeout),
		kgo.DisableClientMetrics(), // what a command measures of itself is nobody's business
	}

	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

// dialFunc is the shape of the function that kgo dials with.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f *ClientFlags) dialer(ctx context.Context) (dialFunc, error) {
	plain := &net.Dialer{Timeout: f.timeout}
	if !f.usesTLS() {
		return plain.DialContext, nil
	}

	config, err := f.tlsConfig(ctx)
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{NetDialer: plain, Config: config}).DialContext, nil
}

func (f *ClientFlags) usesTLS() bool { return f.tls || f.ca != "" || f.cert != "" || f.key != "" }

func (f *ClientFlags) tlsConfig(ctx context.Context) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := disk.ReadInput(ctx, f.ca, disk.MaxBytes)
		if err != nil {
			return nil, fmt.Errorf("reading --ca: %w", err)
		}

		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading --ca: no certificate in %s", f.ca)
		}
	}

	if (f.cert == "") != (f.key == "") {
		return nil, exit.Usagef("--cert and --key go together")
	}
	if f.cert != "" {
		pair, err := KeyPair(ctx, f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("reading --cert and --key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}

	return config, nil
}

// KeyPair reads a client certificate and its key, which must be closed to others.
func KeyPair(ctx context.Context, certFile, keyFile string) (tls.Certificate, error) {
	cert, err := disk.ReadInput(ctx, certFile, disk.MaxBytes)
	if err != nil {
		return tls.Certificate{}, err
	}

	key, err := disk.ReadPrivateInput(ctx, keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// sasl returns the mechanism that the flags ask for, or nil if they ask for
// none.
func (f *ClientFlags) sasl(ctx context.Context) (sasl.Mechanism, error) {
	mechanism := strings.ToUpper(f.mechanism)
	if mechanism == "" {
		if f.username != "" {
			return nil, exit.WithHint(exit.Usagef("--username without --sasl-mechanism"), "for example --sasl-mechanism SCRAM-SHA-256")
		}
		return nil, nil
	}

	password, err := f.password(ctx)
	if err != nil {
		return nil, err
	}

	switch mechanism {
	case "PLAIN":
		if err := f.mayShowPassword(); err != nil {
			return nil, err
		}
		return plain.Auth{User: f.username, Pass: password}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: f.username, Pass: password}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: f.username, Pass: password}.AsSha512Mechanism(), nil
	}

	return nil, exit.Usagef("--sasl-mechanism %q is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", f.mechanism)
}

// password reads the password from a file or the environment. It never comes
// from a flag: other users of the machine see those.
func (f *ClientFlags) password(ctx context.Context) (string, error) {
	if f.username == "" {
		return "", exit.Usagef("--sasl-mechanism without --username")
	}
	if f.passwordFile == "" {
		if env, ok := os.LookupEnv("GUARDLOCK_SASL_PASSWORD"); ok {
			return env, nil
		}
		return "", exit.WithHint(exit.Usagef("no password for %s", f.username), "give --password-file, or set GUARDLOCK_SASL_PASSWORD")
	}

	raw, err := disk.ReadPrivateInput(ctx, f.passwordFile)
	if err != nil {
		return "", fmt.Errorf("reading --password-file: %w", err)
	}

	return strings.TrimRight(string(raw), "\r\n"), nil
}

// mayShowPassword keeps a PLAIN password off the wire between machines, unless
// a flag asks for it.
func (f *ClientFlags) mayShowPassword() error {
	if f.usesTLS() || f.plainText {
		return nil
	}
	for _, address := range f.bootstrap {
		if !isLoopback(address) {
			return exit.WithHint(exit.Usagef("PLAIN would send the password to %s readable by anyone on the way", address),
				"add --tls, use SCRAM-SHA-256, or say --insecure-plain-password")
		}
	}

	return nil
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// topicError wraps an error about a topic. For one that is missing it names how
// to make it.
func topicError(doing, topic string, err error) error {
	if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
		return exit.WithHint(exit.NotFoundf("%s: topic %q does not exist", doing, topic), "make it with `guardlock topic create %s`, or see `guardlock topic list`", topic)
	}
	if errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed) || errors.Is(err, kerr.PolicyViolation) {
		err = exit.WithCode(err, exit.Refused)
	}
	return exit.WithCode(fmt.Errorf("%s %q: %w", doing, topic, err), exit.CodeOf(err))
}
