// Package jobs is Tidemill's vocabulary: what a job, a schedule, a graph, a
// run, a split and an attempt are, and what a kind of job must bring.
//
// It is pure: no clock, no I/O, no goroutine, and nothing imported but the
// standard library and the schedule. Every other room speaks in its words.
package jobs
