package mesos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	schedulerwire "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/rs/zerolog"

	"tidemill/internal/golden"
	"tidemill/jobs"
	"tidemill/scheduler"
)

const patience = 10 * time.Second

// TestConformance plays the server's side of each recording of a real Mesos to
// the adapters, in both codecs: every event must be decoded, every answer
// classified, every representable call be the same as the recorded one.
func TestConformance(t *testing.T) {
	names, err := golden.Names()
	if err != nil {
		t.Fatal(err)
	}
	elected := electedAnswer(t)
	passed := 0
	for _, name := range names {
		lines, err := golden.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		all := exchanges(t, lines)
		ok := true
		for _, codec := range []Codec{JSON, Protobuf} {
			ok = t.Run(name+"/"+codec.mediaType(), func(t *testing.T) {
				r := newReplay(t, codec)
				r.master = elected
				if played := play(t, r, all, lines); played == 0 {
					t.Error("nothing in it was played")
				}
			}) && ok
		}
		if ok {
			passed++
		}
	}
	t.Logf("conformance: client %d of %d", passed, len(names))
}

// play plays what concerns the adapters, and counts it.
func play(t *testing.T, r *replay, all []*exchange, lines []golden.Line) int {
	played := 0
	for i, x := range all {
		if x.status == 0 || x.method != http.MethodPost {
			continue // the recorder's own doings
		}
		where := fmt.Sprintf("exchange %d (%s %s)", i, x.conn, x.kind)
		switch {
		case strings.HasSuffix(x.path, schedulerPath) && x.kind == "SUBSCRIBE":
			playSubscribe(t, where, r, x)
		case strings.HasSuffix(x.path, schedulerPath):
			playCall(t, where, r, x)
		case strings.HasSuffix(x.path, executorPath):
			playExecutor(t, where, r, x, lines)
		default:
			continue
		}
		played++
	}
	return played
}

// electedAnswer is the recorded answer to GET_MASTER.
func electedAnswer(t *testing.T) []byte {
	lines, err := golden.Open("10_state_endpoints")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range exchanges(t, lines) {
		if x.kind == "GET_MASTER" && x.status == http.StatusOK {
			return x.answer
		}
	}
	t.Fatal("no answer to GET_MASTER is recorded")
	return nil
}

func testScheduler(r *replay) *Scheduler {
	return NewScheduler(Options{Masters: NewMasters(r.addr()), Codec: r.codec, Log: zerolog.Nop()})
}

func playSubscribe(t *testing.T, where string, r *replay, x *exchange) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errTimeout)
	defer cancel()
	r.expect(x)
	sub, err := testScheduler(r).Subscribe(ctx, frameworkID(x.body))
	if x.status != http.StatusOK {
		checkRefusal(t, where, r, x, err)
		return
	}
	if err != nil {
		t.Errorf("%s: Subscribe: %v", where, err)
		return
	}
	defer sub.Close()
	want := expected(t, x.frames)
	got := collect(t, ctx, where, sub.Events(), len(want), x.end != stillOpen)
	if diff := cmp.Diff(want, describe(got)); diff != "" {
		t.Errorf("%s: events (-recorded +decoded):\n%s", where, diff)
	}
	checkTyped(t, where, r.master, x.frames, got)
	if x.end != stillOpen && sub.Err() == nil {
		t.Errorf("%s: the stream ended and Err is nil", where)
	}
	_, header, _ := r.seen()
	if id := header.Get(streamHeader); id != "" {
		t.Errorf("%s: SUBSCRIBE with a stream id %q, which Mesos refuses", where, id)
	}
}

// collect takes n events, and where the stream ends, its end.
func collect[E any](t *testing.T, ctx context.Context, where string, from <-chan E, n int, ends bool) []E {
	t.Helper()
	var got []E
	for len(got) < n || ends {
		select {
		case e, ok := <-from:
			if !ok {
				return got
			}
			got = append(got, e)
		case <-ctx.Done():
			t.Fatalf("%s: hangs after %d of %d events", where, len(got), n)
		}
	}
	return got
}

