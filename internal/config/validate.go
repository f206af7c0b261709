package config

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/internal/problem"
)

// problems collects what is wrong with a configuration. Each problem has the
// path of the field, as the file spells it.
type problems struct{ problem.List }

func (p *problems) add(path, format string, args ...any) { p.Add(path, format, args...) }

func (p *problems) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.add(path, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
}

var nameShape = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// validate checks everything that needs neither network nor disk and returns
// all problems at once, so that a file is corrected in one go.
func (c *Config) validate() problem.List {
	var p problems
	if !nameShape.MatchString(c.Node) {
		p.add("node", "%q must be 1 to 32 letters, digits, '-' or '_'", c.Node)
	}

	if c.Environment != "" && !nameShape.MatchString(c.Environment) {
		p.add("environment", "%q must be 1 to 32 letters, digits, '-' or '_'", c.Environment)
	}
	if skew := c.Trust.ClockSkew; skew != nil && (*skew < 0 || *skew > time.Hour) {
		p.add("trust.clock_skew", "%s is not between 0s and 1h", *skew)
	}

	for _, d := range []struct {
		path string
		time.Duration
	}{{"trust.max_outage", c.Trust.MaxOutage}, {"trust.max_age", c.Trust.MaxAge}} {
		if d.Duration != 0 && d.Duration < time.Second {
			p.add(d.path, "%s is not at least 1s", d.Duration)
		}
	}

	p.oneOf("unbound_topics", c.UnboundTopics, "refuse", "record", "insecure_pass")
	p.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	p.oneOf("log.format", c.Log.Format, "console", "json")
	c.validateClusters(&p)
	c.validatePorts(&p)
	c.validatePolicy(&p)
	c.validateKeys(&p)
	c.validateModules(&p)
	c.validateBindings(&p)
	c.validateLimits(&p)

	if c.Ops != nil {
		c.Ops.validate(&p)
	}
	c.Audit.Evidence.validate(&p)
	c.Audit.Reconcile.validate(&p, c.Audit.Dir)
	c.Audit.Manifest.validate(&p, c.Trust.Root)
	if _, err := parseRoom(c.Audit.DiskAlarm); err != nil {
		p.add("audit.disk_alarm", "%s", err)
	}

	return p.List
}

func (e *Evidence) validate(p *problems) {
	if e.Every < time.Second || e.Every > time.Hour {
		p.add("audit.evidence.every", "%s is not between 1s and 1h", e.Every)
	}

	for i, w := range e.Witnesses {
		path := fmt.Sprintf("audit.evidence.witnesses[%d]", i)
		p.address(path+".url", w.URL)
		if _, err := evidence.ParseWitness(w.Key); err != nil {
			p.add(path+".key", "%v", err)
		}
	}

	e.Timestamp.validate(p)
}

func (t *Timestamp) validate(p *problems) {
	const path = "audit.evidence.timestamp"
	if t.URL == "" && t.CAFile == "" {
		return
	}
	p.address(path+".url", t.URL)
	if t.CAFile == "" {
		p.add(path+".ca_file", "is missing: a time stamp counts only by the root certificate that it leads to")
	}
	if t.Every < time.Minute {
		p.add(path+".every", "%s is less than 1m", t.Every)
	}
}

// address checks an http or https address. A configuration is kept beside the decision
// log, so that it must hold no secret.
func (p *problems) address(path, address string) {
	u, err := url.Parse(address)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		p.add(path, "%q is no http or https address", address)
	case u.User != nil:
		p.add(path, "must be without a password: a configuration is kept with the decision log, and holds no secret")
	}
}

