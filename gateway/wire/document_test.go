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

Each is held by a test in gateway/wire.

| rule | test |
|---|---|
| ApiVersions is the intersection of the cluster's and this table's | TestApiVersionsAreIntersected |
| an ApiVersions from the future is answered in v0 with error 35, its body unread | TestUnknownApiVersionsIsAnsweredInV0 |
| Produce is announced from v0 (KAFKA-18659); v0-2 are refused when sent | TestProduceMinimumStaysZero, TestMessageSetsAreRefused |
| the cluster id and node id in ApiVersions v5 are not passed on | TestClusterAndNodeIdAreNulled |
| transaction.version is at most 1 where Produce v12 cannot be used | TestCappingProduceTakesTransactionVersionDown |
| unknown keys and versions never reach the cluster | TestUnknownKeysAndVersionsAreRefused |
| acks is found behind tagged headers and compact strings | TestTaggedFieldsInHeadersAreSteppedOver, TestProduceRoundTripIsByteForByte |
| a Produce with acks=0 is never answered | TestNothingAnswersAcksZero |
| emptied records are empty, not null | TestEmptiedRecordsAreNeverNull |
| padded lengths are read, never written | TestLengthsAreWrittenCanonically |
| no response holds an upstream address: hosts and ports are replaced, and DescribeConfigs withholds values of listener, quorum and bootstrap settings as if sensitive | TestNoResponseHoldsAnUpstreamAddress |
| node ids stay as they are | TestNodeIdsStayAsTheyAre |
| a node without an advertised address fails the response | TestAnUnmappedNodeFailsTheResponse |
| topic ids are learned from Metadata, CreateTopics and DescribeTopicPartitions | TestTopicIdsAreLearned |
| fetch sessions need no state here | TestFetchSessionsNeedNoState |
| one rejected partition leaves the others to go through; answers are merged in the request's order, with KIP-467 record errors from v8 | TestOnlyTheRejectedPartitionIsHeldBack, TestAnswersAreMergedInRequestOrder |
| the cluster's throttle time passes through | TestThrottleTimePassesThrough |
| transactions pass untouched; markers are refused | TestTransactionsPassUntouched |
| telemetry is hidden and refused unless enabled; ShareFetch meets the rules of Fetch | TestTelemetryIsStrippedUnlessEnabled, TestFetchAndShareFetchAreRebuiltAlike |
| inter-broker and quorum APIs, and a Fetch that speaks as a replica, are refused | TestInterBrokerAndRaftKeysAreRefused, TestFollowersAreRefused |
| a replica id in ListOffsets and OffsetForLeaderEpoch becomes a consumer's (kafka-python 3.0 sends 0) | TestFollowersIdsBecomeConsumers |
| a Produce that names a partition twice is refused: brokers keep one batch and do not say which | TestPartitionsNamedTwiceAreRefused |
| every count and tagged field of a request lies within its frame before anything is decoded | TestCountsBeyondTheBytesAreRefusedAtOnce |
| a partition that nobody answered never reads as stored | TestUnansweredPartitionsFail |

Tagged fields that we do not know pass as they came.

## What the embedded broker is given

It is made for tests and takes what Kafka refuses. Before it gets a request, this holds; a request that breaks it is
answered whole with the code, and its text names the topic.

| of | rule | code |
|---|---|---|
| names of topics | 1-249 letters, digits, '.', '_' and '-', not '.' or '..', also where a Metadata request creates | INVALID_TOPIC_EXCEPTION |
| names that begin with __ | nobody creates, changes or deletes such a topic, or its records | POLICY_VIOLATION |
| partitions | at most 1,000 a topic, and 100 topics a request | INVALID_PARTITIONS, POLICY_VIOLATION |
| settings of topics | Kafka's numbers and words; no compaction | INVALID_CONFIG |
| settings of the broker | none: they stand in the gateway's configuration | POLICY_VIOLATION |
| DeleteRecords | an offset, or -1 for all | OFFSET_OUT_OF_RANGE |
| quotas | finite and not below 0 | INVALID_REQUEST |
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

func TestProtocolDocumentNamesTestsThatExist(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}

	var sources strings.Builder
	for _, f := range files {
		if strings.HasSuffix(f.Name(), "_test.go") {
			text, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(text)
		}
	}

	for _, word := range strings.FieldsFunc(documentTail, func(r rune) bool { return strings.ContainsRune(" ,|\n", r) }) {
		if strings.HasPrefix(word, "Test") && !strings.Contains(sources.String(), "func "+word+"(") {
			t.Errorf("%s is gone", word)
		}
	}
}
