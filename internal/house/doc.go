// Package house holds the house rules that tests can ask of the code itself: who may import whom,
// what the pure rooms stay away from, documented packages, tests without sleeps, documents whose
// links and targets exist and whose picture has every room. It has no code of its own.
package house