// checkRefusal: a redirect is followed, to a master that has no leader either.
func checkRefusal(t *testing.T, where string, r *replay, x *exchange, err error) {
	t.Helper()
	want := &scheduler.CallError{Status: x.status, Message: strings.TrimSpace(string(x.answer))}
	if x.status == http.StatusTemporaryRedirect {
		want = &scheduler.CallError{Status: http.StatusServiceUnavailable, Message: "No leader elected"}
		_, _, paths := r.seen()
		if diff := cmp.Diff([]string{schedulerPath, "/master" + schedulerPath}, paths); diff != "" {
			t.Errorf("%s: redirect (-want +got):\n%s", where, diff)
		}
	}
	checkCallError(t, where, want, err)
}

func checkCallError(t *testing.T, where string, want *scheduler.CallError, err error) {
	t.Helper()
	var got *scheduler.CallError
	if !errors.As(err, &got) {
		t.Errorf("%s: %v, want a CallError %d", where, err, want.Status)
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: refusal (-recorded +got):\n%s", where, diff)
	}
}

// playCall sends the recorded call, where our scheduler makes such ones, else
// another one, and checks the answer's class.
func playCall(t *testing.T, where string, r *replay, x *exchange) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errTimeout)
	defer cancel()
	r.expect(&exchange{status: http.StatusOK, header: http.Header{streamHeader: {"a-stream"}}, frames: [][]byte{
		[]byte(`{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"` + frameworkID(x.body) + `x"}}}`)}})
	sub, err := testScheduler(r).Subscribe(ctx, "")
	if err != nil {
		t.Errorf("%s: Subscribe: %v", where, err)
		return
	}
	defer sub.Close()
	collect(t, ctx, where, sub.Events(), 1, false)
	call, same := callOf(t, x)
	r.expect(x)
	err = sub.Send(ctx, call)
	switch x.status {
	case http.StatusAccepted, http.StatusOK:
		if err != nil {
			t.Errorf("%s: %T: %v", where, call, err)
		}
	case http.StatusTemporaryRedirect:
		checkCallError(t, where, &scheduler.CallError{
			Status: x.status, Message: "redirected to //" + r.addr() + "/master" + schedulerPath}, err)
	default:
		checkCallError(t, where, &scheduler.CallError{Status: x.status, Message: strings.TrimSpace(string(x.answer))}, err)
	}
	body, header, _ := r.seen()
	if header.Get(streamHeader) != "a-stream" {
		t.Errorf("%s: stream id %q", where, header.Get(streamHeader))
	}
	if same {
		want := asJSON(t, JSON, x.body, &schedulerwire.Call{})
		got := asJSON(t, r.codec, body, &schedulerwire.Call{})
		delete(want, "framework_id")
		delete(got, "framework_id")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: request (-recorded +sent):\n%s", where, diff)
		}
	}
}

// recordedCall is the part of a recorded call that our scheduler makes too.
type recordedCall struct {
	Type        string `json:"type"`
	FrameworkID *value `json:"framework_id"`
	Subscribe   struct {
		FrameworkInfo struct {
			ID value `json:"id"`
		} `json:"framework_info"`
	} `json:"subscribe"`
	Accept *struct {
		OfferIDs   []value         `json:"offer_ids"`
		Operations json.RawMessage `json:"operations"`
		Filters    *filter         `json:"filters"`
	} `json:"accept"`
	Decline *struct {
		OfferIDs []value `json:"offer_ids"`
		Filters  *filter `json:"filters"`
	} `json:"decline"`
	Kill *struct {
		TaskID     value `json:"task_id"`
		AgentID    value `json:"agent_id"`
		KillPolicy struct {
			GracePeriod struct {
				Nanoseconds int64 `json:"nanoseconds"`
			} `json:"grace_period"`
		} `json:"kill_policy"`
	} `json:"kill"`
	Shutdown *struct {
		ExecutorID value `json:"executor_id"`
		AgentID    value `json:"agent_id"`
	} `json:"shutdown"`
	Acknowledge *struct {
		AgentID value  `json:"agent_id"`
		TaskID  value  `json:"task_id"`
		UUID    []byte `json:"uuid"`
	} `json:"acknowledge"`
	Reconcile *struct {
		Tasks []struct {
			TaskID  value `json:"task_id"`
			AgentID value `json:"agent_id"`
		} `json:"tasks"`
	} `json:"reconcile"`
	Revive   json.RawMessage `json:"revive"`
	Suppress json.RawMessage `json:"suppress"`
}

