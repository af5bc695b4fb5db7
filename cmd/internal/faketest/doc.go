// Package faketest lets the engine's own parts, from the log down to the wire of a plugin, live through random failures of
// the provider fake and asks its ledger afterwards what is left outside. Time is virtual: a life of an hour takes
// milliseconds.
package faketest
