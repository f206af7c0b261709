package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/auth"
)

// Kafka's error codes.
const (
	unsupportedMechanism = 33
	illegalState         = 34
	authenticationFailed = 58
)

func mechanisms(user, password string) map[string]sasl.Mechanism {
	return map[string]sasl.Mechanism{
		auth.Plain:       plain.Auth{User: user, Pass: password}.AsMechanism(),
		auth.ScramSHA256: scram.Auth{User: user, Pass: password}.AsSha256Mechanism(),
		auth.ScramSHA512: scram.Auth{User: user, Pass: password}.AsSha512Mechanism(),
	}
}

// terminating is a world whose gateway has the users, and whose cluster knows
// only the gateway.
func terminating(t *testing.T, u *users, lifetime time.Duration, change ...func(*gateway.Config)) *world {
	t.Helper()
	service := scram.Auth{User: "guardlock", Pass: "service"}.AsSha512Mechanism()
	server := must(auth.NewServer(auth.Config{Mechanisms: []string{auth.Plain, auth.ScramSHA256, auth.ScramSHA512}, Credentials: u.now.Load, SessionLifetime: lifetime}))
	return newWorld(t, setup{
		kafka:   []kfake.Opt{kfake.EnableSASL(), kfake.Superuser(auth.ScramSHA512, "guardlock", "service")},
		service: []kgo.Opt{kgo.SASL(service)},
		cluster: func(c *gateway.ClusterConfig) {
			c.Access = gateway.AccessConfig{Terminate: true, Server: server, Service: service}
		},
		gateway: func(c *gateway.Config) {
			for _, f := range change {
				f(c)
			}
		},
	})
}

func TestTerminatedClientsAreJudgedByTheirNames(t *testing.T) {
	t.Parallel()
	w := terminating(t, newUsers(t, map[string]string{"alice": "a", "bob": "b"}), 0)
	for _, m := range mechanisms("alice", "a") {
		w.allowed(kgo.SASL(m))
	}

	for _, m := range mechanisms("bob", "b") {
		w.refused(kgo.SASL(m))
	}
	if got := w.principals(); len(got) != 2 || !got["User:alice"] || !got["User:bob"] {
		t.Errorf("decisions name %v", got)
	}
}

func TestWrongPasswordsAndUnknownUsersAreNotLetIn(t *testing.T) {
	t.Parallel()
	w := terminating(t, newUsers(t, map[string]string{"alice": "a"}), 0)
	for _, user := range []string{"alice", "nobody", "guardlock"} {
		for _, m := range mechanisms(user, "service") {
			w.unreachable(kgo.SASL(m))
		}
	}

	p := w.peer()
	r := p.login("alice", "wrong", authenticationFailed)
	if r.ErrorMessage == nil || strings.Contains(*r.ErrorMessage, "alice") {
		t.Errorf("the client is told %v", r.ErrorMessage)
	}

	p.closed()
}

// A guess costs its connection and a tenth of a second; a right password costs neither.
func TestGuessingPasswordsIsSlow(t *testing.T) {
	t.Parallel()
	w := terminating(t, newUsers(t, map[string]string{"alice": "a"}), 0)
	for _, user := range []string{"alice", "nobody"} {
		p := w.peer()
		began := time.Now()
		p.login(user, "wrong", authenticationFailed)
		if took := time.Since(began); took < 100*time.Millisecond {
			t.Errorf("a wrong guess for %s was answered after %s", user, took)
		}
		p.closed()
	}
}

func TestTokensAreTakenOverTheGateway(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	key := must(jwk.Import(public))
	set := jwk.NewSet()
	if err := set.AddKey(key); err != nil {
		t.Fatal(err)
	}

	keys := must(auth.ParseKeySet(must(json.Marshal(set))))
	verifier := must(auth.NewVerifier(auth.FixedKeys(func() *auth.KeySet { return keys }), auth.TokenRules{Issuer: "i", Audiences: []string{"kafka"}}, nil))
	server := must(auth.NewServer(auth.Config{Mechanisms: []string{auth.OAuthBearer}, Tokens: verifier}))
	w := newWorld(t, setup{cluster: func(c *gateway.ClusterConfig) {
		c.Access = gateway.AccessConfig{Terminate: true, Server: server}
	}})

	token := func(name, audience string) kgo.Opt {
		tok := must(jwt.NewBuilder().Issuer("i").Audience([]string{audience}).Subject(name).Expiration(time.Now().Add(time.Hour)).Build())
		return kgo.SASL(oauth.Auth{Token: string(must(jwt.Sign(tok, jwt.WithKey(jwa.EdDSA(), private))))}.AsMechanism())
	}

	w.allowed(token("alice", "kafka"))
	w.refused(token("bob", "kafka"))
	w.unreachable(token("alice", "billing"))

	p := w.peer()
	if code := p.handshake(auth.OAuthBearer); code != 0 {
		t.Fatal(code)
	}
	if r := p.token("n,,\x01auth=Bearer a.b.c\x01\x01"); r.ErrorCode != 0 || !strings.Contains(string(r.SASLAuthBytes), "invalid_token") {
		t.Errorf("a bad token is answered with %d %s", r.ErrorCode, r.SASLAuthBytes)
	}
	if r := p.token("\x01"); r.ErrorCode != authenticationFailed {
		t.Errorf("and then with %d", r.ErrorCode)
	}

	p.closed()
}

