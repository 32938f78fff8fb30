// Package chronos is Chronos's REST API over Tidemill's scheduler, so that a
// client written for Chronos moves over by another URL.
package chronos
