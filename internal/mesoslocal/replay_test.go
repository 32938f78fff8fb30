package mesoslocal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tidemill/internal/golden"
)

// player plays the client's side of a recording against a local Mesos: the same bytes
// but for ids and addresses, on the same connections, in the same order and at the
// recorded times of the replay's clock. Before it sends what follows a received event in
// the recording, it waits for the like of that event, while the clock stands still.
type player struct {
	lines   []golden.Line
	time    timeline
	resent  bool                             // updates that were sent again count once
	passive bool                             // connections that broke were broken by the other side, unless a note says else
	resolve func(recordedHost string) string // recorded host:port to live
	control func(note string) error          // acts on a recorder's remark
	rewrite func(body string) string         // changes requests, commands for one
	paths   func(text string) string         // changes paths in requests
	exact   map[string]string                // ids known beforehand

	mu     sync.Mutex
	change chan struct{} // closed and replaced whenever something was received
	conns  map[string]*conn
	order  []string
	ids    *translation
	faults []string

	lastNote string
}

// conn is one labelled connection of a recording: what was recorded on it, and what the
// live side of it received.
type conn struct {
	label     string
	socket    net.Conn
	requests  []string // methods whose responses are outstanding
	responses []response
	live      []event
	recorded  []event
	ended     bool // the live stream ended by its last chunk
	broken    bool
	taken     int // responses compared so far
}

type response struct {
	head *http.Response
	body string
}

func (p *player) fault(format string, arguments ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, arguments...))
}

// play plays the whole recording; the comparison of events is the caller's.
func (p *player) play() error {
	p.conns, p.change = map[string]*conn{}, make(chan struct{})
	p.ids = newTranslation()
	maps.Copy(p.ids.exact, p.exact)
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.conns {
			if c.socket != nil {
				_ = c.socket.Close()
			}
		}
	}()
	for i, line := range p.lines {
		if err := p.step(line); err != nil {
			return fmt.Errorf("line %d (%.3f s, %s %s %s): %w", i+1, line.T, line.Conn, line.Dir, line.What, err)
		}
	}
	return nil
}

func (p *player) step(line golden.Line) error {
	p.time.reach(time.Duration(line.T * float64(time.Second)))
	switch {
	case line.Dir == golden.Note:
		p.lastNote = line.Raw
		if p.control != nil && line.What != "info" {
			return p.control(line.Raw)
		}
	case line.What == golden.Request:
		return p.send(line)
	case line.What == golden.ResponseHead:
		return p.awaitHead(line)
	case line.What == golden.ResponseBody:
		return p.compareBody(line)
	case line.What == golden.Chunk:
		return p.awaitEvent(line)
	case line.What == golden.EOF && !strings.Contains(line.Raw, "terminating"):
		if p.passive && !strings.Contains(p.lastNote, "dropping own connection") {
			c := p.conn(line.Conn)
			return p.until("loss of the connection "+line.Conn, func() bool { return c.broken })
		}
		p.hangUp(line.Conn)
	}
	return nil
}

// timeline is how a player meets the clock.
type timeline interface {
	// reach returns at a recorded time.
	reach(t time.Duration)
	// pass lets a little time pass ahead of the recording.
	pass(d time.Duration)
	// skew returns how far ahead a time is that another player waits for, if that is near:
	// it may have begun a little late.
	skew() time.Duration
	// forget makes of time that passed some that is not in the recording.
	forget(d time.Duration)
	// release lets the clock go on without this player until it reaches another time.
	release()
}

func (p *player) conn(label string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.conns[label]
	if c == nil {
		c = &conn{label: label}
		p.conns[label] = c
		p.order = append(p.order, label)
	}
	return c
}

func (p *player) hangUp(label string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.conns[label]; c != nil && c.socket != nil {
		_ = c.socket.Close()
		c.socket = nil
	}
}

// patience bounds, in real time, how long a player waits for what must come.
const playerPatience = 60 * time.Second

