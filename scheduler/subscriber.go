package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// subscriber keeps a subscription: it checks that the term is still ours by a
// fenced write, subscribes, hands the events over, and begins again, with a
// growing pause, when the stream ends.
type subscriber struct {
	mesos     Mesos
	log       zerolog.Logger
	post      func(Event)
	fence     func(context.Context) error
	framework func(context.Context) string
	caller    *caller
	// others says whether another scheduler could lead. After patience without a subscription it is
	// to try: the masters may be out of this one's reach only.
	others   func() bool
	patience time.Duration
	cycle    Cycle
}

// RemovedError is a master's word that it does not take a framework's id any more.
type RemovedError struct{ Framework string }

func (e *RemovedError) Error() string {
	return "the master says that framework " + e.Framework + " has been removed: its id is gone for good, and with it all its tasks"
}

func isRemoved(err error) bool {
	var removed *RemovedError
	return errors.As(err, &removed)
}

// errNoMaster ends a term that is of no use.
var errNoMaster = errors.New("no master can be subscribed to from here; another scheduler is to try (look at the network between this one and the masters)")

// Pauses between subscriptions.
const (
	pauseFirst = 100 * time.Millisecond
	pauseMost  = 15 * time.Second
)

// run subscribes until ctx ends or nothing can be done.
func (s *subscriber) run(ctx context.Context) error {
	for ctx.Err() == nil {
		s.cycle.Begin(time.Now())
		err := s.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait, fatal := s.cycle.Ended(time.Now(), err, rand.Float64())
		if fatal {
			return err
		}
		if s.cycle.Alone(time.Now()) >= s.patience && s.others() {
			return fmt.Errorf("%w: %w", errNoMaster, err)
		}
		s.log.Warn().Err(err).Dur("pause", wait).Msg("the subscription ended; subscribing again")
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// once lives through one subscription.
func (s *subscriber) once(ctx context.Context) error {
	if err := s.fence(ctx); err != nil {
		return err
	}
	framework := s.framework(ctx)
	sub, err := s.subscribe(ctx, framework)
	if err != nil {
		return err
	}
	defer sub.Close()
	stream := s.cycle.Opened()
	s.caller.use(stream, sub)
	defer s.caller.use(0, nil)
	var refused error
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev, ok := <-sub.Events():
			if !ok {
				s.post(Disconnected{})
				if refused != nil { // the stream ended with it
					return refused
				}
				return sub.Err()
			}
			switch e := ev.(type) {
			case Subscribed:
				e.Stream, framework = stream, e.FrameworkID
				s.log.Info().Str("framework", e.FrameworkID).Str("master", e.Master).Msg("subscribed")
				s.post(e)
			case Refused:
				refused = refusal(framework, e.Message)
			default:
				s.post(ev)
			}
		}
	}
}

// subscribe tries for as long as the leader's patience lasts: there may be no answer at all.
func (s *subscriber) subscribe(ctx context.Context, framework string) (Subscription, error) {
	try, cancel := context.WithTimeoutCause(ctx, s.patience, fmt.Errorf("not within %s", s.patience))
	defer cancel()
	return s.mesos.Subscribe(try, framework)
}

// refusal gives an ERROR event its meaning. "Framework failed over" means that
// another scheduler subscribed: the fenced write before the next subscription
// tells whether it leads.
func refusal(framework, message string) error {
	if strings.Contains(message, "Framework has been removed") {
		return &RemovedError{Framework: framework}
	}
	return errors.New("the master ended the subscription: " + message)
}

// TearDown ends a framework at the master for good, and with it all its tasks.
// One that the master has removed already is as well.
func TearDown(ctx context.Context, m Mesos, framework string) error {
	sub, err := m.Subscribe(ctx, framework)
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev, open := <-sub.Events():
			switch e := ev.(type) {
			case Subscribed:
				return sub.Send(ctx, Teardown{})
			case Refused:
				if err := refusal(framework, e.Message); !isRemoved(err) {
					return err
				}
				return nil
			}
			if !open {
				return sub.Err()
			}
		}
	}
}
