package mesos

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tidemill/scheduler"
)

// fakeMaster answers in memory, so that time can be fake too.
type fakeMaster func(*http.Request) (*http.Response, error)

func (f fakeMaster) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

const subscribedFrame = `{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"F1"},"heartbeat_interval_seconds":15}}`

// streaming is a master whose stream the test writes.
func streaming(calls fakeMaster) (*Scheduler, *io.PipeWriter) {
	out, in := io.Pipe()
	s := NewScheduler(Options{Masters: NewMasters("127.0.0.1:1"), Log: zerolog.Nop()})
	s.streams = fakeMaster(func(r *http.Request) (*http.Response, error) {
		context.AfterFunc(r.Context(), func() { out.CloseWithError(r.Context().Err()) })
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{streamHeader: {"s1"}}, Body: out}, nil
	})
	s.calls, s.acks = calls, calls
	return s, in
}

func refuseAll(*http.Request) (*http.Response, error) { return answer(http.StatusNotFound, ""), nil }

func subscribe(t *testing.T, s *Scheduler, in *io.PipeWriter) scheduler.Subscription {
	t.Helper()
	sub, err := s.Subscribe(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	send(t, in, subscribedFrame)
	if e, ok := (<-sub.Events()).(scheduler.Subscribed); !ok || e.FrameworkID != "F1" {
		t.Fatalf("first event: %+v", e)
	}
	return sub
}

func send(t *testing.T, in *io.PipeWriter, frame string) {
	t.Helper()
	if _, err := in.Write(record([]byte(frame))); err != nil {
		t.Errorf("write to the stream: %v", err)
	}
}

func TestFiveMissedHeartbeatsEndTheSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, in := streaming(refuseAll)
		sub := subscribe(t, s, in)
		for range 8 {
			<-time.After(74 * time.Second) // fake time
			send(t, in, `{"type":"HEARTBEAT"}`)
			synctest.Wait()
			if err := sub.Err(); err != nil {
				t.Fatalf("ended while it was fed: %v", err)
			}
		}
		began := time.Now()
		if e, ok := <-sub.Events(); ok {
			t.Fatalf("event %+v out of nothing", e)
		}
		if silent := time.Since(began); silent != 75*time.Second {
			t.Errorf("ended after %v of silence", silent)
		}
		if err := sub.Err(); err == nil || !strings.Contains(err.Error(), "1m15s") {
			t.Errorf("Err: %v", err)
		}
		sub.Close()
		sub.Close()
	})
}

func TestASlowReaderIsNoDeadMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, in := streaming(refuseAll)
		sub := subscribe(t, s, in)
		const n = 2*feedDepth + 10
		go func() {
			for range n {
				send(t, in, `{"type":"RESCIND","rescind":{"offer_id":{"value":"O"}}}`)
			}
		}()
		<-time.After(time.Hour) // fake time
		for i := range n {
			if _, ok := <-sub.Events(); !ok {
				t.Fatalf("ended after %d events: %v", i, sub.Err())
			}
		}
		sub.Close()
	})
}

func TestCloseEndsAStreamThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, in := streaming(refuseAll)
		sub := subscribe(t, s, in)
		for range feedDepth + 1 {
			send(t, in, `{"type":"RESCIND","rescind":{"offer_id":{"value":"O"}}}`)
		}
		synctest.Wait()
		sub.Close()
		if !errors.Is(sub.Err(), errClosed) {
			t.Errorf("Err: %v", sub.Err())
		}
	})
}

func TestStreamsThatBreak(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{"within a record", "100\n{", "broke"},
		{"within a length", "10", "broke"},
		{"no length", "hello\n", "not a RecordIO stream"},
		{"no newline", strings.Repeat("1", 70<<10), "not a RecordIO stream"},
		{"too long", "99999999999\n", "not a RecordIO stream"},
		{"end", "", "closed the stream"},
		{"subscribed as nobody", "46\n" + `{"type":"SUBSCRIBED","subscribed":{"a":"abc"}}`, "without a framework id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, in := streaming(refuseAll)
			sub, err := s.Subscribe(t.Context(), "F1")
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			go func() {
				io.WriteString(in, tt.raw) //nolint:errcheck // the reader may give up first
				in.Close()
			}()
			if e, ok := <-sub.Events(); ok {
				t.Fatalf("event %+v", e)
			}
			if err := sub.Err(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Err: %v, want …%s…", err, tt.want)
			}
			if err := sub.Send(t.Context(), scheduler.Revive{}); err == nil {
				t.Error("a call without a framework id went out")
			}
		})
	}
}