// until waits for a condition over what was received; mu is held while it is checked.
// What depends on a timer that was set a little late comes when a little more time passes,
// as does the end of a shell that was killed, as recorded, before it could set its trap.
func (p *player) until(what string, holds func() bool) error {
	const late, grace = 4 * time.Second, time.Second
	p.time.release()
	passed, began := time.Duration(0), time.Now()
	err := p.await(what, holds, func() {
		step := p.time.skew()
		if step == 0 && time.Since(began) > grace {
			step = 20 * time.Millisecond
		}
		if passed < late {
			p.time.pass(step)
			passed += step
		}
	})
	p.time.forget(passed)
	return err
}

// await waits for a condition; idle is called now and then meanwhile.
func (p *player) await(what string, holds func() bool, idle func()) error {
	const pause = 10 * time.Millisecond
	timeout := time.After(playerPatience)
	for {
		p.mu.Lock()
		ok, change := holds(), p.change
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-change:
		case <-time.After(pause):
			idle()
		case <-timeout:
			return fmt.Errorf("no %s within %s", what, playerPatience)
		}
	}
}

func (p *player) received(update func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	update()
	close(p.change)
	p.change = make(chan struct{})
}

var hostHeader = regexp.MustCompile(`(?m)^Host: (\S+)\r$`)