// validateClusters checks every cluster by itself, and that names are used
// once.
func (c *Config) validateClusters(p *problems) {
	if c.Listen != (Listen{}) || c.Broker != (Broker{}) {
		p.add("listen, broker", "give either these or clusters, not both")
	}
	seen := map[string]bool{}
	for i, cl := range c.Clusters {
		path := c.clusterPath(i)
		if !nameShape.MatchString(cl.Name) {
			p.add(path+"name", "%q must be 1 to 32 letters, digits, '-' or '_'", cl.Name)
		}
		if seen[cl.Name] {
			p.add(path+"name", "%q is used twice", cl.Name)
		}

		seen[cl.Name] = true
		cl.Listen.validate(p, path+"listen")
		cl.Broker.validate(p, path+"broker")

		if s := cl.Listen.SASL; s != nil && s.Mode == ModePassthrough && cl.Broker.Embedded != nil {
			p.add(path+"listen.sasl.mode", "the embedded broker knows no users; use terminate")
		}
	}
}

// validate checks a listener. One that listens everywhere must say what clients
// are to be told.
func (l Listen) validate(p *problems, path string) {
	host, port, err := net.SplitHostPort(l.Address)
	if err != nil {
		p.add(path+".address", "%q is not host:port", l.Address)
		return
	}

	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		p.add(path+".address", "%q is not a port", port)
	}
	if ip := net.ParseIP(host); l.AdvertisedHost == "" && l.SNI == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		p.add(path+".advertised_host", "is needed, since %s listens on every address: clients must be told one", l.Address)
	}
	if _, _, err := ParseNodeIDs(l.NodeIDs); err != nil {
		p.add(path+".node_ids", "%v", err)
	}
	if l.FirstNodePort < 0 || l.FirstNodePort > 65535 {
		p.add(path+".first_node_port", "%d is not a port", l.FirstNodePort)
	}
	if t := l.TLS; t != nil && (t.CertFile == "" || t.KeyFile == "") {
		p.add(path+".tls", "needs cert_file and key_file")
	}

	l.validateAccess(p, path)
}

func (b Broker) validate(p *problems, path string) {
	switch {
	case b.Embedded == nil && b.Upstream == nil:
		p.add(path, "say where records go: embedded: {} for the built-in broker, or upstream: {bootstrap: [host:port]}")
	case b.Embedded != nil && b.Upstream != nil:
		p.add(path, "give either embedded or upstream, not both")
	case b.Embedded != nil:
		if b.Embedded.Partitions < 1 || b.Embedded.Partitions > 1000 {
			p.add(path+".embedded.partitions", "%d is not between 1 and 1000", b.Embedded.Partitions)
		}
	default:
		b.Upstream.validate(p, path+".upstream")
	}
}

