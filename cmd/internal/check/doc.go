// Package check judges a run that is over: what the log holds, what the providers wrote into their ledgers, what the clients
// sent and were told, and what the read models showed at the end.
//
//	log ────────┐
//	ledgers ────┤
//	calls ──────┼──► Check ──► violations, and how much each rule looked at
//	read models ┘
//
// It is pure: whoever ran processes, or simulated them, gathers the [History] and hands it over. What must never happen is
// judged from the events as they stand in the log, by code that shares nothing with the deciders and folds of the domain: a
// checker that calls those would share their mistakes. Only the read models are folded by their own folds, since that they
// equal their fold is what is promised of them.
//
// A rule that had nothing to look at finds nothing wrong. So a [Result] counts what each rule looked at, and whoever reports a
// run without a violation reports these numbers too.
package check
