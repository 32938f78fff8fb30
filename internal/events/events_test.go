package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"tidemill/jobs/event"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestLinesAreWhatWasAskedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Count: rapid.IntRange(1, 300).Draw(t, "count"), Seed: rapid.Uint64().Draw(t, "seed"),
			Campaigns: rapid.IntRange(1, 9).Draw(t, "campaigns"), Days: rapid.IntRange(1, 5).Draw(t, "days"), End: noon,
			Broken: rapid.IntRange(0, 50).Draw(t, "broken"), Duplicates: rapid.IntRange(0, 50).Draw(t, "duplicates")}
		o.Late = rapid.IntRange(0, o.Count-1).Draw(t, "late")
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		truth := NewTruth()
		var lines, broken, late, valid int
		for l := range o.Lines() {
			lines++
			e, fault := event.Decode(l.Doc)
			if fault == nil {
				fault = event.Rules{}.Check(e, noon)
			}
			if (fault != nil) != l.Broken {
				t.Fatalf("broken %v, but %v: %s", l.Broken, fault, l.Doc)
			}
			if bytes.ContainsRune(l.Doc, '\n') {
				t.Fatalf("not one line: %q", l.Doc)
			}
			before := noon.UnixMilli() - int64(o.Days)*24*3600*1000
			switch {
			case l.Broken:
				broken++
				continue
			case l.Late:
				late++
			case late > 0:
				t.Fatal("a line after the late ones")
			}
			if e.TS >= noon.UnixMilli() || (e.TS < before) != l.Late {
				t.Fatalf("late %v, but it is of %s", l.Late, time.UnixMilli(e.TS).UTC())
			}
			valid++
			truth.Add(e)
		}
		if lines != o.Count+o.Broken+o.Duplicates || broken != o.Broken || late != o.Late || truth.Events() != o.Count || valid != o.Count+o.Duplicates {
			t.Fatalf("%+v gave %d lines, %d broken, %d late, %d valid, %d distinct", o, lines, broken, late, valid, truth.Events())
		}
		if len(truth.Days()) > o.Campaigns {
			t.Fatalf("%d campaigns", len(truth.Days()))
		}
	})
}

func TestSameSeedSameLines(t *testing.T) {
	draw := func(seed uint64) string {
		var b bytes.Buffer
		for l := range (Options{Count: 50, Seed: seed, Campaigns: 3, Days: 2, End: noon, Broken: 5, Duplicates: 5}).Lines() {
			b.Write(l.Doc)
		}
		return b.String()
	}
	if first, again := draw(1), draw(1); first != again || first == draw(2) {
		t.Error("the seed does not decide")
	}
}

func TestTruth(t *testing.T) {
	a, b := event.UUID{1}, event.UUID{2}
	truth := NewTruth()
	add := func(id byte, campaign event.UUID, day event.Day, typ string) {
		truth.Add(event.Event{ID: event.UUID{id}, Campaign: campaign, TS: day.Time().UnixMilli() + 5, Type: typ})
	}
	add(1, a, 100, "view")
	add(1, a, 100, "view")
	add(2, a, 100, "click")
	add(3, a, 101, "view")
	add(4, b, 101, "click")
	if diff := cmp.Diff(map[event.UUID]Counts{a: {2, 1}, b: {0, 1}}, truth.Totals()); diff != "" || truth.Events() != 4 {
		t.Errorf("%d events, totals (-want +got):\n%s", truth.Events(), diff)
	}
	path := filepath.Join(t.TempDir(), "truth.json")
	if err := truth.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc document
	if err := json.Unmarshal(file, &doc); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(document{4, truth.Days()}, doc); diff != "" || !strings.Contains(string(file), `"1970-04-11"`) {
		t.Errorf("file (-want +got):\n%s\n%s", diff, file)
	}
}