// validate checks the addresses of a cluster, and that what the gateway
// authenticates there with is complete.
func (u Upstream) validate(p *problems, path string) {
	if len(u.Bootstrap) == 0 {
		p.add(path+".bootstrap", "needs at least one host:port")
	}
	for i, a := range u.Bootstrap {
		if _, _, err := net.SplitHostPort(a); err != nil {
			p.add(fmt.Sprintf("%s.bootstrap[%d]", path, i), "%q is not host:port", a)
		}
	}

	if s := u.SASL; s != nil {
		p.oneOf(path+".sasl.mechanism", s.Mechanism, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
		if s.Username == "" || s.PasswordFile == "" {
			p.add(path+".sasl", "needs username and password_file")
		}
	}

	if t := u.TLS; t != nil && (t.CertFile == "") != (t.KeyFile == "") {
		p.add(path+".tls", "cert_file and key_file go together")
	}
}

// ParseNodeIDs reads a range of broker ids, such as "0-63", or one id, such as
// "5", which is both ends of its range.
func ParseNodeIDs(s string) (lo, hi int32, err error) {
	first, last, ranged := strings.Cut(s, "-")
	if !ranged {
		last = first
	}

	a, errA := strconv.ParseInt(first, 10, 32)
	b, errB := strconv.ParseInt(last, 10, 32)
	if errA != nil || errB != nil || a < 0 || b < a || b-a > 4095 {
		return 0, 0, fmt.Errorf("%q is not a range of at most 4096 broker ids, like 0-63", s)
	}

	return int32(a), int32(b), nil
}

// validatePolicy checks the keys of a signed policy, which must then be a
// bundle.
func (c *Config) validatePolicy(p *problems) {
	seen := map[string]bool{}
	for i, k := range c.Policy.Keys {
		path := fmt.Sprintf("policy.keys[%d]", i)
		if k.ID == "" || k.File == "" {
			p.add(path, "needs id and file")
		}
		if seen[k.ID] {
			p.add(path+".id", "%q is used twice", k.ID)
		}

		seen[k.ID] = true
		p.oneOf(path+".algorithm", k.Algorithm, "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
	}

	if len(seen) != 0 && !strings.HasSuffix(c.Policy.Path, ".tar.gz") {
		p.add("policy.path", "must be a bundle (.tar.gz), since keys verify it: a directory has no signature")
	}
}

func (c *Config) validateKeys(p *problems) {
	seen := map[string]bool{}
	for i, k := range c.Keys {
		path := fmt.Sprintf("keys[%d]", i)
		if !nameShape.MatchString(k.Name) || seen[k.Name] {
			p.add(path+".name", "%q must be a name of its own", k.Name)
		}
		if k.File == "" {
			p.add(path+".file", "is needed")
		}

		seen[k.Name] = true
	}
}

// validateModules checks that every module has a name of its own and all the
// files without which it would be refused.
func (c *Config) validateModules(p *problems) {
	if len(c.Modules) > 0 && c.Trust.Root == "" {
		p.add("trust.root", "is needed: without it no module can be approved")
	}
	seen := map[string]bool{}
	for i, m := range c.Modules {
		path := fmt.Sprintf("modules[%d]", i)
		if !nameShape.MatchString(m.Name) || seen[m.Name] {
			p.add(path+".name", "%q must be a name of its own", m.Name)
		}

		seen[m.Name] = true
		if m.Wasm == "" {
			p.add(path+".wasm", "is needed")
		}
		if m.Signature == "" {
			p.add(path+".signature", "is needed")
		}
		if len(m.Approvals) == 0 {
			p.add(path+".approvals", "needs at least one approval file")
		}

		for _, name := range slices.Sorted(maps.Keys(m.Tables)) {
			if name == "" || m.Tables[name] == "" {
				p.add(path+".tables", "a table has a name and a file")
			}
		}
	}
}

func (c *Config) validateLimits(p *problems) {
	l := c.Limits
	if l.MaxFrame < 0 || l.MaxFrame > 127<<20 {
		p.add("limits.max_frame", "%d is not between 0 and %d", l.MaxFrame, 127<<20)
	}
	if l.MaxBatch < 0 || l.Memory < 0 || l.MaxConnections < 0 {
		p.add("limits", "negative values make no sense")
	}
	if l.MaxConnectionAge != 0 && l.MaxConnectionAge < time.Second {
		p.add("limits.max_connection_age", "%s is not at least 1s", l.MaxConnectionAge)
	}
	if l.ReasonsPerHour < 1 {
		p.add("limits.reasons_per_hour", "%d is not at least 1", l.ReasonsPerHour)
	}

	l.Suspend.validate(p)
}

// maxFailures bounds what is remembered of each client.
const maxFailures = 100

func (s Suspend) validate(p *problems) {
	if s.Failures < 1 || s.Failures > maxFailures {
		p.add("limits.suspend.failures", "%d is not between 1 and %d", s.Failures, maxFailures)
	}
	if s.Window < time.Second || s.Window > time.Hour {
		p.add("limits.suspend.window", "%s is not between 1s and 1h", s.Window)
	}
	if s.Pause < 100*time.Millisecond || s.Pause > s.LongestPause {
		p.add("limits.suspend.pause", "%s is not between 100ms and the longest pause, %s", s.Pause, s.LongestPause)
	}
	if s.LongestPause > time.Hour {
		p.add("limits.suspend.longest_pause", "%s is longer than 1h", s.LongestPause)
	}
}