func TestStrangeEventsAreLeftOut(t *testing.T) {
	s, in := streaming(refuseAll)
	sub := subscribe(t, s, in)
	defer sub.Close()
	go func() {
		send(t, in, `{"type":"TIDE","tide":{"high":true}}`)
		send(t, in, `not even JSON`)
		send(t, in, `{"type":"OFFERS"}`)
		send(t, in, `{"type":"UPDATE","update":{"status":{"task_id":{"value":"t"},"state":"TASK_LOST","reason":"REASON_OF_2030",`+
			`"check_status":{"type":"NEW"},"unreachable_time":{"nanoseconds":1795396831980595968}}}}`)
		send(t, in, `{"type":"RESCIND","rescind":{"offer_id":{"value":"O9"}}}`)
	}()
	want := []string{"offered", "update of t", "rescinded O9"}
	var got []string
	for range want {
		got = append(got, describe([]scheduler.Event{<-sub.Events()})...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSubscribeGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := streaming(refuseAll)
		s.streams = fakeMaster(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Subscribe(ctx, ""); err == nil {
			t.Error("subscribed at nobody")
		}
	})
}

func TestSubscriptionOutlivesItsSubscribe(t *testing.T) {
	s, in := streaming(refuseAll)
	ctx, cancel := context.WithCancel(t.Context())
	sub, err := s.Subscribe(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	cancel()
	send(t, in, subscribedFrame)
	if _, ok := <-sub.Events(); !ok {
		t.Errorf("ended: %v", sub.Err())
	}
}

func TestRedirectsInACircle(t *testing.T) {
	s, _ := streaming(refuseAll)
	tries := 0
	s.streams = fakeMaster(func(*http.Request) (*http.Response, error) {
		tries++
		resp := answer(http.StatusTemporaryRedirect, "")
		resp.Header.Set("Location", "//127.0.0.1:5050/master/api/v1/scheduler")
		return resp, nil
	})
	if _, err := s.Subscribe(t.Context(), ""); err == nil || tries != maxRedirects {
		t.Errorf("%d tries: %v", tries, err)
	}
}

func TestOffersAreForgottenWhenAnswered(t *testing.T) {
	status := http.StatusAccepted
	var broken error
	s, in := streaming(func(*http.Request) (*http.Response, error) { return answer(status, "no"), broken })
	sub := subscribe(t, s, in).(*subscription)
	defer sub.Close()
	tests := []struct {
		name   string
		status int
		broken error
		held   bool
	}{
		{name: "taken", status: http.StatusAccepted},
		{name: "nobody knows", broken: io.ErrUnexpectedEOF},
		{name: "refused", status: http.StatusForbidden, held: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, broken = tt.status, tt.broken
			send(t, in, `{"type":"OFFERS","offers":{"offers":[{"id":{"value":"O1"},"framework_id":{"value":"F1"},"agent_id":{"value":"S1"},"hostname":"h"}]}}`)
			<-sub.Events()
			err := sub.Send(t.Context(), scheduler.Decline{Offers: []string{"O1"}})
			if (err == nil) != (tt.status == http.StatusAccepted) {
				t.Errorf("Send: %v", err)
			}
			if _, held := sub.book.offers["O1"]; held != tt.held {
				t.Errorf("held: %v, want %v", held, tt.held)
			}
		})
	}
}

func TestWhatTheMasterIsTold(t *testing.T) {
	var mu sync.Mutex
	var seen []*http.Request
	s := NewScheduler(Options{
		Masters: NewMasters("127.0.0.1:1"), Name: "mill", User: "miller", Roles: []string{"a", "b"}, Hostname: "here",
		WebUI: "http://here:8080", Principal: "p", Secret: "s", FailoverTimeout: time.Hour, GPUs: true, Regions: true, Log: zerolog.Nop(),
	})
	var body []byte
	s.streams = fakeMaster(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r)
		body, _ = io.ReadAll(r.Body)
		return answer(http.StatusUnauthorized, "who is it?\n"), nil
	})
	_, err := s.Subscribe(t.Context(), "F1")
	checkCallError(t, "subscribe", &scheduler.CallError{Status: 401, Message: "who is it?"}, err)
	if name, secret, ok := seen[0].BasicAuth(); !ok || name != "p" || secret != "s" {
		t.Errorf("authorization %q", seen[0].Header.Get("Authorization"))
	}
	checkGolden(t, "subscribe.json", body)
}

