package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"
)

// errUnknownTopicID means that neither the cache nor the cluster knows the id.
// The caller answers UNKNOWN_TOPIC_ID; it never lets the request pass, since
// policy is by name.
var errUnknownTopicID = errors.New("topic id is not known to the cluster")

// topicNames resolves topic ids (KIP-516) to names. Ids are never reused, so an
// entry cannot go stale: a topic that is made again has a new id. It is safe
// for concurrent use.
type topicNames struct {
	mu    sync.RWMutex
	names map[[16]byte]string

	strings map[string]string // see intern

	learned func(id [16]byte, name string) // told of each new pair; may be nil
	led     func(topic []byte, partition, node, epoch int32)
	missing func(topic string, unlogged uint64) // nil: nobody is told
	told    struct {
		mu    sync.Mutex
		last  time.Time
		since uint64 // that nobody was told of
	}
}

// tellEvery is how often a topic that is not there is told of: clients ask for one again
// and again, until they give up.
const tellEvery = time.Second

// Missing tells of a topic that a client asked for and the cluster does not have: most
// clients wait for it to appear, and then name a time-out. What is no name of a topic is
// not told, since it may be anything that a person wrote.
func (t *topicNames) Missing(name []byte) {
	if t.missing == nil || !isTopicName(name) {
		return
	}

	t.told.mu.Lock()
	defer t.told.mu.Unlock()
	now := time.Now()
	if now.Sub(t.told.last) < tellEvery {
		t.told.since++
		return
	}

	t.missing(string(name), t.told.since)
	t.told.last = now
	t.told.since = 0
}

// isTopicName reports whether Kafka would take a name for a topic.
func isTopicName(name []byte) bool {
	const most = 249
	return len(name) > 0 && len(name) <= most && !bytes.ContainsFunc(name, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '.' && r != '_' && r != '-'
	})
}

// maxTopicIDs bounds the cache; a cluster with more topics than this makes the
// gateway resolve again, never fail open.
const maxTopicIDs = 1 << 18

// Learn remembers a pair of id and name that was seen in a broker's answer.
func (t *topicNames) Learn(id [16]byte, name string) {
	if id == ([16]byte{}) || name == "" {
		return
	}
	t.mu.RLock()
	known := t.names[id] == name
	t.mu.RUnlock()

	if known {
		return
	}
	if t.learned != nil {
		t.learned(id, name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()

	if t.names == nil || len(t.names) >= maxTopicIDs {
		t.names = map[[16]byte]string{}
	}
	t.names[id] = name
}

// Led implements wire.TopicIDs.
func (t *topicNames) Led(name []byte, partition, node, epoch int32) {
	if t.led != nil {
		t.led(name, partition, node, epoch)
	}
}

// Name returns the name of an id from the cache, and reports whether it is
// there. It asks nobody.
func (t *topicNames) Name(id [16]byte) (string, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n, ok := t.names[id]
	return n, ok
}

// resolve returns the name of an id. It asks lookup for one that the cache
// lacks, and remembers the answer.
func (t *topicNames) resolve(ctx context.Context, id [16]byte, lookup func(context.Context, [16]byte) (string, error)) (string, error) {
	if n, ok := t.Name(id); ok {
		return n, nil
	}
	n, err := lookup(ctx, id)
	if err != nil {
		return "", fmt.Errorf("resolving topic id: %w", err)
	}

	t.Learn(id, n)
	return n, nil
}

// intern returns a string for bytes that come again and again, without
// allocating for those seen before.
func (t *topicNames) intern(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	t.mu.RLock()
	s, ok := t.strings[string(b)]
	t.mu.RUnlock()

	if ok {
		return s
	}
	s = strings.Clone(string(b))
	if len(s) > maxInternedBytes {
		return s
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if t.strings == nil || len(t.strings) >= maxInterned {
		t.strings = map[string]string{}
	}

	t.strings[s] = s
	return s
}

// maxInterned bounds the names that come from clients and are kept.
const maxInterned = 1 << 14

// maxInternedBytes is the longest name that is kept. Kafka's topic names have
// 249 bytes at most; a client id can be 32 KiB, and is then not kept.
const maxInternedBytes = 255
