package api

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"tidemill/jobs"
)

// Listen opens the API's address, after CheckListen.
func Listen(addr, token string) (net.Listener, error) {
	if err := CheckListen(addr, token); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		failed := &jobs.Error{Code: jobs.Conflict, Op: "listen", Subject: addr, Err: err, Hint: "name another address with --listen"}
		if errors.Is(err, syscall.EADDRINUSE) {
			failed.Hint = "another program has the port, perhaps a scheduler that runs already (\"tidemill doctor\" says); or name another with --listen"
		}
		return nil, failed
	}
	return l, nil
}

// CheckListen refuses to serve without a token where others than this
// machine can reach it: the API runs commands.
func CheckListen(addr, token string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return &jobs.Error{Code: jobs.Invalid, Op: "listen", Subject: addr, Message: "not an address of the form host:port",
			Hint: "write it like 127.0.0.1:8470"}
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return &jobs.Error{Code: jobs.Invalid, Op: "listen", Subject: addr, Message: fmt.Sprintf("%q is no port", port),
			Hint: "one is a number up to 65535; 0 takes any that is free"}
	}
	if token != "" {
		return nil
	}
	refuse := func(why string) error {
		return &jobs.Error{Code: jobs.Invalid, Op: "listen", Subject: addr, Message: why,
			Hint: "whoever reaches the API can run commands: give --token-file FILE, or listen on 127.0.0.1"}
	}
	if host == "localhost" {
		return nil
	}
	ip := net.ParseIP(host)
	if ip == nil || !ip.IsLoopback() {
		return refuse("not a loopback address, and no token is asked for")
	}
	return nil
}
