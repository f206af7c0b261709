package wire

import (
	"math"
	"reflect"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// errorPlace is one place where a response carries error codes: its top, or
// every item of a list. It is read by reflection, for kmsg gives a field of the
// same meaning the same name in all its structures and no other handle on it.
// Errors are rare, and a test writes one for every API and version.
type errorPlace struct {
	lists    []string // nested lists of the response; none is the top
	asked    string   // the request's list of that, where its name differs
	parent   string   // a list of the request that the asked list lies in
	name     string   // the field that takes an item which is a plain value
	key      string   // a field that no two answers share
	last     int16    // the last version that has the place
	nameless bool     // one item without a name says it for all
}

var top = errorPlace{last: math.MaxInt16}

// each is a code on every item of the request's list, one level deeper for each
// further list.
func each(lists ...string) errorPlace {
	return errorPlace{lists: lists, asked: lists[0], last: math.MaxInt16}
}

// nameless is a code on one item of a list that answers for nothing in
// particular, where the API has no other place for one.
func nameless(list string) errorPlace {
	return errorPlace{lists: []string{list}, nameless: true, last: math.MaxInt16}
}

// of names the request's list, and the field of an answer that takes its items
// where they are plain values.
func (p errorPlace) of(asked, name string) errorPlace {
	p.asked = asked
	p.name = name
	return p
}

func (p errorPlace) within(parent string) errorPlace {
	p.parent = parent
	return p
}

func (p errorPlace) once(key string) errorPlace {
	p.key = key
	return p
}

func (p errorPlace) upTo(version int16) errorPlace {
	p.last = version
	return p
}

// failure is what goes wrong, to be written into a response of any kind. One
// request has one failure.
type failure struct {
	code int16
	msg  *string // nil is null
}

// write puts the failure into every place that the response's version has for
// one.
func (f failure) write(req kmsg.Request, resp kmsg.Response, places []errorPlace) {
	asked := reflect.ValueOf(req).Elem()
	answer := reflect.ValueOf(resp).Elem()
	for _, p := range places {
		switch {
		case req.GetVersion() > p.last:
		case len(p.lists) == 0:
			f.stamp(answer)
		case p.nameless:
			list := answer.FieldByName(p.lists[0])
			list.Set(reflect.Append(list, f.item(list.Type().Elem())))
		case p.parent != "":
			for _, parent := range asked.FieldByName(p.parent).Seq2() {
				f.answerEach(parent, answer, p)
			}
		default:
			f.answerEach(asked, answer, p)
		}
	}
}

// answerEach appends to the answer's list one item for each that was asked, in
// the order of the request.
func (f failure) answerEach(asked, answer reflect.Value, p errorPlace) {
	list := answer.FieldByName(p.lists[0])
	for _, question := range asked.FieldByName(p.asked).Seq2() {
		item := f.item(list.Type().Elem())
		p.identify(item, question)
		if len(p.lists) > 1 {
			inner := each(p.lists[1:]...)
			f.answerEach(question, item, inner)
		}

		if !p.answered(list, item) {
			list.Set(reflect.Append(list, item))
		}
	}
}

// identities are the fields that say what an item of a request is about. An
// answer has them under the same names.
var identities = []string{"Topic", "TopicID", "Partition", "Group", "GroupID", "ResourceType", "ResourceName", "Type", "Name"}

// identify makes the answer say which question it answers, by the field that
// names it in both.
func (p errorPlace) identify(item, question reflect.Value) {
	if question.Kind() != reflect.Struct {
		name := p.name
		if name == "" {
			name = strings.TrimSuffix(p.asked, "s")
		}
		assign(item.FieldByName(name), question)
		return
	}

	for _, name := range identities {
		if from, to := question.FieldByName(name), item.FieldByName(name); from.IsValid() && to.IsValid() {
			assign(to, from)
		}
	}

	// A credential's user is a Name in what is asked, a User in the answer.
	if p.key != "" {
		assign(item.FieldByName(p.key), question.FieldByName("Name"))
	}
}

// assign sets a field to a value, or to a pointer to it where it may be null.
func assign(field, value reflect.Value) {
	if field.Kind() == reflect.Pointer && value.Kind() != reflect.Pointer {
		field.Set(reflect.New(value.Type()))
		field = field.Elem()
	}
	field.Set(value)
}

func (p errorPlace) answered(list, item reflect.Value) bool {
	if p.key == "" {
		return false
	}
	for _, other := range list.Seq2() {
		if other.FieldByName(p.key).Equal(item.FieldByName(p.key)) {
			return true
		}
	}

	return false
}

// item makes one answer, with kmsg's defaults, the code, and the message where
// there is a field for it.
func (f failure) item(kind reflect.Type) reflect.Value {
	item := reflect.New(kind)
	if d, ok := item.Interface().(interface{ Default() }); ok {
		d.Default()
	}
	f.stamp(item.Elem())
	return item.Elem()
}

// unknowns are the numbers that read -1 beside an error code: nobody is the
// coordinator, nothing is known of an offset.
var unknowns = []string{"Generation", "NodeID", "Port", "ProducerID", "ProducerEpoch", "Offset", "EndOffset", "HighWatermark", "LowWatermark"}

// stamp writes the failure into one item: code, message, and -1 for numbers
// that nobody knows then.
func (f failure) stamp(answer reflect.Value) {
	code := answer.FieldByName("ErrorCode")
	if !code.IsValid() {
		return
	}

	code.SetInt(int64(f.code))
	if msg := answer.FieldByName("ErrorMessage"); msg.IsValid() && f.msg != nil {
		msg.Set(reflect.ValueOf(f.msg))
	}

	for _, name := range unknowns {
		if field := answer.FieldByName(name); field.IsValid() {
			field.SetInt(-1)
		}
	}

	// librdkafka takes null records for a broken response and asks again for
	// ever, so that they are empty.
	if records := answer.FieldByName("RecordBatches"); records.IsValid() {
		records.SetBytes([]byte{})
	}
}
