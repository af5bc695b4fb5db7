// Package supervisortest has what a [supervisor.Supervisor] needs of a process, in memory: the deadlines read model, the
// liveness rows and the feed, over a [memory.Store]. Tests use it where time is virtual and an engine is killed by not
// hearing of it any more.
package supervisortest
