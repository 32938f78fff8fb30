//go:build !faults

package main

import "time"

// clock is what a scheduler tells the time by.
func clock(func(string) string) func() time.Time { return time.Now }
