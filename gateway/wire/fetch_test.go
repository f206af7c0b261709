package wire

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// eachFetch calls fn with filled Fetch and ShareFetch responses of every version.
func eachFetch(seed uint64, fn func(key kmsg.Key, version int16, resp kmsg.Response, records []*[]byte)) {
	for _, key := range []kmsg.Key{kmsg.Fetch, kmsg.ShareFetch} {
		for v := table[key].Min; v <= table[key].Max; v++ {
			resp := key.Response()
			resp.SetVersion(v)
			newFiller(seed).fill(resp)
			fn(key, v, resp, recordFields(resp))
		}
	}
}

// recordFields points at the records of every partition, in order.
func recordFields(resp kmsg.Response) (fields []*[]byte) {
	switch r := resp.(type) {
	case *kmsg.FetchResponse:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				fields = append(fields, &r.Topics[i].Partitions[j].RecordBatches)
			}
		}
	case *kmsg.ShareFetchResponse:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				fields = append(fields, &r.Topics[i].Partitions[j].Records)
			}
		}
	}
	return fields
}

func TestFetchIsUntouchedUnlessSomethingChanges(t *testing.T) {
	for seed := uint64(0); seed < 30; seed++ {
		eachFetch(seed, func(key kmsg.Key, v int16, resp kmsg.Response, records []*[]byte) {
			var got [][]byte
			out, changed, err := WalkFetchRecords([]byte("dst"), key, v, responseFrame(1, resp), func(p *FetchPartition) ([]byte, bool, error) {
				got = append(got, p.Records)
				return nil, false, nil
			})
			if err != nil || changed || string(out) != "dst" {
				t.Fatalf("key %d v%d: %q %v %v", key, v, out, changed, err)
			}

			n := 0
			for _, r := range records {
				if len(*r) > 0 {
					if !bytes.Equal(got[n], *r) {
						t.Fatalf("key %d v%d: records %x, want %x", key, v, got[n], *r)
					}
					n++
				}
			}

			if n != len(got) {
				t.Fatalf("key %d v%d: %d partitions visited, %d have records", key, v, len(got), n)
			}
		})
	}
}

// ShareFetch returns records too, and is walked like Fetch.
func TestFetchAndShareFetchAreRebuiltAlike(t *testing.T) {
	for seed := uint64(0); seed < 30; seed++ {
		eachFetch(seed, func(key kmsg.Key, v int16, resp kmsg.Response, records []*[]byte) {
			i := 0
			replace := func(old []byte) ([]byte, bool) {
				i++
				return bytes.Repeat([]byte{byte(i)}, len(old)*40), i%2 == 0
			}

			frame := responseFrame(1, resp)
			out, changed, err := WalkFetchRecords(nil, key, v, frame, func(p *FetchPartition) ([]byte, bool, error) {
				r, c := replace(p.Records)
				return r, c, nil
			})
			if err != nil {
				t.Fatal(err)
			}

			i = 0
			want := false
			for _, r := range records {
				if len(*r) > 0 {
					if n, c := replace(*r); c {
						*r, want = n, true
					}
				}
			}

			if changed != want || changed && !bytes.Equal(out, responseFrame(1, resp)) {
				t.Fatalf("key %d v%d: changed %v, want %v", key, v, changed, want)
			}
		})
	}
}

// An incremental fetch returns some partitions or none; whatever comes
// is walked, and nothing is remembered between frames.
func TestFetchSessionsNeedNoState(t *testing.T) {
	for v := int16(7); v <= 18; v++ {
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = v
		resp.SessionID = 77

		out, changed, err := WalkFetchRecords(nil, kmsg.Fetch, v, responseFrame(1, resp), func(*FetchPartition) ([]byte, bool, error) {
			return nil, true, errors.New("there is nothing to ask about")
		})
		if err != nil || changed || out != nil {
			t.Errorf("v%d: %v %v", v, changed, err)
		}
	}
}

// Emptied records are empty, never null.
func TestEmptiedRecordsAreNeverNull(t *testing.T) {
	eachFetch(5, func(key kmsg.Key, v int16, resp kmsg.Response, records []*[]byte) {
		for _, r := range records {
			*r = []byte("batch")
		}
		out, changed, err := WalkFetchRecords(nil, key, v, responseFrame(1, resp), func(*FetchPartition) ([]byte, bool, error) {
			return nil, true, nil
		})
		if err != nil || changed != (len(records) > 0) {
			t.Fatalf("key %d v%d: %v %v", key, v, changed, err)
		}

		for _, r := range records {
			*r = []byte{}
		}
		if changed && !bytes.Equal(out, responseFrame(1, resp)) {
			t.Errorf("key %d v%d: not the empty records", key, v)
		}
	})

	h := RequestHeader{Key: kmsg.Fetch, Version: 4}
	req := kmsg.NewPtrFetchRequest()
	req.Version = 4
	newFiller(4).fill(req)

	out, err := ErrorResponse(nil, h, req.AppendTo(nil), 29, "")
	if err != nil {
		t.Fatal(err)
	}

	resp := kmsg.NewPtrFetchResponse()
	resp.Version = 4
	if err := resp.ReadFrom(out[4:]); err != nil {
		t.Fatal(err)
	}

	for _, r := range recordFields(resp) {
		if *r == nil {
			t.Error("an error answer holds null records")
		}
	}
}

