package scheduler

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tidemill/jobs"
)

// idleTerm is a term whose loop does not run.
func idleTerm() *term {
	opt := &Options{Elector: &rivals{urls: []string{"http://127.0.0.1:1"}}, Kinds: &jobs.Registry{}, Now: time.Now, Log: zerolog.Nop()}
	return newTerm(opt, &rivals{}, func(jobs.Notice) {})
}

// A term that ends while it is asked leads no more.
func TestStatusOfATermThatJustEnded(t *testing.T) {
	over := idleTerm()
	close(over.done)
	s := &Scheduler{opt: *over.opt, term: over}
	st, err := s.Status(t.Context())
	if err != nil || st.Leading || st.Term != 0 || st.Leader != "http://127.0.0.1:1" {
		t.Errorf("%+v, %v", st, err)
	}
}

// Callers who give up before the loop has taken their question leave nothing behind.
func TestQuestionsThatAreGivenUpAreForgotten(t *testing.T) {
	busy := idleTerm()
	for range cap(busy.events) {
		busy.events <- Tick{}
	}
	ctx, giveUp := context.WithCancel(t.Context())
	giveUp()
	if _, err := busy.ask(ctx, PauseJob{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := len(busy.answers); n != 0 {
		t.Errorf("%d are still waited for", n)
	}
}
