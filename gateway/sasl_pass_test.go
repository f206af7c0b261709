package gateway_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/auth"
)

// passing is a world whose cluster authenticates; the gateway reads along.
func passing(t *testing.T, access gateway.AccessConfig, more ...kfake.Opt) *world {
	t.Helper()
	opts := []kfake.Opt{kfake.EnableSASL(), kfake.Superuser(auth.Plain, "guardlock", "service")}
	for _, m := range []string{auth.Plain, auth.ScramSHA256, auth.ScramSHA512} {
		opts = append(opts, kfake.Superuser(m, "alice", "a"), kfake.Superuser(m, "bob", "b"))
	}

	return newWorld(t, setup{
		kafka:   append(opts, more...),
		service: []kgo.Opt{kgo.SASL(plain.Auth{User: "guardlock", Pass: "service"}.AsMechanism())},
		cluster: func(c *gateway.ClusterConfig) { c.Access = access },
	})
}

func TestPassedClientsAreJudgedByTheirNames(t *testing.T) {
	t.Parallel()
	for _, require := range []bool{true, false} {
		w := passing(t, gateway.AccessConfig{Require: require})
		for _, m := range mechanisms("alice", "a") {
			w.allowed(kgo.SASL(m))
		}

		for _, m := range mechanisms("bob", "b") {
			w.refused(kgo.SASL(m))
		}
		for _, m := range mechanisms("alice", "wrong") {
			w.unreachable(kgo.SASL(m))
		}

		if got := w.principals(); len(got) != 2 || !got["User:alice"] || !got["User:bob"] {
			t.Errorf("decisions name %v", got)
		}
	}
}

func TestPassedClientsMustAuthenticateFirstWhereThatIsRequired(t *testing.T) {
	t.Parallel()
	w := passing(t, gateway.AccessConfig{Require: true})
	p := w.peer()
	p.send(metadata())
	p.closed()
	p = w.peer()
	p.ask(kmsg.NewPtrApiVersionsRequest())

	if code := p.handshake(auth.Plain); code != 0 {
		t.Fatal(code)
	}
	p.send(metadata())
	p.closed()
}

func TestClientWithoutSASLIsAnonymousWhereItNeedNotAuthenticate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.refused()
	if got := w.principals(); len(got) != 1 || !got["User:ANONYMOUS"] {
		t.Errorf("decisions name %v", got)
	}
}

func TestOnlyListedMechanismsPass(t *testing.T) {
	t.Parallel()
	w := passing(t, gateway.AccessConfig{Mechanisms: []string{auth.ScramSHA512}})
	p := w.peer()
	if code := p.handshake(auth.Plain); code != unsupportedMechanism {
		t.Errorf("PLAIN is answered with %d", code)
	}
	w.allowed(kgo.SASL(mechanisms("alice", "a")[auth.ScramSHA512]))
}

func TestPassedSessionsAreRenewed(t *testing.T) {
	t.Parallel()
	w := passing(t, gateway.AccessConfig{Require: true}, kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "2000"}))
	p := w.peer()
	if r := p.login("alice", "a", 0); r.SessionLifetimeMillis != 2000 {
		t.Errorf("the client is told of %d ms", r.SessionLifetimeMillis)
	}

	for began := time.Now(); time.Since(began) < 2200*time.Millisecond; {
		p.login("alice", "a", 0)
		p.ask(metadata())
	}
	p.closed() // since it was not renewed
}

// stub is a broker that says what a script makes it say, to the clients that
// come through a gateway.
type stub struct {
	t      *testing.T
	ln     net.Listener
	script func(c *stubConn)
}

type stubConn struct {
	net.Conn
	t *testing.T
}

func newStub(t *testing.T, script func(c *stubConn)) *stub {
	t.Helper()
	s := &stub{t: t, ln: must(net.Listen("tcp", "127.0.0.1:0")), script: script}
	t.Cleanup(func() { s.ln.Close() })
	go func() {
		for {
			c, err := s.ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); script(&stubConn{c, t}) }()
		}
	}()

	return s
}

func (s *stub) Bootstrap() []broker.HostPort {
	return []broker.HostPort{must(broker.ParseHostPort(s.ln.Addr().String()))}
}