func TestFetchErrorsOfTheCallerStopTheWalk(t *testing.T) {
	stop := errors.New("stop")
	eachFetch(6, func(key kmsg.Key, v int16, resp kmsg.Response, records []*[]byte) {
		for _, r := range records {
			*r = []byte("batch")
		}
		calls := 0
		_, changed, err := WalkFetchRecords(nil, key, v, responseFrame(1, resp), func(*FetchPartition) ([]byte, bool, error) {
			calls++
			return []byte("x"), true, stop
		})
		if len(records) > 0 && (!errors.Is(err, stop) || changed || calls != 1) {
			t.Errorf("key %d v%d: %v %v after %d calls", key, v, changed, err, calls)
		}
	})
}

// A client that fetches as a follower reads past the high watermark, and so
// does one that says it is the broker's own future replica (-3).
func TestFollowersAreRefused(t *testing.T) {
	for v := table[kmsg.Fetch].Min; v <= table[kmsg.Fetch].Max; v++ {
		for replica, refused := range map[int32]bool{-1: false, -2: false, 0: true, 3: true, -3: true, -4: true} {
			req := kmsg.NewPtrFetchRequest()
			req.Version = v
			newFiller(uint64(v)).fill(req)
			req.ReplicaID = replica
			req.ReplicaState.ID = replica

			err := SpeakAsConsumer(kmsg.Fetch, v, req.AppendTo(nil))
			if errors.Is(err, ErrRefused) != refused || !refused && err != nil {
				t.Errorf("Fetch v%d replica %d: %v", v, replica, err)
			}
		}
	}
}

// Where a follower's id only asks for an offset, it becomes a consumer's, and
// every other byte stays.
func TestFollowersIdsBecomeConsumers(t *testing.T) {
	for v := table[kmsg.ListOffsets].Min; v <= table[kmsg.ListOffsets].Max; v++ {
		for _, replica := range []int32{-3, -2, -1, 0, 2} {
			req := kmsg.NewPtrListOffsetsRequest()
			req.Version = v
			newFiller(uint64(v)).fill(req)
			req.ReplicaID = replica
			body := req.AppendTo(nil)
			req.ReplicaID = -1

			if err := SpeakAsConsumer(kmsg.ListOffsets, v, body); err != nil || !bytes.Equal(body, req.AppendTo(nil)) {
				t.Errorf("ListOffsets v%d replica %d: %v", v, replica, err)
			}
		}
	}

	for v := table[kmsg.OffsetForLeaderEpoch].Min; v <= table[kmsg.OffsetForLeaderEpoch].Max; v++ {
		for replica, want := range map[int32]int32{-3: -1, -2: -2, -1: -1, 0: -1, 2: -1} {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			req.Version = v
			newFiller(uint64(v)).fill(req)
			req.ReplicaID = replica
			body := req.AppendTo(nil)
			req.ReplicaID = want

			if err := SpeakAsConsumer(kmsg.OffsetForLeaderEpoch, v, body); err != nil || !bytes.Equal(body, req.AppendTo(nil)) {
				t.Errorf("OffsetForLeaderEpoch v%d replica %d: %v", v, replica, err)
			}
		}
	}

	for _, short := range [][]byte{nil, {0}, {0, 0, 0}} {
		if err := SpeakAsConsumer(kmsg.ListOffsets, 1, short); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v", len(short), err)
		}
	}
}

func TestFetchWalkAllocatesOncePerFrame(t *testing.T) {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = 17
	newFiller(8).fill(resp)

	for _, r := range recordFields(resp) {
		*r = make([]byte, 2048)
	}
	frame := responseFrame(1, resp)
	keep := func(*FetchPartition) ([]byte, bool, error) { return nil, false, nil }
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := WalkFetchRecords(nil, kmsg.Fetch, 17, frame, keep); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Fatalf("%v allocations a frame", n)
	}
}

func FuzzFetchRecords(f *testing.F) {
	eachFetch(9, func(key kmsg.Key, v int16, resp kmsg.Response, _ []*[]byte) {
		f.Add(key == kmsg.ShareFetch, v, responseFrame(1, resp))
	})
	f.Fuzz(func(t *testing.T, share bool, v int16, frame []byte) {
		key := kmsg.Fetch
		if share {
			key = kmsg.ShareFetch
		}
		if !table[key].Serves(v) {
			return
		}

		out, changed, err := WalkFetchRecords(nil, key, v, frame, func(p *FetchPartition) ([]byte, bool, error) {
			return p.Records, true, nil
		})
		if err != nil || !changed {
			return
		}
		if _, _, err := WalkFetchRecords(nil, key, v, out, func(*FetchPartition) ([]byte, bool, error) { return nil, false, nil }); err != nil {
			t.Fatal(fmt.Errorf("walking what was rebuilt: %w", err))
		}
	})
}
