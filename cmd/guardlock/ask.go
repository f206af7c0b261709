package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/kafka"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/ops"
)

// askFlags are how a running gateway is asked, and by whom.
type askFlags struct {
	urls                 []string
	token, ca, cert, key string
}

func (o *askFlags) register(f *pflag.FlagSet) {
	f.StringArrayVar(&o.urls, "url", nil, "`URL` of the gateway's ops listener, as http://127.0.0.1:9099")
	f.StringVar(&o.token, "token-file", "", "`FILE` with the bearer token")
	f.StringVar(&o.ca, "ca", "", "PEM `FILE` of the authorities to trust instead of the system's")
	f.StringVar(&o.cert, "cert", "", "PEM `FILE` of the client certificate, with --key")
	f.StringVar(&o.key, "key", "", "PEM `FILE` of the client certificate's key")
}

// asker asks one gateway.
type asker struct {
	url    string
	token  string
	client *http.Client
}

const (
	askWithin = 10 * time.Second
	maxStatus = 64 << 20 // bytes
)

// asker reads the files that the flags name.
func (o *askFlags) asker(ctx context.Context) (*asker, error) {
	if len(o.urls) != 1 {
		return nil, exit.Usagef("give one --url")
	}

	a := &asker{url: o.urls[0]}
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.token != "" {
		raw, err := disk.ReadPrivateInput(ctx, o.token)
		if err != nil {
			return nil, err
		}
		a.token = string(bytes.TrimSpace(raw))
	}

	if o.ca != "" {
		raw, err := disk.ReadInput(ctx, o.ca, disk.MaxBytes)
		if err != nil {
			return nil, err
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("%s holds no PEM certificate", o.ca)
		}
	}

	if (o.cert == "") != (o.key == "") {
		return nil, exit.Usagef("--cert and --key go together")
	}
	if o.cert != "" {
		pair, err := kafka.KeyPair(ctx, o.cert, o.key)
		if err != nil {
			return nil, fmt.Errorf("reading --cert and --key: %w", err)
		}
		secure.Certificates = []tls.Certificate{pair}
	}

	a.client = &http.Client{Timeout: askWithin, Transport: &http.Transport{TLSClientConfig: secure}}
	return a, nil
}

// urlOf is where the gateway of a configuration answers on its own machine.
func urlOf(o *config.Ops) string {
	scheme := "http"
	if o.TLS != nil {
		scheme = "https"
	}
	host, port, _ := net.SplitHostPort(o.Address) // validated
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

func (a *asker) status(ctx context.Context) (*ops.Status, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(a.url, "/")+"/status", nil)
	if err != nil {
		return nil, exit.Usagef("--url: %v", err)
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}

	resp, err := a.client.Do(req)
	if err != nil {
		return nil, exit.WithHint(err, "is the gateway running, and is that its ops.address?")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", a.url, resp.Status)
	}

	var s ops.Status
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxStatus)).Decode(&s); err != nil {
		return nil, fmt.Errorf("reading the status: %w", err)
	}
	return &s, nil
}
