package transforms

import (
	"errors"
	"time"

	"github.com/guardlock/guardlock/transforms/lookup"
)

const lookupModule = "guardlock_lookup"

// now is the time by which a table is stale: that of the first record of the call
// where records have the only clock.
func (i *instance) now() time.Time {
	c := &i.chunk
	switch {
	case !i.module.code.runtime.config.RecordClock:
		return time.Now()
	case c.batch == nil || len(c.current) == 0:
		return time.Time{}
	}
	return time.UnixMilli(c.batch.Records[c.current[0]].Timestamp)
}

// hostFind is find(table, table_len, key, key_len, columns, columns_len, out, out_cap):
// the values of a row's columns at out; the result is their length.
func hostFind(i *instance, a []uint64) int32 {
	name, ok1 := i.input(a[0], a[1])
	key, ok2 := i.input(a[2], a[3])
	columns, ok3 := i.input(a[4], a[5])
	if !ok1 || !ok2 || !ok3 {
		return hostBadArguments
	}

	table := i.module.tables[string(name)]
	switch {
	case table == nil:
		return hostUnknownKey
	case table.Stale(i.now()):
		return hostStale
	}

	out, err := table.Append(i.scratch[:0], key, columns)
	i.scratch = out
	i.charged += len(out)
	switch {
	case errors.Is(err, lookup.ErrNotFound):
		return hostNotFound
	case errors.Is(err, lookup.ErrKey), errors.Is(err, lookup.ErrColumn):
		return hostBadArguments
	case err != nil:
		return hostFailed
	case uint64(len(out)) > uint64(uint32(a[7])):
		return hostTooSmall
	case !i.mem.Write(uint32(a[6]), out):
		return hostBadArguments
	}

	return int32(len(out))
}