func (s *stub) DialNode(ctx context.Context, addr broker.HostPort) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr.String())
}

// frame reads one frame; nil at the end of the connection.
func (c *stubConn) frame() []byte {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil
	}

	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, body); err != nil {
		return nil
	}
	return body
}

func (c *stubConn) say(frame []byte) {
	c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
}

// reply answers a request whose response header is not flexible.
func (c *stubConn) reply(request []byte, resp kmsg.Response) {
	c.say(resp.AppendTo(append([]byte(nil), request[4:8]...)))
}

func key(frame []byte) int16 { return int16(binary.BigEndian.Uint16(frame)) }

// oldBroker takes SaslHandshake v0, then bare tokens: answers to them are
// given, the last one ends the exchange. Metadata is answered with nothing.
func oldBroker(answers ...string) func(c *stubConn) {
	return func(c *stubConn) {
		for f := c.frame(); f != nil; f = c.frame() {
			switch {
			case key(f) == 17 && f[3] == 0:
				c.reply(f, kmsg.NewPtrSASLHandshakeResponse())
				for _, a := range answers {
					if c.frame() == nil {
						return
					}
					c.say([]byte(a))
				}
			case key(f) == 3 && f[3] == 1:
				resp := kmsg.NewPtrMetadataResponse()
				resp.Version = 1
				c.reply(f, resp)
			case key(f) == 0 && f[3] == 3:
				c.reply(f, kmsg.NewPtrProduceResponse())
			default:
				return
			}
		}
	}
}

func bareHello(p *peer, mechanism string) int16 {
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Mechanism = mechanism
	return p.ask(req).(*kmsg.SASLHandshakeResponse).ErrorCode
}

// produceTo asks whether policy knows the client: alice's batch is judged by
// its content, which is malformed, and everybody else's by the binding.
func (p *peer) produceCode() int16 {
	p.t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.Version = 3
	req.Acks = 1
	req.TimeoutMillis = 1000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "t"
	part := kmsg.NewProduceRequestTopicPartition()
	batch := kmsg.RecordBatch{Magic: 2, ProducerID: -1, NumRecords: 1, Records: []byte{0}}
	part.Records = batch.AppendTo(nil)
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)

	return p.ask(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode
}

func TestBareTokensOfHandshakeV0PassAndNameTheClient(t *testing.T) {
	t.Parallel()
	bearer := "n,,\x01auth=Bearer e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"alice"}`)) + ".c2ln\x01\x01"
	for mechanism, exchange := range map[string][]string{ // client, broker, …
		auth.Plain:       {"\x00alice\x00a", ""},
		auth.ScramSHA256: {"n,,n=alice,r=x", "r=xy,s=c2FsdA==,i=4096", "c=biws,r=xy,p=cA==", "v=dg=="},
		auth.OAuthBearer: {bearer, ""},
	} {
		var answers []string
		for i := 1; i < len(exchange); i += 2 {
			answers = append(answers, exchange[i])
		}

		w := newWorld(t, setup{upstream: newStub(t, oldBroker(answers...)), cluster: func(c *gateway.ClusterConfig) { c.Access.Require = true }})
		p := w.peer()
		if code := bareHello(p, mechanism); code != 0 {
			t.Fatal(code)
		}

		for i, msg := range exchange {
			if i%2 == 0 {
				p.bare(msg)
			} else if frame, err := p.frame(); err != nil || string(frame) != msg {
				t.Fatalf("%s: the broker's %q came as %q %v", mechanism, msg, frame, err)
			}
		}

		p.ask(metadata()) // frames again
		if code := p.produceCode(); code != 2 {
			t.Errorf("%s: alice's corrupt batch is answered with %d", mechanism, code)
		}
	}
}

func TestMechanismsWhoseEndCannotBeSeenNeedFrames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{upstream: newStub(t, oldBroker(""))})
	if code := bareHello(w.peer(), "GSSAPI"); code != unsupportedMechanism {
		t.Errorf("bare GSSAPI is answered with %d", code)
	}
}

