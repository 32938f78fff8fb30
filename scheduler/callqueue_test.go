package scheduler

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tidemill/jobs"
)

func TestCallsNeverChangeTheirStream(t *testing.T) {
	var q CallQueue
	q.Use(1)
	q.Push(1, []Call{Revive{}, Acknowledge{Task: "t"}, Suppress{}})
	if next, open, ok := q.Next(Ordered); !ok || !open || next.Call != (Revive{}) {
		t.Errorf("got %v, open %v, want the first call", next, open)
	}
	if _, open, ok := q.Next(Acks); !ok || !open {
		t.Error("the acknowledgement waits behind a call")
	}
	q.Use(2)
	if next, open, ok := q.Next(Ordered); !ok || open {
		t.Errorf("%v, decided under stream 1, may be sent under stream 2", next)
	}
	q.Push(0, []Call{Revive{}})
	q.Use(0)
	if _, open, _ := q.Next(Ordered); open {
		t.Error("a call may be sent without a stream")
	}
}

func TestUnsentIsCountedOnBothSidesOfTheStore(t *testing.T) {
	calls := []Call{Accept{Offers: []string{"a"}}, Decline{Offers: []string{"b", "c"}}, Acknowledge{Task: "t"}, Revive{}}
	var p pipeline
	p.add(Effects{Persist: []Group{{{Key: "k"}}}, Calls: calls})
	var q CallQueue
	want := Unsent{Offers: 3, Updates: 1}
	if got := p.unsent(); got != want {
		t.Errorf("before the write: %+v, want %+v", got, want)
	}
	p.next()
	for _, fx := range p.committed() {
		q.Push(1, fx.Calls)
	}
	if p.unsent() != (Unsent{}) || q.Unsent() != want {
		t.Errorf("after it: %+v and %+v, want %+v", p.unsent(), q.Unsent(), want)
	}
	q.Next(Ordered)
	q.Next(Acks)
	if got := q.Unsent(); got != (Unsent{Offers: 2}) {
		t.Errorf("after two calls: %+v", got)
	}
}

func TestVerdict(t *testing.T) {
	accept := Accept{Launches: []Launch{{Task: jobs.TaskID("t")}}}
	lost := errors.New("connection reset")
	for _, tc := range []struct {
		name              string
		call              Call
		err               error
		tell, resubscribe bool
	}{
		{"taken", accept, nil, true, false},
		{"nothing to tell", Revive{}, nil, false, false},
		{"refused", accept, &CallError{Status: 400}, true, false},
		{"not subscribed", accept, &CallError{Status: 403}, true, true},
		{"not known", Revive{}, &CallError{Status: 400, Message: "Framework cannot be found"}, false, true},
		{"another's stream", accept, &CallError{Status: 400, Message: "The stream ID 'x' included in this request " +
			"didn't match the stream ID currently associated with framework ID f"}, true, true},
		{"it may have been taken", accept, &CallError{Status: 503}, false, true},
		{"nobody knows", accept, lost, false, true},
		{"the update will come again", Acknowledge{}, lost, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tell, resubscribe := Verdict(tc.call, tc.err)
			if (tell != nil) != tc.tell || resubscribe != tc.resubscribe {
				t.Errorf("tell %v, resubscribe %v; want %v, %v", tell, resubscribe, tc.tell, tc.resubscribe)
			}
		})
	}
}

// TestALaunchThatWasNotSentNeverStarts: nobody needs to be asked about it, and
// no young master's ignorance is waited out.
func TestALaunchThatWasNotSentNeverStarts(t *testing.T) {
	if tell := Dropped(Kill{}); tell != nil {
		t.Errorf("a kill that was dropped: %+v", tell)
	}
	s := newScript(t, manual(nil))
	s.start("j", "1")
	fx := s.step(Offered{Offers: []jobs.Offer{{ID: "o", AgentID: "a", Hostname: "a", Resources: jobs.Resources{CPUs: 8, Mem: 8192}}}})
	s.step(Disconnected{})
	var q CallQueue // no stream is open
	q.Push(fx.Stream, fx.Calls)
	next, open, ok := q.Next(Ordered)
	if !ok || open {
		t.Fatalf("next %+v, open %v", next, open)
	}
	tell := Dropped(next.Call)
	if tell == nil {
		t.Fatal("nothing follows from a launch that was dropped")
	}
	s.step(*tell)
	first := next.Call.(Accept).Launches[0].Task
	s.wantAttempt(first, jobs.AttemptNotStarted)
	s.subscribe(2, s.now) // a master that knows nothing yet
	s.wait(2 * time.Second)
	if second := s.launchOne("a"); s.data[second].Start != 1 {
		t.Errorf("the next attempt is start %d, want 1: nothing was started", s.data[second].Start)
	}
}

// TestTheCoreHearsOfADroppedLaunch: by the goroutine that would have sent it.
func TestTheCoreHearsOfADroppedLaunch(t *testing.T) {
	heard := make(chan Event, 1)
	c := newCaller(zerolog.Nop(), func(ev Event) { heard <- ev })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.run(ctx) }()
	c.push(1, []Call{Revive{}, Accept{Launches: []Launch{{Task: "t"}}}})
	ev, ok := (<-heard).(CallAnswered)
	if accept, is := ev.Call.(Accept); !ok || !is || accept.Launches[0].Task != "t" || !errors.Is(ev.Err, errUnsent) {
		t.Errorf("heard %+v", ev)
	}
	stop()
	<-ended
}
