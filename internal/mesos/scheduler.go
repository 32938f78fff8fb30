package mesos

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	wire "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/rs/zerolog"

	"tidemill/scheduler"
)

const (
	schedulerPath = "/api/v1/scheduler"
	operatorPath  = "/api/v1"
	maxRedirects  = 5
	// ackConns is how many acknowledgements are under way at once; other
	// calls go one at a time over one connection, and so stay in order.
	ackConns = 4
	// defaultHeartbeat is Mesos's own, for a master that does not say.
	defaultHeartbeat = 15 * time.Second
	// missedHeartbeats end a subscription.
	missedHeartbeats = 5
)

// Options say which framework subscribes, where and how.
type Options struct {
	Masters Detector

	Name     string   // of the framework; "tidemill"
	User     string   // tasks run as; "root"
	Roles    []string // "*"
	GPUs     bool     // agents with GPUs are offered too: Mesos keeps them from others
	Regions  bool     // so are agents in other regions than the masters'
	Hostname string   // for people, like WebUI
	WebUI    string   // URL
	// FailoverTimeout is how long tasks live on without a scheduler; a week.
	FailoverTimeout time.Duration
	// Principal and Secret authenticate by HTTP basic authentication.
	Principal string
	Secret    string

	Codec Codec
	TLS   *tls.Config // https where it is set
	Log   zerolog.Logger
}

// Scheduler is the way to the leading master, as scheduler.Mesos asks for it.
type Scheduler struct {
	options Options

	streams http.RoundTripper // no bound: an old stream may still be closing
	calls   http.RoundTripper
	acks    http.RoundTripper
}

var _ scheduler.Mesos = (*Scheduler)(nil)

// NewScheduler fills in the defaults. It connects to nothing.
func NewScheduler(o Options) *Scheduler {
	if o.Name == "" {
		o.Name = "tidemill"
	}
	if o.User == "" {
		o.User = "root"
	}
	if len(o.Roles) == 0 {
		o.Roles = []string{"*"}
	}
	if o.FailoverTimeout == 0 {
		o.FailoverTimeout = 7 * 24 * time.Hour
	}
	return &Scheduler{
		options: o,
		streams: newTransport(0, o.TLS),
		calls:   newTransport(1, o.TLS),
		acks:    newTransport(ackConns, o.TLS),
	}
}

// Subscribe opens a subscription at the leading master. ctx bounds the try,
// not the subscription's life.
func (s *Scheduler) Subscribe(ctx context.Context, frameworkID string) (scheduler.Subscription, error) {
	addr, changed, err := awaitLeader(ctx, s.options.Masters)
	if err != nil {
		return nil, err
	}
	where, err := baseURL(addr, schedulerPath, s.options.TLS != nil)
	if err != nil {
		return nil, fmt.Errorf("subscribe: master's %w", err)
	}
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	connecting := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	to, resp, err := s.open(life, where, frameworkID)
	if !connecting() && err == nil {
		resp.Body.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel(err)
		return nil, err
	}
	sub := s.start(life, cancel, to, resp)
	sub.owned.Go(func() { watchLeader(life, s.options.Masters, addr, changed, cancel) })
	return sub, nil
}

// open posts SUBSCRIBE and follows redirects until a master takes it.
func (s *Scheduler) open(ctx context.Context, where *url.URL, frameworkID string) (*endpoint, *http.Response, error) {
	call := &wire.Call{
		Type:      wire.Call_SUBSCRIBE,
		Subscribe: &wire.Call_Subscribe{FrameworkInfo: s.framework(frameworkID)},
	}
	if frameworkID != "" {
		call.FrameworkID = &mesos.FrameworkID{Value: frameworkID}
	}
	to := &endpoint{url: where, codec: s.options.Codec, authorize: s.authorize}
	for range maxRedirects {
		resp, err := to.post(ctx, s.streams, call)
		if err != nil {
			return nil, nil, fmt.Errorf("subscribe at master %s: %w", to.url.Host, err)
		}
		switch resp.StatusCode {
		case http.StatusOK:
			to.stream = resp.Header.Get(streamHeader)
			return to, resp, nil
		case http.StatusTemporaryRedirect, http.StatusPermanentRedirect, http.StatusFound:
			resp.Body.Close()
			next, err := to.url.Parse(resp.Header.Get("Location")) // it comes without a scheme
			if err != nil {
				return nil, nil, fmt.Errorf("subscribe at master %s: redirected: %w", to.url.Host, err)
			}
			s.options.Log.Debug().Str("master", to.url.Host).Str("leader", next.Host).Msg("redirected")
			to.url = next
		default:
			defer resp.Body.Close()
			return nil, nil, fmt.Errorf("subscribe at master %s: %w", to.url.Host, refusal(resp))
		}
	}
	return nil, nil, fmt.Errorf("subscribe: redirected %d times, last to %s: the masters do not agree on a leader", maxRedirects, to.url.Host)
}

// framework is the FrameworkInfo, the same one at each subscription.
func (s *Scheduler) framework(id string) *mesos.FrameworkInfo {
	o := &s.options
	checkpoint, failover := true, o.FailoverTimeout.Seconds()
	info := &mesos.FrameworkInfo{
		User:            o.User,
		Name:            o.Name,
		Roles:           o.Roles,
		Checkpoint:      &checkpoint,
		FailoverTimeout: &failover,
		Hostname:        optional(o.Hostname),
		WebUiURL:        optional(o.WebUI),
		Principal:       optional(o.Principal),
		Capabilities: []mesos.FrameworkInfo_Capability{
			{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE},
			{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE},
			{Type: mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT},
			{Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE},
		},
	}
	if o.GPUs {
		info.Capabilities = append(info.Capabilities, mesos.FrameworkInfo_Capability{Type: mesos.FrameworkInfo_Capability_GPU_RESOURCES})
	}
	if o.Regions {
		info.Capabilities = append(info.Capabilities, mesos.FrameworkInfo_Capability{Type: mesos.FrameworkInfo_Capability_REGION_AWARE})
	}
	if id != "" {
		info.ID = &mesos.FrameworkID{Value: id}
	}
	return info
}

func (s *Scheduler) authorize(req *http.Request) {
	if s.options.Principal != "" && s.options.Secret != "" {
		req.SetBasicAuth(s.options.Principal, s.options.Secret)
	}
}

// optional is nil for the empty string: an optional field that is not set.
func optional(v string) *string {
	if v == "" {
		return nil
	}
	return &v
}
