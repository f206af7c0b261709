package modules_test

import (
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/netip"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// textRule is a rule as the reference reads it. It says what must become of a
// plain text, wherever that stood; false when the rule cannot read it.
type textRule struct {
	config string // what the rule says besides its place
	apply  func(string) (string, bool)
}

func always(f func(string) string) func(string) (string, bool) {
	return func(s string) (string, bool) { return f(s), true }
}

// textRules are rules of each kind.
var textRules = []textRule{
	{`"action":"redact"`, always(func(string) string { return "[redacted]" })},
	{`"action":"hash"`, always(func(s string) string { return hex.EncodeToString(mac(0, []byte(s))) })},
	{`"action":"pseudonymise","purpose":"shop"`, always(refPseudonym)},
	{`"action":"mask"`, always(func(s string) string { return refMask(s, 0) })},
	{`"action":"mask","keep_last":3`, always(func(s string) string { return refMask(s, 3) })},
	{`"action":"mask","as":"email"`, always(refMaskEmail)},
	{`"action":"mask","as":"card"`, always(refMaskCard)},
	{`"action":"mask","as":"iban"`, always(refMaskIBAN)},
	{`"action":"mask","as":"phone"`, always(refMaskPhone)},
	{`"action":"generalise","to":"year"`, refDate(func(t time.Time) string { return t.Format("2006") })},
	{`"action":"generalise","to":"month"`, refDate(func(t time.Time) string { return t.Format("2006-01") })},
	{`"action":"generalise","to":"day"`, refDate(func(t time.Time) string { return t.Format("2006-01-02") })},
	{`"action":"generalise","to":"decade"`, refDate(func(t time.Time) string { return t.Format("2006")[:3] + "0s" })},
	{`"action":"generalise","to":"network"`, refNetwork},
	{`"action":"generalise","step":10`, refStep10(nil, nil)},
	{`"action":"generalise","step":7,"min":-20,"max":90`, refSteps(7, big.NewInt(-20), big.NewInt(90))},
	{`"action":"generalise","step":1000000000,"max":5`, refSteps(1000000000, nil, big.NewInt(5))},
}

func refPseudonym(s string) string {
	sum := mac(0, []byte("\x04shop"+s))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum)[:26])
}

func refMask(s string, keep int) string {
	runes := []rune(s)
	hidden := len(runes)
	if hidden > keep {
		hidden -= keep
	}
	return strings.Repeat("*", hidden) + string(runes[hidden:])
}

func refMaskEmail(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at < 1 {
		return "***"
	}
	first := ""
	if utf8.RuneCountInString(s[:at]) >= 4 {
		_, size := utf8.DecodeRuneInString(s)
		first = s[:size]
	}
	return first + "***" + s[at:]
}

