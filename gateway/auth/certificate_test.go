package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func certificate(t *testing.T, subject pkix.RDNSequence) *x509.Certificate {
	t.Helper()
	raw, err := asn1.Marshal(subject)
	if err != nil {
		t.Fatal(err)
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	template := &x509.Certificate{SerialNumber: big.NewInt(1), RawSubject: raw, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}

	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}

	return cert
}

func attribute(oid asn1.ObjectIdentifier, value any) pkix.RelativeDistinguishedNameSET {
	return pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}}
}

// Object identifiers of attributes.
var (
	oidCN     = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidSerial = asn1.ObjectIdentifier{2, 5, 4, 5}
	oidC      = asn1.ObjectIdentifier{2, 5, 4, 6}
	oidO      = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidOU     = asn1.ObjectIdentifier{2, 5, 4, 11}
	oidDC     = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
	oidEmail  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
)

// The expected names were printed by Java 17's X500Principal.getName for these
// very subjects. With GUARDLOCK_CERTIFICATES set to a directory, the
// certificates are left there, to print them again.
func TestCertificateNamesAreThoseOfKafka(t *testing.T) {
	both := append(attribute(oidCN, "svc"), attribute(oidOU, "a")...)
	for i, c := range []struct {
		subject pkix.RDNSequence
		want    string
	}{
		{pkix.RDNSequence{attribute(oidC, "DE"), attribute(oidO, "Example GmbH"), attribute(oidOU, "Payments"), attribute(oidCN, "alice")},
			"CN=alice,OU=Payments,O=Example GmbH,C=DE"},
		{pkix.RDNSequence{attribute(oidO, `Acme, "Inc" + <x>; a=b #1 \ `), attribute(oidCN, " #lead")},
			`CN=\ \#lead,O=Acme\, \"Inc\" \+ \<x\>\; a\=b \#1 \\\ `},
		{pkix.RDNSequence{attribute(oidDC, asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte("example")}), attribute(oidCN, "Jürgen")},
			"CN=Jürgen,DC=example"},
		{pkix.RDNSequence{both}, "OU=a+CN=svc"},
		{pkix.RDNSequence{attribute(oidSerial, "42"), attribute(oidEmail, asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte("a@b")}), attribute(oidCN, "x")},
			"CN=x,1.2.840.113549.1.9.1=#1603614062,2.5.4.5=#13023432"},
	} {
		cert := certificate(t, c.subject)
		if dir := os.Getenv("GUARDLOCK_CERTIFICATES"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)+".der"), cert.Raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}

		if got, err := (*Mapping)(nil).Name(cert); err != nil || got != c.want {
			t.Errorf("got %s %v, want %s", got, err, c.want)
		}
	}
}

func TestMappingRulesAreThoseOfKafka(t *testing.T) {
	cert := certificate(t, pkix.RDNSequence{attribute(oidO, "Org"), attribute(oidOU, "ServiceUsers"), attribute(oidCN, "Svc-1")})
	for _, c := range []struct {
		rules []string
		want  string
	}{
		{nil, "CN=Svc-1,OU=ServiceUsers,O=Org"},
		{[]string{"DEFAULT"}, "CN=Svc-1,OU=ServiceUsers,O=Org"},
		{[]string{`RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/`}, "Svc-1"},
		{[]string{`RULE:CN=(.*?),.*/$1x/L`}, "svc-1x"},
		{[]string{`RULE:CN=(.*?),OU=(.*?),.*/$1@$2/U`, "DEFAULT"}, "SVC-1@SERVICEUSERS"},
		{[]string{`RULE:CN=admin,.*/admin/`, "DEFAULT"}, "CN=Svc-1,OU=ServiceUsers,O=Org"},
	} {
		m, err := ParseMapping(c.rules)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.Name(cert); err != nil || got != c.want {
			t.Errorf("%q: got %s %v, want %s", c.rules, got, err, c.want)
		}
	}
}

func TestSubjectThatNoRuleTakesIsNobody(t *testing.T) {
	m, err := ParseMapping([]string{`RULE:CN=alice/alice/`})
	if err != nil {
		t.Fatal(err)
	}

	_, err = m.Name(certificate(t, pkix.RDNSequence{attribute(oidCN, "alice2")}))
	wantError(t, err, ErrNoRule)
	_, err = (*Mapping)(nil).Name(certificate(t, nil))
	wantError(t, err, ErrMessage)
}

func TestMalformedMappingRulesAreRefused(t *testing.T) {
	for _, r := range []string{"", "default", "RULE:a/b", "RULE:a/b/X", "RULE:(/b/", "RULE:a/b/L,DEFAULT"} {
		if _, err := ParseMapping([]string{r}); err == nil {
			t.Errorf("%q was taken", r)
		}
	}
}