func TestClientIsNobodyUntilTheBrokerBelievesIt(t *testing.T) {
	t.Parallel()
	// The broker answers SCRAM's first step and then never the second.
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	w := newWorld(t, setup{upstream: newStub(t, func(c *stubConn) {
		for f := c.frame(); f != nil; f = c.frame() {
			switch key(f) {
			case 17:
				resp := kmsg.NewPtrSASLHandshakeResponse()
				resp.Version = 1
				c.reply(f, resp)
			case 36:
				resp := kmsg.NewPtrSASLAuthenticateResponse()
				resp.Version = 1
				resp.SASLAuthBytes = []byte("r=xy,s=c2FsdA==,i=4096")
				c.reply(f, resp)

				if c.frame() != nil {
					<-held
				}
				return
			default:
				return
			}
		}
	})})

	p := w.peer() // SASL is not required here, but it has begun
	if code := p.handshake(auth.ScramSHA256); code != 0 {
		t.Fatal(code)
	}

	p.token("n,,n=alice,r=x")
	req := kmsg.NewPtrSASLAuthenticateRequest()
	req.Version = 1
	req.SASLAuthBytes = []byte("c=biws,r=xy,p=cA==")
	p.send(req)
	p.send(metadata())
	p.closed()
}

func TestTokensOfUnknownMechanismsPassAndLeaveTheClientWithoutAName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{upstream: newStub(t, func(c *stubConn) {
		for f := c.frame(); f != nil; f = c.frame() {
			var resp kmsg.Response
			switch key(f) {
			case 17:
				resp = kmsg.NewPtrSASLHandshakeResponse()
			case 36:
				resp = &kmsg.SASLAuthenticateResponse{SASLAuthBytes: []byte("challenge")}
			case 3:
				resp = kmsg.NewPtrMetadataResponse()
			default:
				return
			}

			resp.SetVersion(1)
			c.reply(f, resp)
		}
	}), cluster: func(c *gateway.ClusterConfig) { c.Access.Require = true }})

	p := w.peer()
	if code := p.handshake("GSSAPI"); code != 0 {
		t.Fatal(code)
	}

	for range 3 {
		if r := p.token("\x60\x01alice"); r.ErrorCode != 0 || string(r.SASLAuthBytes) != "challenge" {
			t.Fatalf("%+v", r)
		}
	}

	p.ask(metadata())
	if code := p.produceCode(); code != 44 {
		t.Errorf("a client without a name is answered with %d", code)
	}
}

func TestChangedPrincipalEndsTheConnectionEvenIfTheBrokerAllowsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{upstream: newStub(t, func(c *stubConn) {
		for f := c.frame(); f != nil; f = c.frame() {
			var resp kmsg.Response = kmsg.NewPtrSASLAuthenticateResponse()
			if key(f) == 17 {
				resp = kmsg.NewPtrSASLHandshakeResponse()
			}
			resp.SetVersion(1)
			c.reply(f, resp)
		}
	})})

	p := w.peer()
	p.login("alice", "a", 0)
	p.login("alice", "a", 0)

	if code := p.handshake(auth.Plain); code != 0 {
		t.Fatal(code)
	}
	req := kmsg.NewPtrSASLAuthenticateRequest()
	req.Version = 1
	req.SASLAuthBytes = []byte("\x00bob\x00b")
	p.send(req)
	p.closed()
}

func TestTokensThatBrokersMightReadDifferentlyDoNotPass(t *testing.T) {
	t.Parallel()
	seen := make(chan struct{}, 1)
	w := newWorld(t, setup{upstream: newStub(t, func(c *stubConn) {
		for f := c.frame(); f != nil; f = c.frame() {
			if key(f) == 36 {
				seen <- struct{}{}
			}
			if key(f) != 17 {
				return
			}

			resp := kmsg.NewPtrSASLHandshakeResponse()
			resp.Version = 1
			c.reply(f, resp)
		}
	})})
	for mechanism, token := range map[string]string{auth.Plain: "bob\x00alice\x00a", auth.ScramSHA256: "n,a=bob,n=alice,r=x"} {
		p := w.peer()
		if code := p.handshake(mechanism); code != 0 {
			t.Fatal(code)
		}
		if r := p.token(token); r.ErrorCode != authenticationFailed {
			t.Errorf("%s is answered with %d", mechanism, r.ErrorCode)
		}

		p.closed()
	}

	select {
	case <-seen:
		t.Error("the broker saw such a token")
	default:
	}
}