func TestNothingButAuthenticationPassesBeforeIt(t *testing.T) {
	t.Parallel()
	w := terminating(t, newUsers(t, map[string]string{"alice": "a"}), 0)
	for _, req := range []kmsg.Request{metadata(), kmsg.NewPtrFindCoordinatorRequest(), kmsg.NewPtrInitProducerIDRequest(), kmsg.NewPtrListGroupsRequest()} {
		p := w.peer()
		p.send(req)
		p.closed()

		p = w.peer() // nor between handshake and success
		if code := p.handshake(auth.Plain); code != 0 {
			t.Fatal(code)
		}

		p.send(req)
		p.closed()
	}

	p := w.peer()
	versions := p.ask(kmsg.NewPtrApiVersionsRequest()).(*kmsg.ApiVersionsResponse)
	offered := map[int16]int16{}
	for _, k := range versions.ApiKeys {
		offered[k.ApiKey] = k.MaxVersion
	}

	if offered[17] != 1 || offered[36] != 2 {
		t.Errorf("SASL is offered as %v", offered)
	}
	for _, key := range []int16{38, 39, 40, 41, 50, 51} {
		if _, ok := offered[key]; ok {
			t.Errorf("API %d would act for the gateway's own identity", key)
		}
	}

	p.login("alice", "a", 0)
	p.ask(metadata())
	p.send(&kmsg.DescribeDelegationTokenRequest{Version: 1})
	p.closed()
}

func TestSASLOutOfTurnIsRefused(t *testing.T) {
	t.Parallel()
	w := terminating(t, newUsers(t, map[string]string{"alice": "a"}), 0)
	p := w.peer()
	if r := p.token("\x00alice\x00a"); r.ErrorCode != illegalState {
		t.Errorf("a token before a handshake is answered with %d", r.ErrorCode)
	}

	p.closed()

	p = w.peer()
	if code := p.handshake("GSSAPI"); code != unsupportedMechanism {
		t.Errorf("GSSAPI is answered with %d", code)
	}

	p.login("alice", "a", 0) // a client may choose again

	p = w.peer()
	p.handshake(auth.Plain)
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Version = 1
	req.Mechanism = auth.ScramSHA256
	p.send(req)
	p.closed()
}

func TestHandshakeV0TakesBareTokens(t *testing.T) {
	t.Parallel()
	w := terminating(t, newUsers(t, map[string]string{"alice": "a"}), 0)
	hello := func(p *peer) {
		req := kmsg.NewPtrSASLHandshakeRequest()
		req.Mechanism = auth.Plain
		if r := p.ask(req).(*kmsg.SASLHandshakeResponse); r.ErrorCode != 0 {
			t.Fatal(r.ErrorCode)
		}
	}

	p := w.peer()
	hello(p)
	p.bare("\x00alice\x00a")

	if frame, err := p.frame(); err != nil || len(frame) != 0 {
		t.Fatalf("PLAIN is answered with %d bytes, %v", len(frame), err)
	}
	p.ask(metadata())

	p = w.peer()
	hello(p)
	p.bare("\x00alice\x00wrong")
	p.closed()

	p = w.peer()
	hello(p)
	p.send(metadata()) // is taken for a token
	p.closed()

	p = w.peer()
	hello(p)
	p.bare("")
	p.closed()
}

func TestUnauthenticatedClientsHaveLittleTimeAndRoom(t *testing.T) {
	t.Parallel()
	w := terminating(t, newUsers(t, map[string]string{"alice": "a"}), 0, func(c *gateway.Config) { c.AuthTimeout = time.Second })
	silent := w.peer()
	begun := w.peer()
	slow := w.peer()

	if code := begun.handshake(auth.Plain); code != 0 {
		t.Fatal(code)
	}
	go func() { // a byte at a time, for ever
		for {
			if _, err := slow.Write([]byte{0}); err != nil {
				return
			}
		}
	}()

	silent.closed()
	begun.closed()
	slow.closed()

	w = terminating(t, newUsers(t, map[string]string{"alice": "a"}), 0)
	large := w.peer()
	large.SetDeadline(time.Now().Add(5 * time.Second)) // half of the time that is left to authenticate
	large.Write(binary.BigEndian.AppendUint32(nil, 64<<10+1))
	large.closed()
	p := w.peer()
	p.login("alice", "a", 0)
	req := kmsg.NewPtrMetadataRequest() // now it may be larger
	req.Version = 1

	for range 5000 {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr("a-topic-that-is-not-there")
		req.Topics = append(req.Topics, topic)
	}

	p.ask(req)
}