func (p *player) send(line golden.Line) error {
	head, body, _ := strings.Cut(line.Raw, "\r\n\r\n")
	address := "127.0.0.1:5050"
	if match := hostHeader.FindStringSubmatch(head + "\r\n"); match != nil {
		address = match[1]
	}
	translated, err := p.translate(body)
	if err != nil {
		return err
	}
	path, err := p.translate(head)
	if err != nil {
		return err
	}
	if p.rewrite != nil {
		translated = p.rewrite(translated)
	}
	lengthOf := regexp.MustCompile(`(?i)(content-length: )\d+`)
	path = lengthOf.ReplaceAllString(path, "${1}"+strconv.Itoa(len(translated)))
	c := p.conn(line.Conn)
	method, _, _ := strings.Cut(head, " ")
	if err := p.dial(c, p.resolve(address)); err != nil {
		return err
	}
	p.mu.Lock()
	c.requests = append(c.requests, method)
	socket := c.socket
	p.mu.Unlock()
	if _, err := io.WriteString(socket, path+"\r\n\r\n"+translated); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// dial opens the connection unless it is open; an agent that is just starting is given
// its time.
func (p *player) dial(c *conn, address string) error {
	p.mu.Lock()
	open := c.socket != nil && !c.broken
	p.mu.Unlock()
	if open {
		return nil
	}
	for deadline := time.Now().Add(playerPatience); ; p.time.release() {
		socket, err := net.Dial("tcp", address)
		if err == nil {
			p.mu.Lock()
			c.socket, c.broken, c.requests = socket, false, nil
			p.mu.Unlock()
			go p.read(c, socket)
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("dial: %w", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// read takes in responses on one socket, a stream of events among them, until it ends.
func (p *player) read(c *conn, socket net.Conn) {
	reader := bufio.NewReader(socket)
	for {
		if _, err := reader.Peek(1); err != nil {
			break
		}
		p.mu.Lock()
		method := http.MethodPost
		if len(c.requests) > 0 {
			method, c.requests = c.requests[0], c.requests[1:]
		}
		p.mu.Unlock()
		head, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			break
		}
		if slices.Contains(head.TransferEncoding, "chunked") && head.StatusCode == http.StatusOK {
			p.received(func() { c.responses = append(c.responses, response{head: head}) })
			p.readEvents(c, head.Body)
			break
		}
		body, err := io.ReadAll(head.Body)
		if err != nil {
			break
		}
		p.received(func() { c.responses = append(c.responses, response{head: head, body: string(body)}) })
	}
	p.received(func() {
		if c.socket == socket {
			c.broken = true
		}
	})
}

func (p *player) readEvents(c *conn, body io.Reader) {
	frames := bufio.NewReader(body)
	for {
		size, err := frames.ReadString('\n')
		if errors.Is(err, io.EOF) && size == "" {
			p.received(func() { c.ended = true })
			return
		}
		length, convErr := strconv.Atoi(strings.TrimSpace(size))
		if err != nil || convErr != nil {
			return
		}
		frame := make([]byte, length)
		if _, err := io.ReadFull(frames, frame); err != nil {
			return
		}
		e, err := parseEvent(frame)
		if err != nil {
			p.fault("%s: %v", c.label, err)
			return
		}
		p.received(func() {
			c.live = append(c.live, e)
			p.ids.learnLive(c.label, e)
		})
	}
}

// awaitHead waits for the response to what was sent, and compares status and headers.
func (p *player) awaitHead(line golden.Line) error {
	c := p.conn(line.Conn)
	answered := func() bool { return len(c.responses) > c.taken }
	if err := p.await("response on "+line.Conn, answered, func() {}); err != nil {
		return err
	}
	p.mu.Lock()
	got := c.responses[c.taken].head
	c.taken++
	p.mu.Unlock()
	want, err := http.ReadResponse(bufio.NewReader(strings.NewReader(line.Raw)), nil)
	if err != nil {
		return fmt.Errorf("the recorded head: %w", err)
	}
	if got.StatusCode != want.StatusCode {
		p.fault("%s at %.3f s: status %d, want %d", line.Conn, line.T, got.StatusCode, want.StatusCode)
	}
	for _, name := range []string{"Content-Type", "Allow", "Location", "WWW-Authenticate"} {
		if w, g := normalise(sorted(want.Header.Get(name))), normalise(sorted(got.Header.Get(name))); w != g {
			p.fault("%s at %.3f s: header %s: %q, want %q", line.Conn, line.T, name, g, w)
		}
	}
	if (want.Header.Get("Mesos-Stream-Id") == "") != (got.Header.Get("Mesos-Stream-Id") == "") {
		p.fault("%s at %.3f s: Mesos-Stream-Id: %q, want like %q", line.Conn, line.T, got.Header.Get("Mesos-Stream-Id"), want.Header.Get("Mesos-Stream-Id"))
	}
	if id := want.Header.Get("Mesos-Stream-Id"); id != "" {
		p.mu.Lock()
		p.ids.exact[id] = got.Header.Get("Mesos-Stream-Id")
		p.mu.Unlock()
	}
	return nil
}

// sorted orders the query of a location: a real master's order is that of a hash.
func sorted(location string) string {
	head, query, ok := strings.Cut(location, "?")
	if !ok {
		return location
	}
	parts := strings.Split(query, "&")
	slices.Sort(parts)
	return head + "?" + strings.Join(parts, "&")
}

// compareBody compares plain texts; of the JSON of the state endpoints only that it is
// JSON of the same kind.
func (p *player) compareBody(line golden.Line) error {
	c := p.conn(line.Conn)
	p.mu.Lock()
	got := c.responses[c.taken-1].body
	p.mu.Unlock()
	if json.Valid([]byte(line.Raw)) && line.Raw != "" {
		var want, have any
		_ = json.Unmarshal([]byte(line.Raw), &want) // valid, as just seen
		if err := json.Unmarshal([]byte(got), &have); err != nil || fmt.Sprintf("%T", want) != fmt.Sprintf("%T", have) {
			p.fault("%s at %.3f s: body %.100q is no JSON like %.100q", line.Conn, line.T, got, line.Raw)
		}
		return nil
	}
	if strings.HasPrefix(line.Raw, "<!DOCTYPE") {
		return nil
	}
	if w, g := normalise(line.Raw), normalise(got); w != g {
		p.fault("%s at %.3f s: body %q, want %q", line.Conn, line.T, g, w)
	}
	return nil
}

// awaitEvent notes a recorded event and waits for its like on the live stream. Offers
// and heartbeats are not waited for: they come when they come.
func (p *player) awaitEvent(line golden.Line) error {
	c := p.conn(line.Conn)
	if line.Raw == "" {
		return p.until("end of the stream "+line.Conn, func() bool { return c.ended })
	}
	_, frame, _ := strings.Cut(line.Raw, "\n")
	e, err := parseEvent([]byte(frame))
	if err != nil {
		return err
	}
	e.T = line.T
	p.mu.Lock()
	c.recorded = append(c.recorded, e)
	p.ids.learnRecorded(line.Conn, e)
	want := count(c.recorded, e.Key)
	p.mu.Unlock()
	if e.Type == "OFFERS" || e.Type == "HEARTBEAT" || e.Type == "RESCIND" {
		return nil
	}
	return p.until(e.Key, func() bool { return count(c.live, e.Key) >= want })
}

func count(events []event, key string) int {
	n := 0
	for _, e := range events {
		if e.Key == key {
			n++
		}
	}
	return n
}

var idToken = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(-[SO]?\d+)?`)
var uuidField = regexp.MustCompile(`"uuid": ?"([A-Za-z0-9+/]{22}==)"`)

// translate replaces the recorded ids in what is sent by the live ones; for an offer, or
// an update's UUID, that has not come yet it waits.
func (p *player) translate(text string) (string, error) {
	var failure error
	if p.paths != nil {
		text = p.paths(text)
	}
	declining := strings.Contains(text, `"DECLINE"`)
	replace := func(token string) string {
		live, err := p.counterpart(token, declining)
		failure = errors.Join(failure, err)
		return live
	}
	text = idToken.ReplaceAllStringFunc(text, replace)
	text = uuidField.ReplaceAllStringFunc(text, func(field string) string {
		uuid := uuidField.FindStringSubmatch(field)[1]
		return strings.Replace(field, uuid, replace(uuid), 1)
	})
	return text, failure
}

// counterpart waits for the live counterpart of a recorded id. Offers that came in
// fragments are declined meanwhile, so that they come as one.
// One that is to be declined anyway need not come at all.
func (p *player) counterpart(token string, declining bool) (live string, err error) {
	_, isOffer := p.ids.recordedOffers[token]
	if !isOffer {
		err = p.until("live counterpart of "+token, func() (known bool) {
			live, known = p.ids.live(token, false)
			return known
		})
		return live, err
	}
	const cycles, cycle, step = 12, 1500 * time.Millisecond, 100 * time.Millisecond // of the allocator
	for round := range cycles {
		passed := time.Duration(0)
		err := p.await("live counterpart of "+token, func() (over bool) {
			var known bool
			live, known = p.ids.live(token, round > 1)
			return known || passed >= cycle
		}, func() {
			p.time.forget(step)
			p.time.pass(step)
			passed += step
		})
		if err != nil || live != "" {
			return live, err
		}
		p.mu.Lock()
		label, fragments := p.ids.fragments(token)
		p.mu.Unlock()
		if err := p.decline(label, fragments); err != nil {
			return "", err
		}
		if declining {
			return "came-as-another-offer", nil
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return "", fmt.Errorf("no live counterpart of the offer %s (recorded as %+v; live offers: %+v)",
		token, p.ids.recordedOffers[token], p.ids.liveOffers)
}

// decline gives offers of a subscription back, to be made again at once.
func (p *player) decline(label string, offers []string) error {
	if len(offers) == 0 {
		return nil
	}
	p.mu.Lock()
	c := p.conns[label]
	framework, streamID := "", ""
	for _, e := range c.live {
		if e.Type == "SUBSCRIBED" {
			body, _ := e.Tree["subscribed"].(map[string]any)
			framework = at(body, "framework_id", "value")
		}
	}
	for _, r := range c.responses {
		streamID = r.head.Header.Get("Mesos-Stream-Id")
	}
	p.mu.Unlock()
	var ids []string
	for _, id := range offers {
		ids = append(ids, fmt.Sprintf(`{"value":%q}`, id))
	}
	body := fmt.Sprintf(`{"type":"DECLINE","framework_id":{"value":%q},"decline":{"offer_ids":[%s],"filters":{"refuse_seconds":0}}}`,
		framework, strings.Join(ids, ","))
	request, err := http.NewRequest(http.MethodPost, "http://"+p.resolve("127.0.0.1:5050")+"/api/v1/scheduler", strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Mesos-Stream-Id", streamID)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// labels returns the connections with events, in order of their first use.
func (p *player) labels() []string {
	return slices.DeleteFunc(slices.Clone(p.order), func(label string) bool {
		return len(p.conns[label].recorded)+len(p.conns[label].live) == 0
	})
}
