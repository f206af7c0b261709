package config

import (
	"fmt"
	"net"
	"strconv"
)

// portRange is a run of TCP ports that a setting makes the gateway listen on.
// Two settings that claim one port are found before anything listens.
type portRange struct {
	path        string
	host        string
	first, last int
}

// String is the setting with its port, or its first and last, as an error names
// it.
func (r portRange) String() string {
	if r.first == r.last {
		return fmt.Sprintf("port %d", r.first)
	}
	return fmt.Sprintf("ports %d-%d", r.first, r.last)
}

func (r portRange) overlaps(o portRange) bool {
	return r.first <= o.last && o.first <= r.last && (covers(r.host, o.host) || covers(o.host, r.host))
}

// covers tells whether whoever listens on host listens on other too. Names
// other than localhost are not looked up: that would be the network's word.
func covers(host, other string) bool {
	a := hostIP(host)
	b := hostIP(other)
	switch {
	case host == other || host == "" || a.Equal(net.IPv6unspecified):
		return true
	case a.Equal(net.IPv4zero):
		return b == nil || b.To4() != nil
	}

	return a != nil && a.Equal(b)
}

func hostIP(host string) net.IP {
	if host == "localhost" {
		return net.IPv4(127, 0, 0, 1)
	}
	return net.ParseIP(host)
}

// validatePorts finds listeners that could not all be opened. Otherwise one of
// two clusters fails at start, or a broker when a client first hears of it.
func (c *Config) validatePorts(p *problems) {
	var all []portRange
	if c.Ops != nil {
		all = append(all, c.Ops.ports()...)
	}
	for i, cl := range c.Clusters {
		for _, r := range cl.ports(c.clusterPath(i)) {
			for _, o := range all {
				if r.overlaps(o) {
					p.add(r.path, "%s and %s of %s overlap; each listener needs ports of its own: "+
						"change address or first_node_port, or narrow node_ids", r, o, o.path)
				}
			}
			all = append(all, r)
		}
	}
}

// clusterPath is the beginning of the paths of a cluster's fields, which
// depends on whether the file has one cluster or a list.
func (c *Config) clusterPath(i int) string {
	if len(c.Clusters) == 1 && c.Clusters[0].Name == MainCluster {
		return ""
	}
	return fmt.Sprintf("clusters[%d].", i)
}

// ports are those that a cluster listens on, as far as they are known before it
// listens: the system chooses the rest.
func (cl Cluster) ports(path string) []portRange {
	host, text, err := net.SplitHostPort(cl.Listen.Address)
	port, errPort := strconv.Atoi(text)
	lo, hi, errIDs := ParseNodeIDs(cl.Listen.NodeIDs)
	if err != nil || errPort != nil || errIDs != nil {
		return nil // reported where they are validated
	}

	var all []portRange
	if port != 0 {
		all = append(all, portRange{path + "listen.address", host, port, port})
	}

	first := cl.Listen.FirstNodePort
	if first == 0 && port != 0 {
		first = port + 1
	}
	if cl.Broker.Embedded != nil {
		hi = lo // it is one broker
	}
	if first != 0 && cl.Listen.SNI == nil {
		all = append(all, portRange{path + "listen.first_node_port", host, first, first + int(hi-lo)})
	}

	return all
}
