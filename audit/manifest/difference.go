package manifest

import "fmt"

// Effect is what a change does to those who rely on the manifest.
type Effect string

// The effects. Where less is demanded than before, or by another key, something is lost.
const (
	Lost    Effect = "lost"
	Gained  Effect = "gained"
	Changed Effect = "changed"
)

// Change is one thing in which a manifest differs from the one before it.
type Change struct {
	Effect  Effect `json:"effect"`
	Of      string `json:"of"` // what it is about, of a closed catalogue
	Gateway string `json:"gateway,omitempty"`
	Log     string `json:"log_id,omitempty"`
	Before  string `json:"before,omitempty"`
	After   string `json:"after,omitempty"`
	Text    string `json:"text"`
}

// What changes are about.
const (
	OfCluster  = "cluster"
	OfRevision = "revision"
	OfLog      = "log"     // that is listed, or is not any more
	OfGateway  = "gateway" // that a log is of
	OfKey      = "key"
	OfFormer   = "former" // whether the gateway still writes the log
	OfLost     = "lost"   // whether the log is demanded
	OfDir      = "dir"
)

// Since is what the manifest says otherwise than one before it: of the whole first, then
// of the logs that are not listed any more, and then of each that is. Logs are told from
// each other by their ids. A larger revision is no difference: each has one.
func (m *Manifest) Since(before *Manifest) (changes []Change) {
	if m.Cluster != before.Cluster {
		changes = append(changes, Change{Effect: Lost, Of: OfCluster, Before: before.Cluster, After: m.Cluster,
			Text: fmt.Sprintf("it is of cluster %s, and was of %s", m.Cluster, before.Cluster)})
	}
	if m.Revision <= before.Revision && m.Digest() != before.Digest() {
		was, is := fmt.Sprint(before.Revision), fmt.Sprint(m.Revision)
		changes = append(changes, Change{Effect: Lost, Of: OfRevision, Before: was, After: is,
			Text: fmt.Sprintf("revision %s is not larger than %s: no gateway takes it after that", is, was)})
	}

	was := make(map[string]Placed)
	is := make(map[string]bool)
	for _, l := range before.Logs() {
		was[l.ID] = l
	}
	for _, l := range m.Logs() {
		is[l.ID] = true
	}

	for _, l := range before.Logs() {
		if !is[l.ID] {
			changes = append(changes, l.change(Lost, OfLog, l.Key, "", "is not listed any more, and nobody will miss it"))
		}
	}
	for _, l := range m.Logs() {
		if old, ok := was[l.ID]; ok {
			changes = append(changes, l.since(old)...)
		} else {
			changes = append(changes, l.change(Gained, OfLog, "", l.Key, "is new"+l.state()))
		}
	}
	return changes
}

// state is what is said of a log beside its id.
func (l Placed) state() string {
	switch {
	case l.Lost != "":
		return ", as one that is lost: " + l.Lost
	case l.Former:
		return ", as a former one"
	}
	return ""
}

// since is what is said of a log otherwise than before.
func (l Placed) since(old Placed) (changes []Change) {
	add := func(e Effect, of, before, after, format string, args ...any) {
		changes = append(changes, l.change(e, of, before, after, fmt.Sprintf(format, args...)))
	}

	if l.Gateway != old.Gateway {
		add(Changed, OfGateway, old.Gateway, l.Gateway, "was of %s", old.Gateway)
	}
	if l.Key != old.Key {
		add(Lost, OfKey, old.Key, l.Key, "has the key %s, and had %s: checkpoints by that count no more", l.Key, old.Key)
	}

	switch {
	case l.Former && !old.Former:
		add(Changed, OfFormer, "", "former", "is a former one now")
	case !l.Former && old.Former:
		add(Changed, OfFormer, "former", "", "was a former one, and is written again")
	}

	switch {
	case l.Lost == old.Lost:
	case old.Lost == "":
		add(Lost, OfLost, "", l.Lost, "is called lost, and is not demanded any more: %s", l.Lost)
	case l.Lost == "":
		add(Gained, OfLost, old.Lost, "", "was called lost, and is demanded again")
	default:
		add(Changed, OfLost, old.Lost, l.Lost, "is lost for another reason: %s; it was: %s", l.Lost, old.Lost)
	}

	if l.Dir != old.Dir {
		add(Changed, OfDir, old.Dir, l.Dir, "is looked for in %q, and was in %q", l.Dir, old.Dir)
	}
	return changes
}

func (l Placed) change(e Effect, of, before, after, text string) Change {
	return Change{Effect: e, Of: of, Gateway: l.Gateway, Log: l.ID, Before: before, After: after, Text: fmt.Sprintf("log %s of %s %s", l.ID, l.Gateway, text)}
}