// server is a door that refuses broken lines and, by turns, fails.
type server struct {
	mu       sync.Mutex
	fail     []int // statuses to answer first
	accepted map[string]int
	largest  int // lines that fit in one request
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Path != "/v1/events" || r.Header.Get("Content-Type") != "application/x-ndjson" {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	if len(s.fail) > 0 {
		status := s.fail[0]
		s.fail = s.fail[1:]
		if status == 0 { // cut the connection
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(status)
		return
	}
	lines := strings.Split(string(body), "\n")
	if s.largest > 0 && len(lines) > s.largest {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	type fault struct {
		Index int `json:"index"`
	}
	var faults []fault
	for i, l := range lines {
		if strings.HasPrefix(l, "bad") && len(faults) < 2 { // not all at once
			faults = append(faults, fault{i})
		}
	}
	if len(faults) > 0 {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": faults})
		return
	}
	for _, l := range lines {
		s.accepted[l]++
	}
	w.WriteHeader(http.StatusAccepted)
}

func numbered(n int, bad ...int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range n {
			line := fmt.Sprintf("line %d", i)
			if slices.Contains(bad, i) {
				line = "bad " + line
			}
			if !yield([]byte(line)) {
				return
			}
		}
	}
}

func TestSend(t *testing.T) {
	cases := []struct {
		name   string
		server *server
		bad    []int
		want   Sent
	}{
		{name: "all is well", server: &server{}, want: Sent{Acknowledged: 25}},
		{name: "broken lines are dropped", server: &server{}, bad: []int{0, 3, 4, 5, 24}, want: Sent{Acknowledged: 20, Refused: 5}},
		{name: "all of a batch is broken", server: &server{}, bad: []int{20, 21, 22, 23, 24}, want: Sent{Acknowledged: 20, Refused: 5}},
		{name: "failures are sent again", server: &server{fail: []int{503, 429, 0, 500, 404}}, want: Sent{Acknowledged: 25, Retries: 5}},
		{name: "too large is halved", server: &server{largest: 3}, want: Sent{Acknowledged: 25}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.server.accepted = map[string]int{}
			door := httptest.NewServer(c.server)
			defer door.Close()
			reports := 0
			s := Sender{URL: At(door.URL), Batch: 10, Workers: 1, Wait: time.Millisecond, Log: zerolog.Nop(), Progress: func(Sent) { reports++ }}
			sent, err := s.Send(t.Context(), numbered(25, c.bad...))
			if (sent.Why == "") != (sent.Retries == 0) {
				t.Errorf("%d requests were sent again for %q", sent.Retries, sent.Why)
			}
			sent.Why = ""
			if err != nil || sent != c.want || reports == 0 {
				t.Errorf("sent %+v, %v, want %+v; %d reports", sent, err, c.want, reports)
			}
			for i := range 25 {
				want := 1
				if slices.Contains(c.bad, i) {
					want = 0
				}
				if got := c.server.accepted[fmt.Sprintf("line %d", i)]; got != want {
					t.Errorf("line %d was accepted %d times", i, got)
				}
			}
		})
	}
}

func TestSendCountsTheTruth(t *testing.T) {
	door := httptest.NewServer(&server{accepted: map[string]int{}})
	defer door.Close()
	o := Options{Count: 200, Campaigns: 4, Days: 2, End: noon, Duplicates: 20}
	want := NewTruth()
	lines := func(yield func([]byte) bool) {
		for l := range o.Lines() {
			if e, fault := event.Decode(l.Doc); fault == nil {
				want.Add(e)
			}
			if !yield(l.Doc) {
				return
			}
		}
	}
	s := Sender{URL: At(door.URL), Truth: NewTruth(), Batch: 30, Log: zerolog.Nop()}
	sent, err := s.Send(t.Context(), lines)
	if err != nil || sent.Acknowledged != 220 {
		t.Fatalf("%+v, %v", sent, err)
	}
	if diff := cmp.Diff(want.Days(), s.Truth.Days()); diff != "" {
		t.Errorf("truth (-want +got):\n%s", diff)
	}
}

func TestSendEnds(t *testing.T) {
	door := httptest.NewServer(&server{fail: []int{415}, accepted: map[string]int{}})
	defer door.Close()
	s := Sender{URL: At(door.URL), Workers: 1, Log: zerolog.Nop()}
	if _, err := s.Send(t.Context(), numbered(5)); err == nil || !strings.Contains(err.Error(), "415") {
		t.Errorf("a request that no repetition mends: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	nowhere := Sender{Log: zerolog.Nop(), URL: func(context.Context) (string, error) {
		cancel()
		return "", errors.New("no door")
	}}
	if _, err := nowhere.Send(ctx, numbered(5)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
