package events

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tidemill/jobs/event"
)

// Bounds of the sender's patience.
const (
	longWait    = 5 * time.Second
	requestTime = 30 * time.Second
)

// Defaults of the sender.
const (
	DefaultBatch   = 500
	DefaultWorkers = 4
	DefaultWait    = 200 * time.Millisecond
)

// Sent is how far a sender has come.
type Sent struct {
	Acknowledged int64  // lines answered with 202, duplicates included
	Refused      int64  // lines that the door named as wrong
	Retries      int64  // requests that had to be sent again
	Why          string // the last of them
}

// Sender posts lines to ingest doors, each until it is acknowledged or refused.
type Sender struct {
	// URL gives the base URL of a door. It is asked before every request,
	// since a door may come back elsewhere.
	URL     func(ctx context.Context) (string, error)
	Batch   int     // lines of a request; DefaultBatch if 0
	Workers int     // requests at once; DefaultWorkers if 0
	Rate    float64 // lines a second; no bound if 0
	// Wait before the first repetition, doubled up to 5 s; DefaultWait if 0.
	Wait time.Duration
	// Truth counts what was acknowledged.
	Truth *Truth
	// Progress is told how far it is after each request; it may be nil.
	Progress func(Sent)
	Log      zerolog.Logger

	client *http.Client
	mu     sync.Mutex
	sent   Sent
}

// At is the URL function of a door that never moves.
func At(url string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return url, nil }
}

// Send posts all lines and returns when each is acknowledged or refused, ctx
// ends, or the door says something that no repetition mends.
func (s *Sender) Send(ctx context.Context, lines iter.Seq[[]byte]) (Sent, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	count := cmp.Or(s.Workers, DefaultWorkers)
	// A connection for each worker, kept: the default keeps two.
	transport := &http.Transport{MaxIdleConnsPerHost: count}
	defer transport.CloseIdleConnections()
	s.client = &http.Client{Transport: transport}
	batches := make(chan [][]byte)
	var workers sync.WaitGroup
	for range count {
		workers.Go(func() {
			for b := range batches {
				if err := s.deliver(ctx, b); err != nil {
					cancel(err)
				}
			}
		})
	}
	s.feed(ctx, lines, batches)
	close(batches)
	workers.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent, context.Cause(ctx)
}

// feed cuts the lines into batches, no faster than the rate.
func (s *Sender) feed(ctx context.Context, lines iter.Seq[[]byte], batches chan<- [][]byte) {
	size := cmp.Or(s.Batch, DefaultBatch)
	began, count := time.Now(), 0
	pass := func(b [][]byte) bool {
		if s.Rate > 0 && wait(ctx, time.Until(began.Add(time.Duration(float64(count)/s.Rate*float64(time.Second))))) != nil {
			return false
		}
		count += len(b)
		select {
		case batches <- b:
			return true
		case <-ctx.Done():
			return false
		}
	}
	var batch [][]byte
	for line := range lines {
		if batch = append(batch, line); len(batch) == size {
			if !pass(batch) {
				return
			}
			batch = nil
		}
	}
	if len(batch) > 0 {
		pass(batch)
	}
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deliver posts one batch until nothing of it is left.
func (s *Sender) deliver(ctx context.Context, batch [][]byte) error {
	first := cmp.Or(s.Wait, DefaultWait)
	for pause := first; len(batch) > 0; {
		reply, err := s.post(ctx, batch)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case err == nil && reply.status == http.StatusAccepted:
			s.acknowledged(batch)
			return nil
		case err == nil && len(reply.Errors) > 0 && (reply.status == http.StatusBadRequest || reply.status == http.StatusRequestEntityTooLarge):
			batch = s.drop(batch, reply.Errors)
			pause = first
			continue
		case err == nil && reply.status == http.StatusRequestEntityTooLarge && len(batch) > 1:
			half := len(batch) / 2
			if err := s.deliver(ctx, batch[:half]); err != nil {
				return err
			}
			batch = batch[half:]
			continue
		case err == nil && reply.status < 500 && reply.status != http.StatusTooManyRequests && reply.status != http.StatusNotFound:
			return fmt.Errorf("post events: %d: %s", reply.status, reply.Detail)
		}
		s.again(err, reply)
		if err := wait(ctx, max(pause, reply.retryAfter)); err != nil {
			return err
		}
		pause = min(2*pause, longWait)
	}
	return nil
}

// reply is the door's answer.
type reply struct {
	Detail string `json:"detail"`
	Errors []struct {
		Index int `json:"index"`
	} `json:"errors"`
	status     int
	retryAfter time.Duration
}

func (s *Sender) post(ctx context.Context, batch [][]byte) (r reply, err error) {
	url, err := s.URL(ctx)
	if err != nil {
		return r, fmt.Errorf("find the door: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/events", bytes.NewReader(bytes.Join(batch, []byte{'\n'})))
	if err != nil {
		return r, err
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := s.client.Do(request)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return r, err
	}
	r.status = response.StatusCode
	if r.status != http.StatusAccepted && json.Unmarshal(body, &r) != nil {
		r.Detail = string(body)
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		r.retryAfter = min(time.Duration(seconds)*time.Second, longWait)
	}
	return r, nil
}

func (s *Sender) acknowledged(batch [][]byte) {
	if s.Truth != nil {
		for _, line := range batch {
			if e, fault := event.Decode(line); fault == nil {
				s.Truth.Add(e)
			}
		}
	}
	s.count(func() { s.sent.Acknowledged += int64(len(batch)) })
}

// drop leaves out the lines that the door named.
func (s *Sender) drop(batch [][]byte, named []struct {
	Index int `json:"index"`
}) [][]byte {
	wrong := map[int]bool{}
	for _, e := range named {
		wrong[e.Index] = true
	}
	var rest [][]byte
	for i, line := range batch {
		if !wrong[i] {
			rest = append(rest, line)
		}
	}
	s.count(func() { s.sent.Refused += int64(len(batch) - len(rest)) })
	return rest
}

func (s *Sender) again(err error, r reply) {
	why := fmt.Sprintf("%d: %s", r.status, r.Detail)
	if err != nil {
		why = err.Error()
	}
	s.count(func() { s.sent.Retries, s.sent.Why = s.sent.Retries+1, why })
	s.Log.Debug().Str("why", why).Msg("posting the batch again")
}

func (s *Sender) count(change func()) {
	s.mu.Lock()
	change()
	now := s.sent
	s.mu.Unlock()
	if s.Progress != nil {
		s.Progress(now)
	}
}
