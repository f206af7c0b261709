package demo

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// demoRecord is one generated record and the topic that it goes to.
type demoRecord struct {
	topic string
	key   string
	value []byte
}

// generator makes sample data that looks like a shop's: the same seed makes the
// same records. Every person, number and account in it is made up.
type generator struct {
	r     *rand.Rand
	start time.Time
	drift map[int]float64
}

func newGenerator(seed uint64, start time.Time) *generator {
	return &generator{r: rand.New(rand.NewPCG(seed, 0x677561726c6f636b)), start: start, drift: map[int]float64{}}
}

var (
	givenNames  = []string{"Amara", "Björn", "Chloé", "Dimitra", "Emre", "Fatima", "Giulia", "Henrik", "Inés", "Jakub", "Leïla", "Marta", "Nikos", "Oluwaseun", "Petra", "Saoirse"}
	familyNames = []string{"Andersson", "Bianchi", "Costa", "Dubois", "Eriksen", "Fischer", "García", "Horváth", "Ivanova", "Jansen", "Kowalska", "Müller", "Nowak", "O'Brien", "Rossi", "Yılmaz"}
	mailDomains = []string{"example.com", "example.org", "mail.example.net"}
	streets     = []string{"Rue de l'Exemple", "Musterstraße", "Via Campione", "Calle Muestra", "Sample Lane"}
	categories  = []string{"groceries", "travel", "electronics", "fuel", "books"}
)

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// customer is what a shop knows of somebody, most of it personal: what the gdpr
// module is for.
func (g *generator) customer(i int) demoRecord {
	given := pick(g.r, givenNames)
	family := pick(g.r, familyNames)
	iban := fmt.Sprintf("DE%02d%018d", 10+g.r.IntN(89), g.r.Int64N(1_000_000_000_000_000_000))
	v := map[string]any{
		"id": fmt.Sprintf("c-%06d", i),
		"customer": map[string]any{
			"name":       given + " " + family,
			"email":      fmt.Sprintf("user%d@%s", g.r.IntN(1_000_000), pick(g.r, mailDomains)),
			"phone":      fmt.Sprintf("+49 1%02d %07d", 50+g.r.IntN(29), g.r.IntN(10_000_000)),
			"birth_date": fmt.Sprintf("%d-%02d-%02d", 1940+g.r.IntN(65), 1+g.r.IntN(12), 1+g.r.IntN(28)),
			"address":    map[string]any{"street": fmt.Sprintf("%s %d", pick(g.r, streets), 1+g.r.IntN(200)), "city": "Exampleton", "country": "DE"},
		},
		"payment":   map[string]any{"iban": iban, "method": "sepa"},
		"ip":        fmt.Sprintf("203.0.113.%d", 1+g.r.IntN(254)),
		"consents":  []string{"newsletter", "analytics"},
		"loyalty":   map[string]any{"tier": pick(g.r, []string{"basic", "silver", "gold"}), "points": g.r.IntN(20_000)},
		"signed_up": g.start.Add(-time.Duration(g.r.IntN(100_000)) * time.Minute).Format(time.RFC3339),
	}

	return g.record("customers", fmt.Sprintf("c-%06d", i), v)
}

// payment is a card payment. suspicious ones add up to a score that the fraud
// module routes to review; stolen ones to a score that it rejects.
func (g *generator) payment(i int, kind paymentKind) demoRecord {
	amount := 1 + g.r.Float64()*400
	country := pick(g.r, []string{"DE", "FR", "IT", "ES"})
	category := pick(g.r, categories)
	lastHour := g.r.IntN(4)
	present := true

	switch kind {
	case suspicious:
		amount, category, present = 12_000+g.r.Float64()*30_000, pick(g.r, []string{"gambling", "crypto"}), true
	case stolen:
		amount, country, category, lastHour, present = 150_000+g.r.Float64()*50_000, "KP", "crypto", 12+g.r.IntN(20), false
	}

	v := map[string]any{
		"id": fmt.Sprintf("p-%07d", i), "amount": float64(int(amount*100)) / 100, "currency": "EUR", "country": country,
		"card":     map[string]any{"network": pick(g.r, []string{"visa", "mastercard"}), "last4": fmt.Sprintf("%04d", g.r.IntN(10_000)), "present": present},
		"merchant": map[string]any{"id": fmt.Sprintf("m-%04d", g.r.IntN(5000)), "category": category},
		"velocity": map[string]any{"last_hour": lastHour},
		"time":     g.start.Add(time.Duration(i) * time.Millisecond).Format(time.RFC3339Nano),
	}

	return g.record("payments", fmt.Sprintf("p-%07d", i), v)
}

type paymentKind int

const (
	honest paymentKind = iota
	suspicious
	stolen
)

// sensor is a reading of a device's temperature; every now and then a device
// jumps.
func (g *generator) sensor(i int) demoRecord {
	device := g.r.IntN(24)
	base, ok := g.drift[device]
	if !ok {
		base = 18 + g.r.Float64()*6
	}

	base += (g.r.Float64() - 0.5) * 0.2
	g.drift[device] = base
	value := base

	if g.r.IntN(400) == 0 {
		value *= 2.5
	}
	id := fmt.Sprintf("s-%02d", device)
	v := map[string]any{"device": id, "value": float64(int(value*100)) / 100, "unit": "C",
		"time": g.start.Add(time.Duration(i) * 10 * time.Millisecond).Format(time.RFC3339Nano)}

	return g.record("sensors", id, v)
}

func (g *generator) record(topic, key string, v any) demoRecord {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("demo: encoding sample data failed: " + err.Error())
	}
	return demoRecord{topic: topic, key: key, value: raw}
}

// next makes the i-th record of the stream: customers, payments and sensors in
// turn, one payment in forty suspicious.
func (g *generator) next(i int) demoRecord {
	switch i % 3 {
	case 0:
		return g.customer(i)
	case 1:
		if g.r.IntN(40) == 0 {
			return g.payment(i, suspicious)
		}
		return g.payment(i, honest)
	default:
		return g.sensor(i)
	}
}
