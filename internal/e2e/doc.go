// Package e2e tests the program as its users meet it: schedulers, the local
// Mesos and executors as processes of their own, killed for real.
package e2e
