package demo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gocql/gocql"

	"tidemill/internal/events"
	"tidemill/jobs/event"
)

// minEvents leaves something to send at every kill.
const minEvents = 500

// trafficOf are the events of the demo: 2 % of broken lines and 2 % of
// duplicates among them, 5 % of them late.
func trafficOf(count int) events.Options {
	return events.Options{
		Count: count, Seed: uint64(time.Now().UnixNano()), Campaigns: events.DefaultCampaigns, Days: events.DefaultDays,
		End: time.Now().UTC().Truncate(24 * time.Hour), Broken: count / 50, Duplicates: count / 50, Late: count / 20,
	}
}

// sendFor is how long the sending on time takes: so long that every kill
// happens under load, and no faster than Cassandra writes on a small machine.
const sendFor = 40 * time.Second

// slowest is how many lines a second are sent at least, so that few events
// take less time.
const slowest = 300

// sendWhileKilling sends all that is on time, and kills a scheduler, an
// executor and an agent meanwhile.
func (d *demo) sendWhileKilling(ctx context.Context) error {
	d.traffic = trafficOf(d.Events)
	o := d.traffic
	lines := o.Count - o.Late + o.Broken + o.Duplicates
	d.screen.say("%d events, with %d broken lines and %d duplicates among them", o.Count-o.Late, o.Broken, o.Duplicates)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var answered atomic.Int64
	var kills sync.WaitGroup
	kills.Go(func() {
		if err := d.kill(ctx, &answered, int64(lines)); err != nil {
			cancel(err)
		}
	})
	rate := max(float64(lines)/sendFor.Seconds(), slowest)
	err := d.send(ctx, false, rate, int64(o.Broken), &answered)
	if err != nil {
		cancel(err)
	}
	kills.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// sendLate waits for the first totals, and then sends events of days before.
func (d *demo) sendLate(ctx context.Context) error {
	err := d.await(ctx, "the first totals", longest, func(ctx context.Context) (bool, string, error) {
		var id gocql.UUID
		err := d.session.Query(`SELECT id FROM campaign LIMIT 1`).WithContext(ctx).Scan(&id)
		if errors.Is(err, gocql.ErrNotFound) {
			return false, "waiting for the first totals", nil
		}
		return err == nil, "", err
	})
	if err != nil {
		return err
	}
	d.screen.say("totals are published; now %d events of up to eight days ago", d.traffic.Late)
	var answered atomic.Int64
	if err := d.send(ctx, true, 0, 0, &answered); err != nil {
		return err
	}
	if n := d.truth.Events(); n != d.Events {
		return fmt.Errorf("%d distinct events were sent, not %d", n, d.Events)
	}
	return nil
}

// send posts the lines of one kind until each is answered. The truth is what
// was generated, not what was accepted: each valid event must be.
func (d *demo) send(ctx context.Context, late bool, rate float64, broken int64, answered *atomic.Int64) error {
	sender := events.Sender{
		URL: d.doors(), Rate: rate, Log: d.Log,
		Progress: func(s events.Sent) {
			answered.Store(s.Acknowledged + s.Refused)
			d.screen.progress("%d events acknowledged, %d lines refused, %d requests repeated", s.Acknowledged, s.Refused, s.Retries)
		},
	}
	sent, err := sender.Send(ctx, d.lines(late))
	if err != nil {
		return err
	}
	d.screen.say("%d events acknowledged (duplicates included), %d lines refused, %d requests repeated", sent.Acknowledged, sent.Refused, sent.Retries)
	if sent.Refused != broken {
		return fmt.Errorf("%d lines were refused, but %d are broken", sent.Refused, broken)
	}
	return nil
}

// lines gives those that are late, or those that are not, and notes the truth.
func (d *demo) lines(late bool) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for line := range d.traffic.Lines() {
			if line.Late != late {
				continue
			}
			if e, fault := event.Decode(line.Doc); fault == nil && !line.Broken {
				d.truth.Add(e)
			}
			if !yield(line.Doc) {
				return
			}
		}
	}
}

// doors gives the door's instances in turn, as the scheduler knows them.
func (d *demo) doors() func(context.Context) (string, error) {
	var turn atomic.Int64
	return func(ctx context.Context) (string, error) {
		v, err := d.api.job(ctx, door)
		if err != nil {
			return "", err
		}
		if len(v.Endpoints) == 0 {
			return "", fmt.Errorf("job %s listens nowhere now (it is %s)", door, v.State)
		}
		return v.Endpoints[int(turn.Add(1))%len(v.Endpoints)].URL, nil
	}
}