var (
	cardForm = regexp.MustCompile(`^[0-9 -]*$`)
	ibanForm = regexp.MustCompile(`^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$`)
	noDigits = regexp.MustCompile(`[^0-9]`)
	jsonNum  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	dateForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}($|[Tt ])`)
)

// refLuhn doubles every second digit from the right and adds up digits.
func refLuhn(digits string) bool {
	sum := 0
	for i := range digits {
		v := int(digits[len(digits)-1-i]-'0') * (1 + i%2)
		sum += v/10 + v%10
	}
	return sum%10 == 0
}

func refMaskCard(s string) string {
	digits := noDigits.ReplaceAllString(s, "")
	if !cardForm.MatchString(s) || len(digits) < 12 || len(digits) > 19 || !refLuhn(digits) {
		return "****"
	}
	shown := ""
	if len(digits) >= 16 {
		shown = digits[:6]
	}
	return shown + strings.Repeat("*", len(digits)-len(shown)-4) + digits[len(digits)-4:]
}

// refIBAN tells whether the check digits hold, by the number itself.
func refIBAN(s string) bool {
	if !ibanForm.MatchString(s) {
		return false
	}
	var digits strings.Builder
	for _, c := range s[4:] + s[:4] {
		if c >= 'A' {
			fmt.Fprint(&digits, c-'A'+10)
		} else {
			digits.WriteRune(c)
		}
	}
	n, _ := new(big.Int).SetString(digits.String(), 10)
	return n.Mod(n, big.NewInt(97)).Int64() == 1
}

func refMaskIBAN(s string) string {
	plain := strings.NewReplacer(" ", "", "-", "").Replace(s)
	upper := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' {
			return c - 'a' + 'A'
		}
		return c
	}, plain)
	if !refIBAN(upper) {
		return "****"
	}
	return upper[:2] + "********" + upper[len(upper)-4:]
}

func refMaskPhone(s string) string {
	digits := noDigits.ReplaceAllString(s, "")
	if len(digits) < 7 {
		return "****"
	}
	return "****" + digits[len(digits)-2:]
}

func refDate(form func(time.Time) string) func(string) (string, bool) {
	return func(s string) (string, bool) {
		if !dateForm.MatchString(s) {
			return "", false
		}
		t, err := time.Parse("2006-01-02", s[:10])
		return form(t), err == nil
	}
}

func refNetwork(s string) (string, bool) {
	if strings.Contains(s, "%") {
		return "", false
	}
	// Leading zeros in a part are taken, which netip refuses.
	parts := strings.Split(s, ".")
	if i := strings.LastIndexByte(parts[0], ':'); len(parts) == 4 {
		head := parts[0][:i+1]
		parts[0] = parts[0][i+1:]
		for n, p := range parts {
			if len(p) > 3 {
				return "", false
			}
			for len(p) > 1 && p[0] == '0' {
				p = p[1:]
			}
			parts[n] = p
		}
		s = head + strings.Join(parts, ".")
	}

	addr, err := netip.ParseAddr(s)
	if err != nil {
		return "", false
	}

	addr = addr.Unmap()
	if addr.Is4() {
		b := addr.As4()
		return fmt.Sprintf("%d.%d.%d.0", b[0], b[1], b[2]), true
	}

	b := addr.As16()
	shown := []string{}
	for i := range 3 {
		shown = append(shown, fmt.Sprintf("%x", int(b[2*i])<<8|int(b[2*i+1])))
	}
	for len(shown) > 0 && shown[len(shown)-1] == "0" {
		shown = shown[:len(shown)-1]
	}
	return strings.Join(shown, ":") + "::", true
}

func refStep10(low, high *big.Int) func(string) (string, bool) { return refSteps(10, low, high) }

// refSteps works in exact fractions.
func refSteps(step int64, low, high *big.Int) func(string) (string, bool) {
	return func(s string) (string, bool) {
		if len(s) > 64 || !jsonNum.MatchString(s) {
			return "", false
		}
		// An exponent that no fraction should be made of: the number is huge, or nearly 0.
		v, exact := refFloor(s)
		if v == nil {
			return "", false
		}

		if low != nil && v.Cmp(low) < 0 {
			return low.String(), true
		}
		if high != nil && v.Cmp(high) >= 0 {
			return high.String(), true
		}
		if !exact {
			return "", false
		}

		v.Div(v, big.NewInt(step)) // Euclidean: down, also below 0
		v.Mul(v, big.NewInt(step))
		if low != nil && v.Cmp(low) < 0 {
			v = low
		}
		return v.String(), true
	}
}

// refFloor returns the whole number at or below s, and whether it is within 10^17.
func refFloor(s string) (*big.Int, bool) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(s), "e")
	if e, _ := new(big.Int).SetString("0"+strings.TrimLeft(exponent, "+-"), 10); e.Cmp(big.NewInt(200)) > 0 {
		m, _ := new(big.Rat).SetString(mantissa)
		huge := new(big.Int).Exp(big.NewInt(10), big.NewInt(100), nil)
		switch {
		case m.Sign() == 0:
			return new(big.Int), true
		case strings.HasPrefix(exponent, "-") && m.Sign() > 0:
			return new(big.Int), true
		case strings.HasPrefix(exponent, "-"):
			return big.NewInt(-1), true
		case m.Sign() < 0:
			return huge.Neg(huge), false
		}
		return huge, false
	}

	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return nil, false
	}
	v := new(big.Int).Div(r.Num(), r.Denom())
	most := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(17), nil))
	return v, new(big.Rat).Abs(r).Cmp(most) < 0
}
