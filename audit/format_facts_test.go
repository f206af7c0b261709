package audit_test

import (
	"fmt"
	"time"
)

// admission reads the facts of one.
func (r *readByPage) admission(c *bytesOf) {
	r.facts = append(r.facts, "author "+c.string()+" "+c.string()+" "+c.moment())
	for n := c.uvarint(); n > 0; n-- {
		r.facts = append(r.facts, "approver "+c.string()+" "+c.string()+" "+c.string()+" "+c.string()+" "+c.moment()+" "+c.moment()+" "+c.moment())
	}

	r.facts = append(r.facts, fmt.Sprintf("threshold %d, config %.2x, trust root %.2x, grant %.2x", c.uvarint(), c.string(), c.string(), c.string()))
	r.facts = append(r.facts, fmt.Sprint("granted ", c.list(), c.list(), c.list(), c.list(), c.list()))
	r.facts = append(r.facts, fmt.Sprint("limits ", c.uvarint(), c.uvarint(), c.uvarint(), c.uvarint(), " ", c.moment(), " ", c.moment()))
	r.facts = append(r.facts, fmt.Sprint("binding ", c.list(), c.list(), " ", c.moment()))
	if len(c.b) > 0 {
		r.facts = append(r.facts, "cluster "+c.string())
	}
}

func (r *readByPage) loaded(c *bytesOf) {
	r.facts = append(r.facts, "fault "+c.string())
	for n := c.uvarint(); n > 0; n-- {
		r.facts = append(r.facts, fmt.Sprintf("file %s %s %.2x %d", c.string(), c.string(), c.string(), c.uvarint()))
	}
}

func (c *bytesOf) list() (names []string) {
	for n := c.uvarint(); n > 0; n-- {
		names = append(names, c.string())
	}
	return names
}

// moment is a time that may be none.
func (c *bytesOf) moment() string {
	u := c.uvarint()
	if u == 0 {
		return "never"
	}
	u--
	return time.UnixMicro(c.r.base + (int64(u>>1) ^ -int64(u&1))).UTC().Format("15:04:05.000000")
}

// factsByPage are those of recordFacts.
var factsByPage = []string{
	"author ada a1 12:00:00.000000", "approver grace SEC-1 id1 g1 12:00:00.000000 12:00:00.000001 never",
	"threshold 1, config 0100, trust root 0200, grant 0300", "granted [c*] [f g] [k] [] [gateway:a]", "limits 4 5 6 7 never 13:00:00.000000",
	"binding [cards] [f] 12:01:00.000000", "cluster main", "fault trust.yaml", "file configuration guardlock.yaml 0400 0", "file policy p.tar.gz 0500 9", "fault ", "file authority gw-1 0600 0",
	"era main cards 0600 2 77 5 12:00:00.000000",
}