func TestMastersAreTriedInTurn(t *testing.T) {
	m := NewMasters("a:1", "b:2")
	var got []string
	for range 3 {
		addr, changed, err := awaitLeader(t.Context(), m)
		if err != nil || changed != nil {
			t.Fatal(err, changed)
		}
		got = append(got, addr)
	}
	if diff := cmp.Diff([]string{"a:1", "b:2", "a:1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, _, err := awaitLeader(t.Context(), NewMasters()); err == nil {
		t.Error("a leader out of no masters")
	}
}

func TestParseMasters(t *testing.T) {
	tests := []struct {
		text string
		want []string // nil: refused
	}{
		{"m-1:5050,m-2:5051", []string{"m-1:5050", "m-2:5051"}},
		{"m-1, m-2", []string{"m-1:5050", "m-2:5050"}},
		{"https://m-1/,http://m-2:80", []string{"https://m-1:5050", "http://m-2:80"}},
		{"10.0.0.1,::1,[fe80::1]:5055,[::2]", []string{"10.0.0.1:5050", "[::1]:5050", "[fe80::1]:5055", "[::2]:5050"}},
		{"", nil},
		{"m-1:5050,,m-2:5050", nil},
		{"m-1:port", nil},
		{"m-1:99999", nil},
		{":5050", nil},
		{"zk:/m-1/mesos", nil},
		{"ftp://m-1", nil},
		{"user@m-1", nil},
	}
	for _, tt := range tests {
		m, err := ParseMasters(tt.text)
		if (err == nil) != (tt.want != nil) {
			t.Errorf("%q: %v", tt.text, err)
		}
		if err == nil && !cmp.Equal(tt.want, m.addrs) {
			t.Errorf("%q: got %q, want %q", tt.text, m.addrs, tt.want)
		}
	}
}

// elections is a Detector that the test moves.
type elections struct {
	mu      sync.Mutex
	leader  string
	changed chan struct{}
}

func (e *elections) Leader() (string, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader, e.changed
}

func (e *elections) elect(leader string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leader = leader
	close(e.changed)
	e.changed = make(chan struct{})
}

func TestAnotherLeaderEndsTheSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, in := streaming(refuseAll)
		masters := &elections{changed: make(chan struct{})}
		s.options.Masters = masters
		late := time.AfterFunc(time.Minute, func() { masters.elect("127.0.0.1:1") })
		defer late.Stop()
		sub := subscribe(t, s, in) // waits for the election
		masters.elect("")          // nobody leads now
		masters.elect("127.0.0.1:1")
		synctest.Wait()
		if err := sub.Err(); err != nil {
			t.Fatalf("ended though the same master leads: %v", err)
		}
		masters.elect("127.0.0.1:2")
		if _, ok := <-sub.Events(); ok {
			t.Fatal("an event out of nothing")
		}
		if err := sub.Err(); err == nil || !strings.Contains(err.Error(), "127.0.0.1:2 leads") {
			t.Errorf("Err: %v", err)
		}
		if err := sub.Send(t.Context(), scheduler.Revive{}); err == nil {
			t.Error("a call under an ended stream went out")
		}
		sub.Close()
	})
}

func TestNobodyLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler(Options{Masters: &elections{changed: make(chan struct{})}, Log: zerolog.Nop()})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Subscribe(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Subscribe: %v", err)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("2\n{}3\nabc"))
	f.Add([]byte("0\n"))
	f.Add([]byte("99999999999999999999\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := newFrames(strings.NewReader(string(b)))
		read := 0
		for {
			frame, err := in.next()
			if err != nil {
				return
			}
			if read += len(frame); read > len(b) {
				t.Fatalf("%d bytes out of %d", read, len(b))
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(subscribedFrame))
	f.Add([]byte(`{"type":"OFFERS","offers":{"offers":[{"resources":[{"name":"ports","type":"RANGES"}]}]}}`))
	f.Add([]byte(`{"type":"FAILURE"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _ := streaming(refuseAll)
		sub := &subscription{to: &endpoint{codec: JSON}, book: newBook(), log: zerolog.Nop(), acks: s.acks, framework: make(chan struct{})}
		sub.to.url, _ = baseURL("127.0.0.1:1", schedulerPath, false)
		sub.life = t.Context()
		_, _ = sub.decode(b) // must not panic, whatever comes
	})
}
