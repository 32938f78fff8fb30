package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"tidemill/jobs"
)

// trouble is one thing that is done to the cluster, for a while.
type trouble struct {
	name string
	// begin breaks something; what it returns mends it again, where healing the network and starting
	// what does not run does not.
	begin func(ctx context.Context, n *nemesis) (mend func(context.Context) error, err error)
}

// nemesis breaks the cluster, as its seed says.
type nemesis struct {
	*cluster
	rng *rand.Rand
}

// troubles are all that is done, each as often as it stands here.
func troubles() []trouble {
	return []trouble{
		{"random halves", halves(false)},
		{"random halves", halves(false)},
		{"random halves, one way", halves(true)},
		{"the leader is cut off", isolate(leaders, everyone, false)},
		{"the leader is cut off from ZooKeeper", isolate(leaders, ofRole(ZooKeeper), false)},
		{"ZooKeeper does not hear the leader", isolate(leaders, ofRole(ZooKeeper), true)},
		{"the leader is cut off from the masters", isolate(leaders, ofRole(Master), false)},
		{"a ZooKeeper server is cut off from the others", isolate(oneOf(ZooKeeper), ofRole(ZooKeeper), false)},
		{"an agent is cut off", isolate(oneOf(Agent), everyone, false)},
		{"an agent is not heard", isolate(oneOf(Agent), everyone, true)},
		{"a master is cut off", isolate(oneOf(Master), everyone, false)},
		{"the leader stalls", stall(leaders)},
		{"the leader stalls", stall(leaders)},
		{"an agent stalls", stall(oneOf(Agent))},
		{"a master stalls", stall(oneOf(Master))},
		{"the leader is killed", killed(leaders)},
		{"the leader is killed", killed(leaders)},
		{"a ZooKeeper server is killed", killed(oneOf(ZooKeeper))},
		{"a master is killed", killed(oneOf(Master))},
		{"an agent is killed", killed(oneOf(Agent))},
		{"all schedulers are killed", killed(ofRole(Scheduler))},
		{"ZooKeeper's quorum is lost", killed(mostOf(ZooKeeper))},
		{"ZooKeeper's quorum stalls", stall(mostOf(ZooKeeper))},
		{"the work on an agent is killed", strikes},
		{"an agent's machine crashes", crash},
		{"the leader's clock is wrong", wrongClock(10 * time.Second)},
		{"the leader's clock is far off", wrongClock(60 * time.Second)},
	}
}

// wreck draws troubles until the time is over; between two of them the cluster is whole for a while.
// The troubles come in an order that the seed says, from another place in each pass, so that short
// passes together try most of them.
func (n *nemesis) wreck(ctx context.Context, end time.Time) error {
	list := troubles()
	n.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	first := 0
	if n.Policy == jobs.UnknownWait {
		first = len(list) / 2
	}
	for i := first; ; {
		count := 1
		if n.rng.IntN(4) == 0 {
			count = 2 // they seldom come alone
		}
		quiet, last := n.between(8*time.Second, 16*time.Second), n.between(n.Times.Session, 5*n.Times.Session+10*time.Second)
		if time.Now().Add(quiet + last).After(end) {
			return nil
		}
		if !pause(ctx, quiet) {
			return ctx.Err()
		}
		var mends []func(context.Context) error
		var errs []error
		for range count {
			t := list[i%len(list)]
			i++
			n.log.Info().Str("trouble", t.name).Dur("for_ms", last).Msg("trouble begins")
			mend, err := t.begin(ctx, n)
			mends, errs = append(mends, mend), append(errs, err)
		}
		pause(ctx, last)
		for _, mend := range mends {
			if mend != nil {
				errs = append(errs, mend(ctx))
			}
		}
		if err := errors.Join(append(errs, n.mend(ctx))...); err != nil {
			return err
		}
		n.log.Info().Msg("trouble ends")
	}
}

func (n *nemesis) between(least, most time.Duration) time.Duration {
	return least + time.Duration(n.rng.Int64N(int64(most-least)))
}

// pause waits; false: ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// choice picks the servers that are to suffer; none where there are none now.
type choice func(ctx context.Context, n *nemesis) []*server

func leaders(ctx context.Context, n *nemesis) []*server {
	if s := n.leader(ctx); s != nil {
		return []*server{s}
	}
	return nil
}

func everyone(_ context.Context, n *nemesis) []*server { return n.servers }

func ofRole(role Role) choice {
	return func(_ context.Context, n *nemesis) []*server { return n.of(role) }
}

func oneOf(role Role) choice {
	return func(_ context.Context, n *nemesis) []*server {
		list := n.of(role)
		return []*server{list[n.rng.IntN(len(list))]}
	}
}

func mostOf(role Role) choice {
	return func(_ context.Context, n *nemesis) []*server {
		list := n.of(role)
		n.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return list[:len(list)/2+1]
	}
}

type begin = func(context.Context, *nemesis) (func(context.Context) error, error)

// halves cuts the hosts into two random halves.
func halves(oneWay bool) begin {
	return func(ctx context.Context, n *nemesis) (func(context.Context) error, error) {
		all := slices.Clone(n.servers)
		n.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return nil, n.cut(ctx, ways(all[:len(all)/2], all[len(all)/2:], oneWay), "halves")
	}
}

// isolate cuts some off from others; one way: their words are lost, they hear the others.
func isolate(who, from choice, oneWay bool) begin {
	return func(ctx context.Context, n *nemesis) (func(context.Context) error, error) {
		these := who(ctx, n)
		return nil, n.cut(ctx, ways(these, from(ctx, n), oneWay), "isolated")
	}
}

func ways(these, others []*server, oneWay bool) (list []Way) {
	for _, a := range these {
		for _, b := range others {
			if slices.Contains(these, b) {
				continue
			}
			list = append(list, Way{From: a.Name, To: b.Name})
			if !oneWay {
				list = append(list, Way{From: b.Name, To: a.Name})
			}
		}
	}
	return list
}

func stall(who choice) begin {
	return func(ctx context.Context, n *nemesis) (func(context.Context) error, error) {
		list := who(ctx, n)
		var errs []error
		for _, s := range list {
			errs = append(errs, s.stop())
		}
		return func(context.Context) error {
			var errs []error
			for _, s := range list {
				errs = append(errs, s.resume())
			}
			return errors.Join(errs...)
		}, errors.Join(errs...)
	}
}

func killed(who choice) begin {
	return func(ctx context.Context, n *nemesis) (func(context.Context) error, error) {
		var errs []error
		for _, s := range who(ctx, n) {
			errs = append(errs, s.kill())
		}
		return nil, errors.Join(errs...)
	}
}

func strikes(ctx context.Context, n *nemesis) (func(context.Context) error, error) {
	return nil, n.strike(oneOf(Agent)(ctx, n)[0])
}

func crash(ctx context.Context, n *nemesis) (func(context.Context) error, error) {
	s := oneOf(Agent)(ctx, n)[0]
	return nil, errors.Join(s.kill(), n.strike(s))
}

// wrongClock sets the leader's clock by up to most off, ahead or behind.
func wrongClock(most time.Duration) begin {
	return func(ctx context.Context, n *nemesis) (func(context.Context) error, error) {
		by := n.between(most/2, most)
		if n.rng.IntN(2) == 0 {
			by = -by
		}
		var errs []error
		for _, s := range leaders(ctx, n) {
			errs = append(errs, n.setClock(s, by, true))
		}
		return nil, errors.Join(errs...)
	}
}
