package lookup

import (
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
)

// mmdbRows are the networks of a MaxMind DB file. Its columns are paths in what it has
// of a network, such as country.iso_code or subdivisions.0.names.en.
type mmdbRows struct {
	reader *maxminddb.Reader

	mu    sync.Mutex
	paths map[string][]any // of columns that were asked for; guarded by mu
}

const (
	maxPath  = 16  // parts of a path
	maxPaths = 256 // that are kept
)

func openMMDB(raw []byte) (*mmdbRows, error) {
	r, err := maxminddb.OpenBytes(raw)
	if err != nil {
		return nil, err
	}
	return &mmdbRows{reader: r, paths: map[string][]any{}}, nil
}

func (r *mmdbRows) asOf() time.Time { return r.reader.Metadata.BuildTime() }

// find finds the network of an address, which is written as people do. An IPv4 address
// within IPv6 is that address.
func (r *mmdbRows) find(dst, key, columns []byte) ([]byte, error) {
	const longest = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
	if len(key) > longest {
		return dst, ErrKey
	}
	ip, err := netip.ParseAddr(string(key))
	if err != nil || ip.Zone() != "" {
		return dst, ErrKey
	}

	ip = ip.Unmap()
	if ip.Is6() && r.reader.Metadata.IPVersion == 4 {
		return dst, ErrNotFound
	}

	found := r.reader.Lookup(ip)
	switch {
	case found.Err() != nil:
		return dst, fmt.Errorf("%w: %w", ErrMalformed, found.Err())
	case !found.Found():
		return dst, ErrNotFound
	}

	for column := range eachColumn(columns) {
		var value any
		path, err := r.path(column)
		if err != nil {
			return dst, err
		}
		if err := found.DecodePath(&value, path...); err != nil {
			return dst, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		dst = appendScalar(dst, value)
	}

	return dst, nil
}

// path splits a path. A number is a place in a list.
func (r *mmdbRows) path(column []byte) ([]any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if path := r.paths[string(column)]; path != nil {
		return path, nil
	}

	parts := strings.Split(string(column), ".")
	if len(parts) > maxPath {
		return nil, ErrColumn
	}

	path := make([]any, len(parts))
	for n, part := range parts {
		path[n] = part
		if at, err := strconv.Atoi(part); err == nil {
			path[n] = at
		}
	}

	if len(r.paths) >= maxPaths {
		clear(r.paths)
	}
	r.paths[string(column)] = path

	return path, nil
}

// appendScalar appends a value as text. A map or a list is none.
func appendScalar(dst []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return appendValue(dst, v)
	case []byte:
		return appendValue(dst, v)
	case bool:
		return appendValue(dst, strconv.FormatBool(v))
	case float64:
		return appendValue(dst, strconv.FormatFloat(v, 'g', -1, 64))
	case float32:
		return appendValue(dst, strconv.FormatFloat(float64(v), 'g', -1, 32))
	case *big.Int:
		return appendValue(dst, v.String())
	case int, int32, int64, uint, uint16, uint32, uint64:
		return appendValue(dst, fmt.Sprint(v))
	}

	return appendNull(dst)
}
