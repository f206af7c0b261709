package wire

import "testing"

// TestPeekAgreesWithParse: at every length of the prefix, what is read ahead is
// what the whole request says, or nothing.
func TestPeekAgreesWithParse(t *testing.T) {
	for version := int16(3); version <= 13; version++ {
		for topics := 1; topics <= 2; topics++ {
			p := Produce{Version: version, Acks: 1, TransactionalID: []byte("tx")}
			for i := range topics {
				p.Topics = append(p.Topics, ProduceTopic{Name: []byte{'t', byte('0' + i)}, ID: [16]byte{1, byte(i)},
					Partitions: []ProducePartition{{Index: 1, Records: make([]byte, 300)}}})
			}

			frame := AppendProduce(nil, RequestHeader{Version: version}, &p)
			h, err := ParseRequestHeader(frame)
			if err != nil {
				t.Fatal(err)
			}

			body := frame[h.BodyOffset:]
			read := false
			for n := range body {
				topic, acks, ok := PeekProduce(version, body[:n])
				read = read || ok
				if ok && (topics != 1 || acks != 1 || version < 13 && string(topic.Name) != "t0" || version >= 13 && topic.ID != [16]byte{1, 0}) {
					t.Fatalf("v%d: %d bytes of %d topics read as topic %q %v acks %d", version, n, topics, topic.Name, topic.ID, acks)
				}
			}

			if read != (topics == 1) {
				t.Errorf("v%d: a request of %d topics was read ahead: %v", version, topics, read)
			}
		}
	}
}
