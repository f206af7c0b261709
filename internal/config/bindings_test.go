package config

import (
	"strings"
	"testing"
)

const (
	twoWays = `clusters:
  - {name: open, listen: {address: "127.0.0.1:9092"}, broker: {embedded: {}}}
  - name: closed
    listen: {address: "127.0.0.1:9192", tls: {cert_file: c, key_file: k}}
    broker: {embedded: {}}
`
	certified = "listen: {tls: {cert_file: c, key_file: k, client_ca_file: ca}}\nbroker: {embedded: {}}\n"
)

func bound(binding string) string { return "bindings:\n  - {topics: [t], " + binding + "}\n" }

func TestEveryBadConditionIsReportedWithItsPath(t *testing.T) {
	_, err := Parse([]byte(certified+bound(`client_ids: [ok, "", "a\tb"], sources: [10.0.0.0/8, 10.0.0.1/8, host, "::ffff:0:0/90"], tls: sometimes`)), "")
	if err == nil {
		t.Fatal("taken")
	}

	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{"bindings[0].client_ids[1]: ", "bindings[0].client_ids[2]: ", "bindings[0].sources[1]: ", "bindings[0].sources[2]: ",
		"bindings[0].sources[3]: ", "bindings[0].tls: "} {
		if i >= len(lines) || !strings.Contains(lines[i], " "+want) {
			t.Errorf("problem %d is not of %s:\n%v", i, want, err)
		}
	}

	if len(lines) != 6 {
		t.Errorf("%d problems:\n%v", len(lines), err)
	}
}

func TestBindingThatNoClientCanMeetIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"broker: {embedded: {}}\n" + bound("tls: required"):  `bindings[0].tls: "required" can never match: no cluster of this binding has listen.tls`,
		certified + bound("tls: mutual"):                     "",
		twoWays + bound("tls: required"):                     "",
		twoWays + bound("tls: required, cluster: closed"):    "",
		twoWays + bound("tls: required, cluster: open"):      `"required" can never match`,
		twoWays + bound("tls: mutual"):                       "has listen.tls with client_ca_file",
		twoWays + bound("tls: mutual, cluster: closed"):      "has listen.tls with client_ca_file",
		"broker: {embedded: {}}\n" + bound(`tls: ""`):        "",
		twoWays + bound("tls: required, cluster: elsewhere"): `"elsewhere" is not in clusters`,
	} {
		_, err := Parse([]byte(text), "")
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s\ngot %v\nwant %q", text, err, want)
		}
	}
}
