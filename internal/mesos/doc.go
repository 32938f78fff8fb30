// Package mesos speaks Mesos's v1 HTTP API for the scheduler, which it
// subscribes at the leading master, for the executor, which it subscribes at
// its agent, and for those who read what tasks left in their sandboxes.
//
// It adapts and decides nothing: when to subscribe again, what to call and how
// long to wait is its callers' business. The types and codecs are mesos-go's;
// its control loop, HTTP client and stream reader are not used, because they
// tear a subscription down over any refused call, have no heartbeat watchdog
// and end at events of 4 MiB.
package mesos