type value struct {
	Value string `json:"value"`
}

type filter struct {
	RefuseSeconds *float64 `json:"refuse_seconds"`
}

func frameworkID(body []byte) string {
	var c recordedCall
	_ = json.Unmarshal(body, &c) // a malformed call was recorded on purpose
	if c.FrameworkID != nil {
		return c.FrameworkID.Value
	}
	return c.Subscribe.FrameworkInfo.ID.Value
}

// callOf gives the recorded call in the scheduler's words, and whether ours
// must look the same on the wire.
func callOf(t *testing.T, x *exchange) (call scheduler.Call, same bool) {
	t.Helper()
	var c recordedCall
	if err := json.Unmarshal(x.body, &c); err != nil {
		return scheduler.Revive{}, false // malformed on purpose
	}
	good := x.status == http.StatusAccepted
	ids := func(list []value) (out []string) {
		for _, v := range list {
			out = append(out, v.Value)
		}
		return out
	}
	refuse := func(f *filter) (time.Duration, bool) {
		if f == nil || f.RefuseSeconds == nil || *f.RefuseSeconds < 0 || *f.RefuseSeconds > 1e9 {
			return 0, false
		}
		return time.Duration(*f.RefuseSeconds * float64(time.Second)), true
	}
	switch {
	case c.Type == "ACCEPT" && c.Accept != nil:
		for_, _ := refuse(c.Accept.Filters)
		return scheduler.Accept{Offers: ids(c.Accept.OfferIDs), Refuse: for_, Launches: []scheduler.Launch{{Task: "t"}}}, false
	case c.Type == "DECLINE" && c.Decline != nil:
		for_, told := refuse(c.Decline.Filters)
		return scheduler.Decline{Offers: ids(c.Decline.OfferIDs), Refuse: for_}, good && told
	case c.Type == "KILL" && c.Kill != nil:
		grace := time.Duration(c.Kill.KillPolicy.GracePeriod.Nanoseconds)
		return scheduler.Kill{Task: jobs.TaskID(c.Kill.TaskID.Value), Agent: c.Kill.AgentID.Value, Grace: grace},
			good && c.Kill.TaskID.Value != "" && (grace > 0 || !strings.Contains(string(x.body), "kill_policy"))
	case c.Type == "ACKNOWLEDGE" && c.Acknowledge != nil:
		a := c.Acknowledge
		if a.UUID == nil {
			a.UUID = []byte{} // left out on purpose; ours cannot
		}
		return scheduler.Acknowledge{Task: jobs.TaskID(a.TaskID.Value), Agent: a.AgentID.Value, UUID: a.UUID}, good
	case c.Type == "RECONCILE" && c.Reconcile != nil:
		var refs []scheduler.TaskRef
		for _, task := range c.Reconcile.Tasks {
			refs = append(refs, scheduler.TaskRef{Task: jobs.TaskID(task.TaskID.Value), Agent: task.AgentID.Value})
		}
		return scheduler.Reconcile{Tasks: refs}, good
	case c.Type == "SHUTDOWN" && c.Shutdown != nil:
		return scheduler.Shutdown{Agent: c.Shutdown.AgentID.Value, Executor: c.Shutdown.ExecutorID.Value}, good
	case c.Type == "REVIVE":
		return scheduler.Revive{}, good && c.Revive == nil
	case c.Type == "SUPPRESS":
		return scheduler.Suppress{}, good && c.Suppress == nil
	case c.Type == "TEARDOWN":
		return scheduler.Teardown{}, good
	}
	return scheduler.Revive{}, false
}

