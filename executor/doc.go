// Package executor is Tidemill's Mesos executor: it takes tasks from the agent,
// lets their kind do the work, and sees to it that each ends in exactly one
// durable outcome that the scheduler learns of.
package executor
