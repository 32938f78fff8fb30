package mesos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/master"
	wire "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/rs/zerolog"

	"tidemill/scheduler"
)

// sinceTimeout bounds the question since when a master leads: the answer is
// worth less than the events that wait behind it.
const sinceTimeout = 2 * time.Second

// subscription is one stream of events and the calls under its id.
type subscription struct {
	feed[scheduler.Event]
	to    *endpoint
	calls http.RoundTripper
	acks  http.RoundTripper
	book  *book
	log   zerolog.Logger
	life  context.Context // ends with the stream

	framework chan struct{} // closed when id is known
	id        *mesos.FrameworkID
}

func (s *Scheduler) start(life context.Context, cancel context.CancelCauseFunc, to *endpoint, resp *http.Response) *subscription {
	sub := &subscription{
		feed: feed[scheduler.Event]{
			events: make(chan scheduler.Event, feedDepth),
			cancel: cancel,
			limit:  missedHeartbeats * defaultHeartbeat,
		},
		to: to, calls: s.calls, acks: s.acks, life: life,
		book:      newBook(),
		log:       s.options.Log.With().Str("master", to.url.Host).Logger(),
		framework: make(chan struct{}),
	}
	sub.owned.Go(func() { sub.run(life, resp.Body, sub.decode) })
	return sub
}

// decode makes events of a frame, and keeps what the calls will need of them.
func (s *subscription) decode(frame []byte) ([]scheduler.Event, error) {
	e := &wire.Event{}
	if err := s.to.codec.decode(frame, e); err != nil {
		// The rest of the stream is good: one strange event must not end it,
		// since it would come again with the next subscription.
		s.log.Error().Err(err).Bytes("event", frame[:min(len(frame), 200)]).Msg("event left out")
		return nil, nil
	}
	switch e.Type {
	case wire.Event_SUBSCRIBED:
		return s.subscribed(e.Subscribed)
	case wire.Event_OFFERS:
		s.book.add(e.Offers.GetOffers())
	case wire.Event_RESCIND:
		s.book.remove(e.Rescind.GetOfferID().Value)
	case wire.Event_ERROR:
		return events(e, s.secure()), errors.New("the master refused: " + e.Error.GetMessage())
	}
	return events(e, s.secure()), nil
}

func (s *subscription) secure() bool { return s.to.url.Scheme == "https" }

func (s *subscription) subscribed(e *wire.Event_Subscribed) ([]scheduler.Event, error) {
	if e.GetFrameworkID().GetValue() == "" {
		return nil, errors.New("the master subscribed us without a framework id")
	}
	if seconds := e.GetHeartbeatIntervalSeconds(); seconds > 0 {
		s.limit = missedHeartbeats * time.Duration(seconds*float64(time.Second))
	}
	if s.id == nil {
		s.id = e.FrameworkID
		close(s.framework)
	}
	return []scheduler.Event{scheduler.Subscribed{
		FrameworkID: e.FrameworkID.Value,
		Master:      s.to.url.Host,
		MasterID:    e.GetMasterInfo().GetID(),
		MasterSince: s.since(),
	}}, nil
}

// since asks the master when it was elected; zero if it does not say.
func (s *subscription) since() time.Time {
	ctx, cancel := context.WithTimeout(s.life, sinceTimeout)
	defer cancel()
	operator := *s.to
	where := *s.to.url
	where.Path = strings.TrimSuffix(where.Path, schedulerPath) + operatorPath
	operator.url, operator.stream = &where, ""
	var answer master.Response
	err := operator.ask(ctx, s.acks, &master.Call{Type: master.Call_GET_MASTER}, &answer, maxErrorBody)
	if err != nil || answer.GetGetMaster() == nil {
		s.log.Debug().Err(err).Msg("the master does not say since when it leads")
		return time.Time{}
	}
	return timeOf(answer.GetMaster.GetElectedTime())
}

// Send makes one call and waits for its answer.
func (s *subscription) Send(ctx context.Context, c scheduler.Call) error {
	select {
	case <-s.framework:
	case <-s.life.Done():
		return fmt.Errorf("call: the subscription is over: %w", context.Cause(s.life))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if s.life.Err() != nil { // known or not: nothing goes out under a stream that is over
		return fmt.Errorf("call: the subscription is over: %w", context.Cause(s.life))
	}
	over := s.calls
	if _, ok := c.(scheduler.Acknowledge); ok {
		over = s.acks
	}
	call, answered, err := encodeCall(c, s.book)
	if err != nil {
		return err
	}
	call.FrameworkID = s.id
	err = s.to.call(ctx, over, call)
	var refused *scheduler.CallError
	if errors.As(err, &refused) {
		return refused
	}
	// Taken, or nobody knows: either way these offers are not ours any more.
	s.book.remove(answered...)
	if err != nil {
		return fmt.Errorf("%s at master %s: %w", call.Type, s.to.url.Host, err)
	}
	return nil
}
