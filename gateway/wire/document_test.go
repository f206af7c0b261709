package wire

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/protocol.md from the table")

const document = "../../docs/protocol.md"

func TestProtocolDocumentIsCurrent(t *testing.T) {
	want := protocolDocument()
	if *update {
		if err := os.WriteFile(document, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("docs/protocol.md differs from the table: run go test ./gateway/wire -run ProtocolDocument -update")
	}
}

const documentHead = `# The Kafka protocol at the gateway

This page is generated from the table in gateway/wire/table.go
(go test ./gateway/wire -run ProtocolDocument -update); a test fails when it is out of date.

A client is served what stands below and nothing else. The versions that it is told (ApiVersions) are those
that both the cluster and this table know. A key or version that is not served ends the connection, as a broker
would; an ApiVersions from the future gets the answer of KIP-511.

**forward**: both frames pass as they came. **parse request**, **parse response**, **parse both**: read, and rewritten where
the reason says so. *opt-in* APIs are hidden unless the operator enables them. Before a client has authenticated only
SaslHandshake, ApiVersions and SaslAuthenticate are served.

## Served

| key | API | versions | handling | why |
|---|---|---|---|---|
`

const documentRefused = `
## Refused

Hidden from ApiVersions; a client that sends one anyway is disconnected. Keys that are not listed are refused too.

| key | API | why |
|---|---|---|
`

const documentTail = `
## Rules that the table cannot show

- **Duplicates.** A Produce request that names a partition twice is refused: brokers keep one of the two batches
  without saying which, and no decision about it would hold.
- **Counts.** Request bodies are walked by their shape before anything is decoded: every length, count and tagged
  field must lie within the frame, and nothing may follow the body.
- **Replicas.** Fetch, ListOffsets and OffsetForLeaderEpoch with a replica id of 0 or more are refused.
- **Produce 0-2** are announced (clients that look for version 0 would otherwise give up) and refused when sent.
- **transaction.version** is announced as at most 1 where clients cannot use Produce v12.
- **ApiVersions v5**: the cluster id and node id that a client believes in are not passed on.
- **Settings.** DescribeConfigs withholds values of settings that hold the cluster's addresses (listeners,
  advertised.listeners, controller.quorum.voters and the like), as Kafka withholds sensitive ones: null.
- **Unknown tagged fields** pass as they came, except the node endpoints, whose addresses are replaced.
`

func protocolDocument() []byte {
	var served, refused strings.Builder
	for _, api := range Table() {
		if api.Handling == Refuse {
			fmt.Fprintf(&refused, "| %d | %s | %s |\n", api.Key, api.Name, api.Why)
			continue
		}
		handling := api.Handling.String()
		if api.OptIn {
			handling += ", opt-in"
		}
		fmt.Fprintf(&served, "| %d | %s | %d-%d | %s | %s |\n", api.Key, api.Name, api.Min, api.Max, handling, api.Why)
	}
	return []byte(documentHead + served.String() + documentRefused + refused.String() + documentTail)
}
