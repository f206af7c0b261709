package export

import (
	"fmt"
	"strconv"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/internal/build"
)

// ocsfVersion is pinned: fields moved between versions.
const ocsfVersion = "1.9.0"

// Classes of OCSF and what they call doing something.
const (
	classAPI       = 6003
	classDatastore = 6005

	activityRead  = 1
	activityWrite = 5
	activityOther = 99
)

// event is a decision as an OCSF event: Datastore Activity for records, API Activity
// for all other entries.
type event struct {
	class
	Time     int64          `json:"time"` // ms
	Message  string         `json:"message"`
	Metadata ocsfMetadata   `json:"metadata"`
	Actor    ocsfActor      `json:"actor"`
	Source   ocsfEndpoint   `json:"src_endpoint"`
	API      *ocsfAPI       `json:"api,omitempty"`
	Bucket   *ocsfBucket    `json:"databucket,omitempty"`
	Count    int            `json:"count,omitempty"`
	Unmapped map[string]any `json:"unmapped"`
	status
}

type class struct {
	Category int    `json:"category_uid"`
	Class    int    `json:"class_uid"`
	Activity int    `json:"activity_id"`
	Type     int    `json:"type_uid"`
	Severity int    `json:"severity_id"`
	Kind     string `json:"type,omitempty"`
	KindID   int    `json:"type_id,omitempty"`
}

type status struct {
	ID     int    `json:"status_id"`
	Status string `json:"status"`
	Code   string `json:"status_code,omitempty"`
	Detail string `json:"status_detail,omitempty"`
}

type ocsfMetadata struct {
	Version  string      `json:"version"`
	Product  ocsfProduct `json:"product"`
	UID      string      `json:"uid"`
	LogName  string      `json:"log_name"`
	Sequence uint64      `json:"sequence"`
}

type ocsfProduct struct {
	Name    string `json:"name"`
	Vendor  string `json:"vendor_name"`
	Version string `json:"version"`
}

type ocsfActor struct {
	App  string    `json:"app_name,omitempty"`
	User *ocsfUser `json:"user,omitempty"`
}

type ocsfUser struct {
	Name string `json:"name"`
}

type ocsfEndpoint struct {
	Name string `json:"name"`
	IP   string `json:"ip,omitempty"`
}

type ocsfAPI struct {
	Operation string      `json:"operation"`
	Service   ocsfService `json:"service"`
}

type ocsfService struct {
	Name string `json:"name"`
}

type ocsfBucket struct {
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	Namespace string `json:"namespace"`
	Type      string `json:"type"`
	TypeID    int    `json:"type_id"`
}

func eventOf(d *query.Decision) *event {
	e := &event{
		Time: d.Time.UnixMilli(),
		Metadata: ocsfMetadata{
			Version:  ocsfVersion,
			Product:  ocsfProduct{Name: "Guardlock", Vendor: "Guardlock", Version: build.Read().Version},
			UID:      d.ID.String(),
			LogName:  nodeName(d.ID.Node),
			Sequence: d.ID.Seq,
		},
		Actor:    actorOf(d),
		Source:   ocsfEndpoint{Name: firstOf(d.ClientID, d.Gateway, "guardlock"), IP: ipOf(d)},
		Unmapped: unmapped(d),
		status:   statusOf(d),
	}

	if d.Batch != nil {
		e.datastore(d)
		return e
	}
	e.api(d)
	return e
}

// datastore is what a client wrote to a topic, or read from it.
func (e *event) datastore(d *query.Decision) {
	activity := activityWrite
	if d.Batch.Direction != audit.Produce {
		activity = activityRead
	}

	e.class = classOf(classDatastore, activity, severity(d))
	e.Kind = "Databucket"
	e.KindID = 2
	e.Count = d.Count
	e.Bucket = &ocsfBucket{Name: d.Topic, Namespace: d.Cluster, Type: "Kafka topic", TypeID: activityOther}
	e.Message = fmt.Sprintf("%s %s/%d", d.Outcome, d.Topic, d.Partition)
}

// api is what the gateway itself did, or somebody with it.
func (e *event) api(d *query.Decision) {
	e.class = classOf(classAPI, activityOther, severity(d))
	e.API = &ocsfAPI{Operation: d.Kind.String(), Service: ocsfService{Name: "guardlock"}}
	e.Message = fmt.Sprintf("%s %s %s", d.Kind, d.Control.Subject, d.Outcome)
}

func classOf(uid, activity, severity int) class {
	return class{Category: uid / 1000, Class: uid, Activity: activity, Type: uid*100 + activity, Severity: severity}
}

// ipOf is empty where an erasure took the address out: what is shown then is none.
func ipOf(d *query.Decision) string {
	if d.Redacted.Of(audit.PlaceSource) != nil {
		return ""
	}
	return d.Source
}

func actorOf(d *query.Decision) ocsfActor {
	if d.Principal == "" {
		return ocsfActor{App: firstOf(d.ClientID, "guardlock")}
	}
	return ocsfActor{App: d.ClientID, User: &ocsfUser{Name: d.Principal}}
}

// severity is informational for what went as it should, and medium for the rest.
func severity(d *query.Decision) int {
	if statusOf(d).ID == 1 {
		return 1
	}
	return 3
}

// statusOf is success where nothing was refused.
func statusOf(d *query.Decision) status {
	s := status{ID: 1, Status: "Success", Code: d.Outcome, Detail: d.Reason}
	switch d.Outcome {
	case "passed", "modified", "dropped", "routed", "allowed", "applied", "opened", "started", "stopped", audit.Erased:
		return s
	}

	s.ID = 2
	s.Status = "Failure"
	return s
}

// unmapped are the columns for which OCSF has no place.
func unmapped(d *query.Decision) map[string]any {
	all := make(map[string]any)
	for _, c := range query.Columns() {
		if c.Text != nil {
			if s := c.Text(d); s != "" {
				all[c.Name] = s
			}
		} else if n, ok := c.Number(d); ok {
			all[c.Name] = strconv.FormatInt(n, 10)
		}
	}
	return all
}
