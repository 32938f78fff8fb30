package mesos

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/encoding"

	"tidemill/scheduler"
)

const (
	streamHeader = "Mesos-Stream-Id"
	// maxErrorBody bounds the text of a refusal.
	maxErrorBody = 64 << 10
	// answerTimeout bounds the wait for the head of an answer, so that a
	// stalled server does not hold a caller that set no deadline.
	answerTimeout = 15 * time.Second
	dialTimeout   = 5 * time.Second
)

// newTransport makes a pool of at most conns connections to a host. Proxies of
// the environment are not asked: Mesos is next door.
func newTransport(conns int, secure *tls.Config) *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:       secure,
		TLSHandshakeTimeout:   dialTimeout,
		MaxConnsPerHost:       conns,
		MaxIdleConnsPerHost:   conns,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: answerTimeout,
		DisableCompression:    true,
	}
}

// baseURL makes a URL of "host:port" or "scheme://host:port", at a path.
func baseURL(addr, path string, secure bool) (*url.URL, error) {
	if !strings.Contains(addr, "://") {
		scheme := "http"
		if secure {
			scheme = "https"
		}
		addr = scheme + "://" + addr
	}
	u, err := url.Parse(addr)
	if err == nil && u.Host == "" {
		err = errors.New("no host in it")
	}
	if err != nil {
		return nil, fmt.Errorf("address %q is not host:port: %w", addr, err)
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + path // JoinPath would leave the first slash out
	return u, nil
}

// endpoint is where calls are posted, and as whom.
type endpoint struct {
	url       *url.URL
	codec     Codec
	stream    string // Mesos-Stream-Id, where there is one
	authorize func(*http.Request)
}

// post sends one message and gives the answer, whatever it is. Redirects are
// not followed.
func (e *endpoint) post(ctx context.Context, over http.RoundTripper, m encoding.Marshaler) (*http.Response, error) {
	body, err := e.codec.encode(m)
	if err != nil {
		return nil, fmt.Errorf("encode the call: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header["Content-Type"] = []string{e.codec.mediaType()}
	req.Header["Accept"] = []string{e.codec.mediaType()}
	if e.stream != "" {
		req.Header[streamHeader] = []string{e.stream}
	}
	if e.authorize != nil {
		e.authorize(req)
	}
	resp, err := over.RoundTrip(req)
	return resp, hintTLS(err)
}

// call posts a message whose answer is 202 or 200 without a body of interest.
// Any other answer is a *scheduler.CallError.
func (e *endpoint) call(ctx context.Context, over http.RoundTripper, m encoding.Marshaler) error {
	resp, err := e.post(ctx, over, m)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusAccepted || resp.StatusCode == http.StatusOK {
		// Read to the end, or the connection could not be used again.
		_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody))
		return err
	}
	return refusal(resp)
}

// ask posts a message and decodes the answer's body, of at most limit bytes.
func (e *endpoint) ask(ctx context.Context, over http.RoundTripper, m encoding.Marshaler, answer message, limit int64) error {
	resp, err := e.post(ctx, over, m)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err != nil {
		return err
	}
	return e.codec.decode(body, answer)
}

// refusal makes an error of an answer. Its text is Mesos's own; a redirect's
// is where it leads.
func refusal(resp *http.Response) *scheduler.CallError {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what was read is all there is to tell
	text := strings.TrimSpace(string(body))
	if where := resp.Header.Get("Location"); text == "" && where != "" {
		text = "redirected to " + where
	}
	if text == "" {
		text = http.StatusText(resp.StatusCode)
	}
	return &scheduler.CallError{Status: resp.StatusCode, Message: text}
}