// recordedEvent is an event as the recording has it, read without the
// adapter's codecs.
type recordedEvent struct {
	Type       string `json:"type"`
	Subscribed struct {
		FrameworkID value `json:"framework_id"`
		MasterInfo  struct {
			ID string `json:"id"`
		} `json:"master_info"`
	} `json:"subscribed"`
	Offers struct {
		Offers []struct {
			ID       value  `json:"id"`
			AgentID  value  `json:"agent_id"`
			Hostname string `json:"hostname"`
		} `json:"offers"`
	} `json:"offers"`
	Inverse struct {
		Offers []struct {
			ID      value `json:"id"`
			AgentID value `json:"agent_id"`
		} `json:"inverse_offers"`
	} `json:"inverse_offers"`
	Rescind struct {
		OfferID value `json:"offer_id"`
	} `json:"rescind"`
	RescindInverse struct {
		OfferID value `json:"inverse_offer_id"`
	} `json:"rescind_inverse_offer"`
	Update struct {
		Status struct {
			TaskID    value   `json:"task_id"`
			State     string  `json:"state"`
			Source    string  `json:"source"`
			Reason    string  `json:"reason"`
			Message   string  `json:"message"`
			AgentID   value   `json:"agent_id"`
			Executor  value   `json:"executor_id"`
			UUID      []byte  `json:"uuid"`
			Data      []byte  `json:"data"`
			Timestamp float64 `json:"timestamp"`
			Healthy   *bool   `json:"healthy"`
		} `json:"status"`
	} `json:"update"`
	Message struct {
		AgentID  value  `json:"agent_id"`
		Executor value  `json:"executor_id"`
		Data     []byte `json:"data"`
	} `json:"message"`
	Failure struct {
		AgentID  value  `json:"agent_id"`
		Executor *value `json:"executor_id"`
		Status   int    `json:"status"`
	} `json:"failure"`
	Error struct {
		Message string `json:"message"`
	} `json:"error"`
}

func parseEvent(t *testing.T, frame []byte) recordedEvent {
	t.Helper()
	var e recordedEvent
	if err := json.Unmarshal(frame, &e); err != nil {
		t.Fatalf("recorded event %s: %v", frame, err)
	}
	return e
}

// expected names the events that the scheduler must see.
func expected(t *testing.T, frames [][]byte) []string {
	t.Helper()
	var out []string
	for _, frame := range frames {
		e := parseEvent(t, frame)
		switch e.Type {
		case "HEARTBEAT", "UPDATE_OPERATION_STATUS":
		case "SUBSCRIBED":
			out = append(out, "subscribed "+e.Subscribed.FrameworkID.Value+" at "+e.Subscribed.MasterInfo.ID)
		case "OFFERS":
			line := "offered"
			for _, o := range e.Offers.Offers {
				line += fmt.Sprintf(" %s of %s at %s", o.ID.Value, o.AgentID.Value, o.Hostname)
			}
			out = append(out, line)
		case "INVERSE_OFFERS":
			for _, o := range e.Inverse.Offers {
				out = append(out, "inverse "+o.ID.Value+" of "+o.AgentID.Value)
			}
		case "RESCIND_INVERSE_OFFER":
			out = append(out, "inverse rescinded "+e.RescindInverse.OfferID.Value)
		case "RESCIND":
			out = append(out, "rescinded "+e.Rescind.OfferID.Value)
		case "UPDATE":
			out = append(out, "update of "+e.Update.Status.TaskID.Value)
		case "MESSAGE":
			out = append(out, fmt.Sprintf("message %q of %s on %s", e.Message.Data, e.Message.Executor.Value, e.Message.AgentID.Value))
		case "FAILURE":
			if e.Failure.Executor == nil {
				out = append(out, "agent lost "+e.Failure.AgentID.Value)
				continue
			}
			out = append(out, fmt.Sprintf("executor lost %s on %s: %d", e.Failure.Executor.Value, e.Failure.AgentID.Value, e.Failure.Status))
		case "ERROR":
			out = append(out, "refused: "+e.Error.Message)
		default:
			t.Errorf("a recorded event of type %q is expected by nobody", e.Type)
		}
	}
	return out
}

