// Package events makes events whose truth is known, and sends them: for tests,
// demos and benchmarks.
package events

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"time"

	"tidemill/jobs/event"
)

// Options say what to generate. The same options give the same lines.
type Options struct {
	Count     int       // distinct valid events
	Seed      uint64    //
	Campaigns int       // over which the events are spread, unevenly
	Days      int       // before End, over which they are spread
	End       time.Time // no event is later
	// Broken lines that no door may let in, Duplicates sent once more, and
	// Late events, a part of Count, which come last with a ts days before
	// all others.
	Broken, Duplicates, Late int
}

// Defaults of the options.
const (
	DefaultCampaigns = 20
	DefaultDays      = 3
	clickShare       = 0.1
	adsPerCampaign   = 5
	lateDays         = 5
)

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	switch {
	case o.Count < 0 || o.Broken < 0 || o.Duplicates < 0 || o.Late < 0:
		return fmt.Errorf("numbers of events cannot be negative")
	case o.Late > o.Count:
		return fmt.Errorf("%d late events of %d in all are too many", o.Late, o.Count)
	case o.Campaigns < 1 || o.Days < 1:
		return fmt.Errorf("there must be at least one campaign and one day")
	case o.Duplicates > 0 && o.Count == o.Late:
		return fmt.Errorf("there is nothing to duplicate")
	}
	return nil
}

// Line is one line to send: an event, or something broken.
type Line struct {
	Doc    []byte
	Broken bool
	Late   bool
}

// Lines gives the options' lines, the late ones last.
func (o Options) Lines() iter.Seq[Line] {
	return func(yield func(Line) bool) {
		g := newGenerator(o)
		onTime := o.Count - o.Late
		left := [...]int{onTime, o.Broken, o.Duplicates}
		for total := onTime + o.Broken + o.Duplicates; total > 0; total-- {
			if !yield(g.onTime(&left, total)) {
				return
			}
		}
		for range o.Late {
			if !yield(Line{Doc: g.event(o.Days, lateDays).AppendJSON(nil), Late: true}) {
				return
			}
		}
	}
}

// generator draws events.
type generator struct {
	random    *rand.Rand
	end       int64
	days      int
	campaigns []event.UUID
	ads       []event.UUID
	// recent is a sample of what was sent, from which duplicates are taken.
	recent []event.Event
}

// recentEvents bounds the memory of duplicates.
const recentEvents = 1000

func newGenerator(o Options) *generator {
	g := &generator{random: rand.New(rand.NewPCG(o.Seed, 0x7469646d696c6c)), end: o.End.UnixMilli(), days: o.Days}
	for range o.Campaigns {
		g.campaigns = append(g.campaigns, g.uuid())
		for range adsPerCampaign {
			g.ads = append(g.ads, g.uuid())
		}
	}
	return g
}

// uuid draws a UUID of version 4.
func (g *generator) uuid() (u event.UUID) {
	a, b := g.random.Uint64(), g.random.Uint64()
	for i := range 8 {
		u[i], u[i+8] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u
}

// onTime draws a line of one of the kinds that are left, each as likely as it
// has lines left. A duplicate needs something sent before it.
func (g *generator) onTime(left *[3]int, total int) Line {
	n := g.random.IntN(total)
	switch {
	case n < left[0] || len(g.recent) == 0 && left[0] > 0:
		left[0]--
		e := g.event(0, g.days)
		if len(g.recent) < recentEvents {
			g.recent = append(g.recent, e)
		} else {
			g.recent[g.random.IntN(recentEvents)] = e
		}
		return Line{Doc: e.AppendJSON(nil)}
	case n < left[0]+left[1] && left[1] > 0 || left[2] == 0:
		left[1]--
		return Line{Doc: g.broken(), Broken: true}
	}
	left[2]--
	return Line{Doc: g.recent[g.random.IntN(len(g.recent))].AppendJSON(nil)}
}

// event draws an event between so many days before the end, and so many more.
func (g *generator) event(before, days int) event.Event {
	const day = 24 * 60 * 60 * 1000
	// The square makes the first campaigns the big ones.
	share := g.random.Float64()
	c := int(share * share * float64(len(g.campaigns)))
	e := event.Event{
		ID: g.uuid(), Campaign: g.campaigns[c], AdID: g.ads[c*adsPerCampaign+g.random.IntN(adsPerCampaign)], Type: event.View,
		TS: g.end - int64(before)*day - 1 - g.random.Int64N(int64(days)*day),
	}
	if g.random.Float64() < clickShare {
		e.Type = event.Click
	}
	return e
}

// broken draws an event and breaks it in one of the ways that happen.
func (g *generator) broken() []byte {
	line := string(g.event(0, g.days).AppendJSON(nil))
	switch g.random.IntN(8) {
	case 0:
		line = line[:len(line)/2]
	case 1:
		line = strings.Replace(line, `"id"`, `"key"`, 1)
	case 2:
		line = strings.Replace(line, `"campaign":"`, `"campaign":"x`, 1)
	case 3:
		line = strings.Replace(line, `"ts":`, `"ts":-`, 1)
	case 4:
		line = strings.NewReplacer(event.View, "buy", event.Click, "buy").Replace(line)
	case 5:
		line = strings.Replace(line, "{", `{"type":"view",`, 1)
	case 6:
		line = strings.Replace(line, `"type":"`, "\"type\":\"\xff", 1)
	default:
		line += "}"
	}
	return []byte(line)
}
