package wire

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

const accept = `{"framework_id":{"value":"f"},"type":"ACCEPT","accept":{"offer_ids":[{"value":"o"}],` +
	`"operations":[{"type":"LAUNCH","launch":{"task_infos":[{"name":"t","task_id":{"value":"t"},"agent_id":{"value":"a"},` +
	`"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}}],"command":{"value":"echo \"é\"","shell":true},` +
	`"data":"AAEC"}]}}],"filters":{"refuse_seconds":5.0}}}`

// What is read can be written, and read again to the same.
func TestJSONRoundTrip(t *testing.T) {
	first, second := &scheduler.Call{}, &scheduler.Call{}
	if _, err := DecodeJSON([]byte(accept), first); err != nil {
		t.Fatal(err)
	}
	written, err := AppendJSON(nil, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeJSON(written, second); err != nil {
		t.Fatalf("%v in %s", err, written)
	}
	if !first.Equal(second) {
		t.Error(cmp.Diff(first, second))
	}
}

// The faults of documents whose wording no recording has.
func TestDecodeJSONFaults(t *testing.T) {
	for body, want := range map[string]string{
		`{"type":"KILL","kill":{}}`:                      "Failed to convert JSON into Call protobuf: Missing required fields: kill.task_id",
		`{"type":"DECLINE","decline":{"offer_ids":{}}}`:  "Failed to convert JSON into Call protobuf: Not expecting a JSON object for field 'offer_ids'",
		`{"type":"DECLINE","decline":{"offer_ids":[1]}}`: "Failed to convert JSON into Call protobuf: Not expecting a JSON number for field 'offer_ids'",
	} {
		if _, err := DecodeJSON([]byte(body), &scheduler.Call{}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(accept))
	f.Add([]byte(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","roles":["*"]}}}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, body []byte) {
		call := &scheduler.Call{}
		if _, err := DecodeJSON(body, call); err != nil {
			return
		}
		written, err := AppendJSON(nil, call)
		if err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		if _, err := DecodeJSON(written, &scheduler.Call{}); err != nil {
			t.Fatalf("written but not read: %v: %s", err, written)
		}
	})
}
