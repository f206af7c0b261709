package auth

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Mapping turns the subject of a client certificate into a name, like Kafka's
// ssl.principal.mapping.rules. It is immutable; nil is the default rule alone.
type Mapping struct {
	rules []mappingRule
}

type mappingRule struct {
	pattern     *regexp.Regexp // nil: DEFAULT, the subject as it is
	replacement string
	fold        byte // 'L', 'U' or 0
}

// ErrNoRule is returned where no rule takes the subject of a certificate. Its
// holder is then nobody, whatever the certificate's issuer.
var ErrNoRule = errors.New("no principal_mapping rule takes the certificate's subject")

// ruleShape is Kafka's RULE:pattern/replacement/[LU]. A backslash keeps the
// slash behind it in the pattern or the replacement.
var ruleShape = regexp.MustCompile(`^RULE:((?:[^/\\]|\\.)*)/((?:[^/\\]|\\.)*)/([LU]?)$`)

// backReference is $1 in a replacement, which becomes ${1}: Go would read $1x
// as the name of a group.
var backReference = regexp.MustCompile(`\$(\d+)`)

// ParseMapping reads rules, the first of which that takes a subject decides:
// "DEFAULT", or "RULE:pattern/replacement/" with L or U behind it to change
// case. Patterns are RE2 and match the whole subject.
func ParseMapping(rules []string) (*Mapping, error) {
	m := &Mapping{}
	for i, r := range rules {
		if r == "DEFAULT" {
			m.rules = append(m.rules, mappingRule{})
			continue
		}

		parts := ruleShape.FindStringSubmatch(r)
		if parts == nil {
			return nil, fmt.Errorf("rule %d: %q is neither DEFAULT nor RULE:pattern/replacement/[LU]", i+1, r)
		}

		pattern, err := regexp.Compile(`^(?:` + parts[1] + `)$`)
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}

		rule := mappingRule{pattern: pattern, replacement: backReference.ReplaceAllString(parts[2], `${$1}`)}
		if parts[3] != "" {
			rule.fold = parts[3][0]
		}

		m.rules = append(m.rules, rule)
	}

	return m, nil
}

// Name names the certificate's holder by the first rule that takes the subject,
// or by the subject itself if there are no rules. It returns ErrNoRule, or
// ErrMessage for what is no name.
func (m *Mapping) Name(cert *x509.Certificate) (string, error) {
	subject, err := distinguishedName(cert.RawSubject)
	if err != nil {
		return "", err
	}
	if m == nil || len(m.rules) == 0 {
		return subject, checkName(subject)
	}

	for _, r := range m.rules {
		if name, ok := r.apply(subject); ok {
			return name, checkName(name)
		}
	}

	return "", ErrNoRule
}

// apply names a subject by this rule. It reports false where the rule is for
// other subjects.
func (r mappingRule) apply(subject string) (string, bool) {
	if r.pattern == nil {
		return subject, true
	}
	at := r.pattern.FindStringSubmatchIndex(subject)
	if at == nil {
		return "", false
	}

	name := string(r.pattern.ExpandString(nil, r.replacement, subject, at))
	switch r.fold {
	case 'L':
		name = strings.ToLower(name)
	case 'U':
		name = strings.ToUpper(name)
	}

	return name, true
}

// The subject's DER, by the definitions of RFC 5280. encoding/asn1 takes the
// element types from these Go names.
type (
	rdnSequence        []relativeNameSET
	relativeNameSET    []attributeTypeValue
	attributeTypeValue struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
)

// attributeNames are the attribute types that Java prints by name in RFC 2253
// form. It prints all others by number.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET", "2.5.4.10": "O", "2.5.4.11": "OU",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID",
}

// distinguishedName prints a subject as Java's X500Principal.getName does, which
// is what Kafka's default principal builder names clients by: RFC 2253, last
// part first.
func distinguishedName(raw []byte) (string, error) {
	var names rdnSequence
	if rest, err := asn1.Unmarshal(raw, &names); err != nil || len(rest) > 0 {
		return "", errors.New("reading the certificate's subject: it is malformed")
	}

	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		if i < len(names)-1 {
			b.WriteByte(',')
		}
		for j, a := range names[i] {
			if j > 0 {
				b.WriteByte('+')
			}
			b.WriteString(a.String())
		}
	}

	return b.String(), nil
}

func (a attributeTypeValue) String() string {
	name, known := attributeNames[a.Type.String()]
	var text string
	if _, err := asn1.Unmarshal(a.Value.FullBytes, &text); err != nil || !known {
		if !known {
			name = a.Type.String()
		}
		return name + "=#" + hex.EncodeToString(a.Value.FullBytes)
	}

	return name + "=" + escapeValue(text)
}

// escapeValue puts a backslash before what RFC 2253 §2.4 reserves, so that no
// value can look like another attribute.
func escapeValue(s string) string {
	var b strings.Builder
	for i, r := range s {
		edge := r == ' ' && (i == 0 || i == len(s)-1)
		switch {
		case r == 0:
			b.WriteString(`\00`)
			continue
		case strings.ContainsRune(`,=+<>#;"\`, r) || edge:
			b.WriteByte('\\')
		}

		b.WriteRune(r)
	}

	return b.String()
}