func describe(list []scheduler.Event) []string {
	var out []string
	for _, e := range list {
		switch e := e.(type) {
		case scheduler.Subscribed:
			out = append(out, "subscribed "+e.FrameworkID+" at "+e.MasterID)
		case scheduler.Offered:
			line := "offered"
			for _, o := range e.Offers {
				line += fmt.Sprintf(" %s of %s at %s", o.ID, o.AgentID, o.Hostname)
			}
			out = append(out, line)
		case scheduler.InverseOffered:
			out = append(out, "inverse "+e.ID+" of "+e.Agent)
		case scheduler.InverseRescinded:
			out = append(out, "inverse rescinded "+e.ID)
		case scheduler.Rescinded:
			out = append(out, "rescinded "+e.Offer)
		case scheduler.Updated:
			out = append(out, "update of "+string(e.Task))
		case scheduler.Messaged:
			out = append(out, fmt.Sprintf("message %q of %s on %s", e.Data, e.Executor, e.Agent))
		case scheduler.AgentLost:
			out = append(out, "agent lost "+e.Agent)
		case scheduler.ExecutorLost:
			out = append(out, fmt.Sprintf("executor lost %s on %s: %d", e.Executor, e.Agent, e.Status))
		case scheduler.Refused:
			out = append(out, "refused: "+e.Message)
		default:
			out = append(out, fmt.Sprintf("%T", e))
		}
	}
	return out
}

// checkTyped compares updates field by field, and since when the master leads.
func checkTyped(t *testing.T, where string, elected []byte, frames [][]byte, got []scheduler.Event) {
	t.Helper()
	var master struct {
		GetMaster struct {
			ElectedTime float64 `json:"elected_time"`
		} `json:"get_master"`
	}
	if err := json.Unmarshal(elected, &master); err != nil {
		t.Fatal(err)
	}
	since := time.UnixMicro(int64(master.GetMaster.ElectedTime*1e6 + 0.5)).UTC()
	var want []jobs.Update
	for _, frame := range frames {
		if e := parseEvent(t, frame); e.Type == "UPDATE" {
			s := e.Update.Status
			want = append(want, jobs.Update{
				Task: jobs.TaskID(s.TaskID.Value), State: s.State, Source: s.Source, Reason: s.Reason, Message: s.Message,
				Agent: s.AgentID.Value, Executor: s.Executor.Value, UUID: s.UUID, Data: s.Data, Healthy: s.Healthy,
				Timestamp: time.UnixMicro(int64(s.Timestamp*1e6 + 0.5)).UTC(),
			})
		}
	}
	var updates []jobs.Update
	for _, e := range got {
		switch e := e.(type) {
		case scheduler.Updated:
			updates = append(updates, e.Update)
		case scheduler.Subscribed:
			if d := e.MasterSince.Sub(since).Abs(); d > time.Microsecond {
				t.Errorf("%s: the master leads since %v, recorded %v", where, e.MasterSince, since)
			}
		}
	}
	if diff := cmp.Diff(want, updates, cmpopts.EquateApproxTime(time.Microsecond), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: updates (-recorded +decoded):\n%s", where, diff)
	}
}

// TestRecordedSandboxes finds the runs of an executor in a recorded agent's state.
func TestRecordedSandboxes(t *testing.T) {
	lines, err := golden.Open("11_agent_files")
	if err != nil {
		t.Fatal(err)
	}
	all := exchanges(t, lines)
	i := slices.IndexFunc(all, func(x *exchange) bool { return x.path == "/state" })
	srv := newReplay(t, JSON)
	srv.expect(all[i])
	srv.master = nil // READ_FILE of anything: 404
	read := slices.IndexFunc(all, func(x *exchange) bool { return strings.HasPrefix(x.path, "/files/read?") })
	dir, _, _ := strings.Cut(strings.TrimPrefix(all[read].path, "/files/read?path="), "/stdout")
	where := scheduler.Sandbox{AgentAddr: srv.addr(), FrameworkID: "320ccb9d-5a67-4315-92d2-b2194025f97a-0030", Executor: "fl"}
	files := NewFiles("", "", nil)
	runs, err := files.runs(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{dir}, runs); diff != "" {
		t.Errorf("runs (-recorded +found):\n%s", diff)
	}
	if _, _, err := files.Read(t.Context(), where, "stdout", 0, 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that no run has: %v", err)
	}
}
