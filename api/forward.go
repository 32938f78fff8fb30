package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/rs/zerolog"

	"tidemill/internal/rest"
)

// forwarder hands requests on to the leader, streams included. A request is
// handed on once: whoever gets it second and does not lead says so, instead
// of sending it in circles while leadership moves.
type forwarder struct {
	leader    func() (string, bool, bool)
	proxy     *httputil.ReverseProxy
	transport *http.Transport
}

type targetKey struct{}

func newForwarder(leader func() (string, bool, bool), log zerolog.Logger) *forwarder {
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		ResponseHeaderTimeout: writeTimeout,
		IdleConnTimeout:       idleTimeout,
		MaxIdleConnsPerHost:   16,
	}
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // at once: events and followed logs
		Rewrite: func(p *httputil.ProxyRequest) {
			target, ok := p.In.Context().Value(targetKey{}).(*url.URL)
			if !ok {
				return
			}
			p.SetURL(target)
			p.SetXForwarded()
			p.Out.Header.Del("Origin") // compared with our own host already
			p.Out.Header.Set(rest.Proxied, "1")
		},
		ModifyResponse: func(res *http.Response) error {
			res.Header.Del(rest.RequestID) // ours is the same
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.Warn().Err(err).Str("path", r.URL.Path).Msg("the leader did not answer")
			p := rest.NewProblem(http.StatusServiceUnavailable, "the leader did not answer: "+err.Error(),
				"ask again in a moment; whether a change was made is not known")
			var dialled *net.OpError
			if p.Repeatable = errors.As(err, &dialled) && dialled.Op == "dial"; p.Repeatable {
				p.Hint = "ask again in a moment"
			}
			writeProblem(w, r, p)
		},
	}
	return &forwarder{leader: leader, proxy: proxy, transport: transport}
}

// serve hands a request on; not ok means that there is nobody to hand it to.
func (f *forwarder) serve(w http.ResponseWriter, r *http.Request) (ok bool) {
	base, self, known := f.leader()
	if !known || self || r.Header.Get(rest.Proxied) != "" {
		return false
	}
	target, err := url.Parse(base)
	if err != nil || target.Host == "" {
		return false
	}
	noDeadline(w)
	f.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), targetKey{}, target)))
	return true
}

func (f *forwarder) close() { f.transport.CloseIdleConnections() }
