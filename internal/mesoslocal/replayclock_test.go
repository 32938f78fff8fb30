package mesoslocal

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemill/internal/mesoslocal/wire"
)

// replayClock is the clock of a replay: it stands still while something is awaited, and
// runs as fast as its timers can be served else. Executors of the replay, in processes of
// their own, set their timers on it through a socket.
type replayClock struct {
	start time.Time

	mu     sync.Mutex
	now    time.Duration
	extra  time.Duration // time that passed and is not in the recording
	timers []*replayTimer
}

type replayTimer struct {
	clock    *replayClock
	at       time.Duration
	recorded bool // the time is one of the recording
	f        func()
}

// Now implements wire.Clock.
func (c *replayClock) Now() time.Time { return c.start.Add(c.elapsed()) }

func (c *replayClock) elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc implements wire.Clock; f is called by who advances the clock.
func (c *replayClock) AfterFunc(d time.Duration, f func()) wire.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	timer := &replayTimer{clock: c, at: c.now + d, f: f}
	c.timers = append(c.timers, timer)
	return timer
}

// recorded returns the time of the recording.
func (c *replayClock) recorded() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now - c.extra
}

// reach advances the clock to a time of the recording, if that has not passed.
func (c *replayClock) reach(t time.Duration) {
	c.mu.Lock()
	to := t + c.extra
	c.mu.Unlock()
	c.advance(to)
}

// forget implements timeline.
func (c *replayClock) forget(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.extra += d
	for _, timer := range c.timers {
		if timer.recorded {
			timer.at += d
		}
	}
}

// Stop implements wire.Timer.
func (t *replayTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	at := slices.Index(t.clock.timers, t)
	if at >= 0 {
		t.clock.timers = slices.Delete(t.clock.timers, at, at+1)
	}
	return at >= 0
}

// advance moves the clock on, in small steps so that what the timers set off elsewhere
// happens in between.
func (c *replayClock) advance(to time.Duration) {
	const step, pause = 50 * time.Millisecond, time.Millisecond
	for now := c.elapsed(); now < to; {
		now = min(to, now+step)
		for timer := c.due(now); timer != nil; timer = c.due(now) {
			timer.f()
		}
		<-time.After(pause)
	}
}

// due takes the first timer that is due by a time, and moves the clock to it; where there
// is none, to that time.
func (c *replayClock) due(by time.Duration) *replayTimer {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := -1
	for i, timer := range c.timers {
		if timer.at <= by && (first < 0 || timer.at < c.timers[first].at) {
			first = i
		}
	}
	if first < 0 {
		c.now = max(c.now, by)
		return nil
	}
	timer := c.timers[first]
	c.now = max(c.now, timer.at)
	c.timers = slices.Delete(c.timers, first, first+1)
	return timer
}

// serve lets other processes set timers: a line holds a time of the recording, or after a
// "+" how long from now. At that time the clock stands still until they close the connection.
func (c *replayClock) serve(t *testing.T) (socket string) {
	socket = fmt.Sprintf("@tidemill-replay-%d", os.Getpid()) // in the abstract name space: no file
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() { c.serveTimer(conn) })
			served.Go(func() { // who still waits at the end may go
				<-ended
				conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		close(ended)
		served.Wait()
	})
	return socket
}

func (c *replayClock) serveTimer(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n')
	if err != nil {
		return
	}
	text, relative := strings.CutPrefix(strings.TrimSpace(line), "+")
	nanoseconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return
	}
	at, over := time.Duration(nanoseconds), make(chan struct{})
	c.mu.Lock()
	if relative {
		at += c.now
	} else {
		at += c.extra
	}
	c.timers = append(c.timers, &replayTimer{clock: c, at: at, recorded: !relative, f: func() {
		fmt.Fprintln(conn, c.recorded().Nanoseconds())
		<-over
	}})
	c.mu.Unlock()
	_, _ = reader.ReadByte() // the end of the connection
	close(over)
}

// remoteClock is a replay's clock as another process sees it.
type remoteClock struct {
	socket string
}

// Now implements wire.Clock.
func (remoteClock) Now() time.Time { return time.Now() }

type remoteTimer struct{ conn net.Conn }

// Stop implements wire.Timer.
func (r remoteTimer) Stop() bool { return r.conn != nil && r.conn.Close() == nil }

// AfterFunc implements wire.Clock.
func (r remoteClock) AfterFunc(d time.Duration, f func()) wire.Timer {
	conn, answer := r.ask("+", d)
	go func() {
		if <-answer >= 0 {
			f()
		}
		if conn != nil {
			conn.Close()
		}
	}()
	return remoteTimer{conn}
}

// ask sets a timer. The clock goes on from that time when the connection is closed.
func (r remoteClock) ask(prefix string, d time.Duration) (net.Conn, <-chan time.Duration) {
	answer := make(chan time.Duration, 1)
	conn, err := net.Dial("unix", r.socket)
	if err != nil { // the replay is over
		answer <- -1
		return nil, answer
	}
	fmt.Fprintf(conn, "%s%d\n", prefix, d.Nanoseconds())
	go func() {
		line, err := bufio.NewReader(conn).ReadString('\n')
		now, convErr := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil || convErr != nil {
			now = -1
		}
		answer <- time.Duration(now)
	}()
	return conn, answer
}

// remoteTime is the timeline of a player in another process: from the time it has
// reached, the clock stands still until it waits for something.
type remoteTime struct {
	clock remoteClock
	base  time.Duration // when the process began
	hold  net.Conn
}

func newRemoteTime(socket string) *remoteTime {
	r := &remoteTime{clock: remoteClock{socket}}
	conn, answer := r.clock.ask("+", 0)
	r.hold, r.base = conn, <-answer
	return r
}

func (r *remoteTime) reach(t time.Duration) {
	conn, answer := r.clock.ask("", r.base+t)
	r.release()
	<-answer
	r.hold = conn
}

func (r *remoteTime) release() {
	if r.hold != nil {
		r.hold.Close()
		r.hold = nil
	}
}

// The player that moves the clock does it itself.
func (*remoteTime) pass(time.Duration)   {}
func (*remoteTime) forget(time.Duration) {}
func (*remoteTime) skew() time.Duration  { return 0 }

// pass implements timeline.
func (c *replayClock) pass(d time.Duration) { c.advance(c.elapsed() + d) }

// skew implements timeline.
func (c *replayClock) skew() time.Duration {
	const near = 600 * time.Millisecond
	c.mu.Lock()
	defer c.mu.Unlock()
	first := near + 1
	for _, timer := range c.timers {
		if timer.recorded {
			first = min(first, timer.at-c.now)
		}
	}
	if first > near {
		return 0
	}
	return max(first, 0)
}

func (*replayClock) release() {}