func TestSessionsEndUnlessRenewed(t *testing.T) {
	t.Parallel()
	u := newUsers(t, map[string]string{"alice": "a", "bob": "b"})
	w := terminating(t, u, 2*time.Second)

	p := w.peer()
	if r := p.login("alice", "a", 0); r.SessionLifetimeMillis != 2000 {
		t.Errorf("the client is told of %d ms", r.SessionLifetimeMillis)
	}

	began := time.Now()
	for time.Since(began) < 2200*time.Millisecond { // past the first end: renewed each time
		p.login("alice", "a", 0)
		p.ask(metadata())
	}

	p.closed() // now it is not

	p = w.peer()
	p.login("alice", "a", 0)
	p.login("bob", "b", authenticationFailed) // as somebody else
	p.closed()
}

func TestStockClientRenewsItsSession(t *testing.T) {
	t.Parallel()
	u := newUsers(t, map[string]string{"alice": "a"})
	logins := 0
	mechanism := plain.Plain(func(context.Context) (plain.Auth, error) { logins++; return plain.Auth{User: "alice", Pass: "a"}, nil })
	w := terminating(t, u, 1200*time.Millisecond) // franz-go renews a second before the end

	c := w.client(kgo.SASL(mechanism))
	for until := time.Now().Add(testTimeout); logins < 6 && time.Now().Before(until); {
		if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}

	if logins < 6 {
		t.Errorf("only %d logins", logins)
	}
}

func TestRemovedUserIsCutOffAtOnce(t *testing.T) {
	t.Parallel()
	u := newUsers(t, map[string]string{"alice": "a", "bob": "b"})
	w := terminating(t, u, 0)
	alice := w.peer()
	bob := w.peer()
	alice.login("alice", "a", 0)
	bob.login("bob", "b", 0)
	u.now.Store(u.now.Load().Without("alice"))
	bob.ask(metadata())
	alice.send(metadata())
	alice.closed()
	u.set("bob", "new")
	bob.send(metadata())
	bob.closed()
}

func TestGatewayLogsInBeforeItsClients(t *testing.T) {
	t.Parallel()
	u := newUsers(t, map[string]string{"alice": "a"})
	server := must(auth.NewServer(auth.Config{Mechanisms: []string{auth.Plain}, Credentials: u.now.Load}))
	w := newWorld(t, setup{
		kafka: []kfake.Opt{kfake.EnableSASL(), kfake.Superuser(auth.Plain, "guardlock", "service")},
		cluster: func(c *gateway.ClusterConfig) {
			c.Access = gateway.AccessConfig{Terminate: true, Server: server, Service: plain.Auth{User: "guardlock", Pass: "wrong"}.AsMechanism()}
		},
	})

	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		return // hung up on before connect had returned
	}

	p := &peer{Conn: conn, t: t}
	defer p.Close()
	p.SetDeadline(time.Now().Add(testTimeout))
	p.Write(kmsg.NewRequestFormatter().AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 1)) // it may be too late for that
	p.closed()
}

func TestEndOfTheGatewaysOwnSessionDrainsItsClient(t *testing.T) {
	t.Parallel()
	u := newUsers(t, map[string]string{"alice": "a"})
	server := must(auth.NewServer(auth.Config{Mechanisms: []string{auth.Plain}, Credentials: u.now.Load}))
	service := plain.Auth{User: "guardlock", Pass: "service"}.AsMechanism()
	w := newWorld(t, setup{
		kafka: []kfake.Opt{kfake.EnableSASL(), kfake.Superuser(auth.Plain, "guardlock", "service"),
			kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "400"})},
		service: []kgo.Opt{kgo.SASL(service)},
		cluster: func(c *gateway.ClusterConfig) {
			c.Access = gateway.AccessConfig{Terminate: true, Server: server, Service: service}
		},
	})

	p := w.peer()
	p.login("alice", "a", 0)
	p.ask(metadata())
	p.closed()

	c := w.client(kgo.SASL(mechanisms("alice", "a")[auth.Plain]))
	for until := time.Now().Add(1200 * time.Millisecond); time.Now().Before(until); { // over several ends
		if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}
